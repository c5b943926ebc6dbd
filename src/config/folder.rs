//! The folder of watch files, on disk: which files there are, whether they are safe, and the bytes of
//! those that differ from the last time. Blocking. Knows nothing of what is in a file.

mod glance;
pub(super) mod safety;
mod stamp;
mod trail;
pub mod unfinished;

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

/// Deeper than this, links are going round in circles.
const DEEPEST: usize = 32;

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

/// One look at the folder, while it goes on.
struct Walk<'a> {
    folder: &'a mut Folder,
    /// `None`: files are read as they stand.
    unfinished: Option<&'a Unfinished>,
    scan: Scan,
    /// What the files that were read looked like.
    read: Vec<(PathBuf, Stamp)>,
    /// How many names were met.
    entries: usize,
    /// How many bytes are in the files that were met.
    bytes: u64,
    /// Why the look is not gone on with.
    too_much: Option<Problem>,
    /// The folders that were entered, and which ones they were.
    folders: HashMap<PathBuf, (u64, u64)>,
    /// Nothing was met that has more than one path, nor went away meanwhile.
    is_plain: bool,
}

impl<'a> Walk<'a> {
    fn new(folder: &'a mut Folder, unfinished: Option<&'a Unfinished>) -> Self {
        folder.look += 1;
        Self {
            folder,
            unfinished,
            scan: Scan::default(),
            read: Vec::new(),
            entries: 0,
            bytes: 0,
            too_much: None,
            folders: HashMap::new(),
            is_plain: true,
        }
    }

    fn root(&mut self) {
        let root = self.folder.root.clone();
        let trail = trail::follow(&root);
        self.note_places(&trail);
        self.is_plain &= trail.is_only(&root);
        match &trail.target {
            Ok(physical) => self.enter(&root, Path::new(""), physical, &mut Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let problem = Problem::of_file(&root, "the config folder does not exist");
                self.scan.problems.push(problem.with_help(format!("mkdir -p {}", root.display())));
            }
            Err(error) => self.pass_over(&root, unreadable(&root, error)),
        }
    }

    /// The look ends here: there is more than `most` can be.
    fn stop(&mut self, most: impl std::fmt::Display) {
        let message = format!(
            "there are more than {most} in the config folder, counted anew for each link that leads to them"
        );
        let help = "remove links that lead to the same folders again and again; until then all watches stay as they were";
        self.too_much = Some(Problem::of_file(&self.folder.root, message).with_help(help));
    }

    fn note_places(&mut self, trail: &trail::Trail) {
        for (dir, name) in &trail.places {
            self.scan.places.entry(dir.clone()).or_default().names.insert(name.clone());
        }
    }

    /// Nothing can be said of what is at or below `path`.
    fn pass_over(&mut self, path: &Path, problem: Problem) {
        self.scan.problems.push(problem);
        self.scan.unknown.push(path.to_owned());
    }

