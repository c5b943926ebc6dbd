//! Which watches are on which znode, and what each was last told of it: pure, with neither clock nor
//! channel. What comes of a change or of a look is returned; `hub` does it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::seen::{News, Seen, Sight};
use super::update::Notice;
use crate::config::changes::Change;
use crate::config::spec::{WatchName, WatchSpec, WatchType, ZnodePath};

/// What one loop follows. All watches on the same target share its loop.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The znode.
    pub znode: ZnodePath,
    /// What of it.
    pub watch_type: WatchType,
}

/// What a batch of changes asks for.
#[must_use]
#[derive(Debug, Default)]
pub struct Plan {
    /// To be sent, in this order.
    pub notices: Vec<Notice>,
    /// To be followed from now on.
    pub start: Vec<Target>,
    /// Followed already, but with a watch on it that has seen nothing yet.
    pub look_again: Vec<Target>,
    /// No longer watched by anyone.
    pub stop: Vec<Target>,
}

/// How far the first looks have come; for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// How many batches of changes were taken in. With none of them the other two say nothing.
    pub batches: u64,
    /// How many of the watched znodes were looked at and are armed, be they there or not.
    pub looked_at: usize,
    /// How many znodes are watched.
    pub total: usize,
}

impl Looked {
    /// Whether the first definitions are in, and all that they watch was looked at.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.batches > 0 && self.looked_at == self.total
    }
}

/// The watched paths, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paths {
    /// How many there are.
    pub count: usize,
    /// How long they are together, in bytes, without a chroot.
    pub bytes: usize,
}

impl Paths {
    /// How long they are with a chroot before each, in bytes.
    #[must_use]
    pub fn bytes_below(self, chroot: &str) -> usize {
        self.bytes + self.count * chroot.trim_end_matches('/').len()
    }
}

/// The watches by name and by target.
#[derive(Debug, Default)]
pub struct Subscriptions {
    watches: HashMap<WatchName, Watch>,
    targets: HashMap<Target, Followers>,
    /// How many of the targets were looked at. It is asked for after each sight, so that it is counted here.
    looked_at: usize,
    batches: u64,
}

#[derive(Debug)]
struct Watch {
    /// `None`: the watch is disabled.
    target: Option<Target>,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Followers {
    names: Vec<WatchName>,
    looked_at: bool,
}

impl Subscriptions {
    /// Takes in a batch of changes. What is started, stopped or looked at again is decided by the batch
    /// as a whole: a watch that is renamed leaves the loop on its znode alone.
    pub fn apply(&mut self, changes: Vec<Change>) -> Plan {
        let mut plan = Plan::default();
        let mut existed: HashMap<Target, bool> = HashMap::new();
        let mut newcomers = HashSet::new();
        for change in changes {
            match change {
                Change::Added(spec) | Change::Redefined { new: spec, old: _ } => {
                    self.detach(&spec.name, &mut existed);
                    newcomers.extend(self.attach(&spec, &mut existed));
                    plan.notices.push(Notice::Watched(spec));
                }
                Change::Removed(name) => {
                    if self.detach(&name, &mut existed) {
                        plan.notices.push(Notice::Unwatched(name));
                    }
                }
            }
        }
        for (target, existed) in existed {
            match (existed, self.targets.get(&target).is_some_and(|on| !on.names.is_empty())) {
                (true, true) if newcomers.contains(&target) => plan.look_again.push(target),
                (false, true) => plan.start.push(target),
                (true, false) => {
                    self.forget(&target);
                    plan.stop.push(target);
                }
                (false, false) => self.forget(&target),
                (true, true) => {}
            }
        }
        self.batches += 1;
        plan
    }

    /// Takes in what a loop saw, and returns what the watches on its target are to be told.
    #[must_use]
    pub fn sighted(&mut self, target: &Target, sight: &Sight) -> Vec<Notice> {
        let Some(followers) = self.targets.get_mut(target) else { return Vec::new() };
        if !std::mem::replace(&mut followers.looked_at, true) {
            self.looked_at += 1;
        }
        let mut notices = Vec::new();
        for name in &followers.names {
            let Some(watch) = self.watches.get_mut(name) else { continue };
            let (seen, news) = std::mem::take(&mut watch.seen).compare(sight);
            watch.seen = seen;
            notices.extend(news.map(|news| match news {
                News::Missing => Notice::Missing(name.clone()),
                News::Childless => Notice::Childless(name.clone()),
                News::Update(update) => Notice::Updated(name.clone(), update),
            }));
        }
        notices
    }

    /// How far the first looks have come.
    #[must_use]
    pub fn looked(&self) -> Looked {
        Looked { batches: self.batches, looked_at: self.looked_at, total: self.targets.len() }
    }

    /// How much there is to be sent again when a connection is made anew.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let bytes = self.targets.keys().map(|target| target.znode.as_str().len()).sum();
        Paths { count: self.targets.len(), bytes }
    }

    fn forget(&mut self, target: &Target) {
        if self.targets.remove(target).is_some_and(|followers| followers.looked_at) {
            self.looked_at -= 1;
        }
    }

    /// Makes the watch one that has seen nothing, on the target of its definition.
    fn attach(&mut self, spec: &Arc<WatchSpec>, existed: &mut HashMap<Target, bool>) -> Option<Target> {
        let target = spec.enabled.then(|| Target { znode: spec.znode.clone(), watch_type: spec.watch_type });
        if let Some(target) = &target {
            existed.entry(target.clone()).or_insert(self.targets.contains_key(target));
            self.targets.entry(target.clone()).or_default().names.push(spec.name.clone());
        }
        self.watches.insert(spec.name.clone(), Watch { target: target.clone(), seen: Seen::Nothing });
        target
    }

    /// Whether there was a watch of that name. Its target stays, until the batch is through.
    fn detach(&mut self, name: &WatchName, existed: &mut HashMap<Target, bool>) -> bool {
        let Some(watch) = self.watches.remove(name) else { return false };
        if let Some(target) = watch.target
            && let Some(followers) = self.targets.get_mut(&target)
        {
            followers.names.retain(|other| other != name);
            existed.entry(target).or_insert(true);
        }
        true
    }
}

#[cfg(test)]
mod tests;
