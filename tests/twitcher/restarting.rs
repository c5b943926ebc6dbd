//! What a daemon that starts makes of what the one before it has applied: an update is run once, and what
//! was applied is not run again, however the one before ended.

use std::fs;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::{Client, DEADLINE, Daemon, Folder, Gate, Journal, WatchFile, eventually, shared_chroot};

/// A watch that has applied `1`. It says what it was told and given, and whether it came to its end.
struct Rig {
    client: Client,
    runs: Journal,
    /// How many lines there are of what it has applied.
    applied: usize,
    gate: Gate,
    daemon: Daemon,
    file: WatchFile,
    _folder: Folder,
}

impl Rig {
    fn new(run_on_load: &str) -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("restarting");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (runs, gate) = (Journal::new(&folder, "runs"), Gate::new(&folder, "gate"));
        let command = [
            "value=$(cat)".into(),
            runs.append("$TWITCHER_EVENT $value"),
            gate.pass(),
            runs.append("end $value"),
        ];
        let file = || WatchFile::watch("/value", &command.join("\n")).key("run_on_load", run_on_load);
        let daemon =
            Daemon::builder(&folder, &zookeeper).argument("--verbose").watch("value.toml", file()).start();
        let mut rig = Self { client, runs, applied: 0, gate, daemon, file: file(), _folder: folder };
        if run_on_load == "false" {
            rig.daemon.wait_until_ready();
        } else {
            rig.gate.let_through(1);
            rig.expect(&["loaded 0", "end 0"]);
            rig.applied = 2;
        }
        rig.gate.let_through(1);
        rig.client.set("/value", "1");
        rig.expect(&["changed 1", "end 1"]);
        rig.applied += 2;
        rig.wait_until_the_ledger_has("1");
        rig
    }

    /// The lines of what came after.
    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        let all = self.runs.wait_for(self.applied + lines.len());
        assert_eq!(all[self.applied..], *lines);
    }

    /// That the value which is there is applied, on disk.
    #[track_caller]
    fn wait_until_the_ledger_has(&self, value: &str) {
        assert_eq!(self.client.get("/value"), Some(value.into()));
        self.daemon.wait_until_applied("value", &self.client.stat("/value"));
    }

    /// Starts the daemon and waits until it has looked at the znode. What it would run for that is run before
    /// what is written now.
    fn start_and_write(&mut self, value: &str) {
        self.daemon.start_again();
        self.daemon.wait_until_ready();
        self.client.set("/value", value);
        self.gate.open();
    }
}

#[test]
fn p1_an_update_that_was_made_while_the_daemon_was_down_is_run_once_at_its_start() {
    for (run_on_load, event) in [("\"if-changed\"", "loaded"), ("false", "changed")] {
        let mut rig = Rig::new(run_on_load);
        rig.daemon.kill();
        rig.client.set("/value", "2");
        rig.daemon.start_again();
        rig.gate.let_through(1);
        rig.expect(&[&format!("{event} 2"), "end 2"]);
        rig.wait_until_the_ledger_has("2");
        // And not at the next.
        assert_eq!(rig.daemon.stop().code(), Some(0));
        rig.start_and_write("3");
        rig.expect(&[&format!("{event} 2"), "end 2", "changed 3", "end 3"]);
    }
}

#[test]
fn p1_a_deletion_that_was_made_while_the_daemon_was_down_is_run_once_at_its_start() {
    for run_on_load in ["true", "false"] {
        let mut rig = Rig::new(run_on_load);
        assert_eq!(rig.daemon.stop().code(), Some(0));
        rig.daemon.write_watch("value.toml", rig.file.clone().key("on_delete", "\"run\""));
        rig.client.delete("/value");
        rig.gate.let_through(1);
        rig.daemon.start_again();
        rig.expect(&["deleted ", "end "]);
        rig.daemon.wait_for_log("run ended outcome=exited(0)");
        // And not at the next.
        assert_eq!(rig.daemon.stop().code(), Some(0));
        rig.daemon.start_again();
        rig.daemon.wait_until_ready();
        rig.client.create("/value", "2");
        rig.gate.open();
        rig.expect(&["deleted ", "end ", "created 2", "end 2"]);
    }
}

#[test]
fn p3_a_znode_that_is_as_it_was_when_the_daemon_went_down_is_no_reason_to_run() {
    for run_on_load in ["\"if-changed\"", "false"] {
        let mut rig = Rig::new(run_on_load);
        rig.daemon.kill();
        rig.start_and_write("2");
        rig.expect(&["changed 2", "end 2"]);
    }
}

