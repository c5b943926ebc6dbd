//! One look at the folder, from the files to what changed. Blocking; runs on a thread of its own.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use tracing::error;

use super::eyes::{Eyes, Sight};
use super::{Options, Reload};
use crate::config::changes::Catalog;
use crate::config::folder::unfinished::Unfinished;
use crate::config::folder::{Folder, Places, Unread};
use crate::config::problem::{Problem, ProblemNews};

/// So often at most the folder is looked at again because there was a new folder in it.
const MOST_ROUNDS: usize = 8;

/// What a look came to.
#[derive(Debug)]
pub(super) struct Looked {
    /// `None`: files that are being written were to be waited for first.
    pub(super) reload: Option<Reload>,
    /// Whether anything in it is different from before, or there was nothing before.
    pub(super) is_news: bool,
    /// The files that were not read because they are being written.
    pub(super) unread: Vec<Unread>,
}

/// All that is known of the folder.
#[derive(Debug)]
pub(super) struct State {
    folder: Folder,
    catalog: Catalog,
    eyes: Eyes,
    places: Places,
    /// What was wrong when it was last told; `None`: it was not yet.
    problems: Option<Vec<Problem>>,
    /// All of the places have been watched since before the last look at everything.
    all_seen: bool,
}

/// What to look at.
#[derive(Debug)]
pub(super) enum Reach {
    /// Everything, since nobody knows what has changed.
    Everything,
    /// These paths, about which there were events, and about no others. If they tell of more than files,
    /// everything is looked at.
    Paths(BTreeSet<PathBuf>),
}

/// One look, and what is known to it.
#[derive(Debug)]
pub(super) struct Look {
    /// What is looked at.
    pub(super) reach: Reach,
    /// Folders that went away since the last look.
    pub(super) gone: BTreeSet<PathBuf>,
    /// inotify has dropped events: no watch is relied on, and everything is looked at.
    pub(super) overflow: bool,
    /// Files that are being written; they are passed over.
    pub(super) unfinished: Unfinished,
    /// While there are such files, the look comes to nothing, and what it saw is part of what the next one comes to.
    pub(super) waits: bool,
}

impl State {
    pub(super) fn new(options: &Options, sight: Sight) -> Self {
        Self {
            folder: Folder::new(options.config_dir.clone(), options.euid),
            catalog: Catalog::new(options.defaults.clone()),
            eyes: Eyes::new(sight),
            places: Places::new(),
            problems: None,
            all_seen: false,
        }
    }

    /// Where a change matters, as of the last look.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Looks. `None` only if there is a bug: what was known stays, and the next look reads every file.
    pub(super) fn look(&mut self, look: &Look) -> Option<Looked> {
        let looked = catch_unwind(AssertUnwindSafe(|| self.look_until_seen(look)));
        if looked.is_err() {
            self.folder.forget();
            error!("a bug stopped the reading of the config folder; the watches stay as they are");
        }
        looked.ok()
    }

    fn look_until_seen(&mut self, look: &Look) -> Looked {
        let unread = self.glance(look).unwrap_or_else(|| self.look_at_everything(look));
        if look.waits && !unread.is_empty() {
            return Looked { reload: None, is_news: false, unread };
        }
        let (changes, problems) = self.catalog.settle();
        let outdated = self.catalog.outdated();
        let (watches, files) = (self.catalog.watches().len(), self.catalog.file_count());
        let before = self.problems.replace(problems.clone());
        let is_news = !changes.is_empty() || before.as_ref() != Some(&problems);
        let news = ProblemNews::since(&before.unwrap_or_default(), &problems);
        let reload = Reload { changes, problems, news, outdated, watches, files };
        Looked { reload: Some(reload), is_news, unread }
    }

    /// Looks at what there were events about, if that is all there is to look at. Returns what is unread.
    fn glance(&mut self, look: &Look) -> Option<Vec<Unread>> {
        let Reach::Paths(paths) = &look.reach else { return None };
        if look.overflow || !self.all_seen {
            return None;
        }
        let mut glance = self.folder.glance(paths, &look.unfinished)?;
        let unread = std::mem::take(&mut glance.unread);
        self.catalog.take_in_glance(glance);
        Some(unread)
    }

    fn look_at_everything(&mut self, look: &Look) -> Vec<Unread> {
        self.all_seen = false;
        let (nothing, mut unread) = (BTreeSet::new(), Vec::new());
        for round in 0..MOST_ROUNDS {
            let mut scan = self.folder.scan_finished(&look.unfinished);
            unread = std::mem::take(&mut scan.unread);
            self.places = std::mem::take(&mut scan.places);
            self.catalog.take_in(scan);
            let first = round == 0;
            let (gone, overflow) = if first { (&look.gone, look.overflow) } else { (&nothing, false) };
            // What was put into a folder before it was watched is found by looking once more.
            if !self.eyes.turn_to(&self.places, gone, overflow) {
                self.all_seen = self.eyes.see(&self.places);
                break;
            }
        }
        unread
    }
}

#[cfg(test)]
mod tests;
