//! A folder that one daemon has to itself: of two that serve at one socket, or that write one ledger, neither knows what
//! the other does.

use std::path::Path;

use super::DaemonError;
use super::lock::Lock;
use crate::record::ledger;
use crate::run::folder;

/// The right to a folder, as long as it is held.
#[derive(Debug)]
pub struct HeldFolder {
    /// `None`: nobody can use the folder.
    _lock: Option<Lock>,
}

impl HeldFolder {
    /// Takes the run folder, which is made if it is missing.
    ///
    /// # Errors
    /// When another daemon has it, or it is not safe to use.
    pub fn run(run_dir: &Path) -> Result<Self, DaemonError> {
        let failed = |error| DaemonError::Folder { path: run_dir.to_owned(), error };
        // Children of other users pass through it to what is theirs; what is in it is closed to them.
        folder::own(run_dir, 0o755).map_err(failed)?;
        let lock = Lock::take(run_dir).map_err(failed)?;
        Self::taken(lock, "run", run_dir, "--run-dir")
    }

    /// Takes the state folder, which is made if it is missing. One that cannot be used is no reason not to start: the
    /// ledger says so, and nobody else can use it either.
    ///
    /// # Errors
    /// When another daemon has it.
    pub fn state(state_dir: &Path) -> Result<Self, DaemonError> {
        match folder::own(state_dir, ledger::FOLDER_MODE).and_then(|()| Lock::take(state_dir)) {
            Ok(lock) => Self::taken(lock, "state", state_dir, "--state-dir"),
            Err(_) => Ok(Self { _lock: None }),
        }
    }

    fn taken(
        lock: Option<Lock>,
        what: &'static str,
        folder: &Path,
        flag: &'static str,
    ) -> Result<Self, DaemonError> {
        match lock {
            Some(lock) => Ok(Self { _lock: Some(lock) }),
            None => Err(DaemonError::AlreadyRunning { what, folder: folder.to_owned(), flag }),
        }
    }
}
