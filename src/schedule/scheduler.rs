//! The loop that performs what `step` decides: it owns the watches, the places, the timers and the ids of
//! runs.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tokio::sync::{mpsc, oneshot};
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::config::spec::{MOST_REMEMBERED, WatchName, WatchSpec, kept_since};
use crate::schedule::ask::{Accepted, Ask, Awaited, NotRun, Stand, Steered, Tally};
use crate::schedule::order::{Adopted, Applied, Ended, Order, Outcome, Run, RunId, RunIds};
use crate::schedule::places::Places;
use crate::schedule::progress::Progress;
use crate::schedule::step::{Decision, Input, Policy, Reason, Watch};
use crate::watch::update::{Event, FireId, Notice, Unfit, Update};

/// How many orders may wait to be taken before no more notices are read.
const ORDERS_AHEAD: usize = 256;

/// Turns updates and exits into orders, for all watches of the host.
#[derive(Debug)]
pub struct Scheduler {
    host: String,
    /// Boxed: a hash table keeps spare slots, and an `Entry` is large.
    watches: HashMap<WatchName, Box<Entry>>,
    /// What each watch last applied, as the ledger has it or is about to: also of those that are not defined,
    /// or not yet, as far as there are not too many.
    progress: HashMap<WatchName, Progress>,
    places: Places,
    timers: BTreeSet<(Instant, WatchName)>,
    ids: RunIds,
    orders: VecDeque<Order>,
    /// Who wants to know what becomes of a run that was asked for and that nothing was heard of yet.
    awaited: HashMap<FireId, Awaited>,
    /// The watches of which somebody has just wanted a run and has no answer yet.
    unanswered: Vec<WatchName>,
    /// Where what is decided is told. Nobody is waited for.
    news: mpsc::Sender<News>,
    /// How much of it has not fit there since something last did.
    missing: u64,
    tally: Tally,
}

/// Something that was decided, for those who want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An update was seen.
    Seen {
        /// Of which watch.
        watch: WatchName,
        /// What happened to the znode.
        event: Event,
        /// Of the state that was seen; zero where the znode is gone and was not seen by this daemon.
        mzxid: i64,
        /// Whether it will be run: with the zxid of an older one that waited and will not be, since this one
        /// is newer; or why it will not.
        accepted: Result<Option<i64>, Reason>,
    },
    /// A run failed, and its update is tried again.
    Retry {
        /// Of which watch.
        watch: WatchName,
        /// After this time.
        after: Duration,
        /// As this attempt.
        attempt: u32,
    },
    /// The last attempt failed, and the watch runs nothing until it is resumed or its definition changes.
    Stopped {
        /// Which watch.
        watch: WatchName,
    },
    /// Somebody has done something about a watch.
    ByHand {
        /// Which watch.
        watch: WatchName,
        /// Who.
        by: Uid,
        /// What.
        what: ByHand,
    },
    /// So much is missing here, since it came faster than it was taken.
    Missing(u64),
}

/// What somebody has done about a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// It starts no runs any more.
    Paused,
    /// It does again.
    Resumed,
    /// It is run.
    Fired,
    /// This run was ended, as its timeout would.
    Ended(RunId),
    /// This run was sent a signal.
    Signaled(RunId, Signal),
}

#[derive(Debug)]
struct Entry {
    watch: Watch,
    /// `None` where only a run is left of it. One that is not enabled has it, and runs nothing.
    spec: Option<Arc<WatchSpec>>,
    /// When its timer goes off.
    timer: Option<Instant>,
    /// What a run was given that an earlier daemon has left, until a definition has asked for it.
    given: Option<Box<Applied>>,
    /// Who waits for the end of a run.
    waiting: Vec<Waiting>,
    /// How many updates it was told of.
    updates: u64,
}

/// Somebody who waits for the end of a run.
#[derive(Debug)]
struct Waiting {
    /// The number of the run in the line, or one that is less.
    number: u64,
    /// Told once it is known whether the run is started at once.
    accepted: Option<oneshot::Sender<Result<Accepted, NotRun>>>,
    /// Told once the run is started.
    started: Option<oneshot::Sender<RunId>>,
    /// The run, once it has been ordered.
    run: Option<RunId>,
    ended: oneshot::Sender<(RunId, Outcome)>,
}

