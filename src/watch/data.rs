//! Looks at the contents of a znode.

use bytes::Bytes;
use zookeeper_client::{Client, Error};

use super::look::{Found, Look, find};
use super::seen::{Mark, Sight};
use super::update::Version;

/// Reads the contents, and arms what tells of the next ones.
///
/// # Errors
///
/// Those of the client that say nothing of the znode: the look is to be tried again.
pub async fn look(client: &Client, znode: &str) -> Result<Look, Error> {
    Ok(match find(client, znode, || client.get_and_watch_data(znode)).await? {
        Found::There(contents, stat, watcher) => {
            let version = Version { czxid: stat.czxid, mzxid: stat.mzxid, version: stat.version, sign: None };
            let sight = Sight::Present { version, contents: Bytes::from(contents), mark: Mark::Data };
            Look::of(sight, watcher)
        }
        Found::Other(look) => look,
    })
}
