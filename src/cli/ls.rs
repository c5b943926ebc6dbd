//! `twitcher ls`: the names of a znode's children.

use std::io::Write;

use clap::Args;

use super::zookeeper::{CommandError, ZooKeeperArgs, znode};
use crate::config::spec::ZnodePath;
use crate::watch::client::Client;
use crate::watch::ensemble::Ensemble;

const EXAMPLES: &str = "\
Examples:
  twitcher ls /
  for name in $(twitcher ls /web); do
      twitcher get \"/web/$name\"
  done

Exit status: 0 done; 1 there is no such znode; 3 the settings are wrong; 4 ZooKeeper could not be reached or refused.";

/// Print the names of a znode's children, sorted, a line each
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct LsArgs {
    /// The znode, an absolute path
    #[arg(value_name = "ZNODE", value_parser = znode)]
    pub znode: ZnodePath,

    /// Which ZooKeeper.
    #[command(flatten)]
    pub zookeeper: ZooKeeperArgs,
}

/// Reads the names from `ensemble` and writes them to `out`.
///
/// # Errors
///
/// When there is no such znode, ZooKeeper cannot be reached, or `out` takes no more.
pub async fn ls(args: &LsArgs, ensemble: &Ensemble, mut out: impl Write) -> Result<(), CommandError> {
    let client = Client::connect(ensemble, args.zookeeper.timeout).await?;
    let read = client.children(&args.znode).await;
    client.close().await;
    let text: String = read?.into_iter().map(|name| name + "\n").collect();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::Write)
}
