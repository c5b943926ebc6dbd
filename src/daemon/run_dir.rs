//! The run folder, which one daemon has to itself.

use std::path::Path;

use super::DaemonError;
use super::lock::Lock;
use crate::run::folder;

/// The right to the run folder, as long as it is held.
#[derive(Debug)]
pub struct RunDir {
    _lock: Lock,
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
        let lock = Lock::take(run_dir).map_err(failed)?;
        let taken =
            || DaemonError::AlreadyRunning { what: "run", folder: run_dir.to_owned(), flag: "--run-dir" };
        lock.map(|lock| Self { _lock: lock }).ok_or_else(taken)
    }
}
