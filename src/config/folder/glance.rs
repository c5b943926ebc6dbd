//! A look at some paths alone, where it shows the same as one at everything: what it costs must not grow
//! with the number of files that stay as they are. Wherever that is not certain there is no such look.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::unfinished::Unfinished;
use super::walk::Walk;
use super::{Content, Folder, Found, Unread, checked, has_one_name, is_hidden, is_watch_file, trail};

/// What a look at some paths showed. Of all others the last look still holds.
#[derive(Debug)]
pub struct Glance {
    /// Those that are watch files.
    pub files: Vec<Found>,
    /// Those that are not there.
    pub gone: Vec<PathBuf>,
    /// All files that are being written, so that they were not read.
    pub unread: Vec<Unread>,
}

/// The folders as of the last look at everything. There is one only if nothing was wrong with any of them
/// and there was no link, be it a hard one, so that each file has one path and each folder as well.
#[derive(Debug)]
pub(super) struct Ground {
    /// Which folder it was that was at each path.
    folders: HashMap<PathBuf, (u64, u64)>,
    /// The files that were not read: also what refused one may end without a sign.
    again: BTreeSet<PathBuf>,
    /// Not fewer than there are; the next look at everything counts anew.
    entries: usize,
    files: usize,
    bytes: u64,
}

impl Ground {
    pub(super) fn new(
        folders: HashMap<PathBuf, (u64, u64)>,
        files: &[Found],
        entries: usize,
        bytes: u64,
    ) -> Option<Self> {
        // What happens in a folder that is mounted twice is told of one of its paths.
        let distinct: HashSet<&(u64, u64)> = folders.values().collect();
        if distinct.len() < folders.len() {
            return None;
        }
        let again = files.iter().filter(|found| found.is_unread()).map(|found| found.path.clone());
        Some(Self { folders, again: again.collect(), entries, files: files.len(), bytes })
    }

    /// Whether the folder is the one that it was, and safe. `path` is its path.
    fn still_has(&self, path: &Path, folder: &Folder) -> bool {
        let Some(identity) = self.folders.get(path) else { return false };
        let Ok(metadata) = fs::symlink_metadata(path) else { return false };
        metadata.is_dir()
            && (metadata.dev(), metadata.ino()) == *identity
            && folder.owner.check(path, &metadata).is_ok()
    }
}

/// What is to be told of some paths, before any of it is read.
struct Survey {
    /// The watch files, with their paths below the config folder.
    files: Vec<(PathBuf, PathBuf, Metadata)>,
    /// Those that are not there.
    gone: Vec<PathBuf>,
}

impl Found {
    fn is_unread(&self) -> bool {
        match self.content {
            Content::Unfinished | Content::Refused(_) => true,
            Content::Unchanged | Content::Bytes(_) => false,
        }
    }
}

impl Folder {
    /// Looks at `paths` and at what the last look left unread, but not at files that are `unfinished`.
    ///
    /// It is for the caller to know that nothing else has changed since the last look. `None`: only a look
    /// at everything tells what there is now, and what was known stays.
    pub fn glance(&mut self, paths: &BTreeSet<PathBuf>, unfinished: &Unfinished) -> Option<Glance> {
        // Nothing is read before it is certain that all of it can be: what was read counts as told.
        let Survey { files, gone } = self.survey(paths)?;
        let mut walk = Walk::new(self, Some(unfinished));
        for (path, below, metadata) in files {
            let content = walk.content(&path, &path, &metadata);
            walk.scan.files.push(Found { path, below, content });
        }
        let Walk { scan, read, .. } = walk;
        let look = self.look;
        self.known.extend(read.into_iter().map(|(path, stamp)| (path, super::Known { stamp, look })));
        for path in &gone {
            self.known.remove(path);
        }
        if let Some(ground) = &mut self.ground {
            let unread = scan.files.iter().filter(|found| found.is_unread());
            ground.again = unread.map(|found| found.path.clone()).collect();
        }
        Some(Glance { files: scan.files, gone, unread: scan.unread })
    }

    /// Which of the paths are watch files, and which are not there. `None`: there is something else to them.
    fn survey(&mut self, paths: &BTreeSet<PathBuf>) -> Option<Survey> {
        let mut ground = self.ground.take()?;
        if !trail::follow(&self.root).is_only(&self.root) {
            return None;
        }
        let (mut files, mut gone) = (Vec::new(), Vec::new());
        let mut sound = HashSet::new();
        for path in paths.union(&ground.again) {
            let (parent, name) = path.parent().zip(path.file_name())?;
            if ground.folders.contains_key(path) || !ground.folders.contains_key(parent) {
                return None;
            }
            if is_hidden(name) {
                continue;
            }
            for folder in parent.ancestors() {
                if !sound.insert(folder.to_owned()) {
                    break;
                }
                if !ground.still_has(folder, self) {
                    return None;
                }
                if folder == self.root {
                    break;
                }
            }
            ground.entries += 1;
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_dir() || metadata.is_symlink() => return None,
                Ok(metadata) if is_watch_file(name) => {
                    if !has_one_name(&metadata) {
                        return None;
                    }
                    ground.files += usize::from(!self.known.contains_key(path));
                    ground.bytes += metadata.len().min(checked::LARGEST);
                    let below = path.strip_prefix(&self.root).ok()?.to_owned();
                    files.push((path.clone(), below, metadata));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    gone.extend(is_watch_file(name).then(|| path.clone()));
                }
                Err(_) => return None,
            }
        }
        let most = self.most;
        if ground.entries > most.entries || ground.files > most.files || ground.bytes > most.bytes {
            return None;
        }
        self.ground = Some(ground);
        Some(Survey { files, gone })
    }
}
