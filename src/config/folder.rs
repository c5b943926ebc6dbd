//! The folder of watch files, on disk: which files there are, whether they are safe, and the bytes of
//! those that differ from the last time. Blocking. Knows nothing of what is in a file.

mod glance;
pub(super) mod safety;
mod stamp;
mod trail;
pub mod unfinished;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::checked::{self, unreadable};
use super::problem::Problem;
pub use glance::Glance;
use glance::Ground;
use safety::Owner;
use stamp::Stamp;
use unfinished::Unfinished;
use walk::Walk;

/// How much one look goes through. Two links in each folder to the next make twice as many paths at every
/// step, and a look that does not end takes nothing in.
#[derive(Debug, Clone, Copy)]
struct Most {
    /// Names, also hidden ones.
    entries: usize,
    /// Watch files.
    files: usize,
    /// Bytes in watch files.
    bytes: u64,
}

const MOST: Most = Most { entries: 100_000, files: 20_000, bytes: 256 << 20 };

/// The folder, and what its files looked like when they were last read.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    owner: Owner,
    known: HashMap<PathBuf, Known>,
    /// Which look it is.
    look: u64,
    most: Most,
    /// What a look at some paths goes by. `None`: only a look at everything tells.
    ground: Option<Ground>,
}

/// What a file looked like when it was last read.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// The last look that met it.
    look: u64,
}

/// What one look at the folder showed.
#[derive(Debug, Default)]
pub struct Scan {
    /// Every watch file, in path order.
    pub files: Vec<Found>,
    /// What is wrong with folders and links.
    pub problems: Vec<Problem>,
    /// What could not be looked into, so that nothing is known of the files below.
    pub unknown: Vec<PathBuf>,
    /// Files that are being written, so that they were not read.
    pub unread: Vec<Unread>,
    /// Where a change would make the next look show something else.
    pub places: Places,
}

/// A file that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its path, links as they stand.
    pub path: PathBuf,
    /// Its path, free of links.
    pub physical: PathBuf,
    /// When to look at it again, unless there is a sign before that it is whole.
    pub until: Instant,
}

/// A watch file.
#[derive(Debug)]
pub struct Found {
    /// Its path, links as they stand.
    pub path: PathBuf,
    /// The part of the path below the config folder.
    pub below: PathBuf,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Debug)]
pub enum Content {
    /// The same as at the last look.
    Unchanged,
    /// Somebody is writing it, so that it was not read: what the last look found still counts.
    Unfinished,
    /// These bytes, at most 1 MiB.
    Bytes(Vec<u8>),
    /// It is unsafe or could not be read.
    Refused(Problem),
}

/// Folders by their physical path, with what in them is of interest.
pub type Places = BTreeMap<PathBuf, Interest>;

/// What in a folder is of interest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// All that is not hidden.
    pub all: bool,
    /// And these names.
    pub names: BTreeSet<OsString>,
}

impl Interest {
    /// Whether a change of the entry `name` matters.
    #[must_use]
    pub fn covers(&self, name: &OsStr) -> bool {
        (self.all && !is_hidden(name)) || self.names.contains(name)
    }
}

impl Folder {
    /// The folder at `root`, which need not exist. `euid` is whose files are trusted besides root's.
    #[must_use]
    pub fn new(root: PathBuf, euid: u32) -> Self {
        Self { root, owner: Owner::new(euid), known: HashMap::new(), look: 0, most: MOST, ground: None }
    }

    /// Forgets what was read: the next look reads every file.
    pub fn forget(&mut self) {
        self.known.clear();
        self.ground = None;
    }

    /// Looks at every file and reads those that differ from the last look, as they stand.
    pub fn scan(&mut self) -> Scan {
        self.look(None)
    }

    /// Looks at every file and reads those that differ from the last look, but not those that are
    /// `unfinished`.
    pub fn scan_finished(&mut self, unfinished: &Unfinished) -> Scan {
        self.look(Some(unfinished))
    }

    fn look(&mut self, unfinished: Option<&Unfinished>) -> Scan {
        self.ground = None;
        let mut walk = Walk::new(self, unfinished);
        walk.root();
        let Walk { mut scan, read, too_much, entries, bytes, folders, is_plain, .. } = walk;
        if let Some(problem) = too_much {
            // What was read so far counts as not read, since nobody is told of it.
            let (unknown, problems) = (vec![self.root.clone()], vec![problem]);
            return Scan { problems, unknown, places: scan.places, ..Scan::default() };
        }
        let look = self.look;
        self.known.extend(read.into_iter().map(|(path, stamp)| (path, Known { stamp, look })));
        let is_unknown = |path: &Path| scan.unknown.iter().any(|dir| path.starts_with(dir));
        self.known.retain(|path, known| known.look == look || is_unknown(path));
        scan.files.sort_by(|a, b| a.path.cmp(&b.path));
        if is_plain && scan.problems.is_empty() && scan.unknown.is_empty() {
            self.ground = Ground::new(folders, &scan.files, entries, bytes);
        }
        scan
    }
}

/// Reads one watch file that was named by itself: checked like those of a folder, and the folder that it
/// is in as well.
///
/// # Errors
/// It is unsafe or cannot be read.
pub fn read_file(path: &Path, euid: u32) -> Result<Vec<u8>, Problem> {
    let owner = Owner::new(euid);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = fs::metadata(parent).map_err(|error| unreadable(parent, &error))?;
    owner.check(parent, &metadata)?;
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        let trail = trail::follow(path);
        trail.target.as_ref().map_err(|error| broken_link(path, error))?;
        owner.check_trail(path, &trail)?;
    }
    read_checked(path, path, &owner).map(|(bytes, _)| bytes)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_watch_file(name: &OsStr) -> bool {
    Path::new(name).extension() == Some(OsStr::new("toml"))
}

/// What is written through another name of a file is told of that name alone.
fn has_one_name(metadata: &fs::Metadata) -> bool {
    metadata.nlink() <= 1
}

fn broken_link(path: &Path, error: &io::Error) -> Problem {
    let problem = Problem::of_file(path, format!("the link cannot be followed: {error}"));
    problem.with_help("make what it points to, or remove the link")
}

/// The bytes of `physical`, if it is safe, and what tells whether they are still the same later. `path` is
/// what it is called.
fn read_checked(path: &Path, physical: &Path, owner: &Owner) -> Result<(Vec<u8>, Stamp), Problem> {
    // From before the first look at it: what is changed while it is read must not seem to have settled.
    let now = SystemTime::now();
    let (bytes, metadata) = checked::read(path, physical, |metadata| owner.check(path, metadata))?;
    Ok((bytes, Stamp::new(&metadata, now)))
}

#[cfg(test)]
mod tests;
