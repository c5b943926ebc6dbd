//! Files that are only read after a look at what was opened, so that nothing can be put in their place in
//! between. Knows nothing of what is in them, nor of what makes one trusted. Blocking.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::problem::Problem;

/// A larger file is refused.
pub(super) const LARGEST: u64 = 1 << 20;

/// Opens `physical` once and reads it from that descriptor, after `check` of what the same descriptor says
/// of it. `path` is what it is called.
pub(super) fn read(
    path: &Path,
    physical: &Path,
    check: impl FnOnce(&Metadata) -> Result<(), Problem>,
) -> Result<(Vec<u8>, Metadata), Problem> {
    let fail = |error: io::Error| unreadable(path, &error);
    // Without O_NONBLOCK, opening a FIFO waits for its other end.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(physical).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(Problem::of_file(path, "is not a regular file"));
    }
    check(&metadata)?;
    let too_large = || Problem::of_file(path, format!("is larger than {} KiB", LARGEST / 1024));
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // It may grow while it is read.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large());
    }
    Ok((bytes, metadata))
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::of_file(path, format!("cannot be read: {error}"))
}
