//! Old watches and new files in, changes out. Pure: keeps for every file its last good watches and its
//! problems, and decides which file has a name that two claim.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{Content, Found, Glance, Scan};
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

impl Change {
    /// Keeps the names of the watches that are defined in step.
    pub fn apply_to(&self, names: &mut HashSet<WatchName>) {
        match self {
            Self::Added(spec) => drop(names.insert(spec.name.clone())),
            Self::Redefined { .. } => {}
            Self::Removed(name) => drop(names.remove(name)),
        }
    }
}

/// The watches that are in force, by name.
pub type Watches = BTreeMap<WatchName, Arc<WatchSpec>>;

/// Watches whose file is wrong now, and what is wrong with it.
pub type Outdated = BTreeMap<WatchName, Problem>;

/// The files as they were last seen, and the watches that follow from them.
#[derive(Debug)]
pub struct Catalog {
    defaults: Defaults,
    files: BTreeMap<PathBuf, FileState>,
    folder_problems: Vec<Problem>,
    watches: Watches,
    /// The files with a watch of that name, in path order, each as often as it has one.
    claims: BTreeMap<WatchName, Vec<Arc<Path>>>,
    /// The names with more than one claim.
    contested: BTreeSet<WatchName>,
    /// The names of which a claim came, went or changed since the watches were settled.
    stirred: BTreeSet<WatchName>,
}

/// A file that is wrong keeps the watches that it had when it was last right.
#[derive(Debug, Default)]
struct FileState {
    good: Vec<Placed>,
    problems: Vec<Problem>,
}

impl FileState {
    fn enabled(&self) -> impl Iterator<Item = &Placed> {
        self.good.iter().filter(|placed| placed.spec.enabled)
    }

    fn of_name(&self, name: &WatchName) -> impl Iterator<Item = &Arc<WatchSpec>> {
        self.good.iter().map(|placed| &placed.spec).filter(move |spec| spec.name == *name)
    }

    fn names(&self) -> Vec<WatchName> {
        self.good.iter().map(|placed| placed.spec.name.clone()).collect()
    }
}

