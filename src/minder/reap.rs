//! Children that have ended: seen first, taken out of the process table when nothing needs their number any
//! more.
#![allow(unsafe_code)]

use nix::libc;
use nix::unistd::Pid;

use crate::schedule::order::Usage;

/// What has ended and was not reaped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead {
    /// Which process.
    pub pid: Pid,
    /// How.
    pub how: Death,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// With this status.
    Exited(i32),
    /// By this signal, which may be one that has no name.
    Signaled(i32),
}

/// A child that has ended, left as the zombie that it is. `of`: that one, else any.
#[must_use]
pub fn peek_dead(of: Option<Pid>) -> Option<Dead> {
    let (kind, id) = of.map_or((libc::P_ALL, 0), |pid| (libc::P_PID, pid.as_raw().unsigned_abs()));
    // SAFETY: a siginfo_t is plain numbers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is written to and outlives the call.
    if unsafe { libc::waitid(kind, id, &raw mut info, flags) } != 0 {
        return None;
    }
    // SAFETY: waitid has filled in the fields of a SIGCHLD, or left them zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let how = if info.si_code == libc::CLD_EXITED { Death::Exited(status) } else { Death::Signaled(status) };
    (pid != 0).then_some(Dead { pid: Pid::from_raw(pid), how })
}

/// Takes a child that has ended out of the process table, and says what it used.
#[must_use]
pub fn reap(pid: Pid) -> Option<Usage> {
    // SAFETY: a rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is written to and outlives the call.
    let reaped = unsafe { libc::wait4(pid.as_raw(), std::ptr::null_mut(), libc::WNOHANG, &raw mut usage) };
    let micros = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    (reaped == pid.as_raw()).then(|| Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss.unsigned_abs(),
    })
}
