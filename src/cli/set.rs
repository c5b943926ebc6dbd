//! `twitcher set`: writes to a znode what it is told, and nothing by itself as `poke` does.

use std::io::{Read, Write};

use clap::Args;

use super::poke::{PokeArgs, poke};
use super::zookeeper::{CommandError, ZooKeeperArgs, znode};
use crate::config::spec::ZnodePath;
use crate::watch::ensemble::Ensemble;

const EXAMPLES: &str = "\
Examples:
  twitcher set /app/mode maintenance
  twitcher set --create /app/config --file config.json
  generate | twitcher set /app/config -

Exit status: 0 done; 1 there is no such znode, or what was to be written could not be read or is too long; 3 the \
settings are wrong; 4 ZooKeeper could not be reached or refused.";

/// Write a text, a file or standard input to a znode
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SetArgs {
    /// The znode, an absolute path
    #[arg(value_name = "ZNODE", value_parser = znode)]
    pub znode: ZnodePath,

    /// Write this as it stands; '-': what comes on standard input, to its end
    #[arg(
        value_name = "TEXT",
        required_unless_present = "file",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    pub text: Option<String>,

    /// Write what is in this file
    #[arg(long, value_name = "FILE")]
    pub file: Option<std::path::PathBuf>,

    /// Make the znode if it is missing, and what is missing above it: persistent, and open to everyone
    #[arg(long)]
    pub create: bool,

    /// Which ZooKeeper.
    #[command(flatten)]
    pub zookeeper: ZooKeeperArgs,
}

/// Writes to the znode in `ensemble`; nothing is sent before all that is to be written was read.
///
/// # Errors
///
/// When there is nothing to write to, or from; when it is too long; when ZooKeeper cannot be reached.
pub async fn set(
    args: &SetArgs,
    ensemble: &Ensemble,
    stdin: impl Read,
    out: impl Write,
) -> Result<(), CommandError> {
    let SetArgs { znode, text, file, create, zookeeper } = args.clone();
    let (stdin_too, data) = match text {
        Some(text) if text == "-" => (Some(text), None),
        text => (None, text),
    };
    let args = PokeArgs { znode, stdin: stdin_too, data, file, create, verbose: false, zookeeper };
    poke(&args, ensemble, stdin, out).await
}
