//! The history of all watches on disk: a shelf for each, and a bound for all of them together. Blocking.
//!
//! A watch that is no longer defined keeps its runs until the room is needed for others: what has not been
//! added to for longest goes first, its output before its runs.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::statvfs::statvfs;
use tracing::{info, warn};

use crate::config::spec::WatchName;
use crate::record::history::shelf::Shelf;
use crate::record::ledger::FOLDER_MODE;
use crate::record::run_record::RunRecord;
use crate::run::folder;
use crate::schedule::order::RunId;

/// How much room all of it may take, in bytes, and which part of the disk.
const MOST_BYTES: u64 = 1 << 30;
const PART_OF_DISK: u64 = 4;

/// How much of the disk is left to others, in bytes, and which part of it: first of all to the ledger, without
/// which commands are run that need not be.
const LEFT_TO_OTHERS: u64 = 64 << 20;
const PART_LEFT_TO_OTHERS: u64 = 16;

/// The history of one host, on disk.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    shelves: HashMap<WatchName, Shelf>,
    /// How much room they take together.
    bytes: u64,
    most_bytes: u64,
    /// Those that could not be removed, which was said.
    fast: HashSet<WatchName>,
}

/// The last run of each watch that has ended.
pub type LastEnded = HashMap<WatchName, RunRecord>;

impl Store {
    /// Finds what is in `state_dir`, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(state_dir: &Path) -> io::Result<(Self, LastEnded)> {
        folder::own(state_dir, FOLDER_MODE)?;
        let folder = state_dir.join("history");
        folder::own(&folder, FOLDER_MODE)?;
        let most_bytes = match Disk::of(&folder)? {
            Some(disk) => MOST_BYTES.min(disk.size / PART_OF_DISK),
            None => MOST_BYTES,
        };
        Self::open_bounded(folder, most_bytes)
    }

    fn open_bounded(folder: PathBuf, most_bytes: u64) -> io::Result<(Self, LastEnded)> {
        let (mut shelves, mut last, mut bytes) = (HashMap::new(), HashMap::new(), 0);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Some(watch) = watch_of(&entry.file_name().to_string_lossy()) else { continue };
            match Shelf::find(entry.path()) {
                Ok((shelf, record)) => {
                    bytes += shelf.size();
                    if let Some(record) = record {
                        last.insert(watch.clone(), record);
                    }
                    shelves.insert(watch, shelf);
                }
                Err(error) => warn!(%watch, "the watch's history cannot be read: {error}"),
            }
        }
        let mut store = Self { folder, shelves, bytes, most_bytes, fast: HashSet::new() };
        store.make_room(None);
        last.retain(|watch, _| store.shelves.contains_key(watch));
        Ok((store, last))
    }

    /// Whether the disk has room that need not be left to others.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_room(&self) -> io::Result<()> {
        let Some(disk) = Disk::of(&self.folder)? else { return Ok(()) };
        if disk.free > LEFT_TO_OTHERS.min(disk.size / PART_LEFT_TO_OTHERS) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is all but full"))
    }

    /// Adds a run that has ended, with the last of what it has printed.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn add(&mut self, record: &RunRecord, output: &[u8], now: SystemTime) -> io::Result<()> {
        let watch = &record.watch;
        let before = self.shelves.get(watch).map_or(0, Shelf::size);
        let folder = &self.folder;
        let shelf =
            self.shelves.entry(watch.clone()).or_insert_with(|| Shelf::new(folder.join(folder_of(watch))));
        let added = shelf.add(record, output, now);
        self.bytes = self.bytes - before + shelf.size();
        self.make_room(Some(watch));
        added
    }

    /// The runs of a watch that have ended, in the order of their ends.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn runs(&self, watch: &WatchName) -> io::Result<Vec<RunRecord>> {
        self.shelves.get(watch).map_or_else(|| Ok(Vec::new()), Shelf::runs)
    }

    /// What a run has printed last, and whether it has printed more; `None` where it is not kept.
    #[must_use]
    pub fn output(&self, run: RunId) -> Option<(Vec<u8>, bool)> {
        self.shelves.values().find_map(|shelf| shelf.output(run))
    }

    /// Takes from what has not been added to for longest, but for that of `spared`.
    fn make_room(&mut self, spared: Option<&WatchName>) {
        if self.bytes <= self.most_bytes {
            return;
        }
        // Somewhat more than has to be, so as not to look through all of them each time.
        let enough = self.most_bytes / 8 * 7;
        let mut oldest: Vec<_> =
            self.shelves.iter().map(|(watch, shelf)| (shelf.touched, watch.clone())).collect();
        oldest.retain(|(_, watch)| Some(watch) != spared);
        oldest.sort_unstable();
        for (_, watch) in &oldest {
            if let Some(shelf) = self.shelves.get_mut(watch).filter(|_| self.bytes > enough) {
                let before = shelf.size();
                shelf.drop_outputs_beyond(0);
                self.bytes -= before - shelf.size();
            }
        }
        let mut removed = 0;
        for (_, watch) in &oldest {
            if self.bytes <= enough {
                break;
            }
            let Some(shelf) = self.shelves.get(watch) else { continue };
            match shelf.remove() {
                Ok(()) => {
                    self.bytes -= shelf.size();
                    self.shelves.remove(watch);
                    removed += 1;
                }
                Err(error) => {
                    if self.fast.insert(watch.clone()) {
                        warn!(%watch, "the watch's history cannot be removed: {error}");
                    }
                }
            }
        }
        if removed > 0 {
            info!(watches = removed, "history is dropped of watches that have not run for longest");
        }
    }
}

