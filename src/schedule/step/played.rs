//! A watch with a host around it, for tests: places, a clock, and a list of what was started. It sees to it
//! that P2 and P3 hold at each start, whatever the test is about.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;

use super::*;
use crate::config::spec::{OnFailure, Pacing, Retries, WatchType, ZnodePath};
use crate::schedule::order::{Applied, RunIds};
use crate::schedule::progress::Progress;
use crate::watch::subscriptions::Target;
use crate::watch::update::Sign;

pub fn policy(run_mode: RunMode) -> Policy {
    Policy {
        target: Target { znode: ZnodePath::try_from("/a").unwrap(), watch_type: WatchType::Data },
        run_mode,
        run_on_load: RunOnLoad::Always,
        on_delete: OnDelete::Ignore,
        pacing: Pacing::default(),
        retries: Retries { count: 0, delay: Duration::from_secs(1), max_delay: Duration::from_secs(60) },
        on_failure: OnFailure::Keep,
    }
}

/// What a deletion is called among the zxids.
pub const DELETED: i64 = -1;

pub fn version(mzxid: i64) -> Version {
    Version { czxid: 1, mzxid, version: 0, sign: Some(Sign::Data) }
}

/// The zxid of a state, unless it is that of a znode which is not there.
fn name(version: &Version) -> i64 {
    if matches!(version.sign, Some(Sign::Absent(_))) { DELETED } else { version.mzxid }
}

/// As the ledger has it, which knows of znodes, too.
fn applied(version: Version) -> Applied {
    Applied { znode: "/a".into(), version }
}

pub fn update(event: Event, mzxid: i64) -> Update {
    let version = version(mzxid);
    let version = if event == Event::Deleted { version.gone(WatchType::Data) } else { version };
    Update { event, version, contents: Bytes::new(), child: None }
}

#[derive(Debug)]
pub struct Played {
    pub watch: Watch,
    pub now: Instant,
    has_places: bool,
    ids: RunIds,
    /// What goes on, with the state that it was given.
    pub running: Vec<(RunId, Version)>,
    /// What the ledger says, of which only the next daemon hears.
    pub ledger: Progress,
    /// The zxids that runs were started with, in order.
    pub started: Vec<i64>,
    pub most_at_once: usize,
    run_mode: Option<RunMode>,
    /// How many more runs of each zxid have been announced.
    announced: HashMap<i64, usize>,
}

impl Played {
    pub fn new(policy: Policy) -> Self {
        Self::with_ledger(policy, None)
    }

    pub fn with_ledger(policy: Policy, applied: Option<Version>) -> Self {
        let mut played = Self::nothing();
        let _ = played.tell(Input::Defined { policy, applied, given: None });
        played
    }

    pub fn without_places(policy: Policy) -> Self {
        let mut played = Self { has_places: false, ..Self::nothing() };
        played.define(policy);
        played
    }

    /// One in which a run with this zxid goes on from before.
    pub fn adopting(policy: Policy, mzxid: i64) -> Self {
        let mut played = Self::nothing();
        let run = played.ids.next(SystemTime::UNIX_EPOCH);
        played.running.push((run, version(mzxid)));
        played.restart(policy);
        played
    }

    fn nothing() -> Self {
        Self {
            watch: Watch::new(),
            now: Instant::now(),
            has_places: true,
            ids: RunIds::after([]),
            running: vec![],
            ledger: Progress::default(),
            started: vec![],
            most_at_once: 0,
            run_mode: None,
            announced: HashMap::new(),
        }
    }

    pub fn tell(&mut self, input: Input) -> Decision {
        match &input {
            Input::Updated(update) | Input::Fired(update) => self.tell_of(name(&update.version), input),
            Input::Missing => self.tell_of(DELETED, input),
            Input::Defined { policy, .. } => {
                self.run_mode = Some(policy.run_mode);
                self.tell_of(0, input)
            }
            _ => self.tell_of(0, input),
        }
    }

    fn tell_of(&mut self, mzxid: i64, input: Input) -> Decision {
        let decision = self.watch.step(self.now, input);
        if matches!(decision, Decision::Accepted { .. } | Decision::Fired { .. } | Decision::Retry { .. }) {
            *self.announced.entry(mzxid).or_default() += 1;
        }
        self.fill_places();
        decision
    }

    fn fill_places(&mut self) {
        while self.has_places && self.watch.wants_place(self.now) {
            let run = self.ids.next(SystemTime::UNIX_EPOCH);
            let Decision::Start { update, .. } = self.watch.step(self.now, Input::Place(run)) else {
                panic!("a watch that wants a place does not take it")
            };
            let mzxid = name(&update.version);
            match self.run_mode {
                Some(RunMode::Parallel { max }) => assert!(self.running.len() < max as usize),
                _ => {
                    assert!(self.running.is_empty(), "P2: {mzxid} starts beside {:?}", self.running);
                    let newest = self.started.iter().copied().max().unwrap_or(0);
                    assert!(mzxid == DELETED || mzxid >= newest, "P1: {mzxid} is run after {newest}");
                }
            }
            let left = self.announced.get(&mzxid).and_then(|announced| announced.checked_sub(1));
            let left = left.unwrap_or_else(|| panic!("P3: nothing asked for a run of {mzxid}"));
            self.announced.insert(mzxid, left);
            self.ledger.begin(run, applied(update.version));
            self.running.push((run, update.version));
            self.started.push(mzxid);
        }
        self.most_at_once = self.most_at_once.max(self.running.len());
    }

    /// What the ledger says.
    fn applied(&self) -> Option<Version> {
        self.ledger.applied().map(|applied| applied.version)
    }

    pub fn give_places(&mut self) {
        self.has_places = true;
        self.fill_places();
    }

    pub fn define(&mut self, policy: Policy) {
        let _ = self.tell(Input::Defined { policy, applied: None, given: None });
    }

    pub fn update(&mut self, mzxid: i64) -> Decision {
        self.tell(Input::Updated(update(Event::Changed, mzxid)))
    }

    /// Ends the run that goes on for longest.
    pub fn end_one(&mut self, well: bool) -> Decision {
        if self.running.is_empty() {
            return Decision::Nothing;
        }
        let (run, given) = self.running.remove(0);
        if well {
            self.ledger.end_well(run, applied(given));
        }
        self.tell_of(name(&given), Input::Ended { run, well, given: Some(given) })
    }

    /// The daemon dies and is started again: runs go on, all else is forgotten but what the ledger says.
    pub fn restart(&mut self, policy: Policy) {
        self.watch = Watch::new();
        self.announced.clear();
        self.ledger = Progress::new(self.ledger.applied().cloned());
        for &(run, given) in &self.running {
            self.watch.adopt(run);
            self.ledger.begin(run, applied(given));
        }
        let given = self.running.last().map(|(_, version)| *version);
        let _ = self.tell(Input::Defined { policy, applied: self.applied(), given });
    }

    pub fn end_all(&mut self) {
        while !self.running.is_empty() {
            let _ = self.end_one(true);
        }
    }

    /// Lets time go by, heeding each moment that the watch has asked for.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.watch.wake_at().filter(|&at| at > self.now && at <= until) {
            self.now = at;
            let _ = self.tell(Input::Time);
        }
        self.now = until;
        let _ = self.tell(Input::Time);
    }
}
