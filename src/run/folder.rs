//! Folders that are the daemon's own: made if they are missing, and refused where another user could have put
//! something in them that the daemon would then write through, or believe.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::Uid;

/// Makes `folder` with this mode if it is missing, whatever the umask, and sees to it that it is ours.
///
/// # Errors
/// When it cannot be made, or another user owns it or can write to it: of the kind `PermissionDenied`.
pub fn own(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(found) => {
            check_owner(&found)?;
            // Where a link leads is its owner's choice, and that is ours.
            check(&fs::metadata(folder)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).create(folder)?;
            fs::set_permissions(folder, Permissions::from_mode(mode))?;
            check(&fs::symlink_metadata(folder)?)
        }
        Err(error) => Err(error),
    }
}

fn check(folder: &Metadata) -> io::Result<()> {
    check_owner(folder)?;
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if folder.mode() & 0o022 != 0 {
        let message = format!("its group or others can write to it (mode {:04o})", folder.mode() & 0o7777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

fn check_owner(folder: &Metadata) -> io::Result<()> {
    let owner = folder.uid();
    if owner == 0 || owner == Uid::effective().as_raw() {
        return Ok(());
    }
    let message = format!("it belongs to user {owner}, who could put there what he likes");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_made_with_its_mode_and_is_ours_from_then_on() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        own(&folder, 0o700).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        own(&folder, 0o755).unwrap();
        let link = base.path().join("link");
        symlink(&folder, &link).unwrap();
        own(&link, 0o700).unwrap();
    }

    #[test]
    fn one_that_others_can_write_to_or_own_is_not() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("open");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(own(&folder, 0o700).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        fs::write(base.path().join("file"), "").unwrap();
        assert_eq!(own(&base.path().join("file"), 0o700).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        // Only root can give a link away.
        let link = base.path().join("link");
        symlink("/usr", &link).unwrap();
        if lchown(&link, Some(65_534), None).is_ok() {
            assert_eq!(own(&link, 0o700).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
