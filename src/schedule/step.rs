//! What one watch does about what it is told: a state, an input, what follows. Pure.
//!
//! Promises P1 (the last update gets a run), P2 (no two runs of a QUEUE or DISCARD watch overlap) and P3
//! (nothing runs without a reason) are decided here and nowhere else.

use std::collections::{BTreeSet, VecDeque};

use crate::config::spec::{OnDelete, RunMode, RunOnLoad, WatchSpec, ZnodePath};
use crate::schedule::order::RunId;
use crate::watch::update::{Event, Update, Version};

/// What of a definition matters to the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    znode: ZnodePath,
    run_mode: RunMode,
    run_on_load: RunOnLoad,
    on_delete: OnDelete,
}

impl From<&WatchSpec> for Policy {
    fn from(spec: &WatchSpec) -> Self {
        Self {
            znode: spec.znode.clone(),
            run_mode: spec.run_mode,
            run_on_load: spec.run_on_load,
            on_delete: spec.on_delete,
        }
    }
}

/// A watch, as far as it decides.
#[derive(Debug)]
pub struct Watch {
    /// `None` once the watch is no longer defined, until its last run has ended.
    policy: Option<Policy>,
    /// The last state of the znode that the watch was told of.
    seen: Option<Version>,
    state: State,
}

/// Where a watch is.
#[derive(Debug, Default)]
enum State {
    /// Nothing runs and nothing is to be run.
    #[default]
    Idle,
    /// Nothing runs; these, of which there is at least one, are to be run as soon as the host has a place.
    Waiting(VecDeque<Update>),
    /// At least one run goes on. More than one also where the run mode was PARALLEL until just now.
    Running { runs: BTreeSet<RunId>, waiting: VecDeque<Update> },
}

/// What a watch is told.
#[derive(Debug)]
pub enum Input {
    /// What is watched has changed or was looked at for the first time.
    Updated(Update),
    /// The host has a place for one run, which will have this id.
    Place(RunId),
    /// A run has ended.
    Ended(RunId),
    /// It has this definition from now on.
    Defined(Policy),
    /// It is no longer defined.
    Undefined,
}

/// What follows from an input.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// The update will be run. `instead_of` is one that waited and will not be, since this one is newer.
    Accepted {
        /// The zxid of the update that it takes the place of.
        instead_of: Option<i64>,
    },
    /// The update will not be run, and why.
    Dropped(Reason),
    /// Start a run with the place that was offered.
    Start(Update),
}

/// Why an update is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `run_mode` is DISCARD and a run goes on.
    Discarded,
    /// `run_on_load` is off and this was the first look.
    OnLoad,
    /// `on_delete` is `ignore` and the znode went away.
    OnDelete,
}

