//! The pid file: whose process the daemon is, for everybody to read. What keeps a second daemon from it is a file
//! beside it that only its owner can open, since who can read a file can lock it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::lock::Lock;

/// Why there is no pid file.
#[derive(Debug, Error)]
pub enum PidFileError {
    /// It, or what is beside it, cannot be made or used.
    #[error("cannot use the pid file {path}: {error}")]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is one already.
    #[error(
        "the pid file {0} is that of a daemon that runs\nhelp: stop it, or give this one a file of its own with --pidfile"
    )]
    Taken(PathBuf),
}

/// The right to the pid file, which goes with it once it is written.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// There is nothing of anybody else's in it.
    is_own: bool,
    _lock: Lock,
}

impl PidFile {
    /// Takes the pid file, which is made if it is missing and keeps what is in it until it is written.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be used.
    pub fn take(path: &Path) -> Result<Self, PidFileError> {
        let failed = |error| PidFileError::Unusable { path: path.to_owned(), error };
        // Whatever folder this process is in when the file is removed.
        let path = std::path::absolute(path).map_err(failed)?;
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let lock = Lock::take_file(Path::new(&beside)).map_err(failed)?;
        let lock = lock.ok_or_else(|| PidFileError::Taken(path.clone()))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        // For those who tell a live daemon from a stale file by it, as with pidfile_open(3bsd). Should one of them, or
        // somebody who means harm, hold it just now, the daemon goes without.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let is_own = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        Ok(Self { path, file, is_own, _lock: lock })
    }

    /// Puts the id of this process into it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self) -> Result<(), PidFileError> {
        self.is_own = true;
        let mut write = || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            writeln!(self.file, "{}", std::process::id())
        };
        write().map_err(|error| PidFileError::Unusable { path: self.path.clone(), error })
    }
}

impl Drop for PidFile {
    /// The lock stays where it is: to remove it as well would let two daemons hold two of one name.
    fn drop(&mut self) {
        if self.is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_goes_only_once_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("twitcher.pid");
        fs::write(&path, "somebody's").unwrap();
        drop(PidFile::take(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
        let mut file = PidFile::take(&path).unwrap();
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
    }
}
