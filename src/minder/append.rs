//! The file that a run's output is appended to: where it may be opened as the daemon, and how. All of it happens
//! in a process between its making and its exec, so that nothing here allocates.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use nix::libc::PATH_MAX;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::fs::{fcntl_getfl, fcntl_setfl, fstat, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// As many links as the kernel follows, `path_resolution(7)`.
const MOST_LINKS: usize = 40;

/// As long as a path can be.
const LONGEST: usize = PATH_MAX.unsigned_abs() as usize;

/// As long as a name in a folder can be, on any file system.
const LONGEST_NAME: usize = 255;

/// Whether nobody but root and the daemon's user can change where a path leads: each folder on the way, also
/// where links lead through it, belongs to one of them and cannot be written to by others.
#[must_use]
pub fn is_beyond_others(path: &CStr) -> bool {
    let path = path.to_bytes();
    let folder = path.iter().rposition(|&byte| byte == b'/').map_or(&[][..], |slash| &path[..=slash]);
    leads_through_ours(folder).unwrap_or(false)
}

fn leads_through_ours(folder: &[u8]) -> Result<bool, Errno> {
    let mut ahead = Ahead::default();
    if !ahead.put_before(folder) {
        return Ok(false);
    }
    let mut links = 0;
    let mut at = enter(CWD, b"/")?;
    while let Some(name) = ahead.next_name() {
        if name.len() > LONGEST_NAME || !is_ours(&fstat(&at)?) {
            return Ok(false);
        }
        if FileType::from_raw_mode(statat(&at, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) != FileType::Symlink
        {
            at = enter(at.as_fd(), name)?;
            continue;
        }
        links += 1;
        let mut target = [MaybeUninit::uninit(); LONGEST];
        let (target, rest) = readlinkat_raw(&at, name, &mut target)?;
        if links > MOST_LINKS || rest.is_empty() || !ahead.put_before(target) {
            return Ok(false);
        }
        if target.starts_with(b"/") {
            at = enter(CWD, b"/")?;
        }
    }
    Ok(is_ours(&fstat(&at)?))
}

fn enter(folder: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

fn is_ours(folder: &Stat) -> bool {
    let by_others = Mode::WGRP | Mode::WOTH;
    let owner = folder.st_uid;
    !Mode::from_raw_mode(folder.st_mode).intersects(by_others) && (owner == 0 || owner == geteuid().as_raw())
}

/// The part of a path that is still to be walked: the last bytes of a buffer, so that the target of a link fits
/// before it.
struct Ahead {
    bytes: [u8; LONGEST],
    from: usize,
}

impl Default for Ahead {
    fn default() -> Self {
        Self { bytes: [0; LONGEST], from: LONGEST }
    }
}

impl Ahead {
    /// `false` where it does not fit.
    fn put_before(&mut self, path: &[u8]) -> bool {
        // With a slash between them.
        let Some(from) = self.from.checked_sub(path.len() + 1) else { return false };
        self.bytes[from..from + path.len()].copy_from_slice(path);
        self.bytes[self.from - 1] = b'/';
        self.from = from;
        true
    }

    fn next_name(&mut self) -> Option<&[u8]> {
        loop {
            let ahead = &self.bytes[self.from..];
            let start = self.from + ahead.iter().position(|&byte| byte != b'/')?;
            let length = self.bytes[start..].iter().position(|&byte| byte == b'/')?;
            self.from = start + length;
            if self.bytes[start..self.from] != *b"." {
                return Some(&self.bytes[start..start + length]);
            }
        }
    }
}

/// Opens a file to append to it, and makes it if it is missing: mode 0640, less the umask.
///
/// # Errors
/// Also where the path ends in a link, or in a FIFO that nobody reads.
pub fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    // Not to wait for the reader of a FIFO.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = flags | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    // A child does not expect that its output may not be taken at once.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ffi::CString;
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn is_beyond_others(path: &Path) -> bool {
        super::is_beyond_others(&CString::new(path.as_os_str().as_bytes()).unwrap())
    }

    fn open(path: &Path) -> Result<File, Errno> {
        super::open(&CString::new(path.as_os_str().as_bytes()).unwrap()).map(File::from)
    }

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
        assert!(is_beyond_others(Path::new("/usr/./bin//../twitcher.log")));
        symlink("..", folder.path().join("up")).unwrap();
        assert!(!is_beyond_others(&folder.path().join("up/../usr/twitcher.log")));
        symlink("again", folder.path().join("again")).unwrap();
        assert!(!is_beyond_others(&folder.path().join("again/twitcher.log")));
        let long = "long/".repeat(LONGEST / 5 - 1);
        assert!(!is_beyond_others(&Path::new("/").join(&long).join("twitcher.log")));
        assert!(!is_beyond_others(&Path::new("/").join("x".repeat(300)).join("twitcher.log")));
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
        assert_eq!(open(&link).unwrap_err(), Errno::LOOP);

        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open(&fifo).unwrap_err(), Errno::NXIO);

        let made = folder.path().join("made");
        drop(open(&made).unwrap());
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o137, 0);
    }
}
