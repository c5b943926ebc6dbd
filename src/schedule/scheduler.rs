//! The loop that performs what `step` decides: it owns the watches, the places, the timers and the ids of
//! runs.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::config::spec::{WatchName, WatchSpec};
use crate::schedule::order::{Adopted, Applied, Ended, Order, RunIds};
use crate::schedule::places::Places;
use crate::schedule::step::{Decision, Input, Policy, Reason, Watch};
use crate::watch::update::{Event, Notice};

/// How many orders may wait to be taken before no more notices are read.
const ORDERS_AHEAD: usize = 256;

/// Turns updates and exits into orders, for all watches of the host.
#[derive(Debug)]
pub struct Scheduler {
    host: String,
    watches: HashMap<WatchName, Entry>,
    /// What each watch last applied, as the ledger has it or is about to: also of those that are not defined,
    /// or not yet.
    applied: HashMap<WatchName, Applied>,
    places: Places,
    timers: BTreeSet<(Instant, WatchName)>,
    ids: RunIds,
    orders: VecDeque<Order>,
}

#[derive(Debug)]
struct Entry {
    watch: Watch,
    /// `None` where only a run is left of it.
    spec: Option<Arc<WatchSpec>>,
    /// When its timer goes off.
    timer: Option<Instant>,
    /// What a run was given that an earlier daemon has left, until a definition has asked for it.
    given: Option<Applied>,
}

/// What an earlier daemon has left.
#[derive(Debug, Default)]
pub struct Heritage {
    /// The runs that go on.
    pub runs: Vec<Adopted>,
    /// What each watch last applied.
    pub applied: HashMap<WatchName, Applied>,
}

impl Scheduler {
    /// A scheduler for the host of this name, with `max_running` places.
    #[must_use]
    pub fn new(host: String, max_running: usize, heritage: Heritage) -> Self {
        let Heritage { mut runs, mut applied } = heritage;
        // Of several runs of a watch, what the last was given is what it knows.
        runs.sort_by_key(|left| left.run);
        let mut watches: HashMap<WatchName, Entry> = HashMap::new();
        for left in &runs {
            let entry = watches.entry(left.watch.clone()).or_insert_with(Entry::new);
            entry.watch.adopt(left.run);
            entry.given = Some(left.given.clone());
        }
        for left in &runs {
            if let Some(applied) = applied.get_mut(&left.watch) {
                applied.begin(&left.given.znode, &left.given.version);
            }
        }
        Self {
            host,
            watches,
            applied,
            places: Places::new(max_running, runs.len()),
            timers: BTreeSet::new(),
            ids: RunIds::after(runs.iter().map(|left| left.run)),
            orders: VecDeque::new(),
        }
    }

