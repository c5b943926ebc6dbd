//! What a process does about each signal, those for the C library's own use too, which its calls refuse.
#![allow(unsafe_code)]

use nix::libc;

/// The greatest number of a signal.
const LAST: i32 = 64;

/// Those that the C library keeps for itself, and lets through from the moment at which it starts a thread, even
/// where they were blocked. It heeds them only where they come from this process.
const OF_THE_C_LIBRARY: std::ops::RangeInclusive<i32> = 32..=33;

/// Those whose default action is to dump core: QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU, XFSZ and SYS.
const THAT_DUMP_CORE: [i32; 10] = [
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGSYS,
];

/// `SIG_DFL` and `SIG_IGN`, as the kernel has them.
const DEFAULT: usize = 0;
const IGNORE: usize = 1;

/// From now on no signal does anything but stop, continue or end this process, whatever the standard library or
/// whoever started it has said; and those that cannot be blocked for good are ignored.
pub fn reset_all() {
    (1..=LAST).for_each(|number| set(number, DEFAULT));
    OF_THE_C_LIBRARY.for_each(|number| set(number, IGNORE));
}

/// Of what `reset_all` has done, takes back what a new process should not have.
pub fn reset_ignored() {
    OF_THE_C_LIBRARY.for_each(|number| set(number, DEFAULT));
}

fn set(number: i32, action: usize) {
    // The kernel's `struct sigaction` begins with the action, and is shorter than this on every machine; all
    // else in it is zero.
    let new = [action, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: neither action is a handler that could run in a bad place, and `new` outlives the call. SIGKILL and
    // SIGSTOP are refused, since they have no other action than their own.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, new.as_ptr(), std::ptr::null::<usize>(), 8) };
}

/// Blocks every signal that can be in this thread, and in those that it starts.
pub fn block_all() {
    set_mask(u64::MAX);
}

/// Blocks no signal in this thread but those whose default action is to dump core: a process that shares its
/// memory with others would dump that, and before Linux 5.16 end those others too.
pub fn unblock_all_but_dumps() {
    set_mask(THAT_DUMP_CORE.iter().fold(0, |mask, number| mask | 1 << (number - 1)));
}

/// Blocks no signal in this thread.
pub fn unblock_all() {
    set_mask(0);
}

fn set_mask(blocked: u64) {
    let how = libc::SIG_SETMASK;
    let length = size_of_val(&blocked);
    // SAFETY: the kernel reads a set of 64 signals, which outlives the call.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const blocked, std::ptr::null::<u64>(), length)
    };
}
