//! What one watch does about what it is told: a state, an input, what follows. Pure; time is an argument.
//!
//! Promises P1 (the last update gets a run), P2 (no two runs of a QUEUE or DISCARD watch overlap) and P3
//! (nothing runs without a reason) are decided here and nowhere else.
//!
//! An update settles, waits for its delay, then for a place on the host, then runs; after a failure it waits
//! again. Each run mode is a rule about the one line in which updates wait, so that a definition whose mode
//! changes needs no rule of its own.

mod failure;
mod policy;
mod standing;
mod state;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::signal::Signal;

use self::failure::{AfterFailure, after_failure};
pub use self::policy::Policy;
pub use self::standing::{Hindrance, Standing};
use self::state::{Job, Settling, State};
use crate::config::spec::{OnDelete, RunMode, RunOnLoad};
use crate::schedule::order::RunId;
use crate::watch::update::{Event, Update, Version};

/// How many updates of a PARALLEL watch wait at the most, and with how many bytes of contents: who can write
/// to a znode could fill the memory otherwise. Of more, the newest takes the place of the last that waits.
const MOST_WAITING: usize = 10_000;
const MOST_BYTES_WAITING: usize = 64 << 20;

/// How many times `settle` an update is held back at the most.
const SETTLE_AT_MOST: u32 = 10;

/// A watch, as far as it decides.
#[derive(Debug)]
pub struct Watch {
    /// `None` once the watch is no longer defined, until its last run has ended.
    policy: Option<Policy>,
    /// The last state of the znode that the watch was told of.
    seen: Option<Version>,
    /// The last state of the znode that a run ended well with.
    applied: Option<Version>,
    /// The state that a run was given which an earlier daemon has left behind. Apart, since hardly any watch has it.
    given: Option<Box<Version>>,
    /// Somebody has paused it, whatever its definition is.
    paused: bool,
    /// A failure has stopped it.
    stopped: bool,
    /// Apart for the same reason.
    settling: Option<Box<Settling>>,
    last_start: Option<Instant>,
    /// The number of the last job.
    last_number: u64,
    /// How many updates a newer one took the place of that nobody has taken note of yet.
    collapsed: u64,
    state: State,
}

/// Whether the watch may start runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Somebody has paused it, and a failure may have stopped it, too.
    Paused,
    /// Its last attempt failed, and `on_failure` is `stop`.
    Stopped,
}

/// What a watch is told.
#[derive(Debug)]
pub enum Input {
    /// What is watched has changed or was looked at for the first time.
    Updated(Update),
    /// Somebody wants a run at once, with what the znode has now.
    Fired(Update),
    /// The znode is not there, and was not seen under the current definition.
    Missing,
    /// The host has a place for one run, which will have this id.
    Place(RunId),
    /// A run has ended.
    Ended {
        /// Which one.
        run: RunId,
        /// Whether it did what it was for.
        well: bool,
        /// What it was given, if that was of the znode that the watch is about now.
        given: Option<Version>,
    },
    /// A moment has come that `wake_at` named, or any other.
    Time,
    /// It has this definition from now on. `applied` is what the ledger says of it.
    Defined {
        /// The definition.
        policy: Policy,
        /// The state of its znode that a run was given which ended well, perhaps under an earlier daemon.
        applied: Option<Version>,
        /// The state of its znode that a run was given which an earlier daemon has left behind.
        given: Option<Version>,
    },
    /// It is no longer defined.
    Undefined,
    /// Its definition says that it is not to be watched. Whether it is paused is not forgotten.
    Disabled,
    /// It is to start no more runs until it is resumed, also where it is stopped or has another definition by then.
    Pause,
    /// It is to go on after a pause, or after it was stopped by a failure.
    Resume,
}