impl Catalog {
    /// One without a file.
    #[must_use]
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            files: BTreeMap::new(),
            folder_problems: Vec::new(),
            watches: Watches::new(),
            claims: BTreeMap::new(),
            contested: BTreeSet::new(),
            stirred: BTreeSet::new(),
        }
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
        let (mut gone, mut differ) = (Vec::new(), Vec::new());
        // Both are in path order, so that they are gone through side by side: to look for each of many files
        // takes longer than all else that is done about them.
        let mut before = self.files.keys().peekable();
        for found in scan.files {
            while let Some(path) = before.next_if(|path| **path < found.path) {
                gone.push(path.clone());
            }
            let is_known = before.next_if(|path| **path == found.path).is_some();
            if !is_known || !matches!(found.content, Content::Unchanged | Content::Unfinished) {
                differ.push(found);
            }
        }
        gone.extend(before.cloned());
        gone.retain(|path| !scan.unknown.iter().any(|folder| path.starts_with(folder)));
        self.take_in_some(differ, &gone);
        self.folder_problems = scan.problems;
    }

    /// Takes in what a look at some files showed: nothing is new of the others.
    pub fn take_in_glance(&mut self, glance: Glance) {
        self.take_in_some(glance.files, &glance.gone);
    }

    fn take_in_some(&mut self, files: Vec<Found>, gone: &[PathBuf]) {
        for path in gone {
            if let Some(old) = self.files.remove(path) {
                self.unclaim(path, old.names());
            }
        }
        for Found { path, below, content } in files {
            let state = self.files.entry(path.clone()).or_default();
            let before = state.names();
            match content {
                Content::Unchanged | Content::Unfinished => continue,
                Content::Refused(problem) => state.problems = vec![problem],
                Content::Bytes(bytes) => {
                    match read(&self.defaults, &path, &below, &bytes, !state.good.is_empty()) {
                        Ok(good) => *state = FileState { good, problems: Vec::new() },
                        Err(problems) => state.problems = problems,
                    }
                }
            }
            let after = state.names();
            self.unclaim(&path, before);
            self.claim(&path, after);
        }
    }

    fn claim(&mut self, path: &Path, names: Vec<WatchName>) {
        let path: Arc<Path> = path.into();
        for name in names {
            // Hardly a name has more than one.
            let claims = self.claims.entry(name.clone()).or_insert_with(|| Vec::with_capacity(1));
            let (Ok(at) | Err(at)) = claims.binary_search(&path);
            claims.insert(at, Arc::clone(&path));
            if claims.len() > 1 {
                self.contested.insert(name.clone());
            }
            self.stirred.insert(name);
        }
    }

    fn unclaim(&mut self, path: &Path, names: Vec<WatchName>) {
        for name in names {
            if let Some(claims) = self.claims.get_mut(&name) {
                if let Ok(at) = claims.binary_search_by(|claim| (**claim).cmp(path)) {
                    claims.remove(at);
                }
                if claims.len() <= 1 {
                    self.contested.remove(&name);
                }
                if claims.is_empty() {
                    self.claims.remove(&name);
                }
            }
            self.stirred.insert(name);
        }
    }

    /// What has changed since the last time, and everything that is wrong now.
    #[must_use]
    pub fn settle(&mut self) -> (Vec<Change>, Vec<Problem>) {
        let (mut old, mut new) = (Watches::new(), Watches::new());
        for name in &self.stirred {
            old.extend(self.watches.get(name).map(|spec| (name.clone(), Arc::clone(spec))));
            new.extend(self.holder(name).map(|spec| (name.clone(), Arc::clone(spec))));
        }
        let changes = compare(&old, &new);
        let mut problems = self.folder_problems.clone();
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        problems.extend(self.duplicates());
        problems.sort_by(|a, b| a.file.cmp(&b.file));
        // Last, so that what a bug keeps from being told does not count as told.
        for name in old.keys() {
            self.watches.remove(name);
        }
        self.watches.extend(new);
        self.stirred.clear();
        (changes, problems)
    }

    /// The watch of that name: of two the first in path order. One that is not enabled takes it from nobody.
    fn holder(&self, name: &WatchName) -> Option<&Arc<WatchSpec>> {
        self.holder_and_file(name).map(|(spec, _)| spec)
    }

    fn holder_and_file(&self, name: &WatchName) -> Option<(&Arc<WatchSpec>, &FileState)> {
        let files = self.claims.get(name)?.iter().filter_map(|path| self.files.get(&**path));
        let of_file = |file| FileState::of_name(file, name).map(move |spec| (spec, file));
        let mut all = files.flat_map(of_file);
        let first = all.next()?;
        if first.0.enabled { Some(first) } else { all.find(|(spec, _)| spec.enabled).or(Some(first)) }
    }

    /// The watches in force that go on under the last good definition, since their file is wrong now; and the
    /// first that is wrong with it.
    #[must_use]
    pub fn outdated(&self) -> Outdated {
        let wrong = self.files.values().filter_map(|file| Some((file, file.problems.first()?)));
        let watches = wrong.flat_map(|(file, problem)| {
            let holds = move |name: &WatchName| {
                self.holder_and_file(name).is_some_and(|(_, holder)| std::ptr::eq(holder, file))
            };
            file.names().into_iter().filter(holds).map(move |name| (name, problem.clone()))
        });
        watches.collect()
    }

    /// What is to be said of watches whose name another one has.
    fn duplicates(&self) -> Vec<Problem> {
        let paths: BTreeSet<&Arc<Path>> =
            self.contested.iter().filter_map(|name| self.claims.get(name)).flatten().collect();
        let (mut holders, mut problems) = (BTreeMap::new(), Vec::new());
        for path in paths {
            let enabled = self.files.get(&**path).into_iter().flat_map(FileState::enabled);
            for Placed { spec, place } in enabled.filter(|placed| self.contested.contains(&placed.spec.name))
            {
                match holders.entry(&spec.name) {
                    Entry::Vacant(entry) => {
                        entry.insert(path);
                    }
                    Entry::Occupied(holder) => {
                        let message =
                            format!("the name {:?} is already taken by a watch", spec.name.as_str());
                        let help = format!("it is in {}: rename one of them", holder.get().display());
                        problems.push(Problem::at(&**path, place.clone(), message).with_help(help));
                    }
                }
            }
        }
        problems
    }
}

/// The watches in a file, which had some before or not.
fn read(
    defaults: &Defaults,
    path: &Path,
    below: &Path,
    bytes: &[u8],
    had_some: bool,
) -> Result<Vec<Placed>, Vec<Problem>> {
    if bytes.is_empty() && had_some {
        // An editor that writes in place empties the file first.
        let problem = Problem::of_file(path, "the file is empty; the watches that it had stay");
        let help = "remove the file, or leave a comment in it, if they are to go";
        return Err(vec![problem.with_help(help)]);
    }
    parse::parse(path, bytes, defaults, &parse::base_name(below))
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
