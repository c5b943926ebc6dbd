//! A process that is being made, as quickly as that can be done.
//!
//! A child shares the minder's memory until its exec, since to copy that takes longer than all else that a start
//! is. Meanwhile the thread that makes it stands still, in the kernel, and may do so for long: the working
//! directory or the program may be on a server that does not answer. What becomes of the minder then is up to
//! `relay`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc::{self, c_void};
use nix::unistd::Pid;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::minder::child::{self, AtHand, Program};

/// How much a child needs until its exec, the longest path twice among it; what is not used is not there.
const STACK: usize = 256 << 10;

/// Below a child's stack, so that one which outgrows it ends and writes into nothing.
const GUARD: usize = 64 << 10;

/// A process to be made.
#[derive(Debug)]
pub struct Process {
    program: Arc<Program>,
    /// Its stdin, its output, and where it says why it failed.
    descriptors: [OwnedFd; 3],
    /// Its number, which the kernel writes before it runs.
    number: AtomicI32,
    /// Whether it can be sent signals as a group, and what it forks is in its cgroup.
    is_placed: AtomicBool,
}

impl Process {
    /// One that becomes `program`, with these as its stdin, its output, and the pipe through which it says why it
    /// could not.
    #[must_use]
    pub fn new(program: Arc<Program>, descriptors: [OwnedFd; 3]) -> Self {
        Self { program, descriptors, number: AtomicI32::new(0), is_placed: AtomicBool::new(false) }
    }

    /// Its number, from the moment at which all that the minder does to a run can be done to it; also while another
    /// thread makes it.
    #[must_use]
    pub fn placed(&self) -> Option<Pid> {
        self.is_placed.load(Ordering::Acquire).then(|| Pid::from_raw(self.number.load(Ordering::Acquire)))
    }

    /// Makes it, and stands still until it has become its program or has ended.
    ///
    /// # Errors
    /// What the kernel gave.
    pub fn make(&self, stack: &ChildStack) -> Result<Pid, Errno> {
        let mut child =
            AtHand::new(&self.program, self.descriptors.each_ref().map(AsFd::as_fd), &self.is_placed);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
        // SAFETY: the child runs on a stack of its own, which nobody else does since `stack` is this thread's and is
        // not `Sync`, and never returns from `begin`. It shares this memory: `child` no other thread knows of, the
        // program nobody writes to, and what belongs to this thread, such as `errno`, is not used meanwhile, since
        // this thread stands still until the child no longer shares anything; only a SIGKILL of the whole process
        // ends that earlier, and then nothing of it runs any more. The kernel writes the number of the process,
        // which outlives the call, before the process runs.
        let made = unsafe {
            libc::clone(begin, stack.top(), flags, (&raw mut child).cast::<c_void>(), self.number.as_ptr())
        };
        Errno::result(made).map(Pid::from_raw)
    }
}

extern "C" fn begin(child: *mut c_void) -> libc::c_int {
    // SAFETY: it is the `AtHand` of `make`, which stands still.
    child::run(unsafe { &mut *child.cast::<AtHand>() })
}

/// Memory for the stack of a process that is being made.
#[derive(Debug)]
pub struct ChildStack {
    lowest: *mut c_void,
}

// SAFETY: it is memory that only its owner knows of.
unsafe impl Send for ChildStack {}

impl ChildStack {
    /// One, which takes no memory yet.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new() -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so that nothing that is there is replaced, and the guard is part of
        // what was just mapped.
        let lowest = unsafe {
            let lowest = mmap_anonymous(std::ptr::null_mut(), GUARD + STACK, protection, flags)?;
            mprotect(lowest, GUARD, MprotectFlags::empty())?;
            lowest
        };
        Ok(Self { lowest })
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of what was mapped.
        unsafe { self.lowest.byte_add(GUARD + STACK) }
    }
}

impl Drop for ChildStack {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, and nothing uses it any more.
        let _ = unsafe { munmap(self.lowest, GUARD + STACK) };
    }
}
