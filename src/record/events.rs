//! What the daemon sees and decides, as it happens: the last of it in a ring, and all of it to those who
//! follow. Nobody is waited for: who follows too slowly is told how much was missed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use crate::config::spec::WatchName;
use crate::record::run_record::{RunRecord, timestamp};
use crate::run::protocol::Dropped;
use crate::schedule::order::RunId;
use crate::watch::update::Event as UpdateEvent;

/// How many events are kept for those who ask later.
const KEPT: usize = 1_000;

/// How many events a follower may be behind. The ones with output are no longer than `OUTPUT_AT_ONCE` and a line more,
/// of 8 KiB at most, so that this is a bound in bytes, too.
const AHEAD: usize = 1_024;

/// After how many bytes of lines an event with output is full.
const OUTPUT_AT_ONCE: usize = 8 << 10;

/// How many tidings may wait to be taken note of.
const TIDINGS_AHEAD: usize = 1_024;

/// Names one event on this host; later ones have greater ids, also over a restart of the daemon unless the clock was
/// set back before it: they are microseconds since 1970 at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct EventId(u64);

impl EventId {
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

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// Names it.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A run's process was made.
    RunStarted {
        /// The run.
        run: Arc<RunRecord>,
    },
    /// A run goes on since before the daemon started.
    RunAdopted {
        /// The run.
        run: Arc<RunRecord>,
    },
    /// A run was sent SIGKILL and does not end.
    RunStuck {
        /// Which one.
        #[serde(with = "super::text")]
        #[cfg_attr(test, schemars(with = "String"))]
        run: RunId,
        /// Whose.
        watch: WatchName,
    },
    /// A run has ended.
    RunEnded {
        /// The run.
        run: Arc<RunRecord>,
    },
    /// A run printed lines. Not kept for those who ask later.
    Output {
        /// Which one.
        #[serde(with = "super::text")]
        #[cfg_attr(test, schemars(with = "String"))]
        run: RunId,
        /// Whose.
        watch: WatchName,
        /// The lines, without their ends; what is not UTF-8 is replaced.
        lines: Vec<String>,
        /// What it printed before them that is not among them.
        dropped: Dropped,
    },
    /// There is a connection with ZooKeeper.
    Connected {
        /// The connect string.
        servers: String,
        /// The session's id, as ZooKeeper's log has it.
        session: String,
        /// Whether there was one before.
        session_is: Session,
    },
    /// The connection with ZooKeeper is lost.
    Disconnected {
        /// The connect string.
        servers: String,
    },
    /// An update was seen and will be run.
    UpdateAccepted {
        /// Of which watch.
        watch: WatchName,
        /// What happened to the znode.
        update: UpdateEvent,
        /// Of the state that was seen.
        mzxid: i64,
        /// Of an older one that waited and will not be run, since this one is newer.
        instead_of_mzxid: Option<i64>,
    },
    /// An update was seen and will not be run.
    UpdateDropped {
        /// Of which watch.
        watch: WatchName,
        /// What happened to the znode.
        update: UpdateEvent,
        /// Of the state that was seen.
        mzxid: i64,
        /// Why, for people.
        why: String,
    },
    /// A run failed, and its update is tried again.
    RetryPlanned {
        /// Of which watch.
        watch: WatchName,
        /// After this time.
        after_seconds: f64,
        /// As this attempt.
        attempt: u32,
    },
    /// The last attempt failed, and `on_failure` is `stop`.
    WatchStopped {
        /// Which one.
        watch: WatchName,
    },
    /// Somebody has paused a watch.
    WatchPaused {
        /// Which one.
        watch: WatchName,
        /// The user who asked.
        by_uid: u32,
    },
    /// Somebody has resumed a watch that was paused or stopped.
    WatchResumed {
        /// Which one.
        watch: WatchName,
        /// The user who asked.
        by_uid: u32,
    },
    /// Somebody has a watch run now.
    WatchFired {
        /// Which one.
        watch: WatchName,
        /// The user who asked.
        by_uid: u32,
    },
    /// Somebody has a run ended, as its timeout would.
    RunKilled {
        /// Which one.
        #[serde(with = "super::text")]
        #[cfg_attr(test, schemars(with = "String"))]
        run: RunId,
        /// Whose.
        watch: WatchName,
        /// The user who asked.
        by_uid: u32,
    },
    /// Somebody has a run's process group sent a signal.
    RunSignaled {
        /// Which one.
        #[serde(with = "super::text")]
        #[cfg_attr(test, schemars(with = "String"))]
        run: RunId,
        /// Whose.
        watch: WatchName,
        /// The signal's name, such as `SIGHUP`.
        signal: String,
        /// The user who asked.
        by_uid: u32,
    },
    /// There is a watch that was not there before.
    WatchAdded {
        /// Which one.
        watch: WatchName,
        /// What it watches.
        znode: String,
        /// Whether it is watched.
        enabled: bool,
    },
    /// A watch has another definition.
    WatchRedefined {
        /// Which one.
        watch: WatchName,
        /// Each key with what it was and is, for people; of `env` only names.
        difference: String,
    },
    /// A watch is no longer defined.
    WatchRemoved {
        /// Which one.
        watch: WatchName,
    },
    /// Something is wrong with a watch file or the config folder that was not before.
    FileProblem {
        /// Which file or folder.
        file: PathBuf,
        /// In which line, from 1; `None`: all of it.
        line: Option<usize>,
        /// In which column, from 1; `None`: all of it.
        column: Option<usize>,
        /// What.
        message: String,
        /// What would be right.
        help: Option<String>,
    },
    /// Nothing is wrong any more with what something was wrong with.
    FileMended {
        /// Which file or folder. It may be gone.
        file: PathBuf,
    },
    /// So many events are missing here, since they came faster than they were taken note of.
    EventsMissing {
        /// How many.
        count: u64,
    },
}

