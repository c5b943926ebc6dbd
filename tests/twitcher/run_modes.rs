//! What an update does while a run goes on, seen through the order in which children append lines.

use crate::harness::{
    Client, DEADLINE, Daemon, Folder, Gate, Journal, Site, WatchFile, eventually, shared_chroot,
};

/// A watch whose runs wait at a gate, and ten updates during the first of them.
struct TenUpdates {
    client: Client,
    runs: Journal,
    gate: Gate,
    _daemon: Daemon,
    _folder: Folder,
}

impl TenUpdates {
    fn during_one_run(mode: &str) -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot(mode);
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (runs, seen, gate) =
            (Journal::new(&folder, "runs"), Journal::new(&folder, "seen"), Gate::new(&folder, "gate"));
        let command =
            ["value=$(cat)".to_owned(), runs.append("start $value"), gate.pass(), runs.append("end $value")];
        // The second watch shows that an update has come before the next one is made: ZooKeeper tells of a
        // change, not of each.
        let watches = WatchFile::watch("/value", &command.join("\n"))
            .key("run_mode", format!("{mode:?}"))
            .and("/value", &seen.append("$(cat)"))
            .key("run_mode", "\"PARALLEL\"");
        let daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watches).start();
        runs.wait_for(1);
        seen.wait_for(1);
        for value in 1..=10 {
            client.set("/value", value.to_string());
            seen.wait_for(value + 1);
            if mode == "PARALLEL" {
                runs.wait_for(value + 1);
            }
        }
        Self { client, runs, gate, _daemon: daemon, _folder: folder }
    }
}

#[test]
fn p1_p2_ten_updates_during_a_run_of_a_queue_are_one_run_more_with_the_tenth_value() {
    let test = TenUpdates::during_one_run("QUEUE");
    test.runs.expect(&["start 0"]);
    test.gate.open();
    test.runs.expect(&["start 0", "end 0", "start 10", "end 10"]);
    test.client.set("/value", "11");
    test.runs.expect(&["start 0", "end 0", "start 10", "end 10", "start 11", "end 11"]);
}

#[test]
fn p2_ten_updates_during_a_run_are_dropped_by_a_discard() {
    let test = TenUpdates::during_one_run("DISCARD");
    test.gate.open();
    test.runs.expect(&["start 0", "end 0"]);
    // The end of the first run may not have come to the daemon yet, and what comes before is dropped.
    eventually(DEADLINE, "a later update to be run", || {
        test.client.set("/value", "11");
        test.runs.lines().len() > 2
    });
    assert_eq!(test.runs.wait_for(4)[..4], ["start 0", "end 0", "start 11", "end 11"]);
}

#[test]
fn ten_updates_during_a_run_are_ten_runs_more_beside_it_when_parallel() {
    let test = TenUpdates::during_one_run("PARALLEL");
    let starts: Vec<String> = (0..=10).map(|value| format!("start {value}")).collect();
    assert_eq!(test.runs.lines(), starts);
    test.gate.open();
    let lines = test.runs.wait_for(22);
    assert!(lines[11..].iter().all(|line| line.starts_with("end ")), "{lines:#?}");
    test.client.set("/value", "11");
    let lines = test.runs.wait_for(24);
    assert_eq!(lines[22..], ["start 11", "end 11"]);
}

#[test]
fn more_parallel_runs_than_max_parallel_wait_for_their_turn_oldest_first() {
    let site = Site::new("max-parallel");
    site.client.create("/value", "0");
    let (runs, seen, gate) = (site.journal("runs"), site.journal("seen"), site.gate("gate"));
    let command = format!("{}\n{}", runs.append("$(cat)"), gate.pass());
    let watches = WatchFile::watch("/value", &command)
        .key("run_mode", "\"PARALLEL\"")
        .key("max_parallel", 2)
        .and("/value", &seen.append("$(cat)"))
        .key("run_mode", "\"PARALLEL\"");
    let _daemon = site.builder().watch("value.toml", watches).start();
    seen.wait_for(1);
    for value in 1..=4 {
        site.client.set("/value", value.to_string());
        seen.wait_for(value + 1);
    }
    runs.wait_for(2);
    assert_eq!(runs.lines().len(), 2);
    for count in 3..=5 {
        gate.let_through(1);
        runs.wait_for(count);
    }
    let (mut first, rest) = (runs.lines()[..2].to_vec(), &runs.lines()[2..]);
    first.sort();
    assert_eq!((first, rest), (vec!["0".into(), "1".into()], &["2", "3", "4"].map(String::from)[..]));
}

