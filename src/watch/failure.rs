//! Why a request of the command line came to nothing, in words for the person at the terminal.

use std::time::Duration;

use thiserror::Error;

use crate::config::spec::ZnodePath;

/// Why a request could not be fulfilled.
#[derive(Debug, Error)]
pub enum Failure {
    /// No server answered in time.
    #[error(
        "cannot reach ZooKeeper at '{servers}' within {} s: {why}\nhelp: name the servers with --zkservers or TWITCHER_ZKSERVERS, or wait longer with --timeout",
        waited.as_secs_f64()
    )]
    Unreachable {
        /// The connect string.
        servers: String,
        /// How long it was tried.
        waited: Duration,
        /// What was wrong last.
        why: String,
    },
    /// The connect string is not one.
    #[error(
        "'{servers}' is not a list of ZooKeeper servers: {why}\nhelp: write 'host:port,host:port/chroot'"
    )]
    BadServers {
        /// The connect string.
        servers: String,
        /// What is wrong with it.
        why: String,
    },
    /// The credentials or certificates cannot be used.
    #[error(
        "{why}\nhelp: name settings of your own with --config, or only the servers with --zkservers to go without"
    )]
    Files {
        /// Which file, and what is wrong with it.
        why: String,
    },
    /// The server refuses the credentials of the session, or asks for some where there are none.
    #[error(
        "ZooKeeper at '{servers}' refuses the credentials\nhelp: name settings with other ones with --config"
    )]
    Refused {
        /// The connect string.
        servers: String,
    },
    /// The znode's ACL does not allow it.
    #[error(
        "ZooKeeper does not allow it on {znode}\nhelp: look at its ACL, as with 'getAcl {znode}' in zkCli.sh"
    )]
    Denied {
        /// The znode that was asked about.
        znode: ZnodePath,
    },
    /// There is no such znode.
    #[error("no znode {znode}")]
    Missing {
        /// The znode that was asked about.
        znode: ZnodePath,
    },
    /// A znode that has children cannot be deleted.
    #[error("{znode} has children\nhelp: delete them first; 'twitcher ls {znode}' names them")]
    HasChildren {
        /// The znode that was to be deleted.
        znode: ZnodePath,
    },
    /// The contents are longer than any server takes, or than this one did: nothing was written.
    #[error(
        "{length} bytes are too many for {znode}: ZooKeeper takes less than a mebibyte, with the path\nhelp: keep the contents elsewhere, and where they are in the znode"
    )]
    TooLong {
        /// The znode that was to be written.
        znode: ZnodePath,
        /// The length of the contents, in bytes.
        length: usize,
    },
    /// Anything else that ZooKeeper answered.
    #[error("{znode}: {source}")]
    Other {
        /// The znode that was asked about.
        znode: ZnodePath,
        /// The answer.
        source: zookeeper_client::Error,
    },
}

impl Failure {
    /// Whether it is ZooKeeper that could not be reached or refused, and not the znode that is otherwise
    /// than was asked for.
    #[must_use]
    pub fn is_of_zookeeper(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::BadServers { .. }
            | Self::Refused { .. }
            | Self::Denied { .. }
            | Self::Other { .. } => true,
            Self::Files { .. } | Self::Missing { .. } | Self::HasChildren { .. } | Self::TooLong { .. } => {
                false
            }
        }
    }
}
