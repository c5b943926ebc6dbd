//! Looks through the process table for what belongs to runs, on a thread of its own: on a machine with many
//! processes that takes time, and a single process can make `/proc` wait for as long as it likes, by an exec that
//! waits for a file server. The minder's loop asks and goes on.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use crate::minder::cgroup;
use crate::minder::processes::{self, Process, Table};
use crate::schedule::order::RunId;

/// How long one process may keep the others from being looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much the thread's stack needs at the most.
const STACK: usize = 256 << 10;

/// What is wanted of a look.
#[derive(Debug, Clone)]
pub struct Look {
    /// Whose processes are looked for.
    pub run: RunId,
    /// Its main process, which is not among them.
    pub main: Pid,
    /// When that was started, in clock ticks, where nothing keeps its number from becoming another's.
    pub started: Option<u64>,
    /// The processes whose children may have come from this run although nothing but their environment says so: the
    /// minder's number, with those of its children that it knows. `None`: any process may.
    pub strays: Option<(i32, Arc<HashSet<Pid>>)>,
    /// The cgroup that the run has to itself.
    pub cgroup: Option<PathBuf>,
    /// What it is for.
    pub aim: Aim,
}

/// What a look is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// What is found is sent these signals.
    Signal(Vec<Signal>),
    /// To know whether any is left, after the main process has ended. What is found is sent these signals.
    Survivors(Vec<Signal>),
}

/// What came of a look. The signals are on their way.
#[derive(Debug)]
pub struct Found {
    /// Whose processes were looked for.
    pub run: RunId,
    /// What it was for.
    pub aim: Aim,
    /// Whether there is any besides the main process.
    pub is_any: bool,
}

/// Asks for looks, and hears what came of them.
#[derive(Debug)]
pub struct Census {
    looker: Looker,
    /// What was asked for and not answered, oldest first.
    open: Vec<Look>,
    /// Processes that are not looked at any more, since one that was did not return.
    shunned: Shunned,
    /// Whether it was said that there can be no other thread.
    said_threadless: bool,
    /// Since when the thread has looked at the same process, as far as was seen.
    stands_still: Option<(i32, Instant)>,
    ready: Arc<OwnedFd>,
}

/// Processes by their numbers, each of them held, so that its number can be told from when it is another's.
#[derive(Debug, Clone, Default)]
struct Shunned(HashMap<i32, Arc<OwnedFd>>);

impl Shunned {
    fn add(&mut self, pid: i32) {
        // To hold it does not ask it anything. If it is gone, there is nothing to be kept away from.
        let held = rustix::process::Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        if let Some(Ok(held)) = held {
            self.0.insert(pid, Arc::new(held));
        }
    }

    fn forget_gone(&mut self) {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Readable when it has ended.
        self.0.retain(|_, held| poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&at_once)) == Ok(0));
    }

    fn has(&self, pid: i32) -> bool {
        self.0.contains_key(&pid)
    }
}

#[derive(Debug)]
struct Looker {
    looks: Sender<Look>,
    found: Receiver<Found>,
    /// The process that it is looking at, 0 in between.
    at: Arc<AtomicI32>,
}

impl Census {
    /// A census with nothing to do.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn new() -> io::Result<Self> {
        let ready = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shunned = Shunned::default();
        let looker = Looker::start(shunned.clone(), Arc::clone(&ready))?;
        Ok(Self { looker, open: Vec::new(), shunned, said_threadless: false, stands_still: None, ready })
    }

    /// Readable when something was found.
    #[must_use]
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Has the table looked through. It is answered by one `Found`.
    pub fn look(&mut self, look: Look) {
        // A thread that has ended is replaced when it is found to stand still.
        let _ = self.looker.looks.send(look.clone());
        self.open.push(look);
    }

    /// What came of looks since this was last asked.
    pub fn found(&mut self) -> Vec<Found> {
        let _ = rustix::io::read(&self.ready, &mut [0; 8]);
        let found: Vec<Found> = self.looker.found.try_iter().collect();
        for found in &found {
            if let Some(at) = self.open.iter().position(|look| look.run == found.run && look.aim == found.aim)
            {
                self.open.remove(at);
            }
        }
        found
    }

    /// When `watch_over` wants to be called.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        (!self.open.is_empty())
            .then(|| self.stands_still.map_or(now + PATIENCE, |(_, since)| since + PATIENCE))
    }

    /// Leaves a thread behind that does not come back from a process, and has another one go on without that
    /// process. Returns its number, or why nobody can look any more, which is said once for as long as it lasts.
    pub fn watch_over(&mut self, now: Instant) -> Option<Result<i32, io::Error>> {
        if self.open.is_empty() {
            self.stands_still = None;
            return None;
        }
        let at = self.looker.at.load(Ordering::Relaxed);
        match self.stands_still {
            Some((before, since)) if before == at => {
                if now < since + PATIENCE {
                    return None;
                }
                self.stands_still = None;
                // Between two processes it only waits for its turn.
                if at == 0 {
                    return None;
                }
                self.shunned.forget_gone();
                self.shunned.add(at);
                match Looker::start(self.shunned.clone(), Arc::clone(&self.ready)) {
                    Ok(looker) => {
                        self.looker = looker;
                        self.said_threadless = false;
                        for look in &self.open {
                            let _ = self.looker.looks.send(look.clone());
                        }
                        Some(Ok(at))
                    }
                    Err(error) => (!std::mem::replace(&mut self.said_threadless, true)).then_some(Err(error)),
                }
            }
            Some(_) | None => {
                self.stands_still = Some((at, now));
                None
            }
        }
    }
}

