//! `twitcher get`: the contents of a znode, and nothing else, on standard output.

use std::io::Write;

use clap::Args;

use super::zookeeper::{CommandError, ZooKeeperArgs, znode};
use crate::config::spec::ZnodePath;
use crate::watch::client::Client;
use crate::watch::ensemble::Ensemble;

const EXAMPLES: &str = "\
Examples:
  twitcher get /git/head
  twitcher get /app/config > config.json
  twitcher get --zkservers zk1,zk2,zk3/prod /git/head

Exit status: 0 done; 1 there is no such znode; 3 the settings are wrong; 4 ZooKeeper could not be reached or refused.";

/// Print the contents of a znode
///
/// Writes the bytes as they are and nothing else, so that what is written to a file is what was poked.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct GetArgs {
    /// The znode, an absolute path
    #[arg(value_name = "ZNODE", value_parser = znode)]
    pub znode: ZnodePath,

    /// Which ZooKeeper.
    #[command(flatten)]
    pub zookeeper: ZooKeeperArgs,
}

/// Reads the znode from `ensemble` and writes its contents to `out`.
///
/// # Errors
///
/// When there is no such znode, ZooKeeper cannot be reached, or `out` takes no more.
pub async fn get(args: &GetArgs, ensemble: &Ensemble, mut out: impl Write) -> Result<(), CommandError> {
    let client = Client::connect(ensemble, args.zookeeper.timeout).await?;
    let read = client.get(&args.znode).await;
    client.close().await;
    let (contents, _) = read?;
    out.write_all(&contents).and_then(|()| out.flush()).map_err(CommandError::Write)
}
