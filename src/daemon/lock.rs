//! A lock on a folder, which one daemon has to itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

/// How long the lock of a daemon that was killed may be held by what it was just starting: until that has become
/// its program. So long, and so often, it is tried.
const HELD_BY_NOBODY: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(10);

/// The lock, as long as it is held; also over a fork.
#[derive(Debug)]
pub struct Lock {
    _lock: Flock<File>,
}

impl Lock {
    /// Takes the lock on a folder; `None`: another daemon has it.
    ///
    /// # Errors
    /// When the folder takes no lock.
    pub fn take(folder: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(folder.join("daemon.lock"))?;
        let deadline = Instant::now() + HELD_BY_NOBODY;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Some(Self { _lock: lock })),
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, errno)) => return Err(errno.into()),
            }
            sleep(AGAIN);
        }
    }
}
