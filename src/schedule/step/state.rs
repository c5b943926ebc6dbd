//! Where a watch is: what runs, what waits, and what has yet to settle.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::schedule::order::RunId;
use crate::watch::update::Update;

/// An update that waits until no other one has come for a while.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) update: Update,
    pub(super) first: Instant,
    pub(super) last: Instant,
}

/// An update that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// Later updates have greater ones. The line is in this order.
    pub(super) number: u64,
    pub(super) update: Update,
    /// When the watch was told of the update.
    pub(super) seen: Instant,
    pub(super) attempt: u32,
    pub(super) not_before: Instant,
}

/// Where a watch is.
#[derive(Debug, Default)]
pub(super) enum State {
    /// Nothing runs and nothing is to be run.
    #[default]
    Idle,
    /// Nothing runs; these, of which there is at least one, are to be run.
    Waiting(VecDeque<Job>),
    /// At least one run goes on. More than one also where the run mode was PARALLEL until just now.
    Running { runs: Runs, waiting: VecDeque<Job> },
}

/// The runs that go on, with what each of them runs; `None`: an earlier daemon has started it.
pub(super) type Runs = BTreeMap<RunId, Option<Job>>;

impl State {
    pub(super) fn of(runs: Runs, waiting: VecDeque<Job>) -> Self {
        match (runs.is_empty(), waiting.is_empty()) {
            (true, true) => Self::Idle,
            (true, false) => Self::Waiting(waiting),
            (false, _) => Self::Running { runs, waiting },
        }
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Option<&VecDeque<Job>> {
        match self {
            Self::Idle => None,
            Self::Waiting(waiting) | Self::Running { waiting, .. } => Some(waiting),
        }
    }

    /// What runs and what waits; `Idle` is left behind.
    pub(super) fn take(&mut self) -> (Runs, VecDeque<Job>) {
        match std::mem::take(self) {
            Self::Idle => Default::default(),
            Self::Waiting(waiting) => (Runs::new(), waiting),
            Self::Running { runs, waiting } => (runs, waiting),
        }
    }
}