/// The session of a connection that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Session {
    /// The daemon's first.
    First,
    /// The one that there was.
    Same,
    /// Another, in place of one that was over.
    New,
}

impl What {
    /// The watch that it is about; `None`: it is about none, or about all of them.
    #[must_use]
    pub fn watch(&self) -> Option<&WatchName> {
        match self {
            Self::RunStarted { run } | Self::RunAdopted { run } | Self::RunEnded { run } => Some(&run.watch),
            Self::RunStuck { watch, .. }
            | Self::Output { watch, .. }
            | Self::UpdateAccepted { watch, .. }
            | Self::UpdateDropped { watch, .. }
            | Self::RetryPlanned { watch, .. }
            | Self::WatchStopped { watch }
            | Self::WatchPaused { watch, .. }
            | Self::WatchResumed { watch, .. }
            | Self::WatchFired { watch, .. }
            | Self::RunKilled { watch, .. }
            | Self::RunSignaled { watch, .. }
            | Self::WatchAdded { watch, .. }
            | Self::WatchRedefined { watch, .. }
            | Self::WatchRemoved { watch } => Some(watch),
            Self::Connected { .. }
            | Self::Disconnected { .. }
            | Self::FileProblem { .. }
            | Self::FileMended { .. }
            | Self::EventsMissing { .. } => None,
        }
    }

    /// Whether it is to be told to who wants to know of these watches, or of everything where there are none.
    #[must_use]
    pub fn is_of_interest(&self, watches: &[WatchName]) -> bool {
        let is_of_one = self.watch().is_some_and(|watch| watches.contains(watch));
        watches.is_empty() || is_of_one || matches!(self, Self::EventsMissing { .. })
    }
}

/// The daemon's events: hands out their ids, keeps the last and tells those who follow.
#[derive(Debug)]
pub struct Events {
    last: EventId,
    kept: VecDeque<Arc<Event>>,
    /// Id of the newest event dropped from `kept`; at first, of the start.
    forgotten: EventId,
    followers: broadcast::Sender<Arc<Event>>,
}

/// What happens from now on, and what has happened.
#[derive(Debug)]
pub struct Following {
    /// What has happened and is kept, the oldest first.
    pub past: Vec<Arc<Event>>,
    /// Whether there may have been more since the event that was named: it is no longer kept.
    pub is_missing_some: bool,
    /// What happens from now on.
    pub live: Subscription,
}

/// Somebody who follows. Drop it to stop.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Arc<Event>>,
}

/// What somebody is told who follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// This happened.
    Event(Arc<Event>),
    /// So many events are missing here, since they were not taken fast enough.
    Missed(u64),
}