/// What follows from an input.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// The update will be run.
    Accepted {
        /// The zxid of one that waited and will not be run, since this one is newer.
        instead_of: Option<i64>,
        /// The signal that these runs are sent, since they may want to know.
        notify: Option<(Signal, Vec<RunId>)>,
    },
    /// What somebody wants will be run.
    Fired {
        /// What it has in the line: the run that is started with this number or a greater one is it, or stands
        /// for it.
        number: u64,
        /// The signal that these runs are sent, since they may want to know.
        notify: Option<(Signal, Vec<RunId>)>,
    },
    /// The update will not be run, and why.
    Dropped(Reason),
    /// Start a run with the place that was offered.
    Start {
        /// Its number in the line.
        number: u64,
        /// What it is told.
        update: Update,
        /// When the watch was told of the update.
        seen: Instant,
        /// Which attempt it is, from 1.
        attempt: u32,
    },
    /// The run failed, and its update is tried again.
    Retry {
        /// After this time.
        after: Duration,
        /// As this attempt.
        attempt: u32,
    },
    /// The last attempt failed, and the watch runs nothing until it is resumed or its definition changes.
    Stopped,
}

/// Why an update is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `run_mode` is DISCARD and a run goes on.
    Discarded,
    /// This was the first look, and `run_on_load` does not ask for a run.
    OnLoad,
    /// `on_delete` is `ignore` and the znode went away.
    OnDelete,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Discarded => "a run goes on and run_mode is DISCARD",
            Self::OnLoad => "it was the first look, and run_on_load does not ask for a run",
            Self::OnDelete => "the znode went away and on_delete is ignore",
        })
    }
}

