//! Watch files that come, change, break and go while the daemon runs, seen by what runs.

mod edits;
mod folders;
mod half_written;
mod limits;
mod links;

use std::cell::Cell;

use crate::harness::{Client, DEADLINE, Daemon, Folder, Journal, WatchFile, eventually, shared_chroot};

/// A daemon with one watch of `/value`, whose every run is in the journal.
struct Loaded {
    client: Client,
    runs: Journal,
    fences: Journal,
    fence: Cell<usize>,
    daemon: Daemon,
    folder: Folder,
}

impl Loaded {
    fn new() -> Self {
        let folder = Folder::new();
        let zookeeper = shared_chroot("loading");
        let client = Client::connect(&zookeeper);
        client.create("/value", "0");
        let (runs, fences) = (Journal::new(&folder, "runs"), Journal::new(&folder, "fences"));
        let watch = watch(&runs, "value");
        let daemon = Daemon::builder(&folder, &zookeeper).watch("value.toml", watch).start();
        runs.expect(&["value 0"]);
        Self { client, runs, fences, fence: Cell::new(0), daemon, folder }
    }

    /// Waits until the daemon has taken in all that was done to its config folder so far, which it has when
    /// it runs what comes with a file that was dropped in last.
    fn fence(&self) {
        let number = self.fence.get() + 1;
        self.fence.set(number);
        let file = WatchFile::watch("/value", &self.fences.append(&number.to_string()));
        self.daemon.write_watch(&format!("zz-fence-{number}.toml"), file.key("run_mode", "\"DISCARD\""));
        let line = number.to_string();
        eventually(DEADLINE, format!("fence {number}"), || {
            let lines = self.fences.lines();
            if lines.contains(&line) { Ok(()) } else { Err(lines) }
        });
        self.daemon.remove_watch(&format!("zz-fence-{number}.toml"));
    }
}

/// Parallel, so that a run that nobody asked for is not hidden behind one that was.
fn watch(runs: &Journal, word: &str) -> WatchFile {
    WatchFile::watch("/value", &runs.append(&format!("{word} $(cat)"))).key("run_mode", "\"PARALLEL\"")
}
