//! Processes as `/proc` shows them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that is told from a later one with the same pid by the time when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    start: u64,
}

impl Process {
    /// The process of that pid, if there is one.
    pub fn find(pid: i32) -> Option<Self> {
        Some(Self { pid, start: Stat::of(pid)?.start })
    }

    pub fn pid(self) -> i32 {
        self.pid
    }

    /// Whether it runs: not when it is gone, nor when it only waits to be reaped.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start == self.start && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Its children, dead ones that it has not reaped among them.
    pub fn children(self) -> Vec<Self> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| {
            let stat = Stat::of(pid)?;
            (stat.parent == self.pid).then_some(Self { pid, start: stat.start })
        })
        .collect()
    }

    /// Its children that are dead and that it has not reaped.
    pub fn zombies(self) -> Vec<Self> {
        self.children().into_iter().filter(|child| !child.is_alive()).collect()
    }

    /// What its descriptors stand for, in the order of their numbers.
    pub fn descriptors(self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return Vec::new() };
        let mut descriptors: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, fs::read_link(entry.path()).ok()?))
            })
            .collect();
        descriptors.sort();
        descriptors.into_iter().map(|(number, what)| format!("{number} {}", what.display())).collect()
    }

    /// Whether a signal has stopped it: each of its threads, of which some may run on for a moment.
    pub fn is_stopped(self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let numbers = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        let stand: Vec<bool> =
            numbers.map(|number| Stat::of(number).is_some_and(|stat| stat.state == 'T')).collect();
        !stand.is_empty() && !stand.contains(&false)
    }

    /// How long processors have worked for it.
    pub fn worked(self) -> Duration {
        // In hundredths of a second, whatever the kernel itself counts in: `proc_pid_stat(5)`.
        Duration::from_millis(Stat::of(self.pid).map_or(0, |stat| stat.ticks * 10))
    }

    /// How much of its memory is there, in KiB.
    pub fn resident_kib(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("the memory of a process that runs")
    }

    /// The program that it executes.
    pub fn program(self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.pid)).ok()
    }

    /// The words that it was started with, with blanks between them.
    pub fn command_line(self) -> String {
        let words = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
    }

    /// The process group that it is in.
    pub fn group(self) -> Option<i32> {
        Stat::of(self.pid).map(|stat| stat.group)
    }

    /// Sends it a signal. One that is gone does not get it.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Ends its process group at once, or only itself when it has no group of its own.
    pub fn end_group(self) {
        if self.group() == Some(self.pid) {
            let _ = kill(Pid::from_raw(-self.pid), Signal::SIGKILL);
        } else {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    state: char,
    parent: i32,
    group: i32,
    ticks: u64,
    start: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may have spaces and parentheses in it.
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}
