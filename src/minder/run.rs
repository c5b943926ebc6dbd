//! One run, as the minder has it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::minder::life::Life;
use crate::minder::output::Output;
use crate::minder::processes::{age, hold, signal_group, signal_held};
use crate::minder::reap::Death;
use crate::minder::records::{Named, Record};
use crate::minder::spawn::FailurePipe;
use crate::run::protocol::{About, End, Ending, Minded};
use crate::schedule::order::{RunId, Usage};

/// How long the output of what a run left behind is still taken.
const LINGER: Duration = Duration::from_secs(1);

/// How often a run that has ended is read from at once, so that one that prints without end does not keep the others
/// waiting: a pipe may have been grown to 1 MiB.
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
    script: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    /// What is printed and not passed on yet.
    pub output: Output,
    pipe: Option<File>,
    was_left: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Its main process has not been reaped.
    Alive {
        main: Main,
        life: Life,
        recheck: Option<(Instant, Duration)>,
        /// Survivors are being looked for.
        is_looked_for: bool,
    },
    /// It has ended. `linger_until`: when its output is no longer waited for.
    Ended { end: Box<End>, linger_until: Instant, noted: bool },
}

/// The main process of a run.
#[derive(Debug)]
pub enum Main {
    /// A child of this minder, which keeps its number until it is reaped.
    Child {
        /// Its number.
        pid: Pid,
        /// What it says if it cannot execute its program.
        failure: Box<FailurePipe>,
    },
    /// A child of another minder that is gone.
    Orphan {
        /// Which process.
        named: Named,
        /// Refers to it and to no other; readable when it has ended.
        handle: OwnedFd,
    },
}

impl Main {
    fn pid(&self) -> Pid {
        match self {
            Self::Child { pid, .. } => *pid,
            Self::Orphan { named, .. } => Pid::from_raw(named.pid),
        }
    }
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
    /// A run whose process was made. `output` is what it prints; `began`: when it was ordered.
    #[must_use]
    pub fn alive(
        record: Record,
        pid: Pid,
        output: Option<OwnedFd>,
        failure: FailurePipe,
        began: Instant,
    ) -> Self {
        let life = Life::begin(began, record.timeout_ms.map(Duration::from_millis));
        let main = Main::Child { pid, failure: Box::new(failure) };
        let state = State::Alive { main, life, recheck: None, is_looked_for: false };
        Self { pipe: output.map(File::from), ..Self::new(record, state, began) }
    }

    /// A run for which no process could be made.
    #[must_use]
    pub fn stillborn(record: Record, why: String, now: Instant) -> Self {
        Self::ended_without(record, None, Ending::SpawnFailed(why), now)
    }

    /// A run that another minder has started. If its main process is there it goes on, with what is left of
    /// its time; else it is lost.
    #[must_use]
    pub fn orphan(record: Record, named: Named, now: Instant) -> Self {
        let Some(handle) = named.find().and_then(|process| hold(&process)) else {
            let lost = Self::ended_without(record, Some(named.pid), Ending::Lost, now);
            return Self { was_left: true, ..lost };
        };
        let age = age(named.start_time);
        let timeout = record.timeout_ms.map(|timeout| Duration::from_millis(timeout).saturating_sub(age));
        let state = State::Alive {
            main: Main::Orphan { named, handle },
            life: Life::begin(now, timeout),
            recheck: None,
            is_looked_for: false,
        };
        let started = now.checked_sub(age).unwrap_or(now);
        Self { started, was_left: true, ..Self::new(record, state, now) }
    }

    /// A run of which another minder has left the end and the last of the output.
    #[must_use]
    pub fn ended(end: End, output: Output, now: Instant) -> Self {
        Self {
            id: end.run,
            about: end.about.clone(),
            kill_after: Duration::ZERO,
            started: now,
            started_ms: end.started_ms,
            script: None,
            cgroup: None,
            output,
            pipe: None,
            was_left: true,
            state: State::Ended { end: Box::new(end), linger_until: now, noted: false },
        }
    }

    fn ended_without(record: Record, pid: Option<i32>, ending: Ending, now: Instant) -> Self {
        // That they are not there, or that something is left in it, changes nothing.
        let _ = record.script.as_ref().map(fs::remove_file);
        let _ = record.cgroup.as_ref().map(fs::remove_dir);
        let end = End {
            run: record.run,
            about: record.about.clone(),
            pid,
            ending,
            usage: None,
            started_ms: record.started_ms,
            lasted_us: 0,
        };
        Self::new(record, State::Ended { end: Box::new(end), linger_until: now, noted: false }, now)
    }

