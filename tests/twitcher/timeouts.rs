//! A run whose time is over.

use crate::harness::process::Process;
use crate::harness::{Client, DEADLINE, Daemon, Folder, Gate, Journal, WatchFile, eventually, shared_chroot};

#[test]
fn p6_a_child_and_a_grandchild_that_ignore_the_request_to_end_are_killed() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("killed");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let (runs, gate) = (Journal::new(&folder, "runs"), Gate::new(&folder, "gate"));
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
    let mut daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    let lines = runs.wait_for(2);
    let processes: Vec<Process> = lines
        .iter()
        .map(|line| {
            let pid = line.parse().expect("a pid");
            Process::find(pid).expect("a process that has not been killed yet")
        })
        .collect();
    eventually(DEADLINE, "both to be gone", || processes.iter().all(|process| !process.is_alive()));
    assert_eq!(runs.wait_for(3)[2], "asked");
    // The watch goes on: the next update is run as the first was.
    client.set("/value", "1");
    assert_eq!(runs.wait_for(5).len(), 5);
    assert!(daemon.is_running());
}

#[test]
fn p6_what_a_child_leaves_of_its_group_is_killed_as_well_when_its_time_is_over() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("left-behind");
    Client::connect(&zookeeper).create("/value", "0");
    let (runs, gate) = (Journal::new(&folder, "runs"), Gate::new(&folder, "gate"));
    // The child ends when it is asked to, the grandchild does not.
    let commands = [format!("(trap '' TERM; {}) &", gate.pass()), runs.append("$!"), gate.pass()];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", "\"2s\"").key("kill_after", "\"1s\"");
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    let pid = runs.wait_for(1).remove(0).parse().expect("a pid");
    let grandchild = Process::find(pid).expect("a grandchild");
    eventually(DEADLINE, "the grandchild to be gone", || !grandchild.is_alive());
}

#[test]
fn a_child_that_ends_when_it_is_asked_to_is_not_killed() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("asked");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let (runs, gate) = (Journal::new(&folder, "runs"), Gate::new(&folder, "gate"));
    let commands = [
        format!("trap '{}; {}; exit 0' TERM", runs.append("asked"), runs.append("tidied up")),
        runs.append("$(cat)"),
        gate.pass(),
    ];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", 2).key("kill_after", "\"1h\"");
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    runs.expect(&["0", "asked", "tidied up"]);
    client.set("/value", "1");
    runs.expect(&["0", "asked", "tidied up", "1", "asked", "tidied up"]);
}

#[test]
fn p5_p6_a_child_that_stops_itself_is_killed_when_its_time_is_over() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("stops");
    Client::connect(&zookeeper).create("/value", "0");
    let (stopped, other) = (Journal::new(&folder, "stopped"), Journal::new(&folder, "other"));
    let command = format!("{}; kill -STOP $$", stopped.append("$$"));
    let watches = WatchFile::watch("/value", &command)
        .key("timeout", "\"2s\"")
        .key("kill_after", "\"1s\"")
        .and("/value", &other.append("$(cat)"));
    let _daemon = Daemon::builder(&folder, &zookeeper).watch("both.toml", watches).start();
    let pid = stopped.wait_for(1).remove(0).parse().expect("a pid");
    let child = Process::find(pid).expect("a stopped process");
    other.expect(&["0"]);
    eventually(DEADLINE, "the child to be gone", || !child.is_alive());
}

#[test]
fn p6_a_run_goes_over_its_time_while_no_daemon_is_there_and_is_ended() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("orphan");
    Client::connect(&zookeeper).create("/value", "0");
    let (runs, gate) = (Journal::new(&folder, "runs"), Gate::new(&folder, "gate"));
    let commands = ["trap '' TERM".to_owned(), runs.append("$$"), gate.pass()];
    let watch =
        WatchFile::watch("/value", &commands.join("\n")).key("timeout", "\"3s\"").key("kill_after", "\"1s\"");
    let mut daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
    let pid = runs.wait_for(1).remove(0).parse().expect("a pid");
    let child = Process::find(pid).expect("a child");
    daemon.kill();
    eventually(DEADLINE, "the child to be gone", || !child.is_alive());
}
