//! Who is at the other end of a connection, and whether that may use the socket.
//!
//! The kernel has looked at the socket's mode already, by all groups that a process had when it connected. This
//! holds also where somebody has changed the mode.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Uid};

/// The process that has connected, as it was then: `SO_PEERCRED` of unix(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pid: i32,
    uid: u32,
    gid: u32,
}

impl Peer {
    /// Who has connected.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of(connection: &impl AsFd) -> io::Result<Self> {
        let peer = getsockopt(connection, PeerCredentials)?;
        Ok(Self { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
    }

    /// Its user.
    #[must_use]
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Whether it is root, the daemon's user, or in the group.
    #[must_use]
    pub fn may_use(self, group: Option<Gid>) -> bool {
        self.uid == 0
            || self.uid == Uid::effective().as_raw()
            || group.is_some_and(|group| self.gid == group.as_raw() || self.has_supplementary(group))
    }

    /// Whether the group is one of its supplementary groups. `SO_PEERGROUPS` tells them and takes `unsafe` to ask, so
    /// they are read in /proc, of the process that has the pid now. Should that be another one by now, it counts only
    /// where it runs as the same user: one that could have lent its connection to the peer.
    fn has_supplementary(self, group: Gid) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        is_member(&status, self.uid, group.as_raw())
    }
}

/// Whether a process whose /proc/PID/status this is runs as this user and has this supplementary group.
fn is_member(status: &str, uid: u32, group: u32) -> bool {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_ascii_whitespace().map(str::parse::<u32>)
    };
    // Real, effective, saved, for files. SO_PEERCRED has the effective one.
    field("Uid").nth(1) == Some(Ok(uid)) && field("Groups").any(|one| one == Ok(group))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixStream;

    use nix::unistd::{getgroups, getpid};

    use super::*;

    #[test]
    fn a_process_is_told_by_its_effective_user_and_its_supplementary_groups() {
        let status = "Name:\tGroups:\t9\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 20 \n";
        assert!(is_member(status, 2, 10) && is_member(status, 2, 20));
        for (uid, group) in [(1, 10), (3, 10), (2, 6), (2, 9), (2, 1), (2, 0)] {
            assert!(!is_member(status, uid, group), "{uid} {group}");
        }
        assert!(!is_member("", 0, 0));
    }

    #[test]
    fn the_groups_of_this_process_are_read_as_it_has_them() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!((peer.pid, peer.uid()), (getpid().as_raw(), Uid::effective().as_raw()));
        for group in getgroups().unwrap() {
            assert!(peer.has_supplementary(group), "{group}");
        }
        assert!(!peer.has_supplementary(Gid::from_raw(3_999_999)));
    }
}
