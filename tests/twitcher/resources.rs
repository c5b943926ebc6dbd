//! What a thousand runs leave behind: nothing.

use crate::harness::process::Process;
use crate::harness::{Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, shared_chroot};

/// How many watches of the one znode, so that an update is as many runs.
const WATCHES: usize = 20;

/// What the daemon and its minder hold: descriptors without their numbers, and dead children.
fn held(processes: [Process; 2]) -> [(Vec<String>, usize); 2] {
    processes.map(held_by)
}

fn held_by(process: Process) -> (Vec<String>, usize) {
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
    (descriptors, process.zombies().len())
}

#[test]
fn a_thousand_runs_leave_no_zombie_and_no_descriptor_behind() {
    let folder = Folder::new();
    let zookeeper = shared_chroot("thousand");
    let client = Client::connect(&zookeeper);
    client.create("/value", "0");
    let runs = Journal::new(&folder, "runs");
    let watches = (1..WATCHES).fold(WatchFile::watch("/value", &runs.append("$(cat)")), |file, _| {
        file.and("/value", &runs.append("$(cat)"))
    });
    let daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watches).start();
    let mut count = 0;
    let mut update_until = |total: usize| {
        while count < total {
            runs.wait_for(count + WATCHES);
            count += WATCHES;
            client.set("/value", count.to_string());
        }
        runs.wait_for(count + WATCHES);
    };
    update_until(WATCHES);
    let (daemon, minder) = (daemon.process(), daemon.minder());
    // What the last run held may not have been let go of yet.
    let mut before = held([daemon, minder]);
    eventually(DEADLINE, "a rest after the first runs", || {
        let now = held([daemon, minder]);
        let rest = now == before && now.iter().all(|(_, zombies)| *zombies == 0);
        before = now;
        rest && minder.children().is_empty()
    });
    update_until(1000 + WATCHES);
    eventually(DEADLINE, "as much as before", || {
        let now = held([daemon, minder]);
        if now == before { Ok(()) } else { Err(format!("{now:#?} and not {before:#?}")) }
    });
}
