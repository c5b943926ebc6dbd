//! How a watch stands, in words. Pure: time is an argument.

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::api::{State, Watch};
use crate::config::spec::WatchSpec;
use crate::record::reader::LastRuns;
use crate::record::run_record::{RunRecord, decided};
use crate::schedule::ask::Stand;
use crate::schedule::order::RunId;
use crate::schedule::step::{Gate, Hindrance};
use crate::watch::connection::Connection;
use crate::watch::subscriptions::ZnodeState;

/// The time, by the clock that timers go by and by the one that people do.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// For people.
    pub wall: Timestamp,
}

impl Now {
    /// The time now.
    #[must_use]
    pub fn read() -> Self {
        Self { instant: Instant::now(), wall: Timestamp::now() }
    }

    fn at(self, instant: Instant) -> Timestamp {
        let ahead = SignedDuration::try_from(instant.saturating_duration_since(self.instant))
            .unwrap_or(SignedDuration::MAX);
        self.wall.saturating_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

/// How a watch stands that has a definition. `outdated`: what is wrong with its file, where this is the last good
/// definition that there was in it.
#[must_use]
pub fn describe(
    stand: &Stand,
    spec: &WatchSpec,
    znode: ZnodeState,
    connection: Connection,
    runs: LastRuns,
    outdated: Option<String>,
    now: Now,
) -> Watch {
    let LastRuns { running, ended, tally: _ } = runs;
    let (state, reason, until) = state(stand, spec, znode, connection, ended.as_deref(), now);
    let reason = with_outdated(state, reason, outdated);
    Watch {
        name: stand.name.to_string(),
        description: spec.description.to_string(),
        znode: spec.znode.to_string(),
        watch_type: spec.watch_type.word().to_owned(),
        run_mode: spec.run_mode.word().to_owned(),
        state,
        reason,
        until,
        running: stand.standing.running.iter().map(ToString::to_string).collect(),
        running_since: stand.standing.running.first().map(|&run| since(run, &running)),
        timeout_seconds: spec.timeout.map(|timeout| timeout.as_secs_f64()),
        waiting: stand.standing.waiting,
        last: ended.map(Arc::unwrap_or_clone),
    }
}

/// Since when a run goes on: since it was decided on, where its start was not heard of yet.
fn since(run: RunId, known: &[Arc<RunRecord>]) -> Timestamp {
    known.iter().find(|record| record.run == run).map_or_else(|| decided(run), |record| record.started)
}

/// Where a watch does nothing since something is to be done about it, that is said alone.
fn with_outdated(state: State, reason: Option<String>, outdated: Option<String>) -> Option<String> {
    match (state, reason, outdated) {
        (_, None, outdated) => outdated,
        (State::Missing | State::Disabled, Some(reason), outdated) => Some(but(reason, outdated)),
        (
            State::Running
            | State::Stopped
            | State::Paused
            | State::Waiting
            | State::Unreadable
            | State::Disconnected
            | State::Unknown
            | State::Watching,
            Some(reason),
            _,
        ) => Some(reason),
    }
}

fn state(
    stand: &Stand,
    spec: &WatchSpec,
    znode: ZnodeState,
    connection: Connection,
    last: Option<&RunRecord>,
    now: Now,
) -> (State, Option<String>, Option<Timestamp>) {
    let standing = &stand.standing;
    let because = |state, reason: &str| (state, Some(reason.to_owned()), None);
    let wait = match standing.waiting {
        0 => None,
        1 => Some("1 update waits".to_owned()),
        waiting => Some(format!("{waiting} updates wait")),
    };
    let resume = "'twitcher resume' goes on";
    if !standing.running.is_empty() {
        let reason = match (standing.gate, wait) {
            (Gate::Open, None) => None,
            (Gate::Open, Some(wait)) => Some(format!("{wait} for its end")),
            (Gate::Paused, wait) => Some(but(format!("paused by hand; {resume}"), wait)),
            (Gate::Stopped, wait) => Some(but(format!("stopped by a failure; {resume}"), wait)),
        };
        return (State::Running, reason, None);
    }
    match standing.gate {
        Gate::Stopped => {
            let attempts = last.map_or(1, |run| run.attempt);
            let times = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
            return because(
                State::Stopped,
                &but(format!("failed {times}, and on_failure is stop; {resume}"), wait),
            );
        }
        Gate::Paused => return because(State::Paused, &but(format!("paused by hand; {resume}"), wait)),
        Gate::Open => {}
    }
    if let Some(hindrance) = standing.hindrance {
        let (reason, until) = match hindrance {
            Hindrance::Settling { until } => ("more updates may come (settle)".to_owned(), Some(until)),
            Hindrance::Splay { until } => ("this host's turn is later (splay)".to_owned(), Some(until)),
            Hindrance::Interval { until } => {
                ("the last start was just now (min_interval)".to_owned(), Some(until))
            }
            Hindrance::Retry { until, attempt } => {
                (format!("tried again as attempt {attempt} (retries)"), Some(until))
            }
            Hindrance::Running => ("as many runs go on as may".to_owned(), None),
            Hindrance::Place => ("all places of this host are taken (max_running)".to_owned(), None),
        };
        return (State::Waiting, Some(reason), until.map(|until| now.at(until)));
    }
    if !spec.enabled {
        return because(State::Disabled, "enabled is false");
    }
    match (znode, connection) {
        (ZnodeState::Unreadable, _) => {
            because(State::Unreadable, "the znode's ACL does not let the daemon read it")
        }
        (_, Connection::Connecting { since }) => {
            because(State::Disconnected, &format!("no connection with ZooKeeper yet, tried since {since:.0}"))
        }
        (_, Connection::Disconnected { since }) => {
            because(State::Disconnected, &format!("no connection with ZooKeeper since {since:.0}"))
        }
        (ZnodeState::Missing, _) => because(State::Missing, "no such znode yet"),
        // The hub has it from the next moment on.
        (ZnodeState::Unknown | ZnodeState::Disabled, _) => {
            because(State::Unknown, "the znode was not looked at yet")
        }
        (ZnodeState::Present(_), Connection::Connected { .. }) => (State::Watching, None, None),
    }
}

/// Why, and what waits meanwhile.
fn but(why: String, wait: Option<String>) -> String {
    match wait {
        None => why,
        Some(wait) => format!("{why}; {wait}"),
    }
}
