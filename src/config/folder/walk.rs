//! One look at everything in the folder: goes through it and all that its links lead to, within a bound, and says where a
//! change would make the next look show something else.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::stamp::Stamp;
use super::trail;
use super::unfinished::Unfinished;
use super::{
    Content, Folder, Found, Scan, Unread, broken_link, has_one_name, is_hidden, is_watch_file, read_checked,
};
use crate::config::checked::{self, unreadable};
use crate::config::problem::Problem;

/// Deeper than this, links are going round in circles.
const DEEPEST: usize = 32;

/// One look at the folder, while it goes on.
pub(super) struct Walk<'a> {
    folder: &'a mut Folder,
    /// `None`: files are read as they stand.
    unfinished: Option<&'a Unfinished>,
    pub(super) scan: Scan,
    /// What the files that were read looked like.
    pub(super) read: Vec<(PathBuf, Stamp)>,
    /// How many names were met.
    pub(super) entries: usize,
    /// How many bytes are in the files that were met.
    pub(super) bytes: u64,
    /// Why the look is not gone on with.
    pub(super) too_much: Option<Problem>,
    /// The folders that were entered, and which ones they were.
    pub(super) folders: HashMap<PathBuf, (u64, u64)>,
    /// Nothing was met that has more than one path, nor went away meanwhile.
    pub(super) is_plain: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(folder: &'a mut Folder, unfinished: Option<&'a Unfinished>) -> Self {
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

    pub(super) fn root(&mut self) {
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

    pub(super) fn content(&mut self, path: &Path, physical: &Path, metadata: &fs::Metadata) -> Content {
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
