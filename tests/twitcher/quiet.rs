//! What goes on is said once, however long it does. More of this is with what goes on: a full disk, an ensemble that is
//! away, an ACL.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Client, DEADLINE, Daemon, Folder, Journal, Site, WatchFile, eventually, shared_chroot};

/// A daemon with one watch that has run.
struct Rig {
    client: Client,
    runs: Journal,
    daemon: Daemon,
    _folder: Folder,
}

impl Rig {
    fn new() -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("quiet");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let runs = Journal::new(&folder, "runs");
        let daemon = Daemon::builder(&folder, &zookeeper)
            .argument("--debug")
            .watch("value.toml", WatchFile::watch("/value", &runs.append("$(cat)")))
            .start();
        runs.expect(&["0"]);
        Self { client, runs, daemon, _folder: folder }
    }

    /// The lines with this text that are only there because somebody looks closely; and the others.
    fn lines(&self, text: &str) -> (usize, usize) {
        let log = self.daemon.log();
        let lines = log.lines().filter(|line| line.contains(text));
        let (close, said): (Vec<&str>, Vec<&str>) =
            lines.partition(|line| line.contains(" DEBUG ") || line.contains(" TRACE "));
        (close.len(), said.len())
    }

    #[track_caller]
    fn said(&self, text: &str, times: usize) {
        assert_eq!(self.lines(text).1, times, "{text:?} in {}", self.daemon.log());
    }
}

#[test]
fn p8_minders_that_end_again_and_again_are_said_twice_and_the_last_one_runs_what_waits() {
    let mut rig = Rig::new();
    let ran = |rig: &Rig, runs: usize| {
        eventually(DEADLINE, format!("{runs} runs"), || rig.lines("run ended").1 == runs);
    };
    ran(&rig, 1);
    let mut expected = vec!["0".to_owned()];
    // Each has run something before it ends: one that ends before it listens is one that cannot be started.
    for value in 1..=4 {
        let minder = rig.daemon.minder();
        minder.signal(Signal::SIGKILL);
        eventually(DEADLINE, "its end", || !minder.is_alive());
        expected.push(value.to_string());
        rig.client.set("/value", value.to_string());
        rig.runs.expect(&expected.iter().map(String::as_str).collect::<Vec<_>>());
        ran(&rig, expected.len());
    }
    assert_eq!(rig.lines("the minder has ended again"), (2, 1), "{}", rig.daemon.log());
    rig.said("the minder has ended", 2);
    assert_eq!(rig.daemon.stop().code(), Some(0));
}

#[test]
fn p8_a_minder_that_cannot_be_started_is_said_once_and_is_started_when_it_can_be() {
    let mut rig = Rig::new();
    let (here, away) = (rig.daemon.run_dir().join("minder"), rig.daemon.run_dir().join("moved"));
    let minder = rig.daemon.minder();
    fs::rename(&here, &away).expect("a folder to be moved");
    minder.signal(Signal::SIGKILL);
    rig.daemon.wait_for_log("; trying again");
    rig.client.set("/value", "1");
    eventually(DEADLINE, "more tries", || rig.lines("; trying again").0 >= 2);
    rig.said("; trying again", 1);
    fs::rename(&away, &here).expect("a folder to be moved back");
    rig.runs.expect(&["0", "1"]);
    rig.said("; trying again", 1);
    assert_eq!(rig.daemon.stop().code(), Some(0));
}

#[test]
fn p4_a_broken_file_is_said_once_however_often_it_is_looked_at() {
    let mut rig = Rig::new();
    rig.daemon.write_watch("broken.toml", "[[watch]]\nznode = \"/value\"\n");
    rig.daemon.wait_for_log("broken.toml:");
    for times in 1..4 {
        rig.daemon.signal(Signal::SIGHUP);
        eventually(DEADLINE, "another look", || rig.lines("reloaded").1 == times);
    }
    rig.said("broken.toml:", 1);
    assert_eq!(rig.daemon.stop().code(), Some(0));
}

#[test]
fn a_run_has_a_line_for_its_start_one_for_its_end_and_one_for_each_that_it_prints() {
    let site = Site::new("lines");
    let zxid = site.client.create("/value", "0").mzxid;
    let mut daemon =
        site.builder().watch("value.toml", WatchFile::watch("/value", "echo one; echo two; exit 3")).start();
    daemon.wait_for_log("run failed");
    assert_eq!(daemon.stop().code(), Some(0));
    let log = daemon.log();
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" value[")?.1.split_once(']'))
        .map(|(_, line)| line)
        .collect();
    let [started, one, two, failed] = lines[..] else { panic!("{log}") };
    assert!(started.starts_with(": run started pid="), "{started}");
    assert_eq!([one, two], ["| one", "| two"]);
    assert!(failed.starts_with(": run failed outcome=exited(3) lasted="), "{failed}");
    for line in [started, failed] {
        assert!(line.ends_with(&format!(" zxid={zxid:#x} attempt=1")), "{line}");
    }
}
