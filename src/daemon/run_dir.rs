//! The run folder, which one daemon has to itself.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::DaemonError;
use crate::run::folder;

/// How long the lock of a daemon that was killed may be held by what it was just starting: until that has become
/// its program. So long, and so often, it is tried.
const HELD_BY_NOBODY: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(10);

/// The right to the run folder, as long as it is held; also over a fork.
#[derive(Debug)]
pub struct RunDir {
    _lock: Flock<File>,
}

impl RunDir {
    /// Takes the run folder, which is made if it is missing.
    ///
    /// # Errors
    /// When another daemon has it, or it is not safe to use.
    pub fn take(run_dir: &Path) -> Result<Self, DaemonError> {
        let failed = |error| DaemonError::Folder { path: run_dir.to_owned(), error };
        // Children of other users pass through it to what is theirs; what is in it is closed to them.
        folder::own(run_dir, 0o755).map_err(failed)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(run_dir.join("daemon.lock"))
            .map_err(failed)?;
        let deadline = Instant::now() + HELD_BY_NOBODY;
        let mut file = file;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { _lock: lock }),
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
                Err((_, Errno::EWOULDBLOCK)) => return Err(DaemonError::AlreadyRunning(run_dir.to_owned())),
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            sleep(AGAIN);
        }
    }
}
