//! The processes of a run, as `/proc` shows them, and signals for them.
//!
//! A run is its process group, and whatever left that group: the minder is the subreaper of all of its
//! descendants, so that they are below it in the process tree wherever they went. One that is still below
//! its run's main process is known by that; one whose parent is gone is known by the session it came from or
//! by the run's id in the environment that it was started with.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::schedule::order::RunId;

/// A line of the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number, which is another's one day.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Its process group's.
    pub group: i32,
    /// Its session's.
    pub session: i32,
    /// Whether it has ended and waits for its parent to take note, or is about to: it executes nothing any more,
    /// but its descriptors may be closed before it shows as a zombie.
    pub is_zombie: bool,
    /// Whether the first of its threads has ended or is about to: it has let go of its descriptors.
    pub is_leaving: bool,
    /// When it was started, in clock ticks since the machine was: with `pid` it names a process for good.
    pub start_time: u64,
}

/// What each process of a run has in its environment, before the run's id.
const MARK: &str = "TWITCHER_RUN_ID=";

/// How much of an environment is looked at. A process may make its own as large as it likes.
const ENVIRONMENT: u64 = 256 << 10;

/// Among the flags of a process, from the kernel's `sched.h`: it is in its `exit`.
const PF_EXITING: u32 = 4;

/// Reads a line of `/proc/PID/stat`: `proc_pid_stat(5)`.
#[must_use]
pub fn parse_stat(line: &str) -> Option<Process> {
    // The name, in parentheses, may hold anything, parentheses too.
    let (pid, rest) = line.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i32>().ok();
    // The first of its threads may have ended without the others.
    let only_thread = number(20)? <= 1;
    let is_exiting = fields.get(9 - 3)?.parse::<u32>().ok()? & PF_EXITING != 0;
    let is_leaving = is_exiting || matches!(*fields.first()?, "Z" | "X" | "x");
    Some(Process {
        pid: pid.parse().ok()?,
        is_zombie: only_thread && is_leaving,
        is_leaving,
        parent: number(4)?,
        group: number(5)?,
        session: number(6)?,
        start_time: fields.get(22 - 3)?.parse().ok()?,
    })
}

/// The process of that number, if there is one.
#[must_use]
pub fn look_up(pid: i32) -> Option<Process> {
    // A process may call itself what it likes, also what is no text.
    parse_stat(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// The children of this process, whichever of its threads has made them.
#[must_use]
pub fn children() -> Vec<Pid> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => {
                children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()))
            }
            // One that has just ended has left its children to another.
            Err(_) if !thread.path().exists() => {}
            // A kernel without CONFIG_PROC_CHILDREN.
            Err(_) => return all_below(std::process::id().cast_signed()),
        }
    }
    children.into_iter().map(Pid::from_raw).collect()
}

fn all_below(parent: i32) -> Vec<Pid> {
    let mine = |process: &Process| process.parent == parent;
    Table::read(|_| true).0.into_iter().filter(mine).map(|process| Pid::from_raw(process.pid)).collect()
}

/// Every process that could be seen at one time.
#[derive(Debug)]
pub struct Table(Vec<Process>);

impl Table {
    /// Looks at each process that `may_look` allows. It is asked just before each, since a look may take as long as
    /// the process likes.
    pub fn read(mut may_look: impl FnMut(i32) -> bool) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(pids.filter(|&pid| may_look(pid)).filter_map(look_up).collect())
    }

    /// What of a run is alive, but for its main process: the rest of its process group, and what left it.
    /// `started`: when the main process was, where nothing keeps its number from becoming another's. `is_orphan`
    /// tells of a process whether it came from the run although its parent says nothing of where it came from.
    #[must_use]
    pub fn of_run(
        &self,
        main: Pid,
        started: Option<u64>,
        is_orphan: impl FnMut(&Process) -> bool,
    ) -> Vec<Process> {
        select(&self.0, main.as_raw(), started, is_orphan)
    }
}

/// The run whose id a process was started with, as far as its environment says.
#[must_use]
pub fn mark_of(pid: i32) -> Option<RunId> {
    let environment = start_of(&format!("/proc/{pid}/environ"), ENVIRONMENT);
    let mut variables = environment.split(|&byte| byte == 0);
    let mark = variables.find_map(|variable| variable.strip_prefix(MARK.as_bytes()))?;
    std::str::from_utf8(mark).ok()?.parse().ok()
}

/// The first bytes of a file, at most so many; none where it cannot be read.
fn start_of(path: &str, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let _ = file.take(most).read_to_end(&mut bytes);
    }
    bytes
}

