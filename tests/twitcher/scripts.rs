//! Scripts that stand in a watch file: who can read them, who can change them, and what executes them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, access};

use crate::harness::{DEADLINE, Site, WatchFile, eventually, root_can};

fn script(text: &str) -> WatchFile {
    WatchFile::from(format!("[[watch]]\nznode = \"/value\"\nscript = '''\n{text}'''\n"))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or(Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
}

#[test]
fn a_script_runs_under_its_interpreter_with_the_znode_at_its_stdin_and_is_gone_afterwards() {
    let site = Site::new("script");
    site.client.create("/value", "the contents\n");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    // `-e` is the argument of the interpreter, without which it would come to the last line.
    let commands = [
        "#!/bin/sh -e".to_owned(),
        runs.append("$(cat) $0 $#"),
        gate.pass(),
        "false".into(),
        runs.append("on"),
    ];
    let mut daemon = site.builder().watch("value.toml", script(&(commands.join("\n") + "\n"))).start();
    let line = runs.wait_for(1).remove(0);
    let path = line.strip_prefix("the contents ").and_then(|rest| rest.strip_suffix(" 0"));
    let path = PathBuf::from(path.unwrap_or_else(|| panic!("{line:?} has no path")));
    assert_eq!(files_in(&daemon.run_dir().join("scripts")), [path.as_path()]);
    let file = fs::metadata(&path).expect("the script while it runs");
    assert_eq!(file.permissions().mode() & 0o7777, 0o400);
    assert_eq!(file.uid(), Uid::effective().as_raw());
    let text = fs::read_to_string(&path).expect("the script");
    assert!(text.starts_with("#!/bin/sh -e\n") && text.ends_with("\n"), "{text}");
    gate.let_through(1);
    daemon.wait_for_log("outcome=exited(1)");
    eventually(DEADLINE, "the script to be gone", || !path.exists());

    // A run that outlives its daemon keeps its script, and no longer.
    site.client.set("/value", "other\n");
    let line = runs.wait_for(2).remove(1);
    let path = PathBuf::from(line.split(' ').nth(1).expect("a path"));
    daemon.kill();
    assert!(path.exists());
    gate.let_through(1);
    eventually(DEADLINE, "the script to be gone", || !path.exists());
}

#[test]
fn p7_a_script_of_another_user_can_be_read_by_that_user_only_and_is_replaced_by_nobody() {
    if !root_can("run a script as another user") {
        return;
    }
    let site = Site::new("script-of-another");
    site.client.create("/value", "the contents");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let nobody = User::from_name("nobody").expect("the user database").expect("nobody");
    let commands = [
        "#!/bin/sh".to_owned(),
        runs.append("$(cat)"),
        runs.append("$0"),
        // Neither is it writable, nor can another be put in its place.
        format!("id -u >> {}", runs.path().display()),
        format!("echo evil 2>&1 >> \"$0\" || {}", runs.append("cannot be written")),
        format!("rm -f \"$0\" || {}", runs.append("cannot be removed")),
        format!("touch \"${{0%/*}}/other\" || {}", runs.append("cannot be put beside")),
        format!("ls \"${{0%/*}}\" || {}", runs.append("cannot be looked for")),
        gate.pass(),
    ];
    let watch = script(&(commands.join("\n") + "\n")).key("uid", "\"nobody\"");
    let daemon = site.builder().watch("value.toml", watch).start();
    let lines = runs.wait_for(7);
    let path = PathBuf::from(&lines[1]);
    assert_eq!(lines[0], "the contents");
    assert_eq!(lines[2], nobody.uid.to_string());
    let refused = ["cannot be written", "cannot be removed", "cannot be put beside", "cannot be looked for"];
    assert_eq!(lines[3..], refused);
    let file = fs::metadata(&path).expect("the script while it runs");
    assert_eq!(file.permissions().mode() & 0o7777, 0o400);
    assert_eq!((file.uid(), file.gid()), (nobody.uid.as_raw(), nobody.gid.as_raw()));
    assert!(access(&path, nix::unistd::AccessFlags::R_OK).is_ok());
    // Who knows its name still cannot read it as another user, also of the same group.
    let read = std::process::Command::new("setpriv")
        .args(["--reuid", "2", "--clear-groups", "--regid"])
        .args([&nobody.gid.to_string(), "cat"])
        .arg(&path)
        .output()
        .expect("setpriv");
    assert!(!read.status.success() && read.stdout.is_empty(), "{read:?}");
    gate.open();
    eventually(DEADLINE, "the script to be gone", || !path.exists());
    daemon.wait_for_log("outcome=exited(0)");
}
