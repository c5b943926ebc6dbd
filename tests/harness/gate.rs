//! What children wait for until the test lets them go on.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// A named pipe. Who reads a line from it passes. The test holds it open at both ends, so that to open it
/// never blocks, and it never ends.
pub struct Gate {
    path: PathBuf,
    pipe: File,
}

impl Gate {
    /// A closed gate of that name.
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a named pipe");
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("a pipe for all users");
        let pipe = OpenOptions::new().read(true).write(true).open(&path).expect("both ends of a named pipe");
        Self { path, pipe }
    }

    /// A shell command that ends when the gate has let it through.
    pub fn pass(&self) -> String {
        format!("read -r _ < {}", self.path.display())
    }

    /// Lets so many through, of those who wait and of those to come.
    pub fn let_through(&self, count: usize) {
        (&self.pipe).write_all(&b"\n".repeat(count)).expect("room in a pipe");
    }

    /// Lets more through than any test has children.
    pub fn open(&self) {
        self.let_through(1000);
    }
}
