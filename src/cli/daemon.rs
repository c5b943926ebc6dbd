//! What the subcommands have in common that ask the daemon.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::config::spec::{NameError, WatchName};
use crate::control::client::{Client, ClientError};

/// Which daemon.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    /// Where the daemon's sockets are, as it was told; the variable TWITCHER_RUN_DIR is heeded, too
    // As a default: what clap itself takes from the environment it shows in each usage as if it had to be there.
    #[arg(long, value_name = "DIR", default_value_os_t = usual_run_dir(), global = true)]
    pub run_dir: PathBuf,
}

fn usual_run_dir() -> PathBuf {
    let named = std::env::var_os("TWITCHER_RUN_DIR").filter(|folder| !folder.is_empty());
    named.map_or_else(|| "/run/twitcher".into(), PathBuf::from)
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

/// What the daemon has answered about one of several watches, for programs: a line of JSON that names it.
///
/// # Errors
///
/// When it cannot be written.
pub fn line_of(watch: &WatchName, answer: &impl Serialize, out: &mut impl Write) -> Result<(), AskError> {
    let mut answer = serde_json::to_value(answer)?;
    answer["watch"] = Value::from(watch.as_str());
    Ok(writeln!(out, "{answer}")?)
}

/// Asks about each of several watches, one after the other. What is refused of one keeps none of the others from being
/// asked. Returns the first exit code that is not 0.
///
/// # Errors
///
/// When there is no daemon, or no longer, or what it says cannot be written.
pub async fn each(
    watches: &[WatchName],
    mut ask: impl AsyncFnMut(&WatchName) -> Result<u8, AskError>,
) -> Result<u8, AskError> {
    let mut first = 0;
    for name in watches {
        let code = match ask(name).await {
            Ok(code) => code,
            Err(error @ AskError::Client(ClientError::Refused(_))) => {
                eprintln!("twitcher: {error}");
                error.exit_code()
            }
            Err(error) => return Err(error),
        };
        if first == 0 {
            first = code;
        }
    }
    Ok(first)
}

/// The name of a watch on the command line.
///
/// # Errors
///
/// When there can be no such watch.
pub fn watch_name(text: &str) -> Result<WatchName, NameError> {
    WatchName::try_from(text)
}
