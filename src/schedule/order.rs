//! What the scheduler asks for, and what it is told of it afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::spec::{WatchName, WatchSpec};
use crate::watch::update::{Beat, Update, Version};

/// Names one run on this host, also across restarts of the daemon. Later runs have greater ids, unless the clock was set
/// back before a restart: then they are greater than those of the runs that go on, and than each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(u64);

/// A text that is not a run's id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not the id of a run")]
pub struct RunIdError(String);

impl RunId {
    /// The id as a number.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id that has this number.
    #[must_use]
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:x}", self.0))
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| RunIdError(text.to_owned()))
    }
}

/// Hands out run ids: microseconds since 1970, or one more than the last where that is greater, so that
/// neither a quick succession nor a clock that jumps back gives an id twice.
#[derive(Debug)]
pub struct RunIds {
    last: u64,
}

impl RunIds {
    /// Ids greater than every one of `known`.
    pub fn after(known: impl IntoIterator<Item = RunId>) -> Self {
        Self { last: known.into_iter().map(|id| id.0).max().unwrap_or(0) }
    }

    /// The next id, at the given time.
    pub fn next(&mut self, wall: SystemTime) -> RunId {
        let micros = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        self.last = u64::try_from(micros).unwrap_or(0).max(self.last + 1);
        RunId(self.last)
    }
}

/// A run that is to be started.
#[derive(Debug, Clone)]
pub struct Run {
    /// What everything about it carries.
    pub id: RunId,
    /// What to run and how.
    pub spec: Arc<WatchSpec>,
    /// What it is told.
    pub update: Update,
    /// When the scheduler was told of the update.
    pub seen: Instant,
    /// 1 for the first try of an update.
    pub attempt: u32,
}

/// What is to be done, in the order in which it was decided.
#[derive(Debug, Clone)]
pub enum Order {
    /// Start a run. It is answered by one `Ended`, whatever becomes of it.
    Start(Run),
    /// Send a signal to a run's process group, or to what can be reached of it, if it goes on.
    Signal {
        /// Which one.
        run: RunId,
        /// What is sent.
        signal: Signal,
    },
    /// Tell a run by a signal, sent as the one above, of an update that came meanwhile. Only one that is known to have
    /// begun is told: any other could be ended by it, and the update has its own run next.
    Notify {
        /// Which one.
        run: RunId,
        /// What is sent.
        signal: Signal,
    },
    /// End a run as its timeout would, if it goes on.
    End {
        /// Which one.
        run: RunId,
    },
    /// About no run: hand it on.
    Beat(Beat),
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub run: RunId,
    /// Whose.
    pub watch: WatchName,
    /// What it was given: the znode, and the state that it had.
    pub given: Applied,
    /// How.
    pub outcome: Outcome,
    /// What it used; unknown for a run that could not be waited for.
    pub usage: Option<Usage>,
    /// From its start to its end.
    pub lasted: Duration,
}

/// A state of a znode that a run was given. Of one that ended well it is what the watch has applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Which znode.
    pub znode: String,
    /// Its state.
    pub version: Version,
}

impl Applied {
    /// Whether it is a state of what this definition watches.
    #[must_use]
    pub fn is_of(&self, spec: &WatchSpec) -> bool {
        self.znode == spec.znode.as_str() && self.version.is_of(spec.watch_type)
    }

    /// What is to be known of it once a run is begun with `begun`; `None`: what was known.
    #[must_use]
    pub fn once_begun(&self, begun: &Self) -> Option<Self> {
        let version = if self.znode == begun.znode { self.version.once_begun(&begun.version) } else { None };
        Some(Self { znode: self.znode.clone(), version: version? })
    }
}

/// What a run used, its children included as far as it waited for them: `getrusage(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Time on a processor in user mode, in microseconds.
    pub user_us: u64,
    /// Time on a processor in the kernel, in microseconds.
    pub system_us: u64,
    /// The largest resident set of any of its processes, in KiB.
    pub max_rss_kib: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its main process exited with this status, 0 to 255.
    Exited(i32),
    /// Its main process was ended by this signal.
    Signaled(i32),
    /// It did not end within its `timeout`.
    TimedOut,
    /// It could not be started, and why.
    SpawnFailed(String),
    /// It outlived the daemon and the minder, and how it ended cannot be known.
    Lost,
}

impl Outcome {
    /// Whether the run did what it was for.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited({code})"),
            Self::Signaled(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signaled({signal})"),
                Err(_) => write!(f, "signaled({number})"),
            },
            Self::TimedOut => f.write_str("timed-out"),
            Self::SpawnFailed(why) => write!(f, "spawn-failed({why})"),
            Self::Lost => f.write_str("lost"),
        }
    }
}

/// A run that was already going on when the daemon started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Which one.
    pub run: RunId,
    /// Whose.
    pub watch: WatchName,
    /// What it was given.
    pub given: Applied,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_even_when_the_clock_does_not() {
        let mut ids = RunIds::after([RunId(5_000_000), RunId(7_000_000)]);
        let at = UNIX_EPOCH + Duration::from_secs(6);
        assert_eq!(ids.next(at), RunId(7_000_001));
        assert_eq!(ids.next(at), RunId(7_000_002));
        assert_eq!(ids.next(UNIX_EPOCH + Duration::from_secs(9)), RunId(9_000_000));
    }

    #[test]
    fn an_id_reads_back_from_what_it_prints() {
        let id = RunId(1_795_325_000_123_456);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("run-7".parse::<RunId>().is_err());
    }

    #[test]
    fn an_outcome_is_written_as_the_words_of_the_contract() {
        assert_eq!(Outcome::Exited(1).to_string(), "exited(1)");
        assert_eq!(Outcome::Signaled(9).to_string(), "signaled(SIGKILL)");
        assert_eq!(Outcome::Signaled(35).to_string(), "signaled(35)");
        assert_eq!(
            Outcome::SpawnFailed("no such user 'x'".into()).to_string(),
            "spawn-failed(no such user 'x')"
        );
    }
}
