//! The run folder, which one daemon has to itself.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::DaemonError;
use crate::run::folder;

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
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(DaemonError::AlreadyRunning(run_dir.to_owned())),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}
