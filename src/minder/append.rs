//! The file that a run's output is appended to: where it may be opened as the daemon, and how.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::Uid;

/// As many links as the kernel follows, `path_resolution(7)`.
const MOST_LINKS: usize = 40;

/// Whether nobody but root and the daemon's user can change where a path leads: each folder on the way, also
/// where links lead through it, belongs to one of them and cannot be written to by others.
#[must_use]
pub fn is_beyond_others(path: &Path) -> bool {
    path.parent().is_some_and(|folder| leads_through_ours(folder).unwrap_or(false))
}

fn leads_through_ours(folder: &Path) -> io::Result<bool> {
    let names = |path: &Path| -> Vec<OsString> {
        path.components()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_owned()),
                Component::ParentDir => Some("..".into()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
            })
            .collect()
    };
    let mut left = VecDeque::from(names(folder));
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    if !is_ours(&fs::symlink_metadata(&at)?) {
        return Ok(false);
    }
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let metadata = fs::symlink_metadata(&next)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Ok(false);
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            names(&target).into_iter().rev().for_each(|name| left.push_front(name));
        } else if is_ours(&metadata) {
            at = next;
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_ours(folder: &Metadata) -> bool {
    let owner = folder.uid();
    folder.is_dir() && folder.mode() & 0o022 == 0 && (owner == 0 || owner == Uid::effective().as_raw())
}

/// Opens a file to append to it, and makes it if it is missing: mode 0640, less the umask.
///
/// # Errors
/// Also where the path ends in a link, or in a FIFO that nobody reads.
pub fn open(path: &Path) -> Result<File, Errno> {
    // Not to wait for the reader of a FIFO.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path);
    let file = file.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    // A child does not expect that its output may not be taken at once.
    let status = OFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(file.as_fd(), FcntlArg::F_SETFL(status - OFlag::O_NONBLOCK))?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_path_is_ours_as_far_as_each_folder_and_link_on_it_is() {
        assert!(is_beyond_others(Path::new("/usr/twitcher.log")));
        // A sticky folder keeps others from replacing what is there, not from being there first.
        assert!(!is_beyond_others(Path::new("/tmp/twitcher.log")));
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/usr", &link).unwrap();
        assert!(!is_beyond_others(&link.join("twitcher.log")));
        assert!(!is_beyond_others(Path::new("/usr/no-such-folder/twitcher.log")));
    }

    #[test]
    fn what_is_opened_is_appended_to_and_a_link_or_an_idle_fifo_is_not_opened() {
        use std::io::Write;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        open(&path).unwrap().write_all(b"new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\nnew\n");

        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(open(&link).unwrap_err(), Errno::ELOOP);

        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open(&fifo).unwrap_err(), Errno::ENXIO);

        let made = folder.path().join("made");
        drop(open(&made).unwrap());
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o137, 0);
    }
}
