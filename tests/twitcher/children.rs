//! Children that do what they should not: none of them delays another watch or harms the daemon.

use crate::harness::{Client, Daemon, Folder, Gate, Journal, WatchFile, shared_chroot};

/// Runs a well-behaved watch beside another, with an update of both.
struct Beside {
    client: Client,
    good: Journal,
    gate: Gate,
    folder: Folder,
    zookeeper: String,
}

impl Beside {
    fn new() -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("beside");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (good, gate) = (Journal::new(&folder, "good"), Gate::new(&folder, "gate"));
        Self { client, good, gate, folder, zookeeper }
    }

    fn journal(&self, name: &str) -> Journal {
        Journal::new(&self.folder, name)
    }

    /// Starts a daemon with the other watch and the good one, and shows that the good one is run.
    fn start(&self, other: &WatchFile) -> Daemon {
        let daemon = Daemon::builder(&self.folder, &self.zookeeper)
            .watch("other.toml", other)
            .watch("good.toml", WatchFile::watch("/value", &self.good.append("$(cat)")))
            .start();
        self.good.expect(&["0"]);
        daemon
    }

    fn update(&self, value: usize) {
        self.client.set("/value", value.to_string());
        let lines: Vec<String> = (0..=value).map(|value| value.to_string()).collect();
        self.good.expect(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn p5_a_child_that_prints_without_end_delays_nothing() {
    let test = Beside::new();
    let other = test.journal("other");
    let command = format!("{}; exec yes", other.append("started"));
    let mut daemon = test.start(&WatchFile::watch("/value", &command));
    other.expect(&["started"]);
    test.update(1);
    daemon.wait_for_log("output that is not logged, since there was too much of it");
    test.update(2);
    assert!(daemon.is_running());
}

#[test]
fn p5_a_grandchild_that_holds_its_parents_output_open_delays_neither_the_next_run_nor_another_watch() {
    let test = Beside::new();
    let other = test.journal("other");
    let command = format!("({}) &\n{}", test.gate.pass(), other.append("$(cat)"));
    let mut daemon = test.start(&WatchFile::watch("/value", &command));
    other.expect(&["0"]);
    test.update(1);
    other.expect(&["0", "1"]);
    test.update(2);
    other.expect(&["0", "1", "2"]);
    test.gate.open();
    assert!(daemon.is_running());
}

#[test]
fn p5_a_child_that_closes_everything_and_goes_on_delays_nothing() {
    let test = Beside::new();
    let other = test.journal("other");
    let commands =
        ["exec <&- >&- 2>&-".to_owned(), other.append("closed"), test.gate.pass(), other.append("end")];
    let mut daemon = test.start(&WatchFile::watch("/value", &commands.join("\n")));
    other.expect(&["closed"]);
    test.update(1);
    other.expect(&["closed"]);
    test.gate.open();
    other.expect(&["closed", "end", "closed", "end"]);
    assert!(daemon.is_running());
}

#[test]
fn p5_children_that_fail_in_every_way_are_run_again_at_the_next_update() {
    let test = Beside::new();
    let ends = ["exit 1", "exit 255", "kill -SEGV $$", "kill -KILL $$", "kill -HUP $$"];
    let others: Vec<Journal> =
        (0..ends.len()).map(|number| test.journal(&format!("other-{number}"))).collect();
    let watch = |number: usize| format!("{}\n{}", others[number].append("$(cat)"), ends[number]);
    let watches = (1..ends.len())
        .fold(WatchFile::watch("/value", &watch(0)), |file, number| file.and("/value", &watch(number)));
    let mut daemon = test.start(&watches);
    others.iter().for_each(|other| other.expect(&["0"]));
    test.update(1);
    others.iter().for_each(|other| other.expect(&["0", "1"]));
    assert!(daemon.is_running());
}
