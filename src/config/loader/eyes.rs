//! inotify: which folders are watched, and what it sees there. Decides nothing about what follows.
//!
//! Each folder is watched by itself rather than a tree as a whole, since trees have links in them, and
//! what is watched must be what the last look at the folder went through.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

use crate::config::folder::Places;

/// More than this many events that wait are as good as an overflow: everything is looked at anyway.
/// As many as the kernel itself keeps for a reader, `fs.inotify.max_queued_events`.
const MOST_WAITING: usize = 16_384;

/// What was seen. Paths are as inotify knows them: free of links.
#[derive(Debug)]
pub(super) enum Seen {
    /// Something has happened at a path.
    Happened(PathBuf, What),
    /// What was at one path is at another, both of which were told of before.
    Moved {
        /// Before.
        from: PathBuf,
        /// After.
        to: PathBuf,
    },
    /// More than could be told.
    Overflow,
}

/// What has happened at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A file's contents changed.
    Written,
    /// Somebody who could write the file closed it.
    Closed,
    /// It was renamed to this path: something else may be there now.
    Arrived,
    /// It was renamed from this path: nothing is there now, or something else.
    Left,
    /// It was removed, likewise.
    Removed,
    /// It was created, or its mode or owner changed, or nobody knows.
    Other,
}

impl What {
    /// Whether something else may be there now, so that a watch of it is one of what it was.
    pub(super) fn is_another(self) -> bool {
        match self {
            Self::Arrived | Self::Left | Self::Removed => true,
            Self::Written | Self::Closed | Self::Other => false,
        }
    }
}

/// The end of the channel that inotify's thread holds.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    seen: mpsc::Sender<Seen>,
    /// An event could not be told, so that no watch can be relied on.
    overflow: Arc<AtomicBool>,
}

pub(super) fn channel() -> (Sight, mpsc::Receiver<Seen>) {
    let (seen, receiver) = mpsc::channel(MOST_WAITING);
    (Sight { seen, overflow: Arc::default() }, receiver)
}

impl Sight {
    /// Whether events were dropped since the last time this was asked.
    pub(super) fn take_overflow(&self) -> bool {
        self.overflow.swap(false, Ordering::AcqRel)
    }

    /// Whether events were dropped and nothing was done about it so far.
    pub(super) fn has_overflow(&self) -> bool {
        self.overflow.load(Ordering::Acquire)
    }

    /// Runs on inotify's own thread, which must never wait: adding a watch waits for that thread.
    fn tell(&self, event: notify::Result<Event>) {
        let event = match event {
            Ok(event) if event.need_rescan() => return self.tell_overflow(),
            Ok(event) => event,
            Err(_) => return self.tell_overflow(),
        };
        let what = match event.kind {
            EventKind::Remove(_) => What::Removed,
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                if let Ok([from, to]) = <[PathBuf; 2]>::try_from(event.paths) {
                    self.send(Seen::Moved { from, to });
                }
                return;
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => What::Arrived,
            EventKind::Modify(ModifyKind::Name(_)) => What::Left,
            EventKind::Modify(ModifyKind::Data(_)) => What::Written,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => What::Closed,
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => What::Other,
            // The loader's own reading is seen, too.
            EventKind::Access(_) => return,
        };
        for path in event.paths {
            self.send(Seen::Happened(path, what));
        }
    }

    fn send(&self, seen: Seen) {
        if self.seen.try_send(seen).is_err() {
            // What waits already leads to a look.
            self.overflow.store(true, Ordering::Release);
        }
    }

    fn tell_overflow(&self) {
        self.overflow.store(true, Ordering::Release);
        // If it is full, what waits leads to a look.
        let _ = self.seen.try_send(Seen::Overflow);
    }
}

/// The folders that inotify watches.
#[derive(Debug)]
pub(super) struct Eyes {
    sight: Sight,
    watcher: Option<RecommendedWatcher>,
    /// Which folder it was that was at each path.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// Whether it was said that not everything is seen.
    warned: bool,
}

impl Eyes {
    pub(super) fn new(sight: Sight) -> Self {
        Self { sight, watcher: None, watched: BTreeMap::new(), warned: false }
    }

    /// Watches `places` and nothing else. What has `gone` is watched anew, after an overflow everything.
    /// Returns whether there is a watch that was not there before: what happened until then was not seen.
    pub(super) fn turn_to(&mut self, places: &Places, gone: &BTreeSet<PathBuf>, overflow: bool) -> bool {
        if overflow {
            self.watcher = None;
            self.watched.clear();
        }
        if self.watcher.is_none() {
            let sight = self.sight.clone();
            match notify::recommended_watcher(move |event| sight.tell(event)) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.warn(&error),
            }
        }
        let Some(watcher) = &mut self.watcher else { return false };

        let identity =
            |path: &PathBuf| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        // First all that goes: a folder that was renamed has one watch under both paths.
        self.watched.retain(|path, id| {
            let keep = places.contains_key(path) && !gone.contains(path) && identity(path) == Some(*id);
            if !keep {
                // inotify has dropped the watch itself if the folder is gone.
                let _ = watcher.unwatch(path);
            }
            keep
        });
        let (mut any_new, mut failed) = (false, None);
        for path in places.keys() {
            if self.watched.contains_key(path) {
                continue;
            }
            let Some(id) = identity(path) else { continue };
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), id);
                    any_new = true;
                }
                // It has gone away meanwhile, and its parent's watch says so.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => {
                    let is_limit = matches!(error.kind, notify::ErrorKind::MaxFilesWatch);
                    failed = Some(error);
                    // The others would be refused as well.
                    if is_limit {
                        break;
                    }
                }
            }
        }
        match failed {
            Some(error) => self.warn(&error),
            None => self.warned = false,
        }
        any_new
    }

    /// Whether all of `places` are watched, so that what happens to what is in them is told.
    pub(super) fn see(&self, places: &Places) -> bool {
        self.watcher.is_some() && places.keys().all(|path| self.watched.contains_key(path))
    }

    fn warn(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let remedy = match error.kind {
                notify::ErrorKind::MaxFilesWatch => "; raise fs.inotify.max_user_watches with sysctl",
                _ => "",
            };
            warn!(
                "not every change of the config folder is seen at once, some only by the slow rescan: {error}{remedy}"
            );
        }
    }
}
