//! `twitcher rm`: deletes a znode.

use clap::Args;

use super::zookeeper::{CommandError, ZooKeeperArgs, znode};
use crate::config::spec::ZnodePath;
use crate::watch::client::Client;
use crate::watch::ensemble::Ensemble;

const EXAMPLES: &str = "\
Examples:
  twitcher rm /app/flags
  for name in $(twitcher ls /queue); do
      twitcher rm \"/queue/$name\"
  done

Exit status: 0 done; 1 there is no such znode, or it has children; 3 the settings are wrong; 4 ZooKeeper could not be reached or refused.";

/// Delete a znode that has no children
///
/// Watches with on_delete = \"run\" run for it.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RmArgs {
    /// The znode, an absolute path
    #[arg(value_name = "ZNODE", value_parser = znode)]
    pub znode: ZnodePath,

    /// Which ZooKeeper.
    #[command(flatten)]
    pub zookeeper: ZooKeeperArgs,
}

/// Deletes it in `ensemble`.
///
/// # Errors
///
/// When there is no such znode, it has children, or ZooKeeper cannot be reached.
pub async fn rm(args: &RmArgs, ensemble: &Ensemble) -> Result<(), CommandError> {
    let client = Client::connect(ensemble, args.zookeeper.timeout).await?;
    let deleted = client.delete(&args.znode).await;
    client.close().await;
    Ok(deleted?)
}
