//! The package on a machine of its own, as one who administers it sees it: installed, enabled, at work, killed,
//! frozen, restarted, upgraded, stopped, removed and purged. ZooKeeper is beside it.
//!
//! `make test-boot` makes the packages, installs what this needs, and starts it. It wants root.

#[path = "../harness/mod.rs"]
mod harness;

mod base;
mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::CommandFactory;
use harness::{Client, DEADLINE, Gate, Journal, Server, WatchFile, eventually};
use machine::Machine;
use twitcher::cli::Cli;
use twitcher::record::run_record::RunRecord;

/// Longer than the unit's watchdog waits, what systemd then grants a process to dump core, and the restart.
const FROZEN: Duration = Duration::from_secs(240);

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        println!("boot: test");
        return;
    }
    assert!(nix::unistd::geteuid().is_root(), "the boot test makes machines: start it as root");
    let [package, upgrade] = packages();
    let server = Server::start();
    let site = Site::new(server.address());
    let before = site.machine.paths();
    site.installs_and_starts_nothing(&package);
    site.has_a_page_for_each_command();
    site.is_ready_when_it_is_started();
    let mut runs = 0;
    site.runs_what_is_poked(&mut runs);
    site.keeps_a_run_over(&mut runs, "a kill of the daemon", |machine| {
        machine.order(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "twitcher"]);
    });
    site.keeps_a_run_over(&mut runs, "a restart", |machine| {
        _ = machine.order(&["systemctl", "restart", "twitcher"])
    });
    site.keeps_a_run_over(&mut runs, "an upgrade of the package", |machine| {
        let package = site.bring(&upgrade);
        machine.order(&["dpkg", "--install", &package]);
    });
    site.keeps_a_run_over(&mut runs, "a daemon that is frozen", |machine| {
        machine.order(&["systemctl", "kill", "--kill-who=main", "--signal=STOP", "twitcher"]);
    });
    assert_eq!(
        site.machine.property("NRestarts"),
        "1",
        "since the upgrade, only the watchdog has restarted it"
    );
    site.stops_and_leaves_a_run_to_its_end(&mut runs);
    site.removes_and_purges(&before);
    println!("boot: well");
}

/// The two releases of the package, the second to upgrade to.
fn packages() -> [PathBuf; 2] {
    ["1", "2"].map(|revision| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages");
        let end = format!("-{revision}_");
        let files = fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let name = format!("twitcher_{}{end}", env!("CARGO_PKG_VERSION"));
        let is_package =
            |file: &PathBuf| file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name));
        files.into_iter().find(is_package).unwrap_or_else(|| {
            panic!("no package {name}… in {}: 'make test-boot' makes it", folder.display())
        })
    })
}

/// The machine, and what it is told and tells.
struct Site {
    machine: Machine,
    zookeeper: String,
    client: Client,
    runs: Journal,
    gate: Gate,
}

impl Site {
    fn new(zookeeper: String) -> Self {
        let machine = Machine::boot(&base::root());
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let srv = machine.path("/srv");
        let (runs, gate) = (Journal::new(&srv, "runs"), Gate::new(&srv, "gate"));
        Self { machine, zookeeper, client, runs, gate }
    }

    /// Brings a file onto the machine, and returns where it is there.
    fn bring(&self, file: &Path) -> String {
        let inside = format!("/var/cache/{}", file.file_name().expect("a file").to_string_lossy());
        fs::copy(file, self.machine.path(&inside)).expect("a copy");
        inside
    }

    fn write(&self, inside: &str, text: &str) {
        let path = self.machine.path(inside);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a file that others can read");
    }

    fn installs_and_starts_nothing(&self, package: &Path) {
        say("the package is installed: nothing is started or enabled");
        let package = self.bring(package);
        self.machine.order(&["dpkg", "--install", &package]);
        assert_eq!(self.machine.ask(&["systemctl", "is-active", "twitcher"]), "inactive");
        assert_eq!(self.machine.ask(&["systemctl", "is-enabled", "twitcher"]), "disabled");
        let files: Vec<_> =
            fs::read_dir(self.machine.path("/etc/twitcher.d")).expect("the config folder").collect();
        assert!(files.is_empty(), "{files:?}");
        let settings = self.machine.order(&["dpkg-query", "--showformat=${Conffiles}", "--show", "twitcher"]);
        assert!(settings.contains("/etc/twitcher/twitcher.toml"), "{settings}");
        self.machine.order(&["systemd-analyze", "verify", "twitcher.service"]);
    }

