//! Old watches and new files in, changes out. Pure: keeps for every file its last good watches and its
//! problems, and decides which file has a name that two claim.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{Content, Scan};
use super::parse::{self, Placed};
use super::problem::Problem;
use super::spec::{WatchName, WatchSpec};
use super::watch_table::Defaults;

/// What differs between the watches before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There was none of that name.
    Added(Arc<WatchSpec>),
    /// There is another definition under the same name.
    Redefined {
        /// Before.
        old: Arc<WatchSpec>,
        /// After.
        new: Arc<WatchSpec>,
    },
    /// There is none any more.
    Removed(WatchName),
}

/// The watches that are in force, by name.
pub type Watches = BTreeMap<WatchName, Arc<WatchSpec>>;

/// The files as they were last seen, and the watches that follow from them.
#[derive(Debug)]
pub struct Catalog {
    defaults: Defaults,
    files: BTreeMap<PathBuf, FileState>,
    folder_problems: Vec<Problem>,
    watches: Watches,
}

/// A file that is wrong keeps the watches that it had when it was last right.
#[derive(Debug, Default)]
struct FileState {
    good: Vec<Placed>,
    problems: Vec<Problem>,
}

impl Catalog {
    /// One without a file.
    #[must_use]
    pub fn new(defaults: Defaults) -> Self {
        Self { defaults, files: BTreeMap::new(), folder_problems: Vec::new(), watches: Watches::new() }
    }

    /// The watches that are in force.
    #[must_use]
    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Every watch that could be read, in the order of files and text: those that are not enabled, too.
    pub fn all(&self) -> impl Iterator<Item = (&Path, &Placed)> {
        self.files.iter().flat_map(|(path, file)| file.good.iter().map(|placed| (&**path, placed)))
    }

    /// How many files there are.
    #[must_use]
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Takes in what a look at the folder showed. What follows from it is for [`Catalog::settle`] to say.
    pub fn take_in(&mut self, scan: Scan) {
        let before = std::mem::take(&mut self.files);
        let unknown = |path: &PathBuf| scan.unknown.iter().any(|folder| path.starts_with(folder));
        let mut files = Vec::with_capacity(scan.files.len());
        // Both are in path order, so that they are gone through side by side: to look for each of many files
        // takes longer than all else that is done about them.
        let mut before = before.into_iter().peekable();
        for found in scan.files {
            while let Some((path, state)) = before.next_if(|(path, _)| *path < found.path) {
                files.extend(unknown(&path).then_some((path, state)));
            }
            let old = before.next_if(|(path, _)| *path == found.path);
            let old = old.map(|(_, state)| state).unwrap_or_default();
            let state = match found.content {
                Content::Unchanged | Content::Unfinished => old,
                Content::Refused(problem) => FileState { good: old.good, problems: vec![problem] },
                Content::Bytes(bytes) => self.read(&found.path, &found.below, &bytes, old),
            };
            files.push((found.path, state));
        }
        files.extend(before.filter(|(path, _)| unknown(path)));
        self.files = files.into_iter().collect();
        self.folder_problems = scan.problems;
    }

    fn read(&self, path: &Path, below: &Path, bytes: &[u8], old: FileState) -> FileState {
        if bytes.is_empty() && !old.good.is_empty() {
            // An editor that writes in place empties the file first.
            let problem = Problem::of_file(path, "the file is empty; the watches that it had stay");
            let help = "remove the file, or leave a comment in it, if they are to go";
            return FileState { good: old.good, problems: vec![problem.with_help(help)] };
        }
        match parse::parse(path, bytes, &self.defaults, &parse::base_name(below)) {
            Ok(good) => FileState { good, problems: Vec::new() },
            Err(problems) => FileState { good: old.good, problems },
        }
    }

    /// What has changed since the last time, and everything that is wrong now.
    #[must_use]
    pub fn settle(&mut self) -> (Vec<Change>, Vec<Problem>) {
        let (watches, duplicates) = self.resolve();
        let changes = compare(&self.watches, &watches);
        self.watches = watches;
        let mut problems = self.folder_problems.clone();
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        problems.extend(duplicates);
        problems.sort_by(|a, b| a.file.cmp(&b.file));
        (changes, problems)
    }

    /// The watches of all files: of two with one name the first in path order has it.
    fn resolve(&self) -> (Watches, Vec<Problem>) {
        let (mut watches, mut problems) = (Watches::new(), Vec::new());
        for (path, placed) in self.all().filter(|(_, placed)| placed.spec.enabled) {
            let Placed { spec, place } = placed;
            match watches.entry(spec.name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(Arc::clone(spec));
                }
                Entry::Occupied(holder) => {
                    let message = format!("the name {:?} is already taken by a watch", spec.name.as_str());
                    let holds = |placed: &Placed| Arc::ptr_eq(&placed.spec, holder.get());
                    let file = self.all().find(|(_, placed)| holds(placed)).map_or(path, |(file, _)| file);
                    let help = format!("it is in {}: rename one of them", file.display());
                    problems.push(Problem::at(path, place.clone(), message).with_help(help));
                }
            }
        }
        (watches, problems)
    }
}

/// What differs between two sets of watches: first what goes, then what is there.
#[must_use]
pub fn compare(old: &Watches, new: &Watches) -> Vec<Change> {
    let removed = old.keys().filter(|name| !new.contains_key(*name)).cloned().map(Change::Removed);
    let present = new.iter().filter_map(|(name, spec)| match old.get(name) {
        None => Some(Change::Added(Arc::clone(spec))),
        Some(before) if before != spec => {
            Some(Change::Redefined { old: Arc::clone(before), new: Arc::clone(spec) })
        }
        Some(_) => None,
    });
    removed.chain(present).collect()
}

#[cfg(test)]
mod tests;
