//! The state folder, which one daemon has to itself: of two that write one ledger, neither knows what was applied.

use std::path::Path;

use super::DaemonError;
use super::lock::Lock;
use crate::record::ledger;
use crate::run::folder;

/// The right to the state folder, as long as it is held.
#[derive(Debug)]
pub struct StateDir {
    _lock: Option<Lock>,
}

impl StateDir {
    /// Takes the state folder, which is made if it is missing. One that cannot be used is no reason not to start: the
    /// ledger says so, and nobody else can use it either.
    ///
    /// # Errors
    /// When another daemon has it.
    pub fn take(state_dir: &Path) -> Result<Self, DaemonError> {
        let lock = folder::own(state_dir, ledger::FOLDER_MODE).and_then(|()| Lock::take(state_dir));
        match lock {
            Ok(Some(lock)) => Ok(Self { _lock: Some(lock) }),
            Ok(None) => Err(DaemonError::AlreadyRunning {
                what: "state",
                folder: state_dir.to_owned(),
                flag: "--state-dir",
            }),
            Err(_) => Ok(Self { _lock: None }),
        }
    }
}
