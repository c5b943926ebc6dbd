//! A child's stdin, with all of its contents in the kernel before the child starts: so that nobody has to
//! wait for a child to read them, or to notice that it never does.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::pipe2;

/// Something to read `contents` from: a pipe, grown to hold them, and where the kernel refuses so large a
/// one a sealed file in memory.
///
/// # Errors
/// What the kernel gave, such as too many open files or too little memory.
pub fn holding(contents: &[u8]) -> io::Result<OwnedFd> {
    match pipe_holding(contents)? {
        Some(pipe) => Ok(pipe),
        None => memory_holding(contents),
    }
}

fn pipe_holding(contents: &[u8]) -> io::Result<Option<OwnedFd>> {
    // Not to block where it does not fit; the reader's end stays an ordinary one.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let mut writer = File::from(writer);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    if let Ok(length) = i32::try_from(contents.len())
        && length > fcntl(&writer, FcntlArg::F_GETPIPE_SZ)?
        && fcntl(&writer, FcntlArg::F_SETPIPE_SZ(length)).is_err()
    {
        return Ok(None);
    }
    match writer.write_all(contents) {
        Ok(()) => Ok(Some(reader)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn memory_holding(contents: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(c"znode", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(contents)?;
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    // Opened again, so that the child cannot tell it from any other file that it may only read.
    Ok(File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read_all(descriptor: OwnedFd) -> Vec<u8> {
        let mut contents = Vec::new();
        File::from(descriptor).read_to_end(&mut contents).unwrap();
        contents
    }

    #[test]
    fn contents_of_any_size_come_out_as_they_went_in_and_then_end() {
        for size in [0, 1, 65_536, 65_537, (1 << 20) - 1, 5_000_000] {
            let contents: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert!(read_all(holding(&contents).unwrap()) == contents, "{size} bytes");
            assert!(read_all(memory_holding(&contents).unwrap()) == contents, "{size} bytes in memory");
        }
    }

    #[test]
    fn what_is_in_memory_cannot_be_written_to() {
        let file = File::from(memory_holding(b"fixed").unwrap());
        assert!(
            std::fs::OpenOptions::new()
                .write(true)
                .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
                .is_err_and(|error| error.raw_os_error() == Some(nix::libc::EPERM))
                || (&file).write_all(b"x").is_err()
        );
    }
}
