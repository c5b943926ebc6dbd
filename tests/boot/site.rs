//! A machine with the program, a ZooKeeper beside it, and one watch: what is done with them, whatever the package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use twitcher::control::api::Runs;

use crate::base;
use crate::harness::process::Process;
use crate::harness::{Client, DEADLINE, Gate, Journal, Server, WatchFile, eventually};
use crate::machine::Machine;

/// Longer than the unit's watchdog waits, what systemd then grants a process to dump core, and the restart.
const FROZEN: Duration = Duration::from_secs(240);

/// The package in `target/packages` whose name begins so.
pub fn package(start: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages");
    let files = fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_it =
        |file: &PathBuf| file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(start));
    files
        .into_iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("no package {start}… in {}: 'make test-boot' makes it", folder.display()))
}

/// The machine, and what it is told and tells.
pub struct Site {
    pub machine: Machine,
    zookeeper: String,
    client: Client,
    runs: Journal,
    gate: Gate,
}

impl Site {
    /// A machine of its own, and a place of its own on the server.
    pub fn new(server: &Server, name: &str) -> Self {
        let machine = Machine::boot(&base::root());
        Client::connect(&server.address()).create(&format!("/{name}"), "");
        let zookeeper = format!("{}/{name}", server.address());
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let srv = machine.path("/srv");
        let (runs, gate) = (Journal::new(&srv, "runs"), Gate::new(&srv, "gate"));
        Self { machine, zookeeper, client, runs, gate }
    }

    /// Brings a file onto the machine, and returns where it is there.
    pub fn bring(&self, file: &Path) -> String {
        let inside = format!("/var/cache/{}", file.file_name().expect("a file").to_string_lossy());
        fs::copy(file, self.machine.path(&inside)).expect("a copy");
        inside
    }

    pub fn write(&self, inside: &str, text: &str) {
        let path = self.machine.path(inside);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a file that others can read");
    }

    pub fn has_names_for_a_backtrace(&self) {
        say("the program has the names of its functions");
        let program = self.machine.order(&["sh", "-c", "readlink -f $(command -v twitcher)"]);
        let names = Command::new("nm").arg(self.machine.path(&program)).output().expect("nm");
        assert!(String::from_utf8_lossy(&names.stdout).contains("twitcher"), "{names:?}");
    }

    pub fn is_ready_when_it_is_started(&self) {
        say("started, it is ready, and says so");
        self.write(
            "/etc/twitcher/twitcher.toml",
            &format!("[zookeeper]\nservers = \"{}\"\n", self.zookeeper),
        );
        // Ends when the daemon has said that it is ready.
        self.machine.order(&["systemctl", "enable", "--now", "twitcher"]);
        assert_eq!(self.machine.property("ActiveState"), "active");
        eventually(DEADLINE, "a status of a daemon that watches", || {
            let status = self.machine.property("StatusText");
            if status.starts_with("watching") { Ok(()) } else { Err(status) }
        });
    }

    pub fn runs_what_is_poked(&self, runs: &mut usize) {
        say("a file is dropped in, and a znode poked");
        let command = [
            self.runs.append("start $(cat)"),
            "echo it is at work".into(),
            self.gate.pass(),
            self.runs.append("end"),
        ];
        let command = self.machine.inside(&command.join("\n"));
        let watch = WatchFile::watch("/value", &command).key("run_on_load", "\"if-changed\"");
        self.write("/etc/twitcher.d/web.toml", watch.as_ref());
        self.gate.let_through(1);
        self.expect_run(runs, "0");
        // As somebody who is nobody in particular, with that user's PATH.
        let poke =
            ["runuser", "-u", "nobody", "--", "/usr/bin/env", "PATH=/usr/bin:/bin", "twitcher", "poke"];
        self.machine.order(&[&poke[..], &["/value", "--data", "poked"]].concat());
        self.gate.let_through(1);
        self.expect_run(runs, "poked");
        let lines = self.machine.order(&["journalctl", "--output=cat", "TWITCHER_WATCH=web"]);
        assert!(
            lines.lines().any(|line| line.starts_with("web[") && line.ends_with("| it is at work")),
            "{lines}"
        );
    }

    /// That a run in whose middle something befalls the daemon ends as one run, of which the next daemon knows.
    pub fn keeps_a_run_over(&self, runs: &mut usize, what: &str, befall: impl FnOnce(&Machine)) {
        say(&format!("a run goes on over {what}"));
        self.is_kept_over(runs, what, befall, || {});
    }

