//! What is told of a run: as JSON in the history and to those who ask the daemon. Pure.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::spec::WatchName;
use crate::run::protocol::About;
use crate::schedule::order::{Outcome, RunId, Usage};
use crate::watch::update::Event;

/// A run: one that goes on where it has no end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunRecord {
    /// Which one; in JSON the text that the log and `TWITCHER_RUN_ID` have.
    #[serde(with = "super::text")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub run: RunId,
    /// Whose.
    pub watch: WatchName,
    /// The znode that it was given.
    pub znode: String,
    /// The update that it was given.
    pub event: Event,
    /// The `mzxid` of the state that it was given, as `TWITCHER_MZXID`.
    pub mzxid: i64,
    /// The version of the state that it was given, as `TWITCHER_VERSION`.
    pub version: i32,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Of its main process; `None` where it never had one, or nobody knows.
    pub pid: Option<i32>,
    /// When it was started; of one whose start nobody has seen, when it was decided on.
    pub started: Timestamp,
    /// How it ended; `None` while it goes on.
    pub end: Option<RunEnd>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunEnd {
    /// When.
    pub at: Timestamp,
    /// From its start to its end, by a clock that nobody sets.
    pub lasted_seconds: f64,
    /// How.
    #[serde(with = "outcome")]
    #[cfg_attr(test, schemars(with = "outcome::Told"))]
    pub outcome: Outcome,
    /// What it used; `None` where that is not known.
    pub usage: Option<RunUsage>,
    /// How much of its output was kept, in bytes. Whether it still is, depends on how many came after it.
    pub output_bytes: u64,
    /// Whether it has printed more than that, as far as anybody knows.
    pub output_truncated: bool,
}

/// What a run used, its children included as far as it waited for them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunUsage {
    /// Time on a processor in user mode.
    pub user_seconds: f64,
    /// Time on a processor in the kernel.
    pub system_seconds: f64,
    /// The largest resident set of any of its processes.
    pub max_rss_bytes: u64,
}

impl From<Usage> for RunUsage {
    fn from(usage: Usage) -> Self {
        Self {
            user_seconds: Duration::from_micros(usage.user_us).as_secs_f64(),
            system_seconds: Duration::from_micros(usage.system_us).as_secs_f64(),
            max_rss_bytes: usage.max_rss_kib.saturating_mul(1024),
        }
    }
}

impl RunRecord {
    /// A run that goes on. Where it is not known when it was `started`, its id says when it was decided on.
    #[must_use]
    pub fn begun(
        run: RunId,
        watch: WatchName,
        about: &About,
        pid: Option<i32>,
        started: Option<Timestamp>,
    ) -> Self {
        Self {
            run,
            watch,
            znode: about.znode.clone(),
            event: about.event,
            mzxid: about.version.mzxid,
            version: about.version.version,
            attempt: about.attempt,
            pid,
            started: started.unwrap_or_else(|| decided(run)),
            end: None,
        }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.end.is_none()
    }
}

/// When a run was decided on, as its id says.
#[must_use]
pub fn decided(run: RunId) -> Timestamp {
    let micros = i64::try_from(run.as_u64()).ok();
    micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A clock that is off by ages is no reason to tell nothing.
#[must_use]
pub fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An outcome as JSON: an object whose `kind` is the word of the log, with what belongs to it beside.
mod outcome {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::schedule::order::Outcome;

    /// How a run ended.
    #[derive(Serialize, Deserialize)]
    #[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "Outcome"))]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    pub(super) enum Told {
        Exited { code: i32 },
        Signaled { signal: i32 },
        TimedOut,
        SpawnFailed { why: String },
        Lost,
    }

    pub(super) fn serialize<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
        match outcome.clone() {
            Outcome::Exited(code) => Told::Exited { code },
            Outcome::Signaled(signal) => Told::Signaled { signal },
            Outcome::TimedOut => Told::TimedOut,
            Outcome::SpawnFailed(why) => Told::SpawnFailed { why },
            Outcome::Lost => Told::Lost,
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
        Ok(match Told::deserialize(deserializer)? {
            Told::Exited { code } => Outcome::Exited(code),
            Told::Signaled { signal } => Outcome::Signaled(signal),
            Told::TimedOut => Outcome::TimedOut,
            Told::SpawnFailed { why } => Outcome::SpawnFailed(why),
            Told::Lost => Outcome::Lost,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::watch::update::Version;

    /// A run of `watch` with this id, microseconds since 1970.
    pub fn running(watch: &str, run: u64) -> RunRecord {
        let about = About {
            watch: watch.into(),
            znode: "/a".into(),
            event: Event::Changed,
            version: Version { czxid: 1, mzxid: 0x1_0000_0002, version: 3, sign: None },
            attempt: 1,
        };
        RunRecord::begun(RunId::from_u64(run), watch.try_into().unwrap(), &about, Some(17), None)
    }

    /// The same when it has ended.
    pub fn ended(watch: &str, run: u64, outcome: Outcome) -> RunRecord {
        let running = running(watch, run);
        let end = RunEnd {
            at: running.started,
            lasted_seconds: 0.25,
            outcome,
            usage: Some(Usage { user_us: 1_500_000, system_us: 2_000, max_rss_kib: 3 }.into()),
            output_bytes: 0,
            output_truncated: false,
        };
        RunRecord { end: Some(end), ..running }
    }

    #[test]
    fn a_record_reads_back_whatever_its_outcome() {
        let outcomes = [
            Outcome::Exited(3),
            Outcome::Signaled(9),
            Outcome::TimedOut,
            Outcome::SpawnFailed("no \"such\" user\n".into()),
            Outcome::Lost,
        ];
        for record in outcomes.map(|outcome| ended("a", 5, outcome)).into_iter().chain([running("a", 6)]) {
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record, "{text}");
        }
    }

    #[test]
    fn the_json_is_the_one_that_is_documented() {
        let text = serde_json::to_string(&ended("a", 1_795_325_000_123_456, Outcome::Exited(1))).unwrap();
        let expected = concat!(
            r#"{"run":"660d6ace38440","watch":"a","znode":"/a","event":"changed","mzxid":4294967298,"version":3,"#,
            r#""attempt":1,"pid":17,"started":"2026-11-22T05:23:20.123456Z","end":{"#,
            r#""at":"2026-11-22T05:23:20.123456Z","lasted_seconds":0.25,"outcome":{"kind":"exited","code":1},"#,
            r#""usage":{"user_seconds":1.5,"system_seconds":0.002,"max_rss_bytes":3072},"#,
            r#""output_bytes":0,"output_truncated":false}}"#
        );
        assert_eq!(text, expected);
    }
}
