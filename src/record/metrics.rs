//! What is counted of runs, for metrics. The journal has it to itself and hands out copies: nothing is shared, and to
//! count costs an addition.
//!
//! `exposition` is the text that Prometheus reads, `histogram` a histogram, `process` what the kernel knows of the
//! daemon. Pure, but for `process`.

pub mod exposition;
pub mod histogram;
pub mod process;

use std::time::Duration;

use self::histogram::Histogram;
use crate::schedule::order::Outcome;

/// From below a millisecond, which a start takes by itself, to an hour, which `splay` may hold it back: in seconds.
const START_DELAYS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    900.0, 3600.0,
];

/// From what only touches a file to what takes an hour: in seconds.
const RUN_TIMES: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// How runs ended, by the words that are the values of a label. A status or a signal is none: there are too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes([u64; 6]);

impl Outcomes {
    const WORDS: [&str; 6] = ["success", "exited", "signaled", "timed-out", "spawn-failed", "lost"];

    /// Counts one more.
    pub fn add(&mut self, outcome: &Outcome) {
        let index = match outcome {
            Outcome::Exited(0) => 0,
            Outcome::Exited(_) => 1,
            Outcome::Signaled(_) => 2,
            Outcome::TimedOut => 3,
            Outcome::SpawnFailed(_) => 4,
            Outcome::Lost => 5,
        };
        self.0[index] += 1;
    }

    /// Each word with how many there were.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::WORDS.into_iter().zip(self.0)
    }
}

/// What is counted of the runs of all watches since the daemon started.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Those that have ended, also those that an earlier daemon had started.
    pub ended: Outcomes,
    /// How many were started again after one that failed.
    pub retries: u64,
    /// How many go on.
    pub running: usize,
    /// How long those took that have ended, where it is known.
    pub run_time: Histogram,
    /// How long after the scheduler was told of an update its first attempt was started.
    pub start_delay: Histogram,
    /// How many lines they have printed that were not passed on.
    pub lines_dropped: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            ended: Outcomes::default(),
            retries: 0,
            running: 0,
            run_time: Histogram::new(RUN_TIMES),
            start_delay: Histogram::new(START_DELAYS),
            lines_dropped: 0,
        }
    }
}

impl Metrics {
    /// A run was started, so long after its update; `None`: nobody knows.
    pub fn begin(&mut self, attempt: u32, after: Option<Duration>) {
        match (attempt, after) {
            (0 | 1, Some(after)) => self.start_delay.observe(after),
            (0 | 1, None) => {}
            (2.., _) => self.retries += 1,
        }
    }

    /// A run has ended. One that took no time had no process, or nobody knows how long it had one.
    pub fn end(&mut self, outcome: &Outcome, lasted: Duration) {
        self.ended.add(outcome);
        if !lasted.is_zero() {
            self.run_time.observe(lasted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_attempt_says_how_long_an_update_waits() {
        let mut metrics = Metrics::default();
        metrics.begin(1, Some(Duration::from_millis(3)));
        metrics.begin(2, Some(Duration::from_secs(60)));
        metrics.begin(1, None);
        assert_eq!((metrics.start_delay.count(), metrics.retries), (1, 1));
    }

    #[test]
    fn a_run_that_never_was_is_counted_and_took_no_time() {
        let mut metrics = Metrics::default();
        metrics.end(&Outcome::SpawnFailed("no such user".into()), Duration::ZERO);
        metrics.end(&Outcome::Exited(7), Duration::from_secs(2));
        let ended: Vec<_> = metrics.ended.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(ended, [("exited", 1), ("spawn-failed", 1)]);
        assert_eq!(metrics.run_time.count(), 1);
    }
}