impl Subscription {
    /// Waits for what happens next; `None` when the daemon stops. May be cancelled.
    pub async fn next(&mut self) -> Option<Told> {
        match self.events.recv().await {
            Ok(event) => Some(Told::Event(event)),
            Err(RecvError::Lagged(count)) => Some(Told::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Events {
    /// None yet, at the given time.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        let last = micros(now);
        Self { last, kept: VecDeque::new(), forgotten: last, followers: broadcast::Sender::new(AHEAD) }
    }

    /// Tells of something that happened just now.
    pub fn tell(&mut self, what: What, now: SystemTime) {
        let event = self.event(what, now);
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.forgotten = oldest.id;
        }
        self.kept.push_back(Arc::clone(&event));
        // That nobody follows is no error.
        let _ = self.followers.send(event);
    }

    /// Tells those who follow now of lines that were printed.
    pub fn tell_output(
        &mut self,
        run: RunId,
        watch: &WatchName,
        lines: &[u8],
        dropped: Dropped,
        now: SystemTime,
    ) {
        if self.followers.receiver_count() == 0 {
            return;
        }
        let mut dropped = dropped;
        let (mut some, mut bytes) = (Vec::new(), 0);
        let mut rest = lines.split_inclusive(|&byte| byte == b'\n').peekable();
        while let Some(line) = rest.next() {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            bytes += line.len();
            some.push(String::from_utf8_lossy(line).into_owned());
            if bytes >= OUTPUT_AT_ONCE || rest.peek().is_none() {
                self.send_output(run, watch, std::mem::take(&mut some), std::mem::take(&mut dropped), now);
                bytes = 0;
            }
        }
        if dropped != Dropped::default() {
            self.send_output(run, watch, Vec::new(), dropped, now);
        }
    }

    fn send_output(
        &mut self,
        run: RunId,
        watch: &WatchName,
        lines: Vec<String>,
        dropped: Dropped,
        now: SystemTime,
    ) {
        let event = self.event(What::Output { run, watch: watch.clone(), lines, dropped }, now);
        let _ = self.followers.send(event);
    }

    /// What is kept of what happened after `since`, or all that is kept; and what happens from now on.
    #[must_use]
    pub fn follow(&self, since: Option<EventId>) -> Following {
        // It was of an earlier daemon, and the clock was set back since.
        let is_ahead = since.is_some_and(|since| since > self.last);
        let after = since.filter(|_| !is_ahead);
        let is_later = |event: &&Arc<Event>| after.is_none_or(|after| event.id > after);
        Following {
            past: self.kept.iter().filter(is_later).cloned().collect(),
            is_missing_some: is_ahead || since.is_some_and(|since| since < self.forgotten),
            live: self.subscribe(),
        }
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { events: self.followers.subscribe() }
    }

    fn event(&mut self, what: What, now: SystemTime) -> Arc<Event> {
        // Greater than the last also when the clock was set back or too much happens at once.
        self.last = EventId(self.last.0 + 1).max(micros(now));
        Arc::new(Event { id: self.last, at: timestamp(now), what })
    }
}

fn micros(now: SystemTime) -> EventId {
    EventId(u64::try_from(timestamp(now).as_microsecond()).unwrap_or(0))
}

/// Where the daemon's other parts tell what they see. Nobody waits in it; what does not fit is counted.
#[derive(Debug, Clone)]
pub struct Teller {
    tidings: mpsc::Sender<What>,
    missing: Arc<AtomicU64>,
}

/// The other end, for the journal.
#[derive(Debug)]
pub struct Tidings {
    tidings: mpsc::Receiver<What>,
    missing: Arc<AtomicU64>,
}

/// The two ends of what the daemon's other parts tell.
#[must_use]
pub fn teller() -> (Teller, Tidings) {
    let (tidings_in, tidings) = mpsc::channel(TIDINGS_AHEAD);
    let missing = Arc::new(AtomicU64::new(0));
    (Teller { tidings: tidings_in, missing: Arc::clone(&missing) }, Tidings { tidings, missing })
}

impl Teller {
    /// Tells of something that happened just now.
    pub fn tell(&self, what: What) {
        if self.tidings.try_send(what).is_err() {
            self.missing.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tidings {
    /// Waits for the next; `None` when there is nobody who could tell. May be cancelled.
    pub async fn next(&mut self) -> Option<What> {
        self.tidings.recv().await
    }

    /// How many did not fit since this was last asked.
    pub fn take_missing(&self) -> u64 {
        self.missing.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::record::run_record::tests::ended;
    use crate::schedule::order::Outcome;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn removed(number: usize) -> What {
        What::WatchRemoved { watch: number.to_string().as_str().try_into().unwrap() }
    }

    #[test]
    fn ids_rise_over_a_restart_and_when_the_clock_is_set_back() {
        let mut events = Events::new(at(10));
        for now in [at(10), at(10), at(5), at(11)] {
            events.tell(removed(1), now);
        }
        let ids: Vec<u64> = events.follow(None).past.iter().map(|event| event.id.as_u64()).collect();
        assert_eq!(ids, [10_000_001, 10_000_002, 10_000_003, 11_000_000]);
    }

    #[test]
    fn the_last_are_kept_and_who_names_one_that_is_not_hears_that_some_are_missing() {
        let mut events = Events::new(at(10));
        for number in 0..KEPT + 5 {
            events.tell(removed(number), at(11));
        }
        let all = events.follow(None).past;
        assert_eq!((all.len(), &all[0].what), (KEPT, &removed(5)));
        let rest = events.follow(Some(all[KEPT - 2].id));
        assert_eq!((rest.past.len(), rest.is_missing_some), (1, false));
        let before_the_first = EventId(all[0].id.as_u64() - 1);
        assert!(!events.follow(Some(before_the_first)).is_missing_some);
        assert!(events.follow(Some(EventId(before_the_first.as_u64() - 1))).is_missing_some);
    }

    #[test]
    fn who_names_one_of_a_time_before_the_clock_was_set_back_gets_all_and_hears_that_some_are_missing() {
        let mut events = Events::new(at(10));
        events.tell(removed(1), at(11));
        events.tell(removed(2), at(12));
        let following = events.follow(Some(micros(at(20))));
        assert_eq!((following.past.len(), following.is_missing_some), (2, true));
        let following = events.follow(Some(micros(at(12))));
        assert_eq!((following.past.len(), following.is_missing_some), (0, false));
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_how_much_it_has_missed_and_nobody_waits_for_it() {
        let mut events = Events::new(at(10));
        let mut live = events.follow(None).live;
        for number in 0..AHEAD + 7 {
            events.tell(removed(number), at(11));
        }
        assert_eq!(live.next().await, Some(Told::Missed(7)));
        let Some(Told::Event(event)) = live.next().await else { panic!("an event") };
        assert_eq!(event.what, removed(7));
        drop(events);
        for _ in 8..AHEAD + 7 {
            assert!(matches!(live.next().await, Some(Told::Event(_))));
        }
        assert_eq!(live.next().await, None);
    }

    #[tokio::test]
    async fn output_is_told_to_those_who_follow_in_pieces_and_not_kept() {
        let mut events = Events::new(at(10));
        let mut live = events.subscribe();
        let watch: WatchName = "a".try_into().unwrap();
        let long = [&[b'x'; OUTPUT_AT_ONCE][..], b"\nb\xff\n"].concat();
        let dropped = Dropped { lines: 1, bytes: 2 };
        events.tell_output(RunId::from_u64(7), &watch, &long, dropped, at(11));
        events.tell_output(RunId::from_u64(7), &watch, b"", dropped, at(11));
        let mut told = Vec::new();
        for _ in 0..3 {
            let Some(Told::Event(event)) = live.next().await else { panic!("an event") };
            let What::Output { lines, dropped, .. } = event.what.clone() else { panic!("output") };
            told.push((lines, dropped));
        }
        let expected = [
            (vec!["x".repeat(OUTPUT_AT_ONCE)], dropped),
            (vec!["b\u{fffd}".to_owned()], Dropped::default()),
            (vec![], dropped),
        ];
        assert_eq!(told, expected);
        assert!(events.follow(None).past.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_takes_note_of_is_counted() {
        let (teller, mut tidings) = teller();
        for number in 0..TIDINGS_AHEAD + 3 {
            teller.tell(removed(number));
        }
        assert_eq!(tidings.next().await, Some(removed(0)));
        assert_eq!((tidings.take_missing(), tidings.take_missing()), (3, 0));
    }

    #[test]
    fn an_event_reads_back_from_its_json() {
        let run = Arc::new(ended("a", 5, Outcome::TimedOut));
        let watch: WatchName = "a".try_into().unwrap();
        let whats = [
            What::RunEnded { run },
            What::RunStuck { run: RunId::from_u64(77), watch: watch.clone() },
            What::Output {
                run: RunId::from_u64(77),
                watch: watch.clone(),
                lines: vec!["x".into()],
                dropped: Dropped::default(),
            },
            What::Disconnected { servers: "zk1".into() },
            What::UpdateAccepted {
                watch,
                update: UpdateEvent::Loaded,
                mzxid: i64::MAX,
                instead_of_mzxid: None,
            },
        ];
        for what in whats {
            let event = Event { id: EventId(9), at: Timestamp::UNIX_EPOCH, what };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
        let event = Event {
            id: EventId(9),
            at: Timestamp::UNIX_EPOCH,
            what: What::Disconnected { servers: "zk1".into() },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"id":9,"at":"1970-01-01T00:00:00Z","event":"disconnected","servers":"zk1"}"#);
    }
}