impl Waiting {
    fn is_there(&self) -> bool {
        let awaits_start = self.started.as_ref().is_some_and(|started| !started.is_closed());
        awaits_start || !self.ended.is_closed()
    }
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
    /// A scheduler for the host of this name, with `max_running` places. What it decides about updates and failures it
    /// tells as `news`.
    #[must_use]
    pub fn new(host: String, max_running: usize, heritage: Heritage, news: mpsc::Sender<News>) -> Self {
        let Heritage { mut runs, applied } = heritage;
        let applied = applied.into_iter().map(|(watch, applied)| (watch, Progress::new(Some(applied))));
        let mut progress: HashMap<WatchName, Progress> = applied.collect();
        // Of several runs of a watch, what the last was given is what it knows.
        runs.sort_by_key(|left| left.run);
        let mut watches: HashMap<WatchName, Box<Entry>> = HashMap::new();
        for left in &runs {
            let entry = watches.entry(left.watch.clone()).or_insert_with(Entry::new);
            entry.watch.adopt(left.run);
            entry.given = Some(Box::new(left.given.clone()));
        }
        for left in &runs {
            progress.entry(left.watch.clone()).or_default().begin(left.run, left.given.clone());
        }
        Self {
            host,
            watches,
            progress,
            places: Places::new(max_running, runs.len()),
            timers: BTreeSet::new(),
            ids: RunIds::after(runs.iter().map(|left| left.run)),
            orders: VecDeque::new(),
            awaited: HashMap::new(),
            unanswered: Vec::new(),
            news,
            missing: 0,
            tally: Tally::default(),
        }
    }

    fn tell(&mut self, news: News) {
        if self.missing > 0 && self.news.try_send(News::Missing(self.missing)).is_ok() {
            self.missing = 0;
        }
        self.missing += u64::from(self.news.try_send(news).is_err());
    }