/// Those of `processes` that belong to the run of `main`; `is_orphan` tells of one below the minder whether
/// it came from that run.
fn select(
    processes: &[Process],
    main: i32,
    started: Option<u64>,
    mut is_orphan: impl FnMut(&Process) -> bool,
) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    // The number is given to no other as long as a group or a session goes by it.
    let is_another = |process: &Process| process.pid == main && Some(process.start_time) != started;
    let is_taken = started.is_some() && processes.iter().any(is_another);
    let in_session = |process: &&Process| !is_taken && (process.group == main || process.session == main);
    let mut found: HashSet<i32> = processes.iter().filter(in_session).map(|process| process.pid).collect();
    found.extend(processes.iter().filter(|process| is_orphan(process)).map(|process| process.pid));
    if !is_taken {
        found.insert(main);
    }
    let mut look_below: Vec<i32> = found.iter().copied().collect();
    while let Some(parent) = look_below.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(child.pid) {
                look_below.push(child.pid);
            }
        }
    }
    let alive =
        |process: &&Process| found.contains(&process.pid) && process.pid != main && !process.is_zombie;
    processes.iter().filter(alive).cloned().collect()
}

/// Sends a signal to a run's process group. Its main process must not have been reaped.
pub fn signal_group(main: Pid, signal: Signal) {
    // That there is none left is no error: it is what the signal is for.
    let _ = killpg(main, signal);
}

/// Sends a signal to one process, and never to another that has its number by now.
pub fn signal_process(process: &Process, signal: Signal) {
    if let Some(handle) = hold(process) {
        signal_held(&handle, signal);
    }
}

/// Sends a signal to the process that a handle refers to.
pub fn signal_held(handle: &OwnedFd, signal: Signal) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
        let _ = pidfd_send_signal(handle, signal);
    }
}

/// A handle on a process that becomes readable when it ends; `None` if it is gone.
#[must_use]
pub fn hold(process: &Process) -> Option<OwnedFd> {
    let handle = pidfd_open(rustix::process::Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    // What the handle refers to is fixed now; it is the one that was meant if that one is still there.
    look_up(process.pid).filter(|now| now.start_time == process.start_time).map(|_| handle)
}

/// How long ago a process was started.
#[must_use]
pub fn age(start_time: u64) -> Duration {
    let started = Duration::from_secs_f64(start_time as f64 / ticks_a_second() as f64);
    since_boot().saturating_sub(started)
}

/// The time as processes are stamped with it: in clock ticks since the machine was started.
#[must_use]
pub fn ticks() -> u64 {
    let nanos = since_boot().as_nanos() / (1_000_000_000 / u128::from(ticks_a_second()));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

fn ticks_a_second() -> u64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100, i64::unsigned_abs).max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, session: i32) -> Process {
        Process { pid, parent, group, session, is_zombie: false, is_leaving: false, start_time: 1 }
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_process_calls_itself() {
        let line = "4242 (a) b (c) S 1 4240 4200 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1 1\n";
        let read = parse_stat(line).unwrap();
        assert_eq!(read, Process { start_time: 987_654, ..process(4242, 1, 4240, 4200) });
        let with = |state: &str, flags: &str, threads: &str| {
            let line = line.replace(") S ", &format!(") {state} ")).replace("4194560", flags);
            let read = parse_stat(&line.replace("20 0 1 0", &format!("20 0 {threads} 0"))).unwrap();
            (read.is_zombie, read.is_leaving)
        };
        assert_eq!(with("Z", "4194560", "1"), (true, true));
        assert_eq!(with("R", "4194564", "1"), (true, true));
        assert_eq!(with("S", "4194560", "1"), (false, false));
        assert_eq!(with("Z", "4194564", "2"), (false, true), "the first of several threads has ended");
        assert!(parse_stat("4242 (sh) Z 1").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id().cast_signed();
        let found = look_up(pid).unwrap();
        assert_eq!(found.pid, pid);
        assert!(hold(&found).is_some());
        assert!(hold(&Process { start_time: found.start_time + 1, ..found.clone() }).is_none());
        assert!(age(found.start_time) < Duration::from_secs(3600));
        assert!(found.start_time <= ticks());
    }

    #[test]
    fn a_run_is_its_group_its_session_and_what_is_below_them() {
        let table = [
            process(10, 2, 10, 10),  // the main process of the run
            process(11, 10, 10, 10), // in its group
            process(12, 11, 12, 10), // in a group of its own
            process(13, 11, 13, 13), // in a session of its own, its parent alive
            process(14, 13, 13, 13), // below that one
            process(15, 2, 10, 10),  // its parent gone
            process(16, 2, 16, 16),  // escaped altogether
            process(17, 16, 17, 17), // below that one
            process(20, 2, 20, 20),  // another run
            process(21, 20, 20, 20),
            Process { is_zombie: true, ..process(18, 10, 10, 10) },
        ];
        let found = select(&table, 10, None, |process| process.pid == 16);
        let pids = |found: Vec<Process>| found.iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!(pids(found), [11, 12, 13, 14, 15, 16, 17]);

        let started = |moment| pids(select(&table, 10, Some(moment), |process| process.pid == 16));
        assert_eq!(started(1), [11, 12, 13, 14, 15, 16, 17]);
        assert_eq!(started(0), [16, 17], "the number is another's by now");
    }
}