    fn new(record: Record, state: State, now: Instant) -> Self {
        Self {
            id: record.run,
            about: record.about,
            kill_after: Duration::from_millis(record.kill_after_ms),
            started: now,
            started_ms: record.started_ms,
            script: record.script,
            cgroup: record.cgroup,
            output: Output::default(),
            pipe: None,
            was_left: false,
            state,
        }
    }

    /// The name of its watch.
    #[must_use]
    pub fn watch(&self) -> &str {
        &self.about.watch
    }

    /// As it is told to a daemon.
    #[must_use]
    pub fn minded(&self) -> Minded {
        let pid = match &self.state {
            State::Alive { main, .. } => Some(main.pid().as_raw()),
            State::Ended { end, .. } => end.pid,
        };
        Minded { run: self.id, about: self.about.clone(), pid }
    }

    /// Whether this minder has found it as another left it, and so perhaps on disk also after its end.
    #[must_use]
    pub fn was_left(&self) -> bool {
        self.was_left
    }

    /// Its main process, unless it has ended.
    #[must_use]
    pub fn main(&self) -> Option<&Main> {
        match &self.state {
            State::Alive { main, .. } => Some(main),
            State::Ended { .. } => None,
        }
    }

    /// The number of its main process, unless it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.main().map(Main::pid)
    }

    /// Sends a signal to its process group. Of a run that is not this minder's child only its main process is
    /// sure to be meant, and only that is sent it.
    pub fn signal_group(&self, signal: Signal) {
        match self.main() {
            Some(Main::Child { pid, .. }) => signal_group(*pid, signal),
            Some(Main::Orphan { handle, .. }) => signal_held(handle, signal),
            None => {}
        }
    }

    /// The cgroup that it has to itself.
    #[must_use]
    pub fn cgroup(&self) -> Option<&PathBuf> {
        self.cgroup.as_ref()
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
    pub fn finish(&mut self, ending: Ending, usage: Option<Usage>, now: Instant, buffer: &mut [u8]) {
        for _ in 0..READS_AT_THE_END {
            if self.read_output(buffer) != Heard::Some {
                break;
            }
        }
        if let Some(script) = self.script.take() {
            let _ = fs::remove_file(script);
        }
        let mut end = Box::new(End {
            run: self.id,
            about: self.about.clone(),
            pid: self.pid().map(Pid::as_raw),
            ending,
            usage,
            started_ms: self.started_ms,
            lasted_us: u64::try_from((now - self.started).as_micros()).unwrap_or(u64::MAX),
        });
        let over = State::Ended { end: end.clone(), linger_until: now + LINGER, noted: false };
        if let State::Alive { main: Main::Child { failure, .. }, .. } =
            std::mem::replace(&mut self.state, over)
            && let Some(why) = failure.read()
        {
            end.ending = Ending::SpawnFailed(why);
            self.state = State::Ended { end, linger_until: now + LINGER, noted: false };
        }
    }

    /// The daemon has taken note of its end.
    pub fn set_noted(&mut self) {
        if let State::Ended { noted, .. } = &mut self.state {
            *noted = true;
        }
    }

    /// Whether the daemon has taken note of its end.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        matches!(self.state, State::Ended { noted: true, .. })
    }

    /// Whether it can be forgotten.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.pipe.is_none() && self.output.is_settled() && self.is_noted()
    }

    /// What it prints to, to be waited for.
    #[must_use]
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads some of what it has printed, by way of `buffer`.
    pub fn read_output(&mut self, buffer: &mut [u8]) -> Heard {
        let Some(pipe) = &mut self.pipe else { return Heard::End };
        match pipe.read(buffer) {
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

    /// Survivors are being looked for from now on; `false`: they are already.
    pub fn begin_to_look(&mut self) -> bool {
        match &mut self.state {
            State::Alive { is_looked_for, .. } => !std::mem::replace(is_looked_for, true),
            State::Ended { .. } => false,
        }
    }

    /// Survivors were looked for.
    pub fn end_of_look(&mut self) {
        if let State::Alive { is_looked_for, .. } = &mut self.state {
            *is_looked_for = false;
        }
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
            State::Alive { life, recheck, is_looked_for, .. } => {
                let recheck =
                    recheck.filter(|_| life.waits_for_survivors() && !is_looked_for).map(|(at, _)| at);
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
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
