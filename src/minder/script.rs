//! A run's script, in a file that its user may read and nobody else. It is handed to
//! its interpreter by name, as the kernel would: the folder may be on a file system that executes nothing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::run::protocol::Identity;
use crate::schedule::order::RunId;

/// The folder of scripts below the run folder.
const FOLDER: &str = "scripts";

/// Where scripts are kept while they run.
#[derive(Debug)]
pub struct Scripts {
    folder: PathBuf,
}

impl Scripts {
    /// The scripts below `run_dir`.
    #[must_use]
    pub fn below(run_dir: &Path) -> Self {
        Self { folder: run_dir.join(FOLDER) }
    }

    /// Writes a run's script for `identity`, or for the daemon's user. What is there under that name is of a
    /// minder that was killed before its child had a record: the run is ordered again, and that child executes
    /// nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, run: RunId, text: &str, identity: Option<&Identity>) -> io::Result<PathBuf> {
        // Passed through by those who know the name of theirs.
        DirBuilder::new().recursive(true).mode(0o711).create(&self.folder)?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o711))?;
        let path = self.folder.join(run.to_string());
        // Not to write into it: whoever has it open would see it change.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        match fill(file, text, identity) {
            Ok(()) => Ok(path),
            Err(error) => {
                // On a disk that is full there is no room for what is of no use.
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }
}

fn fill(mut file: File, text: &str, identity: Option<&Identity>) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    // To the run's user alone, who can do with its own run what he likes anyway.
    if let Some(identity) = identity {
        fchown(&file, Some(identity.uid), Some(identity.gid))?;
    }
    file.set_permissions(Permissions::from_mode(0o400))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_a_run_that_is_ordered_again_takes_the_place_of_what_a_dead_minder_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let scripts = Scripts::below(folder.path());
        let run = RunId::from_u64(7);
        let first = scripts.write(run, "first", None).unwrap();
        let second = scripts.write(run, "second", None).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(second).unwrap(), "second");
    }
}
