//! Where a test keeps its files, and what sees to it that nothing stays behind when the test process is
//! killed.

use std::fs::{self, Permissions};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary folder with a name of its own, removed at the end of the test.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let path = root().join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).expect("a folder");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a folder for all users");
        Self { path }
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Waits for the end of this process, as the end of what it reads from it, and then ends those of the program's processes
/// that were started with a path in the root folder, the groups of their children, and the folder. Usually there are none
/// left.
const JANITOR: &str = r#"
root=$1 program=$2
read -r line
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    case $(readlink "$process/exe") in
        "$program" | "$root"/*) ;;
        *) continue ;;
    esac
    tr '\0' '\n' <"$process/cmdline" | grep -qF -- "$root/" || continue
    kill -STOP "$pid"
    for child in $(cat "$process/task/$pid/children"); do
        kill -KILL -- "-$child" "$child"
    done
    kill -KILL "$pid"
done
rm -rf "$root"
"#;

/// The folder that all of this process' are in.
fn root() -> &'static Path {
    static ROOT: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _janitor) = ROOT.get_or_init(|| {
        let root = tempfile::Builder::new().prefix("twitcher-").tempdir().expect("a temporary folder").keep();
        // A child of any user finds its way to the test's files.
        fs::set_permissions(&root, Permissions::from_mode(0o711)).expect("a folder for all users");
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .args([&root, Path::new(env!("CARGO_BIN_EXE_twitcher"))])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell to clean up");
        (root, janitor)
    });
    path
}
