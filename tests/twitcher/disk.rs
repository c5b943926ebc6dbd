//! A disk that is full, below the daemon's folders. The disk is a small one that only the daemon has, in a
//! mount namespace of its own, which takes root: without, there is nothing to be shown here.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use crate::harness::ledger::has_applied;
use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, root_can, shared_chroot,
};

/// Mounts a small disk at its name for what it executes.
const ON_A_SMALL_DISK: &str = r#"mount -t tmpfs -o size=256k,mode=755 small "$0" && exec "$@""#;

/// A daemon with a small disk in the place of one of its folders, and a watch of each kind of command.
struct Rig {
    client: Client,
    runs: Journal,
    scripts: Journal,
    daemon: Daemon,
    disk: PathBuf,
    _folder: Folder,
}

impl Rig {
    fn new(name: &str) -> Option<Self> {
        if !root_can("mount a small disk") {
            return None;
        }
        let folder = Folder::new();
        let zookeeper = shared_chroot("full-disk");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (runs, scripts) = (Journal::new(&folder, "runs"), Journal::new(&folder, "scripts"));
        let script = format!("#!/bin/sh\n{}\n", scripts.append("$(cat)"));
        let watches = WatchFile::watch("/value", &runs.append("$(cat)"));
        let script = format!("[[watch]]\nname = \"script\"\nznode = \"/value\"\nscript = '''{script}'''\n");
        let builder = Daemon::builder(&folder, &zookeeper);
        let disk = folder.join(name);
        let at = disk.display().to_string();
        let daemon = builder
            .watch("value.toml", watches)
            .watch("script.toml", script)
            .wrapped_in(&["unshare", "--mount", "/bin/sh", "-c", ON_A_SMALL_DISK, &at])
            .start();
        runs.expect(&["0"]);
        scripts.expect(&["0"]);
        // As the daemon sees it.
        let disk = PathBuf::from(format!("/proc/{}/root{at}", daemon.pid()));
        Some(Self { client, runs, scripts, daemon, disk, _folder: folder })
    }

    fn fill(&self) {
        let mut filler = File::create(self.disk.join("filler")).expect("a file on the small disk");
        while filler.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.disk.join("filler")).expect("room on the small disk");
    }

    #[track_caller]
    fn wait_until_nothing_is_left_of_runs(&self) {
        let names = |folder: &str| -> Vec<_> {
            let entries = fs::read_dir(self.disk.join(folder)).expect("a folder of the minder's");
            entries.map(|entry| entry.expect("a file").file_name()).collect()
        };
        eventually(DEADLINE, "nothing to be left of runs", || {
            let left = [names("minder/runs"), names("scripts")];
            if left.iter().all(Vec::is_empty) { Ok(()) } else { Err(left) }
        });
    }

    #[track_caller]
    fn logged(&self, text: &str, times: usize) {
        self.daemon.wait_for_log(text);
        let log = self.daemon.log();
        assert_eq!(log.matches(text).count(), times, "{text:?} in {log}");
    }
}

#[test]
fn p1_p8_a_full_disk_below_the_state_folder_keeps_nothing_from_running() {
    let Some(mut rig) = Rig::new("state") else { return };
    let ledger = rig.disk.join("ledger.json");
    eventually(DEADLINE, "a ledger", || ledger.exists());
    rig.fill();
    rig.client.set("/value", "1");
    rig.runs.expect(&["0", "1"]);
    rig.daemon.wait_for_log("cannot write the ledger");
    for value in ["2", "3"] {
        rig.client.set("/value", value);
        rig.runs.wait_for(value.parse::<usize>().expect("a number") + 1);
    }
    rig.runs.expect(&["0", "1", "2", "3"]);
    rig.scripts.wait_for(4);
    rig.logged("cannot write the ledger", 1);
    rig.make_room();
    rig.logged("the ledger is written again", 1);
    rig.logged("cannot write the ledger", 1);
    assert_eq!(has_applied(&ledger, "value", &rig.client.stat("/value")), Ok(()));
    assert_eq!(rig.daemon.stop().code(), Some(0));
}

#[test]
fn p8_a_full_disk_below_the_state_folder_delays_the_history_and_nothing_else() {
    let Some(mut rig) = Rig::new("state") else { return };
    let history = rig.disk.join("history/value/runs.jsonl");
    let runs = || fs::read_to_string(&history).unwrap_or_default().matches("\"run\":").count();
    eventually(DEADLINE, "a history", || runs() == 1);
    rig.fill();
    for value in ["1", "2", "3"] {
        rig.client.set("/value", value);
        rig.runs.wait_for(value.parse::<usize>().expect("a number") + 1);
    }
    rig.logged("cannot write the history", 1);
    rig.make_room();
    rig.logged("the history is written again", 1);
    // What was written late is all of it.
    eventually(DEADLINE, "all runs in the history", || {
        let runs = runs();
        if runs == rig.runs.lines().len() { Ok(()) } else { Err(runs) }
    });
    rig.logged("cannot write the history", 1);
    assert_eq!(rig.daemon.stop().code(), Some(0));
}

#[test]
fn p1_p8_a_full_disk_below_the_run_folder_keeps_nothing_from_running_but_scripts() {
    let Some(mut rig) = Rig::new("run") else { return };
    // Else there would be room again.
    rig.wait_until_nothing_is_left_of_runs();
    rig.fill();
    for value in ["1", "2", "3"] {
        rig.client.set("/value", value);
        rig.runs.wait_for(value.parse::<usize>().expect("a number") + 1);
    }
    rig.runs.expect(&["0", "1", "2", "3"]);
    rig.logged("cannot keep a record", 1);
    rig.daemon.wait_for_log("cannot write its script");
    rig.make_room();
    rig.client.set("/value", "4");
    rig.runs.expect(&["0", "1", "2", "3", "4"]);
    rig.scripts.expect(&["0", "4"]);
    // Nor is anything half-written left behind.
    rig.wait_until_nothing_is_left_of_runs();
    rig.logged("cannot keep a record", 1);
    assert_eq!(rig.daemon.stop().code(), Some(0));
}
