//! One run, as the minder has it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::Pid;

use crate::minder::life::Life;
use crate::minder::output::Output;
use crate::minder::reap::Death;
use crate::minder::spawn::{FailurePipe, Spawned};
use crate::run::protocol::{About, End, Ending, Minded, Start};
use crate::schedule::order::{RunId, Usage};

/// How long the output of what a run left behind is still taken.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read from a child at once, so that one that prints without end does not keep the others
/// waiting: as much as a pipe holds unless it was grown.
const READ_AT_ONCE: usize = 64 << 10;

/// How often a run that has ended is read from at once, for the same reason: a pipe may have been grown to
/// 1 MiB.
const READS_AT_THE_END: u32 = 17;

/// How long to wait before survivors are looked for again: first, and at most. It doubles in between.
const RECHECK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// One run.
#[derive(Debug)]
pub struct Run {
    /// Names it.
    pub id: RunId,
    about: About,
    kill_after: Duration,
    started: Instant,
    started_ms: u64,
    /// What is printed and not passed on yet.
    pub output: Output,
    pipe: Option<File>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Its main process has not been reaped.
    Alive { pid: Pid, life: Life, failure: Box<FailurePipe>, recheck: Option<(Instant, Duration)> },
    /// It has ended. `linger_until`: when its output is no longer waited for.
    Ended { end: Box<End>, pid: Option<Pid>, linger_until: Instant, noted: bool },
}

/// What came of reading from a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Something; there may be more.
    Some,
    /// Nothing for now.
    Nothing,
    /// Nothing, and no more will come.
    End,
}

impl Run {
    /// A run whose process was just made.
    #[must_use]
    pub fn alive(start: &Start, spawned: Spawned, now: Instant) -> Self {
        let life = Life::begin(now, start.timeout_ms.map(Duration::from_millis));
        let state =
            State::Alive { pid: spawned.pid, life, failure: Box::new(spawned.failure), recheck: None };
        Self { pipe: spawned.output.map(File::from), ..Self::new(start, state, now) }
    }

    /// A run for which no process could be made.
    #[must_use]
    pub fn stillborn(start: &Start, why: String, now: Instant) -> Self {
        let end = End {
            run: start.run,
            about: start.about.clone(),
            ending: Ending::SpawnFailed(why),
            usage: None,
            started_ms: wall_ms(),
            lasted_us: 0,
        };
        Self::new(start, State::Ended { end: Box::new(end), pid: None, linger_until: now, noted: false }, now)
    }

    fn new(start: &Start, state: State, now: Instant) -> Self {
        Self {
            id: start.run,
            about: start.about.clone(),
            kill_after: Duration::from_millis(start.kill_after_ms),
            started: now,
            started_ms: wall_ms(),
            output: Output::default(),
            pipe: None,
            state,
        }
    }

    /// The name of its watch.
    #[must_use]
    pub fn watch(&self) -> &str {
        &self.about.watch
    }

    /// As it is told to a daemon that comes.
    #[must_use]
    pub fn minded(&self) -> Minded {
        let pid = match &self.state {
            State::Alive { pid, .. } => Some(*pid),
            State::Ended { pid, .. } => *pid,
        };
        Minded { run: self.id, about: self.about.clone(), pid: pid.map(Pid::as_raw) }
    }

    /// Its main process, unless that has been reaped.
    #[must_use]
    pub fn main(&self) -> Option<Pid> {
        match &self.state {
            State::Alive { pid, .. } => Some(*pid),
            State::Ended { .. } => None,
        }
    }

    /// Its life and the time between its SIGTERM and its SIGKILL, unless it has ended.
    pub fn life(&mut self) -> Option<(&mut Life, Duration)> {
        match &mut self.state {
            State::Alive { life, .. } => Some((life, self.kill_after)),
            State::Ended { .. } => None,
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Alive { .. } => None,
            State::Ended { end, .. } => Some(end),
        }
    }

    /// Takes note of its end. What it has printed by now is read; what those that it leaves behind print is
    /// read for a moment more.
    pub fn finish(&mut self, ending: Ending, usage: Option<Usage>, now: Instant) {
        for _ in 0..READS_AT_THE_END {
            if self.read_output() != Heard::Some {
                break;
            }
        }
        let ended = State::Ended {
            end: Box::new(End {
                run: self.id,
                about: self.about.clone(),
                ending,
                usage,
                started_ms: self.started_ms,
                lasted_us: u64::try_from((now - self.started).as_micros()).unwrap_or(u64::MAX),
            }),
            pid: self.main(),
            linger_until: now + LINGER,
            noted: false,
        };
        if let State::Alive { failure, .. } = std::mem::replace(&mut self.state, ended)
            && let Some(why) = failure.read()
            && let State::Ended { end, .. } = &mut self.state
        {
            end.ending = Ending::SpawnFailed(why);
        }
    }

    /// The daemon has taken note of its end.
    pub fn set_noted(&mut self) {
        if let State::Ended { noted, .. } = &mut self.state {
            *noted = true;
        }
    }

    /// Whether it can be forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.pipe.is_none()
            && self.output.is_settled()
            && matches!(self.state, State::Ended { noted: true, .. })
    }

    /// What it prints to, to be waited for.
    #[must_use]
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads some of what it has printed.
    pub fn read_output(&mut self) -> Heard {
        let Some(pipe) = &mut self.pipe else { return Heard::End };
        let mut buffer = [0; READ_AT_ONCE];
        match pipe.read(&mut buffer) {
            Ok(length) if length > 0 => {
                self.output.push(&buffer[..length]);
                Heard::Some
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Heard::Some,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Heard::Nothing,
            Ok(_) | Err(_) => {
                self.pipe = None;
                Heard::End
            }
        }
    }

    /// Closes what it prints to once it has ended and been listened to for long enough.
    pub fn stop_listening_if_late(&mut self, now: Instant) {
        if matches!(&self.state, State::Ended { linger_until, .. } if now >= *linger_until) {
            self.pipe = None;
        }
    }

    /// Whether no more output will come.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.pipe.is_none()
    }

    /// Survivors were found: when to look again.
    pub fn look_again_later(&mut self, now: Instant) {
        if let State::Alive { recheck, .. } = &mut self.state {
            let pause = recheck.map_or(RECHECK.0, |(_, pause)| (pause * 2).min(RECHECK.1));
            *recheck = Some((now + pause, pause));
        }
    }

    /// It was killed: survivors are looked for at once.
    pub fn look_again_soon(&mut self, now: Instant) {
        if let State::Alive { recheck, .. } = &mut self.state {
            *recheck = Some((now + RECHECK.0, RECHECK.0));
        }
    }

    /// When it wants to hear of the time.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let held_back = self.output.held_back_until(now);
        let own = match &self.state {
            State::Alive { life, recheck, .. } => {
                let recheck = recheck.filter(|_| life.waits_for_survivors()).map(|(at, _)| at);
                life.wake_at().into_iter().chain(recheck).min()
            }
            State::Ended { linger_until, .. } => self.pipe.is_some().then_some(*linger_until),
        };
        own.into_iter().chain(held_back).min()
    }
}

impl From<Death> for Ending {
    fn from(death: Death) -> Self {
        match death {
            Death::Exited(status) => Self::Exited(status),
            Death::Signaled(number) => Self::Signaled(number),
        }
    }
}

/// The time as the host's clock has it, in milliseconds since 1970.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
