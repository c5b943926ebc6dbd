//! A lock on what one daemon has to itself: a file that nobody else can open, since whoever can open one can lock it.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
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

const MODE: u32 = 0o600;

/// The lock, as long as it is held.
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
        Self::take_file(&folder.join("daemon.lock"))
    }

    /// Takes the lock that is this file, which is made if it is missing and is closed to others either way; `None`:
    /// another daemon has it.
    ///
    /// # Errors
    /// When it cannot be made, closed to others, or locked.
    pub fn take_file(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        // flock(2) asks for no right to write: a user who can read the file could keep every daemon from starting.
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_is_closed_to_others_also_where_it_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        let lock = Lock::take(folder.path()).unwrap();
        assert!(lock.is_some());
        assert_eq!(mode(&path), 0o600);
        drop(lock);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(Lock::take(folder.path()).unwrap().is_some());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_locked_is_locked_until_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(Lock::take(folder.path()).unwrap().is_none());
        drop(first);
        assert!(Lock::take(folder.path()).unwrap().is_some());
    }
}