impl Watch {
    /// A watch with a definition that nothing was told of yet, and with the runs that an earlier daemon
    /// left behind.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy: Some(policy), seen: None, state: State::Idle }
    }

    /// A watch of which nothing is known but that a run of it goes on.
    #[must_use]
    pub fn adopted(run: RunId) -> Self {
        Self { policy: None, seen: None, state: State::of(BTreeSet::from([run]), VecDeque::new()) }
    }

    /// Takes note of one more run that goes on.
    pub fn adopt(&mut self, run: RunId) {
        let (mut runs, waiting) = self.state.take();
        runs.insert(run);
        self.state = State::of(runs, waiting);
    }

    /// Whether it would start a run if it had a place.
    #[must_use]
    pub fn wants_place(&self) -> bool {
        match (&self.state, self.policy.as_ref().map(|policy| policy.run_mode)) {
            (State::Idle, _) | (_, None) => false,
            (State::Waiting(_), Some(_)) => true,
            (State::Running { .. }, Some(RunMode::Queue | RunMode::Discard)) => false,
            (State::Running { runs, waiting }, Some(RunMode::Parallel { max })) => {
                !waiting.is_empty() && runs.len() < max as usize
            }
        }
    }

    /// Whether it can be forgotten: it has no definition and nothing runs.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.policy.is_none() && matches!(self.state, State::Idle)
    }

    /// Decides.
    pub fn step(&mut self, input: Input) -> Decision {
        match input {
            Input::Defined(policy) => {
                self.define(policy);
                Decision::Nothing
            }
            Input::Undefined => {
                self.policy = None;
                self.seen = None;
                let (runs, _) = self.state.take();
                self.state = State::of(runs, VecDeque::new());
                Decision::Nothing
            }
            Input::Updated(update) => self.update(update),
            Input::Place(run) => self.start(run),
            Input::Ended(run) => {
                self.end(run);
                Decision::Nothing
            }
        }
    }

    fn define(&mut self, policy: Policy) {
        let (runs, waiting) = self.state.take();
        let same_znode = self.policy.as_ref().is_some_and(|old| old.znode == policy.znode);
        let keep = match (same_znode, policy.run_mode) {
            (false, _) => VecDeque::new(),
            (true, RunMode::Parallel { .. }) => waiting,
            // The newest stands for the others under these.
            (true, RunMode::Queue | RunMode::Discard) => {
                waiting.into_iter().next_back().into_iter().collect()
            }
        };
        if !same_znode {
            self.seen = None;
        }
        self.policy = Some(policy);
        self.state = State::of(runs, keep);
    }

    fn update(&mut self, mut update: Update) -> Decision {
        let Some(policy) = &self.policy else { return Decision::Nothing };
        let seen = self.seen.replace(update.version);
        let run_mode = policy.run_mode;
        match update.event {
            Event::Loaded if policy.run_on_load == RunOnLoad::Never => match seen {
                // What was written while the definition changed is an update like any other.
                Some(seen) if seen != update.version => update.event = Event::Changed,
                Some(_) | None => return Decision::Dropped(Reason::OnLoad),
            },
            Event::Deleted if policy.on_delete == OnDelete::Ignore => {
                return Decision::Dropped(Reason::OnDelete);
            }
            Event::Loaded | Event::Created | Event::Changed | Event::Deleted => {}
        }
        match (&mut self.state, run_mode) {
            (State::Idle, _) => {
                self.state = State::Waiting(VecDeque::from([update]));
                Decision::Accepted { instead_of: None }
            }
            (State::Running { .. }, RunMode::Discard) => Decision::Dropped(Reason::Discarded),
            (State::Waiting(waiting) | State::Running { waiting, .. }, RunMode::Queue | RunMode::Discard) => {
                let instead_of = waiting.pop_back().map(|older| older.version.mzxid);
                waiting.push_back(update);
                Decision::Accepted { instead_of }
            }
            (State::Waiting(waiting) | State::Running { waiting, .. }, RunMode::Parallel { .. }) => {
                waiting.push_back(update);
                Decision::Accepted { instead_of: None }
            }
        }
    }

    fn start(&mut self, run: RunId) -> Decision {
        if !self.wants_place() {
            return Decision::Nothing;
        }
        let (mut runs, mut waiting) = self.state.take();
        let first = waiting.pop_front();
        if first.is_some() {
            runs.insert(run);
        }
        self.state = State::of(runs, waiting);
        first.map_or(Decision::Nothing, Decision::Start)
    }

    fn end(&mut self, run: RunId) {
        let (mut runs, waiting) = self.state.take();
        runs.remove(&run);
        self.state = State::of(runs, waiting);
    }
}

impl State {
    fn of(runs: BTreeSet<RunId>, waiting: VecDeque<Update>) -> Self {
        match (runs.is_empty(), waiting.is_empty()) {
            (true, true) => Self::Idle,
            (true, false) => Self::Waiting(waiting),
            (false, _) => Self::Running { runs, waiting },
        }
    }

    /// What runs and what waits; `Idle` is left behind.
    fn take(&mut self) -> (BTreeSet<RunId>, VecDeque<Update>) {
        match std::mem::take(self) {
            Self::Idle => Default::default(),
            Self::Waiting(waiting) => (BTreeSet::new(), waiting),
            Self::Running { runs, waiting } => (runs, waiting),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