    fn has_a_page_for_each_command(&self) {
        say("each command has a man page without mistakes, and bash completes them");
        let commands = Cli::command();
        let commands = commands.get_subcommands().filter(|command| !command.is_hide_set());
        let pages = commands.map(|command| format!("man1/twitcher-{}.1", command.get_name()));
        for page in
            pages.chain(["man1/twitcher.1", "man5/twitcher.d.5", "man5/twitcher.toml.5"].map(String::from))
        {
            let path = self.machine.path(&format!("/usr/share/man/{page}.gz"));
            let mistakes =
                format!("set -o pipefail; zcat {} | groff -man -Kutf8 -Tutf8 -ww -z", path.display());
            let read = Command::new("bash").args(["-c", &mistakes]).output().expect("bash");
            let said = String::from_utf8_lossy(&read.stderr);
            assert!(read.status.success() && said.is_empty(), "{page}: {said}");
        }
        let completion = "source /usr/share/bash-completion/completions/twitcher && complete -p twitcher";
        let completed = self.machine.order(&["bash", "-c", completion]);
        assert!(completed.contains("twitcher"), "{completed}");
    }

    fn is_ready_when_it_is_started(&self) {
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

    fn runs_what_is_poked(&self, runs: &mut usize) {
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
    fn keeps_a_run_over(&self, runs: &mut usize, what: &str, befall: impl FnOnce(&Machine)) {
        say(&format!("a run goes on over {what}"));
        let before = self.machine.property("MainPID");
        self.client.set("/value", what);
        let lines = self.expect_lines(2 * *runs + 1);
        assert_eq!(lines.last(), Some(&format!("start {what}")));
        befall(&self.machine);
        eventually(FROZEN, "another daemon that is ready", || {
            let (pid, state) = (self.machine.property("MainPID"), self.machine.property("ActiveState"));
            if pid != before && state == "active" { Ok(()) } else { Err((pid, state)) }
        });
        self.gate.let_through(1);
        self.expect_run(runs, what);
        let history = self.history();
        let outcome = &history[0].end.as_ref().expect("the end of the last run").outcome;
        assert_eq!(outcome.to_string(), "exited(0)", "{what}");
        assert_eq!(history.len(), *runs, "{what}: {:#?}", history);
    }

    fn stops_and_leaves_a_run_to_its_end(&self, runs: &mut usize) {
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

    fn removes_and_purges(&self, before: &BTreeSet<String>) {
        say("removed, it is stopped; purged, nothing of it is left");
        self.machine.order(&["systemctl", "start", "twitcher"]);
        self.machine.order(&["dpkg", "--remove", "twitcher"]);
        self.wait_for_the_end_of_all_of_it();
        assert!(self.machine.path("/etc/twitcher/twitcher.toml").exists(), "settings go with a removal");
        fs::remove_file(self.machine.path("/etc/twitcher.d/web.toml")).expect("a watch file to go");
        self.machine.order(&["dpkg", "--purge", "twitcher"]);
        let after = self.machine.paths();
        let left: Vec<&String> = after.difference(before).collect();
        assert!(left.is_empty(), "{left:#?}");
        assert_eq!(self.machine.ask(&["ls", "/run/twitcher"]), "");
    }

    fn wait_for_the_end_of_all_of_it(&self) {
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
                let ended = self.history().iter().filter(|run| run.end.is_some()).count();
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

    /// The last runs, newest first.
    fn history(&self) -> Vec<RunRecord> {
        let lines = self.machine.order(&["twitcher", "history", "web", "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).expect("a run as JSON")).collect()
    }
}

fn say(what: &str) {
    println!("boot: {what}");
}
