//! Many children, at once and one after the other, and what they leave behind: nothing.

use crate::harness::process::Process;
use crate::harness::{DEADLINE, Site, WatchFile, eventually};

/// What the descriptors of a process stand for, sorted.
fn descriptors(process: Process) -> Vec<String> {
    let mut descriptors: Vec<String> = process
        .descriptors()
        .into_iter()
        .map(|descriptor| {
            let what = descriptor.split_once(' ').expect("a number and what it stands for").1;
            // Pipes and sockets are told by numbers that differ for each.
            what.split_once(":[").map_or(what, |(kind, _)| kind).to_owned()
        })
        .collect();
    descriptors.sort();
    descriptors
}

/// The descriptors of a daemon and its minder, once there are no children.
#[track_caller]
fn descriptors_at_rest(processes: [Process; 2], expected: Option<&[Vec<String>; 2]>) -> [Vec<String>; 2] {
    let mut before = [Vec::new(), Vec::new()];
    eventually(DEADLINE, "no child, and the same descriptors as before", || {
        let now = processes.map(descriptors);
        let rest = processes[1].children().is_empty() && now == *expected.unwrap_or(&before);
        before.clone_from(&now);
        if rest { Ok(now) } else { Err((now, expected, processes[1].children().len())) }
    })
}

#[test]
fn p5_a_thousand_children_at_once_are_minded_and_leave_nothing_behind() {
    const WATCHES: usize = 20;
    const UPDATES: usize = 50;
    let site = Site::new("crowd");
    for znode in ["/crowd", "/other"] {
        site.client.create(znode, "0");
    }
    let (runs, ends, other) = (site.journal("runs"), site.journal("ends"), site.journal("other"));
    let gate = site.gate("gate");
    let command = format!("{}\n{}\n{}", runs.append("$(cat)"), gate.pass(), ends.append("end"));
    let mut watches = WatchFile::watch("/other", &other.append("$(cat)"));
    for _ in 0..WATCHES {
        watches = watches.and("/crowd", &command).key("run_mode", "\"PARALLEL\"").key("max_parallel", 1000);
    }
    let daemon = site.builder().settings("[daemon]\nmax_running = 2000\n");
    let daemon = daemon.watch("crowd.toml", watches).start();
    other.expect(&["0"]);
    runs.wait_for(WATCHES);
    let processes = [daemon.process(), daemon.minder()];
    gate.let_through(WATCHES);
    ends.wait_for(WATCHES);
    let idle = descriptors_at_rest(processes, None);

    for update in 1..=UPDATES {
        site.client.set("/crowd", update.to_string());
        runs.wait_for(WATCHES * (update + 1));
    }
    assert_eq!(processes[1].children().len(), 1000);
    site.client.set("/other", "1");
    other.expect(&["0", "1"]);
    assert_eq!(ends.lines().len(), WATCHES);
    gate.let_through(WATCHES * UPDATES);
    ends.wait_for(WATCHES * (UPDATES + 1));
    descriptors_at_rest(processes, Some(&idle));
    assert!(processes[1].zombies().is_empty());
}

#[test]
fn two_thousand_runs_in_sequence_leave_neither_descriptor_nor_zombie_nor_byte_behind() {
    // Each update is a run of each watch, one after the other: the host has one place.
    const WATCHES: usize = 50;
    const WARM: usize = 20;
    const UPDATES: usize = 60;
    let site = Site::new("sequence");
    site.client.create("/value", "0");
    let runs = site.journal("runs");
    let watches = (1..WATCHES).fold(WatchFile::watch("/value", &runs.append("$(cat)")), |file, _| {
        file.and("/value", &runs.append("$(cat)"))
    });
    let daemon = site.builder().settings("[daemon]\nmax_running = 1\n");
    let daemon = daemon.watch("value.toml", watches).start();
    runs.wait_for(WATCHES);
    let processes = [daemon.process(), daemon.minder()];
    let run_until = |from: usize, to: usize| {
        for update in from..=to {
            site.client.set("/value", update.to_string());
            runs.wait_for(WATCHES * (update + 1));
        }
    };
    run_until(1, WARM);
    let idle = descriptors_at_rest(processes, None);
    let before = processes.map(Process::resident_kib);
    run_until(WARM + 1, UPDATES);
    descriptors_at_rest(processes, Some(&idle));
    let after = processes.map(Process::resident_kib);
    assert!(processes.iter().all(|process| process.zombies().is_empty()));
    // The daemon's runtime gives its threads arenas of their own as they come to need them; what would be
    // left of each of two thousand runs, if it were 512 bytes, is more than this.
    for (before, after, tolerance) in [(before[0], after[0], 1024), (before[1], after[1], 128)] {
        assert!(after <= before + tolerance, "{before} KiB have grown to {after} KiB");
    }
}
