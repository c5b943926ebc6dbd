//! What is given to newcomers works: the demo, and the files under `etc`.

use std::fs::{self};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::zookeeper::eventually::within;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Site, WatchFile, eventually, files, shared_chroot, twitcher,
};

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
    let said = fs::File::create(folder.join("said")).expect("a file");
    let mut demo = Demo(demo(&folder).stdout(said).spawn().expect("cargo"));
    let said = || fs::read_to_string(folder.join("said")).expect("what it said");
    // It may have to be built first.
    eventually(DEADLINE * 10, "the demo to say what to try", || {
        assert_eq!(demo.0.try_wait().expect("the demo"), None, "it ended: {}", said());
        if said().contains("Ctrl-C") { Ok(()) } else { Err(said()) }
    });
    demo.ask_to_end();
    let status = eventually(DEADLINE, "its end", || demo.0.try_wait().expect("the demo"));
    fs::remove_file(folder.join("said")).expect("what it said");
    assert_eq!(status.code(), Some(0));
    assert_eq!(left_in(&folder), Vec::<PathBuf>::new());
}

/// A demo that runs. It ends what it has started when it is asked to end, and is asked here at the latest.
struct Demo(Child);

impl Demo {
    fn ask_to_end(&self) {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let has_ended = |demo: &mut Self| demo.0.try_wait().is_ok_and(|status| status.is_some());
        if !has_ended(self) {
            self.ask_to_end();
            within(DEADLINE, || has_ended(self));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

fn left_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

/// The files of a folder of the source.
fn files_of(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(SOURCE).join(folder)).expect("a folder of the source");
    entries.map(|entry| entry.expect("a file").path()).collect()
}

#[test]
fn every_watch_file_under_etc_is_one_that_the_daemon_takes() {
    let copies = Folder::new();
    let files = files_of("etc/twitcher.d");
    for file in &files {
        // Those of a checkout may be writable by a group, which the daemon refuses.
        let copy = copies.join(file.file_name().expect("a name"));
        files::write(&copy, fs::read(file).expect("a watch file"));
    }
    let output = twitcher().arg("check").arg(&*copies).output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(files.len() > 1);
}

#[test]
fn the_watch_under_etc_that_keeps_a_configuration_file_does() {
    let folder = Folder::new();
    let text = fs::read_to_string(Path::new(SOURCE).join("etc/twitcher.d/config-file.toml"));
    let watch = text
        .expect("the watch file")
        .replace("enabled = false", "enabled = true")
        .replace("/srv/app", &folder.to_string_lossy());
    let zookeeper = shared_chroot("config-file");
    let client = Client::connect(&zookeeper);
    client.create_all("/app/config", "first\n");
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("config-file.toml", watch).start();
    for contents in ["first\n", "second\n", ""] {
        if contents != "first\n" {
            client.set("/app/config", contents);
        }
        eventually(DEADLINE, "the file", || match fs::read_to_string(folder.join("app.conf")) {
            Ok(text) if text == contents => Ok(()),
            other => Err(other),
        });
    }
}

#[test]
fn the_settings_file_under_etc_is_one_that_the_daemon_starts_with() {
    let settings =
        fs::read_to_string(Path::new(SOURCE).join("etc/twitcher/twitcher.toml")).expect("the file");
    // What is commented out is what holds without it, and must be as right as the rest.
    let uncommented: Vec<&str> = settings
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .collect();
    for settings in [&settings, &uncommented.join("\n")] {
        let site = Site::new("etc");
        site.client.create("/value", "0");
        let runs = site.journal("runs");
        let watch = WatchFile::watch("/value", &runs.append("$(cat)"));
        let mut daemon = site.builder().settings(settings).watch("value.toml", watch).start();
        runs.expect(&["0"]);
        assert_eq!(daemon.stop().code(), Some(0));
    }
}