    /// Works until both of its inputs are closed or nobody takes its orders any more.
    ///
    /// It never waits for its orders to be taken while it could hear of an exit, so that it and the taker
    /// of its orders cannot wait for each other.
    pub async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut ended: mpsc::Receiver<Ended>,
        orders: mpsc::Sender<Order>,
    ) {
        loop {
            let timer = self.timers.first().map(|(at, _)| tokio::time::Instant::from_std(*at));
            tokio::select! {
                biased;
                Some(end) = ended.recv() => self.hear_end(&end, now()),
                place = orders.reserve(), if !self.orders.is_empty() => match place {
                    Ok(place) => if let Some(order) = self.orders.pop_front() { place.send(order) },
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(timer.unwrap_or_else(tokio::time::Instant::now)), if timer.is_some() => {
                    self.hear_time(now());
                }
                Some(notice) = notices.recv(), if self.orders.len() < ORDERS_AHEAD => {
                    self.hear_notice(notice, now());
                }
                else => return,
            }
            self.fill_places(now(), SystemTime::now());
        }
    }

    fn hear_end(&mut self, end: &Ended, now: Instant) {
        self.places.give_back();
        if end.outcome.is_success() {
            self.applied.insert(end.watch.clone(), end.given.clone());
        }
        let Some(entry) = self.watches.get_mut(&end.watch) else { return };
        let given = &end.given;
        let of_same = entry.spec.as_ref().is_some_and(|spec| given.is_of(spec));
        let input = Input::Ended {
            run: end.run,
            well: end.outcome.is_success(),
            given: of_same.then_some(given.version),
        };
        match entry.watch.step(now, input) {
            Decision::Retry { after, attempt } => {
                info!(watch = %end.watch, ?after, attempt, "the same update will be tried again");
            }
            Decision::Stopped => {
                warn!(watch = %end.watch, "stopped: the last attempt failed and on_failure is stop");
            }
            Decision::Nothing | Decision::Accepted { .. } | Decision::Dropped(_) | Decision::Start { .. } => {
            }
        }
        self.follow_up(&end.watch, now);
    }

    fn hear_time(&mut self, now: Instant) {
        while let Some((at, name)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, name.clone()));
            let Some(entry) = self.watches.get_mut(&name) else { continue };
            entry.timer = None;
            let _ = entry.watch.step(now, Input::Time);
            self.follow_up(&name, now);
        }
    }

    fn hear_notice(&mut self, notice: Notice, now: Instant) {
        let name = match notice {
            Notice::Watched(spec) => self.define(spec, now),
            Notice::Missing(name) => {
                debug!(watch = %name, "the znode does not exist");
                self.hear_of(&name, Event::Deleted, None, Input::Missing, now);
                name
            }
            Notice::Childless(name) => {
                debug!(watch = %name, "the znode has no child to be watched yet");
                name
            }
            Notice::Updated(name, update) => {
                let (event, zxid) = (update.event, Some(update.version.mzxid));
                self.hear_of(&name, event, zxid, Input::Updated(update), now);
                name
            }
            Notice::Unwatched(name) => {
                if let Some(entry) = self.watches.get_mut(&name) {
                    let _ = entry.watch.step(now, Input::Undefined);
                    entry.spec = None;
                }
                name
            }
        };
        self.follow_up(&name, now);
    }

    fn define(&mut self, spec: Arc<WatchSpec>, now: Instant) -> WatchName {
        let name = spec.name.clone();
        let policy = Policy::new(&spec, &self.host);
        let entry = self.watches.entry(name.clone()).or_insert_with(Entry::new);
        // What was applied of the contents says nothing of the children. What an earlier release has kept does
        // not say of which it was.
        let is_of_type = entry.spec.as_ref().is_none_or(|old| old.watch_type == spec.watch_type);
        let of_same = |state: &Applied| (is_of_type && state.is_of(&spec)).then_some(state.version);
        let applied = self.applied.get(&name).and_then(of_same);
        let given = entry.given.take().as_ref().and_then(of_same);
        let _ = entry.watch.step(now, Input::Defined { policy, applied, given });
        entry.spec = Some(spec);
        name
    }

    fn hear_of(&mut self, name: &WatchName, event: Event, zxid: Option<i64>, input: Input, now: Instant) {
        let Some(entry) = self.watches.get_mut(name) else { return };
        let zxid = zxid.map(|zxid| display(format!("{zxid:#x}")));
        match entry.watch.step(now, input) {
            Decision::Accepted { instead_of, notify } => {
                match instead_of {
                    Some(older) => {
                        let older = format_args!("{older:#x}");
                        debug!(watch = %name, %event, zxid, older, "update takes the place of one that waits");
                    }
                    None => debug!(watch = %name, %event, zxid, "update"),
                }
                if let Some((signal, runs)) = notify {
                    self.orders.extend(runs.into_iter().map(|run| Order::Signal { run, signal }));
                }
            }
            Decision::Dropped(Reason::Discarded) => {
                info!(watch = %name, %event, zxid, "update discarded: a run goes on and run_mode is DISCARD");
            }
            Decision::Dropped(why @ (Reason::OnLoad | Reason::OnDelete)) => {
                debug!(watch = %name, %event, zxid, ?why, "update is not run");
            }
            Decision::Nothing | Decision::Start { .. } | Decision::Retry { .. } | Decision::Stopped => {}
        }
    }

    /// After each step of a watch: it is put in the line, or woken later, or forgotten, as it came to be.
    fn follow_up(&mut self, name: &WatchName, now: Instant) {
        let Some(entry) = self.watches.get_mut(name) else { return };
        if entry.watch.wants_place(now) {
            self.places.want(name);
        }
        let timer = entry.watch.wake_at().filter(|at| *at > now);
        if timer != entry.timer {
            if let Some(old) = entry.timer.take() {
                self.timers.remove(&(old, name.clone()));
            }
            if let Some(new) = timer {
                self.timers.insert((new, name.clone()));
            }
            entry.timer = timer;
        }
        if entry.watch.is_over() {
            self.watches.remove(name);
        }
    }

    fn fill_places(&mut self, now: Instant, wall: SystemTime) {
        while let Some(name) = self.places.next_turn() {
            let Some(entry) = self.watches.get_mut(&name) else { continue };
            let Some(spec) = entry.spec.clone() else { continue };
            let run = self.ids.next(wall);
            if let Decision::Start { update, attempt } = entry.watch.step(now, Input::Place(run)) {
                self.places.take();
                if let Some(applied) = self.applied.get_mut(&name) {
                    applied.begin(spec.znode.as_str(), &update.version);
                }
                self.orders.push_back(Order::Start { run, spec, update, attempt });
            }
            self.follow_up(&name, now);
        }
    }
}

impl Entry {
    fn new() -> Self {
        Self { watch: Watch::new(), spec: None, timer: None, given: None }
    }
}

/// The time as the timers have it, which a test can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
