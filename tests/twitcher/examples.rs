//! What is given to newcomers works: the demo, and the files under `etc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Client, DEADLINE, Daemon, Folder, eventually, shared, shared_chroot, twitcher};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_demo_shows_three_hosts_that_catch_up_with_a_push_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let output = demo(&folder).arg("--once").output().expect("cargo");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{error}");
    for host in ["alpha", "bravo", "charlie"] {
        let line = said.lines().find(|line| line.trim_start().starts_with(host) && line.contains(" ms"));
        assert!(line.is_some(), "no line for {host} in {said}");
    }
    assert_eq!(left_in(&folder), Vec::<PathBuf>::new());
}

#[test]
fn the_demo_takes_everything_down_when_it_is_asked_to_end() {
    let folder = Folder::new();
    let mut child = demo(&folder).stdout(Stdio::from(log(&folder))).spawn().expect("cargo");
    let said = || fs::read_to_string(folder.join("said")).expect("what it said");
    eventually(DEADLINE * 10, "the demo to say what to try", || {
        assert_eq!(child.try_wait().expect("the demo"), None, "it ended: {}", said());
        if said().contains("Ctrl-C") { Ok(()) } else { Err(said()) }
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("a signal");
    let status = child.wait().expect("the demo");
    fs::remove_file(folder.join("said")).expect("what it said");
    assert_eq!(status.code(), Some(0));
    assert_eq!(left_in(&folder), Vec::<PathBuf>::new());
}

/// The demo, which keeps its files in this folder. It is built by the same cargo as this test.
fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    let program = Path::new(env!("CARGO_BIN_EXE_twitcher"));
    let profile = program.parent().expect("the folder of a profile");
    command.current_dir(SOURCE).args(["run", "--quiet", "--locked", "--example", "demo", "--target-dir"]);
    command.arg(profile.parent().expect("the target folder"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    command.arg("--").env("TMPDIR", folder).stdin(Stdio::null());
    command
}

fn log(folder: &Path) -> fs::File {
    fs::File::create(folder.join("said")).expect("a file")
}

fn left_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_watch_file_under_etc_is_one_that_the_daemon_takes() {
    let folder = Path::new(SOURCE).join("etc/twitcher.d");
    let mut count = 0;
    let destination = Folder::new();
    for entry in fs::read_dir(folder).expect("etc/twitcher.d") {
        let path = entry.expect("an entry").path();
        // A copy, since those of a checkout may be writable by a group.
        let copy = destination.join(path.file_name().expect("a name"));
        fs::write(&copy, fs::read(&path).expect("a watch file")).expect("a copy");
        let output = twitcher().arg("check").arg(&copy).output().expect("the program");
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", path.display());
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn the_settings_file_under_etc_is_one_that_the_daemon_starts_with() {
    let settings = fs::read_to_string(Path::new(SOURCE).join("etc/twitcher.toml")).expect("the file");
    // What is commented out is what holds without it, and must be as right as the rest.
    let uncommented: String = settings
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    for settings in [settings, uncommented] {
        let folder = Folder::new();
        let zookeeper = shared_chroot("etc");
        Client::connect(&zookeeper).create("/value", "0");
        let watch = crate::harness::WatchFile::program("/value", &["true"]);
        let mut daemon =
            Daemon::builder(&folder, &zookeeper).settings(&settings).watch("value.toml", watch).start();
        let path = format!("{}/value", &zookeeper[zookeeper.find('/').expect("a chroot")..]);
        shared().wait_until_watched(&path);
        assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.log());
    }
}
