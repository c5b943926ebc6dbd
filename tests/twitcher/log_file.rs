//! The log in a file that others move away, empty, or leave no room for.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, root_can, shared_chroot,
};

/// A daemon that logs to a file, with a watch whose command prints each number up to the znode's contents.
struct Rig {
    client: Client,
    runs: Journal,
    daemon: Daemon,
    log: PathBuf,
    folder: Folder,
}

impl Rig {
    fn new(wrapper: &[&str]) -> Self {
        let folder = Folder::new();
        let logs = folder.join("logs");
        fs::create_dir(&logs).expect("a folder for logs");
        let log = logs.join("twitcher.log");
        let zookeeper = shared_chroot("log-file");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let runs = Journal::new(&folder, "runs");
        let command = format!("count=$(cat); seq -f 'number %g' $count; {}", runs.append("$count"));
        let mut builder = Daemon::builder(&folder, &zookeeper)
            .logging(&["--logfile", &log.to_string_lossy()])
            .watch("value.toml", WatchFile::watch("/value", &command));
        if !wrapper.is_empty() {
            let at = logs.display().to_string();
            builder = builder.wrapped_in(&[wrapper, &[at.as_str()]].concat());
        }
        let daemon = builder.start();
        runs.expect(&["0"]);
        Self { client, runs, daemon, log, folder }
    }

    #[track_caller]
    fn wait_for(&self, log: &Path, text: &str) {
        eventually(DEADLINE, format!("{text:?} in {}", log.display()), || {
            let log = fs::read_to_string(log).unwrap_or_default();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }
}

/// The numbers that were printed, in the order of their lines.
fn numbers(log: &str) -> Vec<usize> {
    log.lines().filter_map(|line| line.split_once("| number ")?.1.parse().ok()).collect()
}

#[test]
fn a_log_file_that_is_moved_away_is_made_anew_at_sighup_and_no_line_is_lost() {
    let mut rig = Rig::new(&[]);
    let old = rig.log.with_extension("log.1");
    // While lines come.
    rig.client.set("/value", "5000");
    rig.wait_for(&rig.log, "| number ");
    fs::rename(&rig.log, &old).expect("a log file to be moved");
    rig.daemon.signal(Signal::SIGHUP);
    rig.wait_for(&rig.log, "was opened again");
    rig.wait_for(&rig.log, "reloaded");
    rig.runs.expect(&["0", "5000"]);
    rig.client.set("/value", "1");
    rig.runs.expect(&["0", "5000", "1"]);
    assert_eq!(rig.daemon.stop().code(), Some(0));
    // What commands print is nothing for everybody.
    for made in [&old, &rig.log] {
        let mode = fs::metadata(made).expect("a log file").permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o} {}", made.display());
    }
    let read = |path: &Path| fs::read_to_string(path).expect("a log file");
    let (old, new) = (read(&old), read(&rig.log));
    let expected: Vec<usize> = (1..=5000).chain([1]).collect();
    assert_eq!([numbers(&old), numbers(&new)].concat(), expected);
    assert!(new.contains("stopped") && !old.contains("stopped"), "{new}");
    assert_eq!(old.matches("run ended").count() + new.matches("run ended").count(), 3);
}

#[test]
fn a_log_file_that_is_emptied_in_place_has_no_hole_in_it() {
    let mut rig = Rig::new(&[]);
    rig.client.set("/value", "100");
    rig.wait_for(&rig.log, "number 100\n");
    OpenOptions::new().write(true).truncate(true).open(&rig.log).expect("a log file");
    rig.client.set("/value", "1");
    rig.wait_for(&rig.log, "number 1\n");
    assert_eq!(rig.daemon.stop().code(), Some(0));
    let log = fs::read(&rig.log).expect("a log file");
    assert!(!log.contains(&0), "{}", String::from_utf8_lossy(&log));
}

#[test]
fn p8_a_log_file_that_cannot_be_opened_again_is_written_to_as_before_and_that_is_said() {
    let mut rig = Rig::new(&[]);
    let moved = rig.folder.join("moved");
    fs::rename(rig.log.parent().expect("a folder"), &moved).expect("a folder to be moved");
    rig.daemon.signal(Signal::SIGHUP);
    let moved = moved.join("twitcher.log");
    rig.wait_for(&moved, "again: No such file or directory");
    rig.client.set("/value", "1");
    rig.wait_for(&moved, "number 1\n");
    assert_eq!(rig.daemon.stop().code(), Some(0));
}

#[test]
fn p8_a_full_disk_below_the_log_file_loses_lines_and_nothing_else_and_says_so_when_there_is_room() {
    if !root_can("mount a small disk") {
        return;
    }
    let mount = r#"mount -t tmpfs -o size=256k,mode=755 small "$0" && exec "$@""#;
    let mut rig = Rig::new(&["unshare", "--mount", "/bin/sh", "-c", mount]);
    // As the daemon sees it.
    let log = PathBuf::from(format!("/proc/{}/root{}", rig.daemon.pid(), rig.log.display()));
    rig.wait_for(&log, "run ended");
    let filler = log.with_extension("filler");
    let mut file = File::create(&filler).expect("a file on the small disk");
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
    drop(file);
    // More than what is left of the log file's last page.
    rig.client.set("/value", "1000");
    rig.runs.expect(&["0", "1000"]);
    rig.client.set("/value", "2");
    rig.runs.expect(&["0", "1000", "2"]);
    fs::remove_file(&filler).expect("room on the small disk");
    rig.wait_for(&log, "lines are missing here: the log did not take them\n");
    rig.client.set("/value", "3");
    rig.runs.expect(&["0", "1000", "2", "3"]);
    rig.wait_for(&log, "number 3\n");
    let text = fs::read_to_string(&log).expect("a log file");
    // The line that was cut off by the end of the disk is not the beginning of another.
    let said = text.lines().find(|line| line.ends_with("missing here: the log did not take them"));
    assert!(said.is_some_and(|line| line.split_whitespace().nth(1) == Some("WARN")), "{said:?}");
    assert_eq!(rig.daemon.stop().code(), Some(0));
}
