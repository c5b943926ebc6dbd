//! Makes processes, as quickly as it can be done and without ever waiting for one.
//!
//! A child shares the minder's memory until its exec, since to copy that takes longer than all else that a start
//! is. Meanwhile the thread that made it stands still, in the kernel, and may do so for long: the working
//! directory or the program may be on a server that does not answer. So it is never the minder's loop that
//! makes a child, but a thread that has nothing else to do; as many of them as stand still, and a few that wait.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::libc::{self, c_void};
use nix::unistd::Pid;
use rustix::event::{EventfdFlags, eventfd};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::minder::child::{self, AtHand, Program};

/// How much a thread needs that hands a child what it has prepared.
const STACK: usize = 128 << 10;

/// How much a child needs until its exec, the longest path twice among it; what is not used is not there.
const CHILD_STACK: usize = 256 << 10;

/// Below a child's stack, so that one which outgrows it ends and writes into nothing.
const GUARD: usize = 64 << 10;

/// How many threads wait for the next process to make. More are started as they are wanted, and end.
const MOST_IDLE: usize = 4;

/// The threads that make processes.
#[derive(Debug, Default)]
pub struct Spawners {
    idle: Arc<Mutex<Vec<Sender<Arc<Order>>>>>,
}

/// A process to be made.
#[derive(Debug)]
struct Order {
    program: Arc<Program>,
    /// Its stdin, its output, and where it says why it failed.
    descriptors: [OwnedFd; 3],
    /// The process, as soon as there is one, or else the error, less than zero.
    made: AtomicI32,
    /// Readable as soon as `made` says something.
    is_made: OwnedFd,
}

impl Spawners {
    /// Makes a process that becomes `program`, with these as its stdin, its output, and the pipe through which it
    /// says why it could not. Returns as soon as there is a process.
    ///
    /// # Errors
    /// What the kernel gave.
    pub fn make(&self, program: Arc<Program>, descriptors: [OwnedFd; 3]) -> Result<Pid, Errno> {
        let is_made =
            eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        let order = Arc::new(Order { program, descriptors, made: AtomicI32::new(0), is_made });
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let spawner = idle.map_or_else(|| self.start_another(), Ok).map_err(errno_of)?;
        spawner.send(order.clone()).map_err(|_| Errno::ENOMEM)?;
        let mut count = [0; 8];
        rustix::io::retry_on_intr(|| rustix::io::read(&order.is_made, &mut count))
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        match order.made.load(Ordering::Acquire) {
            pid if pid > 0 => Ok(Pid::from_raw(pid)),
            error => Err(Errno::from_raw(-error)),
        }
    }

    fn start_another(&self) -> io::Result<Sender<Arc<Order>>> {
        let stack = ChildStack::new()?;
        let (sender, orders) = channel::<Arc<Order>>();
        let (idle, this) = (Arc::clone(&self.idle), sender.clone());
        thread::Builder::new().stack_size(STACK).spawn(move || {
            for order in orders {
                make(&order, &stack);
                drop(order);
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() >= MOST_IDLE {
                    return;
                }
                idle.push(this.clone());
            }
        })?;
        Ok(sender)
    }
}

fn errno_of(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)
}

/// Makes the process, and stands still until it has become its program or has ended.
fn make(order: &Order, stack: &ChildStack) {
    let [stdin, output, failures] = order.descriptors.each_ref().map(AsFd::as_fd);
    let mut child = AtHand::new(&order.program, [stdin, output, failures, order.is_made.as_fd()]);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
    // SAFETY: the child runs on a stack of its own and never returns from `begin`. It shares this memory: `child` no
    // other thread knows of, the program nobody writes to, and what belongs to this thread, such as `errno`, is not
    // used meanwhile, since this thread stands still until the child no longer shares anything; only a SIGKILL of the
    // whole process ends that earlier, and then nothing of it runs any more. The kernel writes the number of the
    // process to `made`, which outlives the call, before the process runs.
    let made = unsafe {
        libc::clone(begin, stack.top(), flags, (&raw mut child).cast::<c_void>(), order.made.as_ptr())
    };
    // Where it is there, this is what the kernel has written already.
    order.made.store(if made < 0 { -(Errno::last() as i32) } else { made }, Ordering::Release);
    // Also after the child has said so itself: it may have ended before it could.
    child::say(order.is_made.as_fd());
}

extern "C" fn begin(child: *mut c_void) -> libc::c_int {
    // SAFETY: it is the `AtHand` of `make`, which stands still.
    child::run(unsafe { &mut *child.cast::<AtHand>() })
}

/// Memory for the stack of a process that is being made.
#[derive(Debug)]
struct ChildStack {
    lowest: *mut c_void,
}

// SAFETY: it is memory that only its owner knows of.
unsafe impl Send for ChildStack {}

impl ChildStack {
    fn new() -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so that nothing that is there is replaced, and the guard is part of
        // what was just mapped.
        let lowest = unsafe {
            let lowest = mmap_anonymous(std::ptr::null_mut(), GUARD + CHILD_STACK, protection, flags)?;
            mprotect(lowest, GUARD, MprotectFlags::empty())?;
            lowest
        };
        Ok(Self { lowest })
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of what was mapped.
        unsafe { self.lowest.byte_add(GUARD + CHILD_STACK) }
    }
}

impl Drop for ChildStack {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, and nothing uses it any more.
        let _ = unsafe { munmap(self.lowest, GUARD + CHILD_STACK) };
    }
}