    /// The folder called `path`, which is at `physical`. `above` are the folders that it is in.
    fn enter(&mut self, path: &Path, below: &Path, physical: &Path, above: &mut Vec<(u64, u64)>) {
        let metadata = match fs::metadata(physical) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.is_plain = false,
            Err(error) => return self.pass_over(path, unreadable(path, &error)),
        };
        if !metadata.is_dir() {
            return self.pass_over(path, Problem::of_file(path, "is not a folder"));
        }
        // Also of a folder that is refused it is of interest when that ends.
        self.scan.places.entry(physical.to_owned()).or_default().all = true;
        if let Err(problem) = self.folder.owner.check(path, &metadata) {
            return self.pass_over(path, problem);
        }
        let identity = (metadata.dev(), metadata.ino());
        if above.contains(&identity) || above.len() >= DEEPEST {
            let problem = Problem::of_file(path, "the link leads back to a folder that it is in");
            self.scan.problems.push(problem.with_help("remove the link"));
            return;
        }
        above.push(identity);
        self.folders.insert(physical.to_owned(), identity);
        match self.names(path, physical) {
            Ok(names) => {
                for name in names {
                    if self.too_much.is_some() {
                        break;
                    }
                    self.entry(&name, path, below, physical, above);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.is_plain = false,
            Err(error) => self.pass_over(path, unreadable(path, &error)),
        }
        above.pop();
    }

    fn names(&mut self, path: &Path, physical: &Path) -> io::Result<Vec<OsString>> {
        let (mut names, most) = (Vec::new(), self.folder.most.entries);
        for entry in fs::read_dir(physical)? {
            self.entries += 1;
            if self.entries > most {
                self.stop(format_args!("{most} entries"));
                break;
            }
            match entry {
                Ok(entry) => names.push(entry.file_name()),
                Err(error) => self.pass_over(path, unreadable(path, &error)),
            }
        }
        names.retain(|name| !is_hidden(name));
        names.sort();
        Ok(names)
    }

    fn entry(
        &mut self,
        name: &OsStr,
        path: &Path,
        below: &Path,
        physical: &Path,
        above: &mut Vec<(u64, u64)>,
    ) {
        let (path, below, mut physical) = (path.join(name), below.join(name), physical.join(name));
        let mut metadata = match fs::symlink_metadata(&physical) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.pass_over(&path, unreadable(&path, &error)),
        };
        if metadata.is_symlink() {
            self.is_plain = false;
            let trail = trail::follow(&physical);
            self.note_places(&trail);
            let target = match &trail.target {
                Ok(target) => target.clone(),
                Err(error) => return self.pass_over(&path, broken_link(&path, error)),
            };
            metadata = match fs::symlink_metadata(&target) {
                Ok(metadata) => metadata,
                Err(error) => return self.pass_over(&path, broken_link(&path, &error)),
            };
            let of_interest = metadata.is_dir() || is_watch_file(name);
            if of_interest && let Err(problem) = self.folder.owner.check_trail(&path, &trail) {
                return self.pass_over(&path, problem);
            }
            physical = target;
        }
        if metadata.is_dir() {
            self.enter(&path, &below, &physical, above);
        } else if is_watch_file(name) {
            self.file(path, below, &physical, &metadata);
        }
    }

    fn file(&mut self, path: PathBuf, below: PathBuf, physical: &Path, metadata: &fs::Metadata) {
        let most = self.folder.most;
        self.is_plain &= has_one_name(metadata);
        self.bytes += metadata.len().min(checked::LARGEST);
        if self.scan.files.len() >= most.files {
            return self.stop(format_args!("{} watch files", most.files));
        }
        if self.bytes > most.bytes {
            return self.stop(format_args!("{} MiB in watch files", most.bytes >> 20));
        }
        let content = self.content(&path, physical, metadata);
        self.scan.files.push(Found { path, below, content });
    }

    fn content(&mut self, path: &Path, physical: &Path, metadata: &fs::Metadata) -> Content {
        let now = Stamp::new(metadata, SystemTime::now());
        let look = self.folder.look;
        if let Some(known) = self.folder.known.get_mut(path).filter(|known| known.stamp.still_holds(&now)) {
            known.look = look;
            return Content::Unchanged;
        }
        if self.pass_unfinished(path, physical, metadata) {
            return self.unfinished(path);
        }
        match read_checked(path, physical, &self.folder.owner) {
            Ok((bytes, stamp)) => {
                // It may have been opened and written since it was looked at.
                let after = fs::symlink_metadata(physical);
                if after.is_ok_and(|after| self.pass_unfinished(path, physical, &after)) {
                    return self.unfinished(path);
                }
                self.read.push((path.to_owned(), stamp));
                Content::Bytes(bytes)
            }
            Err(problem) => {
                self.folder.known.remove(path);
                Content::Refused(problem)
            }
        }
    }

    /// What was known of the file is still known of it.
    fn unfinished(&mut self, path: &Path) -> Content {
        let look = self.folder.look;
        if let Some(known) = self.folder.known.get_mut(path) {
            known.look = look;
        }
        Content::Unfinished
    }

    /// Whether the file is to be passed over because it is being written.
    fn pass_unfinished(&mut self, path: &Path, physical: &Path, metadata: &fs::Metadata) -> bool {
        let Some(unfinished) = self.unfinished else { return false };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        let until = unfinished.until(physical, age, Instant::now());
        self.scan.unread.extend(until.map(|until| Unread {
            path: path.to_owned(),
            physical: physical.to_owned(),
            until,
        }));
        until.is_some()
    }
}

#[cfg(test)]
mod tests;