impl Watch {
    /// A watch of which nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            policy: None,
            seen: None,
            applied: None,
            given: None,
            paused: false,
            stopped: false,
            settling: None,
            last_start: None,
            last_number: 0,
            collapsed: 0,
            state: State::Idle,
        }
    }

    /// Takes note of a run that an earlier daemon has left behind.
    pub fn adopt(&mut self, run: RunId) {
        let (mut runs, waiting) = self.state.take();
        runs.insert(run, None);
        self.state = State::of(runs, waiting);
    }

    /// Whether it would start a run now if it had a place.
    #[must_use]
    pub fn wants_place(&self, now: Instant) -> bool {
        self.ready_at().is_some_and(|at| at <= now)
    }

    /// When it wants to hear of the time: something that settles will have, or something that waits can run.
    /// In the past where it only waits for a place.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.settles_at().into_iter().chain(self.ready_at()).min()
    }

    /// Whether it can be forgotten: it has no definition and nothing runs.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.policy.is_none() && matches!(self.state, State::Idle)
    }

    /// How many updates a newer one took the place of since this was last asked, before they were run or tried
    /// again.
    #[must_use]
    pub fn take_collapsed(&mut self) -> u64 {
        std::mem::take(&mut self.collapsed)
    }

    /// Decides.
    pub fn step(&mut self, now: Instant, input: Input) -> Decision {
        self.settle(now);
        let decision = self.decide(now, input);
        // A definition may have shortened the time that it takes.
        self.settle(now);
        decision
    }

    fn decide(&mut self, now: Instant, input: Input) -> Decision {
        match input {
            Input::Time => Decision::Nothing,
            Input::Defined { policy, applied, given } => {
                self.define(policy, applied, given);
                Decision::Nothing
            }
            Input::Undefined => {
                self.undefine();
                Decision::Nothing
            }
            Input::Disabled => {
                let paused = self.paused;
                self.undefine();
                self.paused = paused;
                Decision::Nothing
            }
            Input::Pause => {
                self.paused = true;
                Decision::Nothing
            }
            Input::Resume => {
                (self.paused, self.stopped) = (false, false);
                Decision::Nothing
            }
            Input::Updated(update) => self.update(now, update),
            Input::Fired(update) => self.fire(now, update),
            Input::Missing => self.miss(now),
            Input::Place(run) => self.start(now, run),
            Input::Ended { run, well, given } => self.end(now, run, well, given),
        }
    }

    fn gate(&self) -> Gate {
        match (self.paused, self.stopped) {
            (true, _) => Gate::Paused,
            (false, true) => Gate::Stopped,
            (false, false) => Gate::Open,
        }
    }

    /// When the first of what waits can run, were there a place; `None`: not before something else happens.
    fn ready_at(&self) -> Option<Instant> {
        let policy = self.policy.as_ref()?;
        let waiting = match (&self.state, policy.run_mode, self.gate()) {
            (State::Idle, _, _) | (_, _, Gate::Paused | Gate::Stopped) => return None,
            (State::Waiting(waiting), _, Gate::Open) => waiting,
            (State::Running { .. }, RunMode::Queue { .. } | RunMode::Discard, Gate::Open) => return None,
            (State::Running { runs, waiting }, RunMode::Parallel { max }, Gate::Open) => {
                if runs.len() >= max as usize {
                    return None;
                }
                waiting
            }
        };
        let first =
            waiting.iter().filter(|job| !self.goes_on(&job.update)).map(|job| job.not_before).min()?;
        Some(self.interval_over(policy).map_or(first, |over| over.max(first)))
    }

    /// When the next run may be started after the last.
    fn interval_over(&self, policy: &Policy) -> Option<Instant> {
        self.last_start.map(|last| last + policy.pacing.min_interval)
    }

    fn given(&self) -> Option<Version> {
        self.given.as_deref().copied()
    }

    /// Whether it is only the first look at what a run was given that an earlier daemon has left behind: what
    /// comes of that is waited for, also where runs may be beside each other.
    fn goes_on(&self, update: &Update) -> bool {
        let is_left =
            matches!(&self.state, State::Running { runs, .. } if runs.values().any(Option::is_none));
        is_left && self.given().is_some_and(|given| self.is_spared_by(update, given))
    }

    /// Whether an update needs no run if one that was given this has ended well.
    fn is_spared_by(&self, update: &Update, given: Version) -> bool {
        let on_load = self.policy.as_ref().map(|policy| policy.run_on_load);
        let is_first_look = update.event == Event::Loaded && on_load != Some(RunOnLoad::Always);
        is_first_look && !update.version.is_update_to(&given)
    }

    fn settles_at(&self) -> Option<Instant> {
        let Settling { first, last, .. } = self.settling.as_deref()?;
        let settle = self.policy.as_ref()?.pacing.settle;
        Some((*last + settle).min(*first + settle * SETTLE_AT_MOST))
    }

    /// Puts what has settled in the line.
    fn settle(&mut self, now: Instant) {
        if self.settles_at().is_some_and(|at| at <= now)
            && let Some(settled) = self.settling.take()
        {
            let delay = self.policy.as_ref().map_or(Duration::ZERO, |policy| policy.pacing.splay);
            let _ = self.enqueue(now, settled.update, settled.last, delay);
        }
    }

    fn define(&mut self, policy: Policy, applied: Option<Version>, given: Option<Version>) {
        let (runs, mut waiting) = self.state.take();
        let same_target = self.policy.as_ref().is_some_and(|old| old.target == policy.target);
        if !same_target {
            self.seen = None;
            self.applied = None;
            self.given = None;
            self.settling = None;
            waiting.clear();
        } else if !matches!(policy.run_mode, RunMode::Parallel { .. }) {
            // The newest stands for the others; not for one that is newer and was started before it.
            waiting.retain(|job| job.number == self.last_number);
        }
        self.applied = self.applied.or(applied);
        self.given = self.given.take().or(given.map(Box::new));
        self.stopped = false;
        self.policy = Some(policy);
        self.state = State::of(runs, waiting);
    }

    /// Forgets everything but the runs that go on, and when the last was started.
    fn undefine(&mut self) {
        let (runs, _) = self.state.take();
        let (state, last_start) = (State::of(runs, VecDeque::new()), self.last_start);
        *self = Self { state, last_start, ..Self::new() };
    }

    fn update(&mut self, now: Instant, mut update: Update) -> Decision {
        let Some(policy) = &self.policy else { return Decision::Nothing };
        let seen = self.seen;
        let is_news = |known: Version| update.version.is_update_to(&known);
        if seen.is_none_or(is_news) {
            self.seen = Some(update.version);
        }
        let later = Event::later(policy.target.watch_type);
        match update.event {
            Event::Loaded => match policy.run_on_load {
                RunOnLoad::Always => {}
                // What was written while the definition changed is an update like any other.
                _ if seen.is_some_and(is_news) => update.event = later,
                _ if seen.is_some() => return Decision::Dropped(Reason::OnLoad),
                RunOnLoad::IfChanged if self.applied.is_none_or(is_news) => {}
                // P1: what came while no daemon was there to see it is not lost, so far as it can be told.
                RunOnLoad::Never
                    if matches!(policy.run_mode, RunMode::Queue { .. })
                        && self.given().or(self.applied).is_some_and(is_news) =>
                {
                    update.event = later;
                }
                RunOnLoad::IfChanged | RunOnLoad::Never => return Decision::Dropped(Reason::OnLoad),
            },
            Event::Deleted if policy.on_delete == OnDelete::Ignore => {
                return Decision::Dropped(Reason::OnDelete);
            }
            Event::Created | Event::Changed | Event::Deleted | Event::Children | Event::Fired => {}
        }
        let notify = match self.notify(policy.run_mode) {
            Ok(notify) => notify,
            Err(why) => return Decision::Dropped(why),
        };
        if policy.pacing.settle.is_zero() {
            let delay = policy.pacing.splay;
            let instead_of = self.enqueue(now, update, now, delay);
            return Decision::Accepted { instead_of, notify };
        }
        let first = self.settling.as_ref().map_or(now, |settling| settling.first);
        let older = self.settling.replace(Box::new(Settling { update, first, last: now }));
        self.collapsed += u64::from(older.is_some());
        Decision::Accepted { instead_of: older.map(|older| older.update.version.mzxid), notify }
    }

    /// The runs that are to be told of an update by a signal, and which; or why there will be no run of it.
    fn notify(&self, run_mode: RunMode) -> Result<Option<(Signal, Vec<RunId>)>, Reason> {
        match (&self.state, run_mode) {
            (State::Running { .. }, RunMode::Discard) => Err(Reason::Discarded),
            (State::Running { runs, .. }, RunMode::Queue { notify_signal: Some(signal) }) => {
                Ok(Some((signal, runs.keys().copied().collect())))
            }
            (State::Idle | State::Waiting(_), _)
            | (State::Running { .. }, RunMode::Queue { notify_signal: None } | RunMode::Parallel { .. }) => {
                Ok(None)
            }
        }
    }

    /// It waits neither for others nor for this host's part of the splay: somebody wants it now.
    fn fire(&mut self, now: Instant, update: Update) -> Decision {
        let Some(policy) = &self.policy else { return Decision::Nothing };
        let notify = match self.notify(policy.run_mode) {
            Ok(notify) => notify,
            Err(why) => return Decision::Dropped(why),
        };
        self.seen = Some(update.version);
        // What settles is at most as new, and has its run by this.
        self.collapsed += u64::from(self.settling.take().is_some());
        let _ = self.enqueue(now, update, now, Duration::ZERO);
        Decision::Fired { number: self.last_number, notify }
    }

    /// P1: a deletion is an update like any other where it is to be run, also one that came while no daemon was
    /// there to see it or while the definition changed.
    fn miss(&mut self, now: Instant) -> Decision {
        let Some(policy) = &self.policy else { return Decision::Nothing };
        let may_run =
            policy.run_on_load != RunOnLoad::Never || matches!(policy.run_mode, RunMode::Queue { .. });
        let known = self.seen.or(if may_run { self.given().or(self.applied) } else { None });
        // What an earlier release has kept may be of a deletion.
        let Some(known) = known.filter(|known| known.sign.is_some()) else { return Decision::Nothing };
        let version = known.gone(policy.target.watch_type);
        if !version.is_update_to(&known) {
            return Decision::Nothing;
        }
        self.update(now, Update { event: Event::Deleted, version, contents: Bytes::new(), child: None })
    }

    /// Puts an update in the line. Returns the zxid of one that waited and that it stands for too.
    fn enqueue(&mut self, now: Instant, update: Update, seen: Instant, delay: Duration) -> Option<i64> {
        let policy = self.policy.as_ref()?;
        self.last_number += 1;
        let not_before = now + delay;
        let mut job = Job { number: self.last_number, update, seen, attempt: 1, not_before };
        let (runs, mut waiting) = self.state.take();
        let is_full = match policy.run_mode {
            RunMode::Queue { .. } | RunMode::Discard => !waiting.is_empty(),
            RunMode::Parallel { .. } => {
                let bytes = waiting.iter().map(|job| job.update.contents.len()).sum::<usize>();
                waiting.len() >= MOST_WAITING || bytes + job.update.contents.len() > MOST_BYTES_WAITING
            }
        };
        let mut instead_of = None;
        if is_full && let Some(older) = waiting.pop_back() {
            instead_of = Some(older.update.version.mzxid);
            self.collapsed += 1;
            // Its delay is for the watch, not for each update: one that came often enough would never run.
            // A retry's delay is not, since it is not this update that failed.
            if older.attempt == 1 {
                job.not_before = older.not_before.min(job.not_before);
            }
        }
        waiting.push_back(job);
        self.state = State::of(runs, waiting);
        instead_of
    }

    fn start(&mut self, now: Instant, run: RunId) -> Decision {
        if !self.wants_place(now) {
            return Decision::Nothing;
        }
        // The oldest of those that can: one that waits for its retry does not hold up the others.
        let can = |job: &Job| job.not_before <= now && !self.goes_on(&job.update);
        let first = self.state.waiting().and_then(|waiting| waiting.iter().position(can));
        let (mut runs, mut waiting) = self.state.take();
        let job = first.and_then(|first| waiting.remove(first));
        if let Some(job) = &job {
            runs.insert(run, Some(job.clone()));
            self.last_start = Some(now);
        }
        self.state = State::of(runs, waiting);
        match job {
            Some(Job { number, update, seen, attempt, .. }) => {
                Decision::Start { number, update, seen, attempt }
            }
            None => Decision::Nothing,
        }
    }

    fn end(&mut self, now: Instant, run: RunId, well: bool, given: Option<Version>) -> Decision {
        let (mut runs, mut waiting) = self.state.take();
        let mut decision = Decision::Nothing;
        if let (Some(job), Some(policy)) = (runs.remove(&run), &self.policy) {
            let was_left = job.is_none();
            if was_left && self.given() == given {
                self.given = None;
            }
            if well {
                self.applied = given.or(self.applied);
                // A run that an earlier daemon has left behind did what the first look was about to.
                if let Some(given) = given.filter(|_| was_left) {
                    let is_spared = |update: &Update| self.is_spared_by(update, given);
                    waiting.retain(|job| !is_spared(&job.update));
                    if self.settling.as_ref().is_some_and(|settling| is_spared(&settling.update)) {
                        self.settling = None;
                    }
                }
            } else {
                // Also one that was started already: beside the last of the runs of a watch that was PARALLEL.
                let newer_queued =
                    job.as_ref().map_or(!waiting.is_empty(), |job| job.number < self.last_number);
                let is_newest = !newer_queued && self.settling.is_none();
                match after_failure(policy, job, is_newest, run, now) {
                    AfterFailure::Retry { after, job } => {
                        decision = Decision::Retry { after, attempt: job.attempt };
                        // Among several, one that is tried again is older than what came meanwhile.
                        let at = waiting.partition_point(|other| other.number < job.number);
                        waiting.insert(at, job);
                    }
                    AfterFailure::Stop if !self.stopped => {
                        self.stopped = true;
                        decision = Decision::Stopped;
                    }
                    AfterFailure::Stop | AfterFailure::GoOn => {}
                }
            }
        }
        self.state = State::of(runs, waiting);
        decision
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, missing_docs)]
mod played;

#[cfg(test)]
mod histories;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
