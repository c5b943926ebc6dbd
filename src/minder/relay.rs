//! Which thread works: the minder goes from one to the next, and no two have it.
//!
//! Who makes a process stands still until that has become its program. That is over in less time than it takes to
//! wake another thread, so the thread that works makes it itself, and lays the minder down for as long. Another one
//! stands by: should the first not be back in time, since what it waits for is on a server that does not answer, it
//! takes the minder up and goes on, and the first ends when it comes back.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;

use crate::minder::mind::{Events, Making, Minder};
use crate::minder::process::ChildStack;

/// How long the minder may lie there until the one who stands by takes it up: most programs are executed in a
/// hundredth of that.
const PATIENCE: Duration = Duration::from_millis(10);

/// After so long the time and the daemon are minded before the next is made.
const SLOW: Duration = Duration::from_millis(1);

/// How much a thread needs.
const STACK: usize = 512 << 10;

/// Works until there is nothing left to mind.
///
/// # Errors
/// When waiting fails, for which there is no reason but a bug, or there can be no thread.
pub fn run(minder: Minder) -> io::Result<()> {
    let (over, is_over) = sync_channel(1);
    let alarm = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let relay = Arc::new(Relay { place: Mutex::default(), alarm, over });
    relay.start_thread(move |relay, stack| relay.lead(Box::new(minder), stack))?;
    is_over.recv().map_err(io::Error::other)?
}

struct Relay {
    place: Mutex<Place>,
    /// Rings when the minder has lain in its place for long.
    alarm: TimerFd,
    /// Where it is told that all is over.
    over: SyncSender<io::Result<()>>,
}

#[derive(Default)]
struct Place {
    /// What lies there, with the process that is being made.
    laid_down: Option<(Box<Minder>, Making)>,
    /// Whether a thread looks after it.
    is_watched: bool,
}

impl Relay {
    fn start_thread(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>, &ChildStack) + Send + 'static,
    ) -> io::Result<()> {
        let (relay, stack) = (Arc::clone(self), ChildStack::new()?);
        thread::Builder::new().stack_size(STACK).spawn(move || {
            // Whoever waits for the end would wait for ever for a thread that had a bug.
            if catch_unwind(AssertUnwindSafe(|| work(&relay, &stack))).is_err() {
                let _ = relay.over.send(Err(io::Error::other("a thread of the minder had a bug")));
            }
        })?;
        Ok(())
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until all is over, or until another thread does.
    fn lead(self: &Arc<Self>, mut minder: Box<Minder>, stack: &ChildStack) {
        let mut events = Events::default();
        let mut ready = 0;
        loop {
            // Nothing at first: who has it after another begins with what that one has left undone.
            for event in events.first(ready).iter().map(Some).chain([None]) {
                event.into_iter().for_each(|event| minder.hear(event));
                // One at a time: what comes of an event may be that another daemon is welcomed, who has to be told of
                // all that the one before has ordered.
                while let Some(making) = minder.carry_out() {
                    // What is left of these events is heard of again.
                    let Some(back) = self.make(minder, making, stack) else { return };
                    minder = back;
                }
            }
            ready = match minder.end_turn(&mut events) {
                Ok(Some(ready)) => ready,
                Ok(None) => return drop(self.over.send(Ok(()))),
                Err(error) => return drop(self.over.send(Err(error))),
            };
        }
    }

    /// Makes a process; `None`: that took so long that another thread has the minder now.
    fn make(
        self: &Arc<Self>,
        mut minder: Box<Minder>,
        making: Making,
        stack: &ChildStack,
    ) -> Option<Box<Minder>> {
        if let Err(error) = self.have_somebody_stand_by() {
            minder.made(making, Err(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)));
            return Some(minder);
        }
        let process = making.process();
        self.place().laid_down = Some((minder, making));
        self.set_alarm();
        let began = Instant::now();
        let made = process.make(stack);
        let was_slow = began.elapsed() > SLOW;
        // What lies there by now may be what another thread has laid down.
        let is_mine = |(_, making): &mut (_, Making)| Arc::ptr_eq(&making.process(), &process);
        let (mut minder, making) = self.place().laid_down.take_if(is_mine)?;
        let _ = self.alarm.unset();
        // The child's end of its output is the child's alone.
        drop(process);
        minder.made(making, made);
        if was_slow {
            // Hundreds more may be to be made.
            minder.do_what_is_due();
        }
        Some(minder)
    }

    fn set_alarm(&self) {
        let once = Expiration::OneShot(TimeSpec::from_duration(PATIENCE));
        // There is nothing in it that could be refused.
        let _ = self.alarm.set(once, TimerSetTimeFlags::empty());
    }

    fn have_somebody_stand_by(self: &Arc<Self>) -> io::Result<()> {
        if self.place().is_watched {
            return Ok(());
        }
        self.start_thread(|relay, stack| {
            let (mut minder, making, pid) = relay.stand_by();
            minder.made(making, Ok(pid));
            minder.do_what_is_due();
            relay.lead(minder, stack);
        })?;
        self.place().is_watched = true;
        Ok(())
    }

    /// Waits until the minder has lain there for too long, and takes it up.
    fn stand_by(&self) -> (Box<Minder>, Making, Pid) {
        loop {
            // Nothing can interrupt it, as all signals are blocked; and to look once too often does no harm.
            let _ = self.alarm.wait();
            let mut place = self.place();
            // Unless whoever laid it down has come back just now.
            let Some((_, making)) = &place.laid_down else { continue };
            let placed = making.process().placed();
            match placed.and_then(|pid| Some((pid, place.laid_down.take()?))) {
                Some((pid, (minder, making))) => {
                    place.is_watched = false;
                    return (minder, making, pid);
                }
                None => self.set_alarm(),
            }
        }
    }
}
