//! Which binary a process runs: what tells a minder of this release from one of another.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use crate::run::protocol::Executable;

/// The binary that this process runs.
///
/// # Errors
/// When `/proc` is not there.
pub fn executable() -> io::Result<Executable> {
    let file = fs::metadata("/proc/self/exe")?;
    Ok(Executable {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        device: file.dev(),
        inode: file.ino(),
        written_ns: file.mtime().saturating_mul(1_000_000_000).saturating_add(file.mtime_nsec()),
    })
}
