//! The socket: a name in the run folder that only those find open who may.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Uid;
use tokio::net::UnixStream;

/// What the socket is called in the run folder.
pub const NAME: &str = "control.sock";

/// Listens in `run_dir`, which the caller holds the lock of: what is there by that name is of a daemon that is
/// gone. It is there for others only once it is theirs to use.
///
/// # Errors
/// When there can be none.
pub fn listen(run_dir: &Path) -> io::Result<UnixListener> {
    let unfinished = run_dir.join(format!("{NAME}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, run_dir.join(NAME))?;
    Ok(listener)
}

/// Whether whoever has connected is root or the daemon's user. The kernel has looked at the socket's mode already;
/// this holds also where somebody has changed that.
#[must_use]
pub fn may_use(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials)
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == Uid::effective().as_raw())
}