    /// Works until nothing more comes in, or nobody takes its orders any more. Questions are no reason to stay, nor is
    /// what waits for its time.
    ///
    /// It never waits for its orders to be taken while it could hear of an exit, so that it and the taker
    /// of its orders cannot wait for each other.
    pub async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut ended: mpsc::Receiver<Ended>,
        mut asks: mpsc::Receiver<Ask>,
        orders: mpsc::Sender<Order>,
    ) {
        let (mut noticing, mut ending) = (true, true);
        loop {
            let timer = self.timers.first().map(|(at, _)| tokio::time::Instant::from_std(*at));
            // What waits for its time is for the next daemon to see.
            if !noticing && !ending && self.orders.is_empty() {
                return;
            }
            let has_room = self.orders.len() < ORDERS_AHEAD;
            tokio::select! {
                biased;
                end = ended.recv(), if ending => match end {
                    Some(end) => self.hear_end(&end, now()),
                    None => ending = false,
                },
                place = orders.reserve(), if !self.orders.is_empty() => match place {
                    Ok(place) => if let Some(order) = self.orders.pop_front() { place.send(order) },
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(timer.unwrap_or_else(tokio::time::Instant::now)), if timer.is_some() => {
                    self.hear_time(now());
                }
                Some(ask) = asks.recv(), if has_room => self.hear_ask(ask, now()),
                notice = notices.recv(), if noticing && has_room => match notice {
                    Some(notice) => self.hear_notice(notice, now()),
                    None => noticing = false,
                },
            }
            self.fill_places(now(), SystemTime::now());
            self.answer(now());
        }
    }

    fn hear_end(&mut self, end: &Ended, now: Instant) {
        self.places.give_back();
        if end.outcome.is_success() {
            self.progress.entry(end.watch.clone()).or_default().end_well(end.run, end.given.clone());
        }
        let Some(entry) = self.watches.get_mut(&end.watch) else { return };
        let given = &end.given;
        let of_same = entry.spec.as_ref().is_some_and(|spec| given.is_of(spec));
        let input = Input::Ended {
            run: end.run,
            well: end.outcome.is_success(),
            given: of_same.then_some(given.version),
        };
        let decision = entry.watch.step(now, input);
        entry.tell_waiting(end, matches!(decision, Decision::Retry { .. }));
        match decision {
            Decision::Retry { after, attempt } => {
                let after_seconds = after.as_secs_f64();
                info!(watch = %end.watch, after_seconds, attempt, "the same update will be tried again");
                self.tell(News::Retry { watch: end.watch.clone(), after, attempt });
            }
            Decision::Stopped => {
                warn!(watch = %end.watch, "stopped: the last attempt failed and on_failure is stop");
                self.tell(News::Stopped { watch: end.watch.clone() });
            }
            Decision::Nothing
            | Decision::Accepted { .. }
            | Decision::Fired { .. }
            | Decision::Dropped(_)
            | Decision::Start { .. } => {}
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
                self.hear_update(&name, update, now);
                name
            }
            Notice::Fired(name, fire, update) => {
                self.hear_fire(&name, fire, update, now);
                name
            }
            Notice::Beat(beat) => return self.orders.push_back(Order::Beat(beat)),
            Notice::Unwatched(name) => {
                if let Some(entry) = self.watches.get_mut(&name) {
                    entry.end(Input::Undefined, now);
                    entry.spec = None;
                }
                self.forget_beyond(MOST_REMEMBERED);
                name
            }
        };
        self.follow_up(&name, now);
    }

    /// Lets go of what was applied longest ago by watches that are not there, where they are too many.
    fn forget_beyond(&mut self, most: usize) {
        if self.progress.len() <= most + self.watches.len() {
            return;
        }
        let Self { progress, watches, .. } = self;
        let gone = progress.iter().filter(|(name, _)| !watches.contains_key(*name));
        let touched = gone.map(|(name, progress)| (progress.last(), name.clone())).collect();
        if let Some((since, first)) = kept_since(touched, most) {
            progress.retain(|name, progress| {
                watches.contains_key(name) || (progress.last(), name) >= (since, &first)
            });
        }
    }

    fn define(&mut self, spec: Arc<WatchSpec>, now: Instant) -> WatchName {
        let name = spec.name.clone();
        if !spec.enabled {
            let entry = self.watches.entry(name.clone()).or_insert_with(Entry::new);
            entry.end(Input::Disabled, now);
            entry.spec = Some(spec);
            return name;
        }
        let policy = Policy::new(&spec, &self.host);
        let entry = self.watches.entry(name.clone()).or_insert_with(Entry::new);
        // What was applied of the contents says nothing of the children. What an earlier release has kept does
        // not say of which it was.
        let is_of_type = entry.spec.as_ref().is_none_or(|old| old.watch_type == spec.watch_type);
        let of_same = |state: &Applied| (is_of_type && state.is_of(&spec)).then_some(state.version);
        let applied = self.progress.get(&name).and_then(Progress::applied).and_then(of_same);
        let given = entry.given.take().as_deref().and_then(of_same);
        let _ = entry.watch.step(now, Input::Defined { policy, applied, given });
        entry.spec = Some(spec);
        name
    }

    fn hear_update(&mut self, name: &WatchName, update: Update, now: Instant) {
        let (event, zxid) = (update.event, Some(update.version.mzxid));
        self.hear_of(name, event, zxid, Input::Updated(update), now);
    }

    fn hear_of(&mut self, name: &WatchName, event: Event, mzxid: Option<i64>, input: Input, now: Instant) {
        let Some(entry) = self.watches.get_mut(name) else { return };
        let zxid = mzxid.map(|zxid| display(format!("{zxid:#x}")));
        let accepted = match entry.watch.step(now, input) {
            Decision::Accepted { instead_of, notify } => {
                match instead_of {
                    Some(older) => {
                        let older = format_args!("{older:#x}");
                        debug!(watch = %name, %event, zxid, older, "update takes the place of one that waits");
                    }
                    None => debug!(watch = %name, %event, zxid, "update"),
                }
                if let Some((signal, runs)) = notify {
                    self.orders.extend(runs.into_iter().map(|run| Order::Notify { run, signal }));
                }
                Ok(instead_of)
            }
            Decision::Dropped(why) => {
                match why {
                    Reason::Discarded => {
                        info!(watch = %name, %event, zxid, "update is not run: {why}");
                    }
                    Reason::OnLoad | Reason::OnDelete => {
                        debug!(watch = %name, %event, zxid, "update is not run: {why}");
                    }
                }
                Err(why)
            }
            Decision::Nothing
            | Decision::Fired { .. }
            | Decision::Start { .. }
            | Decision::Retry { .. }
            | Decision::Stopped => return,
        };
        self.note(name, event, mzxid.unwrap_or_default(), accepted);
    }

    /// Counts what was seen, if it is an update, and tells of it.
    fn note(&mut self, name: &WatchName, event: Event, mzxid: i64, accepted: Result<Option<i64>, Reason>) {
        if event != Event::Fired
            && accepted != Err(Reason::OnLoad)
            && let Some(entry) = self.watches.get_mut(name)
        {
            entry.updates += 1;
            self.tally.received += 1;
            self.tally.discarded += u64::from(accepted == Err(Reason::Discarded));
        }
        self.tell(News::Seen { watch: name.clone(), event, mzxid, accepted });
    }

    fn hear_fire(&mut self, name: &WatchName, fire: FireId, update: Result<Update, Unfit>, now: Instant) {
        let awaited = self.awaited.remove(&fire).filter(|awaited| !awaited.accepted.is_closed());
        let Some(Awaited { by, accepted, started, ended }) = awaited else {
            // Who has given up wants no run any more. What was new in the same look is an update all the same.
            if let Some(update) = update.ok().filter(|update| update.event != Event::Fired) {
                self.hear_update(name, update, now);
            }
            return;
        };
        let fired = update.as_ref().ok().map(|update| (update.event, update.version.mzxid));
        let decision = match (update, self.watches.get_mut(name)) {
            (Ok(update), Some(entry)) => Ok((entry.watch.step(now, Input::Fired(update)), entry)),
            (Ok(_), None) => Err(Unfit::Unwatched),
            (Err(unfit), _) => Err(unfit),
        };
        let why = match decision {
            Ok((Decision::Fired { number, notify }, entry)) => {
                info!(watch = %name, uid = %by, "fired by hand");
                let (accepted, started) = (Some(accepted), Some(started));
                // A paused watch may be fired without end by those who wait for nothing.
                entry.waiting.retain(Waiting::is_there);
                entry.waiting.push(Waiting { number, accepted, started, run: None, ended });
                if let Some((signal, runs)) = notify {
                    self.orders.extend(runs.into_iter().map(|run| Order::Notify { run, signal }));
                }
                self.tell_by_hand(name, by, ByHand::Fired);
                if let Some((event, mzxid)) = fired {
                    self.note(name, event, mzxid, Ok(None));
                }
                return self.unanswered.push(name.clone());
            }
            Ok((Decision::Dropped(why), _)) => {
                if let Some((event, mzxid)) = fired.filter(|(event, _)| *event != Event::Fired) {
                    self.note(name, event, mzxid, Err(why));
                }
                NotRun::Discarded
            }
            Ok((_, _)) => NotRun::Unfit(Unfit::Unwatched),
            Err(unfit) => NotRun::Unfit(unfit),
        };
        // Whoever asked may have gone, which changes nothing.
        let _ = accepted.send(Err(why));
    }

    /// Answers those who wanted a run, now that it is known whether it is started at once.
    fn answer(&mut self, now: Instant) {
        for name in std::mem::take(&mut self.unanswered) {
            let Some(entry) = self.watches.get_mut(&name) else { continue };
            let gate = entry.watch.standing(now).gate;
            for Waiting { accepted, run, .. } in &mut entry.waiting {
                if let Some(accepted) = accepted.take() {
                    let _ = accepted.send(Ok(Accepted { gate, run: *run }));
                }
            }
        }
    }

    fn tell_by_hand(&mut self, watch: &WatchName, by: Uid, what: ByHand) {
        self.tell(News::ByHand { watch: watch.clone(), by, what });
    }

    fn hear_ask(&mut self, ask: Ask, now: Instant) {
        let stand = |name: &WatchName, entry: &Entry| Stand {
            name: name.clone(),
            spec: entry.spec.clone(),
            standing: entry.watch.standing(now),
            updates: entry.updates,
        };
        // Whoever asked may have gone, which changes nothing.
        match ask {
            Ask::Watches(reply) => {
                let _ = reply.send(self.watches.iter().map(|(name, entry)| stand(name, entry)).collect());
            }
            Ask::Watch(name, reply) => {
                drop(reply.send(self.watches.get(&name).map(|entry| stand(&name, entry))))
            }
            Ask::Tally(reply) => drop(reply.send(self.tally)),
            Ask::Pause(name, by, reply) => {
                let _ = reply.send(self.steer(&name, by, Input::Pause, ByHand::Paused, now));
            }
            Ask::Resume(name, by, reply) => {
                let _ = reply.send(self.steer(&name, by, Input::Resume, ByHand::Resumed, now));
            }
            Ask::Kill(name, signal, by, reply) => {
                let runs = self.watches.get(&name).map(|entry| entry.watch.standing(now).running);
                for &run in runs.iter().flatten() {
                    match signal {
                        Some(signal) => {
                            info!(watch = %name, %run, uid = %by, signal = signal.as_str(), "signal sent by hand")
                        }
                        None => info!(watch = %name, %run, uid = %by, "ended by hand"),
                    }
                    let what = signal.map_or(ByHand::Ended(run), |signal| ByHand::Signaled(run, signal));
                    self.tell_by_hand(&name, by, what);
                    self.orders.push_back(match signal {
                        Some(signal) => Order::Signal { run, signal },
                        None => Order::End { run },
                    });
                }
                let _ = reply.send(runs);
            }
            Ask::Await(fire, awaited) => {
                self.awaited.insert(fire, awaited);
            }
        }
    }

    fn steer(
        &mut self,
        name: &WatchName,
        by: Uid,
        input: Input,
        what: ByHand,
        now: Instant,
    ) -> Option<Steered> {
        let entry = self.watches.get_mut(name).filter(|entry| entry.spec.is_some())?;
        let before = entry.watch.standing(now).gate;
        let _ = entry.watch.step(now, input);
        let steered = Steered { before, now: entry.watch.standing(now) };
        if steered.now.gate != before {
            let word = if what == ByHand::Paused { "paused" } else { "resumed" };
            info!(watch = %name, uid = %by, "{word} by hand");
            self.tell_by_hand(name, by, what);
        }
        self.follow_up(name, now);
        Some(steered)
    }

    /// After each step of a watch: it is put in the line, or woken later, or forgotten, as it came to be.
    fn follow_up(&mut self, name: &WatchName, now: Instant) {
        let Some(entry) = self.watches.get_mut(name) else { return };
        self.tally.collapsed += entry.watch.take_collapsed();
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
        if entry.watch.is_over() && entry.spec.is_none() {
            self.watches.remove(name);
        }
    }

    fn fill_places(&mut self, now: Instant, wall: SystemTime) {
        while let Some(name) = self.places.next_turn() {
            let Some(entry) = self.watches.get_mut(&name) else { continue };
            let Some(spec) = entry.spec.clone() else { continue };
            let run = self.ids.next(wall);
            if let Decision::Start { number, update, seen, attempt } =
                entry.watch.step(now, Input::Place(run))
            {
                self.places.take();
                let waiting =
                    entry.waiting.iter_mut().filter(|one| one.run.is_none() && one.number <= number);
                waiting.for_each(|waiting| {
                    waiting.run = Some(run);
                    // Who asked may have gone, or have heard of an attempt before.
                    let _ = waiting.started.take().map(|started| started.send(run));
                });
                let given = Applied { znode: spec.znode.to_string(), version: update.version };
                self.progress.entry(name.clone()).or_default().begin(run, given);
                self.orders.push_back(Order::Start(Run { id: run, spec, update, seen, attempt }));
            }
            self.follow_up(&name, now);
        }
    }
}

impl Entry {
    fn new() -> Box<Self> {
        Box::new(Self {
            watch: Watch::new(),
            spec: None,
            timer: None,
            given: None,
            waiting: Vec::new(),
            updates: 0,
        })
    }

    /// It runs nothing any more: it is gone, or not enabled.
    fn end(&mut self, why: Input, now: Instant) {
        let _ = self.watch.step(now, why);
        // Those whose run goes on hear of its end all the same.
        self.waiting.retain(|waiting| waiting.run.is_some());
    }

    /// A run has ended, and may be tried again.
    fn tell_waiting(&mut self, end: &Ended, again: bool) {
        let (told, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|one: &Waiting| one.run == Some(end.run) && !again);
        self.waiting = waiting;
        for waiting in &mut self.waiting {
            if waiting.run == Some(end.run) {
                waiting.run = None;
            }
        }
        for Waiting { ended, .. } in told {
            let _ = ended.send((end.run, end.outcome.clone()));
        }
    }
}

/// The time as the timers have it, which a test can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