/// The disk that a folder is on, in bytes.
struct Disk {
    size: u64,
    free: u64,
}

impl Disk {
    /// `None` for a file system that does not say how large it is.
    fn of(folder: &Path) -> io::Result<Option<Self>> {
        let found = statvfs(folder)?;
        let unit = found.fragment_size() as u64;
        let disk = Self { size: found.blocks() as u64 * unit, free: found.blocks_available() as u64 * unit };
        Ok(Some(disk).filter(|disk| disk.size > 0))
    }
}

/// The name of a watch's folder: its own, but for the two that mean other folders.
fn folder_of(watch: &WatchName) -> String {
    match watch.as_str() {
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        name => name.into(),
    }
}

fn watch_of(folder: &str) -> Option<WatchName> {
    match folder {
        "%2E" => ".",
        "%2E%2E" => "..",
        name => name,
    }
    .try_into()
    .ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::record::run_record::tests::ended;
    use crate::schedule::order::Outcome;

    fn open(folder: &Path, most_bytes: u64) -> (Store, LastEnded) {
        Store::open_bounded(folder.to_owned(), most_bytes).unwrap()
    }

    fn add(store: &mut Store, watch: &str, run: u64, output: usize) {
        let now = UNIX_EPOCH + Duration::from_secs(run);
        let mut record = ended(watch, run, Outcome::Exited(0));
        record.end.as_mut().unwrap().output_bytes = output as u64;
        store.add(&record, &vec![b'x'; output], now).unwrap();
    }

    fn runs(store: &Store, watch: &str) -> usize {
        store.runs(&watch.try_into().unwrap()).unwrap().len()
    }

    /// What the files and folders take, counted as the store does.
    fn on_disk(folder: &Path) -> u64 {
        let mut bytes = 0;
        for entry in fs::read_dir(folder).unwrap() {
            bytes += 4096;
            for file in fs::read_dir(entry.unwrap().path()).unwrap() {
                bytes += file.unwrap().metadata().unwrap().len().next_multiple_of(4096);
            }
        }
        bytes
    }

    #[test]
    fn what_is_found_again_is_what_was_added_whatever_the_watch_is_called() {
        let base = tempfile::tempdir().unwrap();
        let (mut store, last) = open(base.path(), u64::MAX);
        assert!(last.is_empty());
        let names = [".", "..", ".hidden", "a", &"x".repeat(255)];
        for (run, name) in (1..).zip(names) {
            add(&mut store, name, run, 3);
        }
        add(&mut store, "a", 9, 0);
        assert_eq!(store.bytes, on_disk(base.path()));
        let (again, last) = open(base.path(), u64::MAX);
        assert_eq!((again.bytes, last.len()), (store.bytes, names.len()));
        assert_eq!(last[&"a".try_into().unwrap()].run.as_u64(), 9);
        for (run, name) in (1..).zip(names) {
            assert_eq!(runs(&again, name), if name == "a" { 2 } else { 1 });
            assert_eq!(again.output(RunId::from_u64(run)), Some((b"xxx".to_vec(), false)));
        }
    }

    #[test]
    fn of_more_than_there_is_room_for_the_output_goes_first_that_is_oldest_then_the_runs() {
        let base = tempfile::tempdir().unwrap();
        let (mut store, _) = open(base.path(), 23 * 8192);
        for run in 1..=10 {
            add(&mut store, &format!("old-{run}"), run, 4096);
        }
        add(&mut store, "new", 11, 65_536);
        assert_eq!((store.output(RunId::from_u64(1)), runs(&store, "old-1")), (None, 1));
        assert!(store.output(RunId::from_u64(10)).is_some());
        for run in 12..=100 {
            add(&mut store, &format!("newer-{run}"), run, 0);
            assert!(store.bytes <= store.most_bytes);
        }
        assert_eq!((runs(&store, "old-1"), runs(&store, "newer-100")), (0, 1));
        assert_eq!(store.bytes, on_disk(base.path()));
        // Where there is less room than there was, it is made at the start.
        let (again, last) = open(base.path(), 3 * 8192);
        assert!(again.bytes <= 3 * 8192 && last.len() <= 3);
        assert_eq!(again.bytes, on_disk(base.path()));
    }

    #[test]
    fn the_folder_is_made_and_no_business_of_others() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let state_dir = base.path().join("state");
        Store::open(&state_dir).unwrap();
        let mode = fs::metadata(state_dir.join("history")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::set_permissions(state_dir.join("history"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Store::open(&state_dir).is_err());
    }
}
