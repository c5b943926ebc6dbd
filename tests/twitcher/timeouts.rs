//! A run whose time is over.

use crate::harness::process::Process;
use crate::harness::{DEADLINE, Site, WatchFile, eventually};

/// The process that has said its pid. `None`: its time was over before it was looked for.
fn process(line: &str) -> Option<Process> {
    Process::find(line.parse().expect("a pid"))
}

fn is_gone(process: Option<Process>) -> bool {
    !process.is_some_and(Process::is_alive)
}

#[test]
fn p6_a_child_and_a_grandchild_that_ignore_the_request_to_end_are_killed() {
    let site = Site::new("killed");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let commands = [
        format!("(trap '' TERM; {}) &", gate.pass()),
        format!("trap '{}' TERM", runs.append("asked")),
        runs.append("$$"),
        runs.append("$!"),
        // The signal ends a `read`, and it goes on with the next.
        format!("while :; do {}; done", gate.pass()),
    ];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", "\"2s\"").key("kill_after", "\"1s\"");
    let mut daemon = site.builder().watch("value.toml", watch).start();
    let lines = runs.wait_for(2);
    let processes: Vec<Option<Process>> = lines.iter().map(|line| process(line)).collect();
    eventually(DEADLINE, "both to be gone", || processes.iter().copied().all(is_gone));
    assert_eq!(runs.wait_for(3)[2], "asked");
    // The watch goes on: the next update is run as the first was.
    site.client.set("/value", "1");
    assert_eq!(runs.wait_for(5).len(), 5);
    assert!(daemon.is_running());
}

#[test]
fn p6_what_a_child_leaves_of_its_group_is_killed_as_well_when_its_time_is_over() {
    let site = Site::new("left-behind");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    // The child ends when it is asked to, the grandchild does not.
    let commands = [format!("(trap '' TERM; {}) &", gate.pass()), runs.append("$!"), gate.pass()];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", "\"2s\"").key("kill_after", "\"1s\"");
    let _daemon = site.builder().watch("value.toml", watch).start();
    let grandchild = process(&runs.wait_for(1)[0]);
    eventually(DEADLINE, "the grandchild to be gone", || is_gone(grandchild));
}

#[test]
fn a_child_that_ends_when_it_is_asked_to_is_not_killed() {
    let site = Site::new("asked");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let commands = [
        format!("trap '{}; {}; exit 0' TERM", runs.append("asked"), runs.append("tidied up")),
        runs.append("$(cat)"),
        gate.pass(),
    ];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", 2).key("kill_after", "\"1h\"");
    let _daemon = site.builder().watch("value.toml", watch).start();
    runs.expect(&["0", "asked", "tidied up"]);
    site.client.set("/value", "1");
    runs.expect(&["0", "asked", "tidied up", "1", "asked", "tidied up"]);
}

#[test]
fn p5_p6_a_child_that_stops_itself_is_killed_when_its_time_is_over() {
    let site = Site::new("stops");
    site.client.create("/value", "0");
    let (stopped, other) = (site.journal("stopped"), site.journal("other"));
    let command = format!("{}; kill -STOP $$", stopped.append("$$"));
    let watches = WatchFile::watch("/value", &command)
        .key("timeout", "\"2s\"")
        .key("kill_after", "\"1s\"")
        .and("/value", &other.append("$(cat)"));
    let _daemon = site.builder().watch("both.toml", watches).start();
    let child = process(&stopped.wait_for(1)[0]);
    other.expect(&["0"]);
    eventually(DEADLINE, "the child to be gone", || is_gone(child));
}

#[test]
fn p6_a_run_goes_over_its_time_while_no_daemon_is_there_and_is_ended() {
    let site = Site::new("orphan");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let commands = ["trap '' TERM".to_owned(), runs.append("$$"), gate.pass()];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", "\"3s\"").key("kill_after", "\"1s\"");
    let mut daemon = site.builder().watch("value.toml", watch).start();
    let child = process(&runs.wait_for(1)[0]);
    daemon.kill();
    eventually(DEADLINE, "the child to be gone", || is_gone(child));
}