    /// That the minder of a run stays with it when another program takes the first one's place, and no longer.
    pub fn leaves_a_run_to_its_minder_over(&self, runs: &mut usize, upgrade: impl FnOnce(&Machine)) {
        let what = "an upgrade to another program";
        say(&format!("a run goes on over {what}, with the minder that it had"));
        let program = || self.machine.ask(&["sh", "-c", "sha256sum $(command -v twitcher)"]);
        let (before, only) = (program(), self.minders());
        let [first] = only[..] else { panic!("{only:?}") };
        self.is_kept_over(runs, what, upgrade, || {
            assert_ne!(program(), before);
            let minders = self.minders();
            let [second] = minders.iter().filter(|&&minder| minder != first).collect::<Vec<_>>()[..] else {
                panic!("{minders:?}, of which {first:?} was the first")
            };
            assert!(is_of_a_program_that_is_gone(first) && !is_of_a_program_that_is_gone(*second));
            // Each stands for its own, so that the run is the first's.
            let runs = |minder: Process| minder.children().into_iter().filter(|run| run.is_alive()).count();
            assert_eq!((runs(first), runs(*second)), (1, 0));
            let lines = self.machine.ask(&["journalctl", "--output=cat", "--unit=twitcher"]);
            assert!(lines.contains("an earlier minder keeps its runs to their end"), "{lines}");
        });
        eventually(DEADLINE, "the end of the first minder", || {
            let minders = self.minders();
            if minders.len() == 1 && minders[0] != first { Ok(()) } else { Err(minders) }
        });
    }

    fn is_kept_over(&self, runs: &mut usize, what: &str, befall: impl FnOnce(&Machine), look: impl FnOnce()) {
        let before = self.machine.property("MainPID");
        self.client.set("/value", what);
        let lines = self.expect_lines(2 * *runs + 1);
        assert_eq!(lines.last(), Some(&format!("start {what}")));
        befall(&self.machine);
        eventually(FROZEN, "another daemon that is ready", || {
            let (pid, state) = (self.machine.property("MainPID"), self.machine.property("ActiveState"));
            if pid != before && state == "active" { Ok(()) } else { Err((pid, state)) }
        });
        look();
        self.gate.let_through(1);
        self.expect_run(runs, what);
        let history = self.history();
        let outcome = &history.runs[0].end.as_ref().expect("the end of the last run").outcome;
        assert_eq!(outcome.to_string(), "exited(0)", "{what}");
        assert_eq!(history.runs.len(), *runs, "{what}: {:#?}", history.runs);
    }

    fn minders(&self) -> Vec<Process> {
        self.machine.processes("twitcher minder").into_iter().map(|(minder, _)| minder).collect()
    }

    pub fn stops_and_leaves_a_run_to_its_end(&self, runs: &mut usize) {
        say("stopped, it leaves a run to its end");
        self.client.set("/value", "stop");
        self.expect_lines(2 * *runs + 1);
        self.machine.order(&["systemctl", "stop", "twitcher"]);
        assert_eq!(self.machine.property("ActiveState"), "inactive");
        let daemons = self.machine.processes("twitcher run");
        assert!(daemons.is_empty(), "{daemons:?}");
        self.gate.let_through(1);
        self.expect_run(runs, "stop");
        self.wait_for_the_end_of_all_of_it();
    }

    pub fn wait_for_the_end_of_all_of_it(&self) {
        eventually(DEADLINE, "nothing of it that still runs", || {
            let left = self.machine.processes("twitcher");
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    /// Waits for the end of the one run that there is, which was given this.
    fn expect_run(&self, runs: &mut usize, given: &str) {
        *runs += 1;
        let lines = self.expect_lines(2 * *runs);
        assert_eq!(lines[2 * *runs - 2..], [format!("start {given}"), "end".into()]);
        if self.machine.property("ActiveState") == "active" {
            eventually(DEADLINE, "the end of the run in the history", || {
                let ended = self.history().runs.iter().filter(|run| run.end.is_some()).count();
                if ended == *runs { Ok(()) } else { Err(ended) }
            });
        }
    }

    /// The lines of all runs so far, which must be so many.
    fn expect_lines(&self, count: usize) -> Vec<String> {
        let lines = self.runs.wait_for(count);
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    fn history(&self) -> Runs {
        let json = self.machine.order(&["twitcher", "history", "web", "--json"]);
        serde_json::from_str(&json).expect("the history as JSON")
    }
}

/// Whether it executes what has been replaced.
fn is_of_a_program_that_is_gone(process: Process) -> bool {
    process.program().expect("the program of a process").to_string_lossy().ends_with(" (deleted)")
}

pub fn say(what: &str) {
    println!("boot: {what}");
}