#[test]
fn p1_an_update_whose_run_failed_is_run_again_at_the_next_start() {
    for (run_on_load, event) in [("\"if-changed\"", "loaded"), ("false", "changed")] {
        let mut rig = Rig::new(run_on_load);
        rig.client.set("/value", "2");
        rig.expect(&["changed 2"]);
        rig.daemon.minder().children().into_iter().for_each(crate::harness::process::Process::end_group);
        rig.daemon.wait_for_log("signaled(SIGKILL)");
        rig.daemon.kill();
        rig.daemon.start_again();
        rig.gate.open();
        rig.expect(&["changed 2", &format!("{event} 2"), "end 2"]);
    }
}

#[test]
fn p3_a_run_that_ended_while_nobody_could_hear_of_it_is_not_run_again() {
    for run_on_load in ["\"if-changed\"", "false"] {
        let mut rig = Rig::new(run_on_load);
        rig.client.set("/value", "2");
        rig.expect(&["changed 2"]);
        let minder = rig.daemon.minder();
        rig.daemon.signal(Signal::SIGSTOP);
        rig.gate.let_through(1);
        rig.expect(&["changed 2", "end 2"]);
        eventually(DEADLINE, "the minder to have reaped it", || minder.children().is_empty());
        rig.daemon.kill();
        rig.start_and_write("3");
        rig.expect(&["changed 2", "end 2", "changed 3", "end 3"]);
    }
}

#[test]
fn p3_a_run_whose_end_was_known_and_not_yet_in_the_ledger_is_not_run_again() {
    for run_on_load in ["\"if-changed\"", "false"] {
        let mut rig = Rig::new(run_on_load);
        // Nobody reads from it, so that the write of the ledger never comes to an end.
        let unfinished = rig.daemon.state_dir().join("ledger.new");
        mkfifo(&unfinished, Mode::S_IRUSR | Mode::S_IWUSR).expect("a named pipe");
        let before = rig.daemon.log().matches("run ended").count();
        rig.client.set("/value", "2");
        rig.gate.let_through(1);
        rig.expect(&["changed 2", "end 2"]);
        rig.daemon.wait_for_log_times("run ended", before + 1);
        rig.daemon.kill();
        fs::remove_file(unfinished).expect("a named pipe to go");
        rig.start_and_write("3");
        rig.expect(&["changed 2", "end 2", "changed 3", "end 3"]);
        rig.wait_until_the_ledger_has("3");
    }
}

#[test]
fn p3_a_file_that_is_taken_away_and_put_back_runs_nothing_that_was_applied() {
    let rig = Rig::new("\"if-changed\"");
    rig.daemon.remove_watch("value.toml");
    rig.daemon.wait_for_log("removed");
    rig.daemon.write_watch("value.toml", &rig.file);
    rig.daemon.wait_for_log_times("added", 2);
    rig.daemon.wait_for_log("update is not run: it was the first look");
    rig.client.set("/value", "2");
    rig.gate.open();
    rig.expect(&["changed 2", "end 2"]);
    let log = rig.daemon.log();
    let times = |text: &str| log.matches(text).count();
    assert_eq!((times("added"), times("update is not run: it was the first look")), (2, 1), "{log}");
}

#[test]
fn p8_a_ledger_that_is_of_no_use_is_set_aside_and_everything_goes_on() {
    for ledger in [&b""[..], b"\0\xff garbage\n", b"{\"format\": 1, \"watches\": {\"value\": "] {
        let mut rig = Rig::new("\"if-changed\"");
        assert_eq!(rig.daemon.stop().code(), Some(0));
        fs::write(rig.daemon.state_dir().join("ledger.json"), ledger).expect("a ledger of no use");
        rig.gate.open();
        rig.daemon.start_again();
        // Nobody knows any more that it was applied.
        rig.expect(&["loaded 1", "end 1"]);
        rig.wait_until_the_ledger_has("1");
        assert_eq!(rig.daemon.stop().code(), Some(0));
        rig.start_and_write("2");
        rig.expect(&["loaded 1", "end 1", "changed 2", "end 2"]);
        assert_eq!(rig.daemon.log().matches("is set aside").count(), 1);
        let names = fs::read_dir(rig.daemon.state_dir()).expect("the state folder");
        let ledgers =
            names.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("ledger"));
        let aside = ledgers.filter(|entry| fs::read(entry.path()).is_ok_and(|bytes| bytes == ledger));
        assert_eq!(aside.count(), 1, "what was there is kept for whoever wants to know");
    }
}
