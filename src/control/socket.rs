//! The socket: a name in the run folder that only those find open who may.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::unistd::Gid;

/// What the socket is called in the run folder.
pub const NAME: &str = "control.sock";

/// Listens in `run_dir`, which the caller holds the lock of: what is there by that name is of a daemon that is
/// gone. It is there for others only once it is theirs to use: root's and the daemon's user's, and a `group`'s.
///
/// # Errors
/// When there can be none.
pub fn listen(run_dir: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let unfinished = run_dir.join(format!("{NAME}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    listener.set_nonblocking(true)?;
    // In this order, so that it is never open to another group.
    fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
    if let Some(group) = group {
        chown(&unfinished, None, Some(group.as_raw()))?;
        fs::set_permissions(&unfinished, Permissions::from_mode(0o660))?;
    }
    fs::rename(&unfinished, run_dir.join(NAME))?;
    Ok(listener)
}
