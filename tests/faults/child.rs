//! What the daemons run: this very program, which writes down when it begins, what it was given, and how it
//! ends. Everything else that the test knows of runs, it has from here.
//!
//! A run holds the lock of its watch, which the kernel takes from it when it is gone, however it went: the next
//! one that finds it taken has caught two of them at once.

use std::env;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::time::{ClockId, clock_gettime};

/// What a run is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Short, and it ends well.
    Calm,
    /// Fails one time in three.
    Fickle,
    /// Takes longer than it is allowed to one time in four.
    Slow,
    /// The same, and it does not heed SIGTERM.
    Stubborn,
}

impl Temper {
    pub const ALL: [Self; 4] = [Self::Calm, Self::Fickle, Self::Slow, Self::Stubborn];

    pub fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Fickle => "fickle",
            Self::Slow => "slow",
            Self::Stubborn => "stubborn",
        }
    }

    /// How long the run takes and how it ends: the same each time.
    fn plan(self, dice: u64) -> (Duration, u8) {
        let (millis, fails) = match self {
            Self::Calm => (dice % 100, false),
            Self::Fickle => (dice % 200, dice.is_multiple_of(3)),
            // Far from the second that it is given.
            Self::Slow | Self::Stubborn if dice.is_multiple_of(4) => (2000, false),
            Self::Slow | Self::Stubborn => (dice % 400, false),
        };
        (Duration::from_millis(millis), u8::from(fails))
    }
}

/// The time since the machine was started, in microseconds, the same for all processes.
pub fn monotonic_us() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock"));
    u64::try_from(now.as_micros()).expect("a time that fits")
}

/// Stands for what a run was given on its stdin.
pub fn token(contents: &[u8]) -> u64 {
    hash(&contents)
}

fn hash(what: &impl Hash) -> u64 {
    // Without keys, so that it is the same in every process of this program.
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// One run, from its first line to its last. Returns the exit status.
pub fn run(folder: &Path, temper: &str) -> u8 {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let temper = Temper::ALL.into_iter().find(|known| known.word() == temper).expect("a temper");
    let watch = variable("TWITCHER_WATCH");
    let mut journal = OpenOptions::new().append(true).open(folder.join("journal")).expect("the journal");
    let mut tell = |what: &str, rest: &str| {
        let line = format!("{what} {watch} {} {} {rest}\n", variable("TWITCHER_RUN_ID"), monotonic_us());
        // One write, so that it is whole among those of others.
        journal.write_all(line.as_bytes()).expect("a line in the journal");
    };

    let lock = File::create(folder.join("locks").join(&watch)).expect("a file to lock");
    let lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Some(lock),
        Err((_, Errno::EWOULDBLOCK)) => {
            tell("overlap", "");
            None
        }
        Err((_, errno)) => panic!("a file that cannot be locked: {errno}"),
    };
    let mut asked = SigSet::empty();
    asked.add(Signal::SIGUSR1);
    if temper == Temper::Stubborn {
        asked.add(Signal::SIGTERM);
    }
    asked.thread_block().expect("signals to come one after the other");

    let mut contents = Vec::new();
    std::io::stdin().read_to_end(&mut contents).expect("stdin");
    let (zxid, attempt) = (variable("TWITCHER_MZXID"), variable("TWITCHER_ATTEMPT"));
    let given = token(&contents);
    tell("begin", &format!("{zxid} {attempt} {} {given:x}", variable("TWITCHER_EVENT")));

    let (lasts, status) = temper.plan(hash(&(&watch, &zxid, &attempt)));
    if !say("begun") {
        return 1;
    }
    let stopped_by = wait(&asked, lasts);
    if stopped_by == Some(Signal::SIGTERM) {
        // It does not heed it, for longer than it is given.
        wait(&SigSet::empty(), Duration::from_secs(60));
    }
    if !say("ending") {
        return 1;
    }
    tell("end", &status.to_string());
    drop(lock);
    status
}

/// Says something on stdout. Where nobody listens any more, a program of the shell's would be dead.
fn say(word: &str) -> bool {
    writeln!(std::io::stdout(), "{word}").is_ok()
}

/// Waits for one of the signals, for so long at most.
fn wait(signals: &SigSet, at_most: Duration) -> Option<Signal> {
    let pending = SignalFd::new(signals).expect("signals as a file");
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("something to wait with");
    epoll.add(pending.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0)).expect("something to wait for");
    let timeout = EpollTimeout::try_from(at_most).expect("a short time");
    let ready = epoll.wait(&mut [EpollEvent::empty()], timeout).expect("a wait");
    let signal = (ready > 0).then(|| pending.read_signal().expect("a signal")).flatten()?;
    Signal::try_from(i32::try_from(signal.ssi_signo).expect("a number")).ok()
}
