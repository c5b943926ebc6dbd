//! Which watches are on which znode, and what each was last told of it: pure, with neither clock nor
//! channel. What comes of a change or of a look is returned; `hub` does it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::seen::{News, Seen, Sight};
use super::update::{Event, FireId, Notice, Unfit, Update, Version};
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

impl Target {
    /// That of a definition.
    #[must_use]
    pub fn of(spec: &WatchSpec) -> Self {
        Self { znode: spec.znode.clone(), watch_type: spec.watch_type }
    }
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
    /// Not in the table itself, which has room for more than there are.
    watches: HashMap<WatchName, Box<Watch>>,
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
    /// What somebody wants it to be run for, with the next look.
    fires: Vec<FireId>,
}

#[derive(Debug)]
struct Followers {
    names: Vec<WatchName>,
    looked_at: bool,
    /// The last look was not allowed.
    is_unreadable: bool,
}

impl Followers {
    fn none() -> Self {
        // Hardly a znode has more than one.
        Self { names: Vec::with_capacity(1), looked_at: false, is_unreadable: false }
    }
}

/// How the znode of a watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZnodeState {
    /// The watch is disabled, and nobody looks.
    Disabled,
    /// It was not looked at yet.
    Unknown,
    /// It does not exist, or has no child where a child is what is watched.
    Missing,
    /// Its ACL does not allow it to be read.
    Unreadable,
    /// It was last seen like this.
    Present(Version),
}

/// What follows when somebody wants a run.
#[derive(Debug)]
#[must_use]
pub enum Firing {
    /// This is to be looked at; the run follows from that.
    Look(Target),
    /// This is to be told.
    Tell(Notice),
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
                    let fires = self.detach(&spec.name, &mut existed).unwrap_or_default();
                    newcomers.extend(self.attach(&spec, fires, &mut existed));
                    plan.notices.push(Notice::Watched(Arc::clone(&spec)));
                    plan.notices.extend(self.unfit(&spec.name));
                }
                Change::Removed(name) => {
                    if let Some(fires) = self.detach(&name, &mut existed) {
                        let unfit = |fire| Notice::Fired(name.clone(), fire, Err(Unfit::Unwatched));
                        plan.notices.extend(fires.into_iter().map(unfit));
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
        followers.is_unreadable = *sight == Sight::Unreadable;
        let mut notices = Vec::new();
        for name in &followers.names {
            let Some(watch) = self.watches.get_mut(name) else { continue };
            let (seen, news) = std::mem::take(&mut watch.seen).compare(sight);
            watch.seen = seen;
            let (mut fires, fit) = (std::mem::take(&mut watch.fires), fit(sight));
            let is_update = matches!(news, Some(News::Update(_)));
            // One run is enough for both: that of the first of them, which may be started before the next is heard of.
            let with_update = (is_update && fit.is_ok() && !fires.is_empty()).then(|| fires.remove(0));
            let first = notices.len();
            notices.extend(fires.into_iter().map(|fire| Notice::Fired(name.clone(), fire, fit.clone())));
            if let (Some(fire), Some(News::Update(update))) = (with_update, &news) {
                notices.insert(first, Notice::Fired(name.clone(), fire, Ok(update.clone())));
            } else {
                notices.extend(news.map(|news| match news {
                    News::Missing => Notice::Missing(name.clone()),
                    News::Childless => Notice::Childless(name.clone()),
                    News::Update(update) => Notice::Updated(name.clone(), update),
                }));
            }
        }
        notices
    }

    /// Takes note that somebody wants a run of a watch.
    pub fn fire(&mut self, name: &WatchName, fire: FireId) -> Firing {
        match self.watches.get_mut(name).map(Box::as_mut) {
            Some(Watch { target: Some(target), fires, .. }) => {
                fires.push(fire);
                Firing::Look(target.clone())
            }
            Some(Watch { target: None, .. }) | None => {
                Firing::Tell(Notice::Fired(name.clone(), fire, Err(Unfit::Unwatched)))
            }
        }
    }

    /// How the znode of each watch stands.
    #[must_use]
    pub fn znodes(&self) -> HashMap<WatchName, ZnodeState> {
        self.watches.iter().map(|(name, watch)| (name.clone(), self.znode_of(watch))).collect()
    }

    /// How the znode of this one stands; `None`: there is no such watch.
    #[must_use]
    pub fn znode(&self, name: &WatchName) -> Option<ZnodeState> {
        self.watches.get(name).map(|watch| self.znode_of(watch))
    }

    fn znode_of(&self, watch: &Watch) -> ZnodeState {
        let Some(target) = &watch.target else { return ZnodeState::Disabled };
        match (self.targets.get(target), &watch.seen) {
            (Some(followers), _) if followers.is_unreadable => ZnodeState::Unreadable,
            (_, Seen::Nothing) => ZnodeState::Unknown,
            (_, Seen::Absent | Seen::Childless) => ZnodeState::Missing,
            (_, Seen::Present(version, _)) => ZnodeState::Present(*version),
        }
    }

    /// What was asked of a watch that was disabled meanwhile.
    fn unfit(&mut self, name: &WatchName) -> Vec<Notice> {
        match self.watches.get_mut(name) {
            Some(watch) if watch.target.is_none() => {
                let unfit = |fire| Notice::Fired(name.clone(), fire, Err(Unfit::Unwatched));
                std::mem::take(&mut watch.fires).into_iter().map(unfit).collect()
            }
            Some(_) | None => Vec::new(),
        }
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
    fn attach(
        &mut self,
        spec: &Arc<WatchSpec>,
        fires: Vec<FireId>,
        existed: &mut HashMap<Target, bool>,
    ) -> Option<Target> {
        let target = spec.enabled.then(|| Target::of(spec));
        if let Some(target) = &target {
            existed.entry(target.clone()).or_insert(self.targets.contains_key(target));
            let followers = self.targets.entry(target.clone()).or_insert_with(Followers::none);
            followers.names.push(spec.name.clone());
        }
        let watch = Watch { target: target.clone(), seen: Seen::Nothing, fires };
        self.watches.insert(spec.name.clone(), Box::new(watch));
        target
    }

    /// What was asked of the watch of that name, if there was one. Its target stays, until the batch is through.
    fn detach(&mut self, name: &WatchName, existed: &mut HashMap<Target, bool>) -> Option<Vec<FireId>> {
        let watch = self.watches.remove(name)?;
        if let Some(target) = watch.target
            && let Some(followers) = self.targets.get_mut(&target)
        {
            followers.names.retain(|other| other != name);
            existed.entry(target).or_insert(true);
        }
        Some(watch.fires)
    }
}

/// What a run that somebody wants is given of a look.
fn fit(sight: &Sight) -> Result<Update, Unfit> {
    match sight {
        Sight::Present { version, contents, mark } => Ok(Update {
            event: Event::Fired,
            version: Version { sign: Some(mark.sign()), ..*version },
            contents: contents.clone(),
            child: mark.child().map(str::to_owned),
        }),
        Sight::Childless | Sight::Absent => Err(Unfit::Missing),
        Sight::Unreadable => Err(Unfit::Unreadable),
    }
}

#[cfg(test)]
mod tests;
