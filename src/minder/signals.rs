//! What a process does about each signal, those for the C library's own use too, which its calls refuse.
#![allow(unsafe_code)]

use nix::libc;

/// The greatest number of a signal.
pub const LAST: i32 = 64;

/// `SIG_DFL` and `SIG_IGN`, as the kernel has them.
const DEFAULT: usize = 0;
const IGNORE: usize = 1;

/// Takes the default action from now on. SIGKILL and SIGSTOP are refused, since they have no other.
pub fn reset(number: i32) {
    set(number, DEFAULT);
}

/// Ignores the signal from now on. SIGKILL and SIGSTOP are refused.
pub fn ignore(number: i32) {
    set(number, IGNORE);
}

fn set(number: i32, action: usize) {
    // The kernel's `struct sigaction` begins with the action, and is shorter than this on every machine; all
    // else in it is zero.
    let new = [action, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: neither action is a handler that could run in a bad place, and `new` outlives the call.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, new.as_ptr(), std::ptr::null::<usize>(), 8) };
}
