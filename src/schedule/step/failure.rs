//! What is done after a run has failed.

use std::time::{Duration, Instant};

use super::policy::Policy;
use super::state::Job;
use crate::config::spec::{OnFailure, Retries, RunMode};
use crate::schedule::order::RunId;
use crate::schedule::pace::retry_delay;

/// What is done after a run has failed.
pub(super) enum AfterFailure {
    Retry { after: Duration, job: Job },
    Stop,
    GoOn,
}

/// `job` is `None` where an earlier daemon started the run: its contents are not known, and it is not tried
/// again.
pub(super) fn after_failure(
    policy: &Policy,
    job: Option<Job>,
    is_newest: bool,
    run: RunId,
    now: Instant,
) -> AfterFailure {
    let is_parallel = matches!(policy.run_mode, RunMode::Parallel { .. });
    if !is_newest && !is_parallel {
        // What is newer is a new beginning, not the end of this one's attempts.
        return AfterFailure::GoOn;
    }
    match (job, policy.on_failure) {
        (Some(job), _) if job.attempt <= policy.retries.count => {
            let Retries { delay, max_delay, .. } = policy.retries;
            let after = retry_delay(delay, max_delay, job.attempt, run.as_u64());
            let attempt = job.attempt.saturating_add(1);
            AfterFailure::Retry { after, job: Job { attempt, not_before: now + after, ..job } }
        }
        (_, OnFailure::Stop) => AfterFailure::Stop,
        (_, OnFailure::Keep) => AfterFailure::GoOn,
    }
}