#[test]
fn no_more_children_run_at_once_than_the_settings_say() {
    let site = Site::new("max-running");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    let command = [runs.append("start"), gate.pass(), runs.append("end")].join("\n");
    let watches = WatchFile::watch("/value", &command).and("/value", &command).and("/value", &command);
    let _daemon = site.builder().settings("[daemon]\nmax_running = 1\n").watch("value.toml", watches).start();
    runs.expect(&["start"]);
    gate.open();
    runs.expect(&["start", "end", "start", "end", "start", "end"]);
}

#[test]
fn p1_p2_of_a_burst_of_updates_the_last_is_run_and_no_two_runs_overlap() {
    let site = Site::new("burst");
    site.client.create("/value", "0");
    let (runs, lock) = (site.journal("runs"), site.folder.join("lock"));
    let watch = WatchFile::watch("/value", &runs.append_alone("$(cat)", &lock));
    let _daemon = site.builder().watch("value.toml", watch).start();
    runs.wait_for(1);
    for value in 1..=200 {
        site.client.set("/value", value.to_string());
    }
    let lines = eventually(DEADLINE, "the last value", || {
        let lines = runs.lines();
        if lines.last().is_some_and(|line| line == "200") { Ok(lines) } else { Err(lines) }
    });
    runs.expect_no_overlap();
    assert!(lines.is_sorted_by_key(|line| line.parse::<u32>().expect("a number")), "{lines:#?}");
}

#[test]
fn a_run_is_told_of_an_update_that_comes_meanwhile_and_so_is_all_that_came_from_it() {
    let site = Site::new("notify-signal");
    site.client.create("/value", "0");
    let (runs, gate) = (site.journal("runs"), site.gate("gate"));
    // The signal ends a `read`, and it goes on with the next.
    let told = |who: &str| {
        let trap = format!("trap '{}' USR1", runs.append(&format!("{who} told")));
        format!("{trap}; {}; until {}; do :; done", runs.append(&format!("{who} waits")), gate.pass())
    };
    let command = format!("({}) &\n{}\nwait\n{}", told("child"), told("main"), runs.append("end $(cat)"));
    let watch = WatchFile::watch("/value", &command).key("notify_signal", "\"USR1\"");
    let _daemon = site.builder().watch("value.toml", watch).start();
    let next = |from: usize, expected: &[&str]| {
        let mut lines = runs.wait_for(from + expected.len()).split_off(from);
        lines.sort();
        assert_eq!(lines, expected);
    };
    next(0, &["child waits", "main waits"]);
    site.client.set("/value", "1");
    next(2, &["child told", "main told"]);
    site.client.set("/value", "2");
    next(4, &["child told", "main told"]);
    gate.let_through(2);
    // What came last is run next, and has not been told of itself.
    runs.wait_for(7);
    assert_eq!(runs.lines()[6], "end 0");
    next(7, &["child waits", "main waits"]);
    gate.let_through(2);
    runs.wait_for(10);
    assert_eq!(runs.lines()[9..], ["end 2"]);
}

#[test]
fn many_watches_of_one_znode_all_run() {
    let site = Site::new("many");
    site.client.create("/value", "0");
    let runs = site.journal("runs");
    let watches = (1..100).fold(WatchFile::watch("/value", &runs.append("$(cat)")), |file, _| {
        file.and("/value", &runs.append("$(cat)"))
    });
    let _daemon = site.builder().watch("value.toml", watches).start();
    runs.wait_for(100);
    site.client.set("/value", "1");
    let lines = runs.wait_for(200);
    assert_eq!(lines[100..], vec!["1"; 100]);
}