impl Looker {
    fn start(mut shunned: Shunned, ready: Arc<OwnedFd>) -> io::Result<Self> {
        let (looks, asked) = channel::<Look>();
        let (answers, found) = channel();
        let at = Arc::new(AtomicI32::new(0));
        let here = Arc::clone(&at);
        thread::Builder::new().stack_size(STACK).spawn(move || {
            while let Ok(first) = asked.recv() {
                // Whatever is due by now is answered by one look at the table.
                let due: Vec<Look> = std::iter::once(first).chain(asked.try_iter()).collect();
                shunned.forget_gone();
                let table = Table::read(|pid| {
                    here.store(pid, Ordering::Relaxed);
                    !shunned.has(pid)
                });
                let mut marks = HashMap::new();
                let mut hits = Vec::new();
                for look in due {
                    let rest = rest_of(&look, &table, &mut marks, &here, &shunned);
                    hits.push((rest, look.aim.clone()));
                    let is_any = hits.last().is_some_and(|(rest, _)| !rest.is_empty());
                    // Told before the signals are sent, of which there may be thousands.
                    if answers.send(Found { run: look.run, aim: look.aim, is_any }).is_err() {
                        return;
                    }
                    let _ = rustix::io::write(&*ready, &1u64.to_ne_bytes());
                }
                for (rest, Aim::Signal(signals) | Aim::Survivors(signals)) in hits {
                    for signal in signals {
                        for process in &rest {
                            here.store(process.pid, Ordering::Relaxed);
                            processes::signal_process(process, signal);
                        }
                    }
                }
                here.store(0, Ordering::Relaxed);
            }
        })?;
        Ok(Self { looks, found, at })
    }
}

/// What of a run is alive, but for its main process.
fn rest_of(
    look: &Look,
    table: &Table,
    marks: &mut HashMap<i32, Option<RunId>>,
    here: &AtomicI32,
    shunned: &Shunned,
) -> Vec<Process> {
    let is_stray = |process: &Process| {
        look.strays.as_ref().is_none_or(|(minder, known)| {
            process.parent == *minder && !known.contains(&Pid::from_raw(process.pid))
        })
    };
    let mut rest = table.of_run(look.main, look.started, |process| {
        is_stray(process)
            && *marks.entry(process.pid).or_insert_with(|| {
                here.store(process.pid, Ordering::Relaxed);
                processes::mark_of(process.pid)
            }) == Some(look.run)
    });
    for found in look.cgroup.iter().flat_map(|cgroup| cgroup::processes(cgroup)) {
        if found == look.main.as_raw() || rest.iter().any(|known| known.pid == found) {
            continue;
        }
        here.store(found, Ordering::Relaxed);
        if shunned.has(found) {
            // It is there, whatever else can be said of it.
            rest.push(Process {
                pid: found,
                parent: 0,
                group: 0,
                session: 0,
                is_zombie: false,
                is_leaving: false,
                start_time: 0,
            });
        } else if let Some(process) = processes::look_up(found).filter(|process| !process.is_zombie) {
            rest.push(process);
        }
    }
    rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn wait_for(census: &mut Census, run: RunId) -> bool {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            if let Some(found) = census.found().into_iter().find(|found| found.run == run) {
                return found.is_any;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("nobody looks")
    }

    fn look(run: u64, main: i32, signals: Vec<Signal>) -> Look {
        Look {
            run: RunId::from_u64(run),
            main: Pid::from_raw(main),
            started: None,
            strays: None,
            cgroup: None,
            aim: Aim::Survivors(signals),
        }
    }

    #[test]
    fn what_carries_the_id_of_a_run_is_found_and_signalled() {
        let mut census = Census::new().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000").env("TWITCHER_RUN_ID", RunId::from_u64(0xfeed_beef_0001).to_string());
        let mut stray = command.stdin(Stdio::null()).spawn().unwrap();
        // A number that no process has: the greatest is 4194304.
        // One that has just been started may not have its environment yet.
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            census.look(look(0xfeed_beef_0001, 5_000_000, vec![Signal::SIGKILL]));
            if wait_for(&mut census, RunId::from_u64(0xfeed_beef_0001)) {
                break;
            }
            assert!(Instant::now() < end, "it is never found");
        }
        assert!(!stray.wait().unwrap().success());
        census.look(look(0xfeed_beef_0001, 5_000_000, Vec::new()));
        assert!(!wait_for(&mut census, RunId::from_u64(0xfeed_beef_0001)));
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_is_left_out_until_it_is_gone_and_the_others_are_looked_at() {
        let mut census = Census::new().unwrap();
        let mut process = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        let pid = process.id().cast_signed();
        // As a thread is that stands still at a process: nobody answers.
        let (looks, _asked) = channel();
        let (_answers, found) = channel();
        census.looker = Looker { looks, found, at: Arc::new(AtomicI32::new(pid)) };
        let start = Instant::now();
        assert!(census.watch_over(start).is_none() && census.wake_at(start).is_none(), "nothing is asked");
        census.look(look(7, 5_000_000, Vec::new()));
        assert!(census.watch_over(start).is_none());
        assert_eq!(census.wake_at(start), Some(start + PATIENCE));
        assert!(census.watch_over(start + PATIENCE / 2).is_none());
        assert!(matches!(census.watch_over(start + PATIENCE), Some(Ok(shunned)) if shunned == pid));
        assert!(!wait_for(&mut census, RunId::from_u64(7)));
        assert_eq!(census.wake_at(Instant::now()), None);
        census.shunned.forget_gone();
        assert!(census.shunned.has(pid));
        process.kill().unwrap();
        process.wait().unwrap();
        census.shunned.forget_gone();
        assert!(!census.shunned.has(pid), "the number may be another's from now on");
    }
}
