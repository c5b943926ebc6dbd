//! How a watch stands, for those who ask why it does nothing: read from its state, and decides nothing.

use std::time::Instant;

use super::state::State;
use super::{Gate, Watch};
use crate::config::spec::RunMode;
use crate::schedule::order::RunId;

/// How a watch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What goes on, oldest first.
    pub running: Vec<RunId>,
    /// How many updates are to be run, one that settles among them.
    pub waiting: usize,
    /// Whether it may start runs.
    pub gate: Gate,
    /// What keeps the first of what waits from being run. Nothing of what is told here does where the gate is
    /// closed.
    pub hindrance: Option<Hindrance>,
}

/// What keeps an update from being run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// More updates may come: `settle`.
    Settling {
        /// Until then at the latest, if none does.
        until: Instant,
    },
    /// This host's part of the `splay`.
    Splay {
        /// Until then.
        until: Instant,
    },
    /// A run failed and is tried again: `retry_delay`.
    Retry {
        /// Not before.
        until: Instant,
        /// As this attempt.
        attempt: u32,
    },
    /// The last run was started too short a time ago: `min_interval`.
    Interval {
        /// Until then.
        until: Instant,
    },
    /// As many runs of the watch go on as may.
    Running,
    /// All of the host's places are taken: `max_running`.
    Place,
}

impl Watch {
    /// How it stands.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        let (running, queued) = match &self.state {
            State::Idle => (Vec::new(), 0),
            State::Waiting(waiting) => (Vec::new(), waiting.len()),
            State::Running { runs, waiting } => (runs.keys().copied().collect(), waiting.len()),
        };
        let waiting = queued + usize::from(self.settling.is_some());
        Standing { running, waiting, gate: self.gate(), hindrance: self.hindrance(now) }
    }

    fn hindrance(&self, now: Instant) -> Option<Hindrance> {
        let policy = self.policy.as_ref()?;
        let (runs, waiting) = match &self.state {
            State::Idle => return self.settles_at().map(|until| Hindrance::Settling { until }),
            State::Waiting(waiting) => (0, waiting),
            State::Running { runs, waiting } => (runs.len(), waiting),
        };
        let Some(first) = waiting.iter().min_by_key(|job| job.not_before) else {
            return self.settles_at().map(|until| Hindrance::Settling { until });
        };
        let most = match policy.run_mode {
            RunMode::Queue { .. } | RunMode::Discard => 1,
            RunMode::Parallel { max } => max as usize,
        };
        if runs >= most {
            return Some(Hindrance::Running);
        }
        let until = first.not_before;
        if until > now {
            let attempt = first.attempt;
            let retry = Hindrance::Retry { until, attempt };
            return Some(if attempt > 1 { retry } else { Hindrance::Splay { until } });
        }
        match self.interval_over(policy) {
            Some(until) if until > now => Some(Hindrance::Interval { until }),
            Some(_) | None => Some(Hindrance::Place),
        }
    }
}
