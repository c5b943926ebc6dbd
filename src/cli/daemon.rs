//! What the subcommands have in common that ask the daemon.

use std::io;
use std::path::PathBuf;

use clap::Args;
use thiserror::Error;

use crate::config::spec::{NameError, WatchName};
use crate::control::client::{Client, ClientError};

/// Which daemon.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    /// Where the daemon's sockets are, as it was told
    #[arg(
        long,
        value_name = "DIR",
        env = "TWITCHER_RUN_DIR",
        default_value = "/run/twitcher",
        global = true
    )]
    pub run_dir: PathBuf,
}

impl DaemonArgs {
    /// What is at its socket.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.run_dir)
    }
}

/// Why a subcommand that asks the daemon came to no good end.
#[derive(Debug, Error)]
pub enum AskError {
    /// The daemon was not asked, or did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it said could not be written.
    #[error("cannot write to standard output: {0}")]
    Write(#[from] io::Error),
    /// What it said could not be made JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl AskError {
    /// The program's exit status: 6 no daemon, 5 one that does not answer, 1 all else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Write(_) | Self::Json(_) => 1,
        }
    }

    /// Whether whoever reads has heard enough, as `head` has.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        let kind = match self {
            Self::Write(error) => Some(error.kind()),
            Self::Json(error) => error.io_error_kind(),
            Self::Client(_) => None,
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    }
}

/// The name of a watch on the command line.
///
/// # Errors
///
/// When there can be no such watch.
pub fn watch_name(text: &str) -> Result<WatchName, NameError> {
    WatchName::try_from(text)
}
