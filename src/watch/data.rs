//! Looks at the contents of a znode and leaves a watch on it. Knows nothing of who wants to know.

use bytes::Bytes;
use tokio::sync::Semaphore;
use zookeeper_client::{Client, Error, OneshotWatcher, Stat};

use super::follow::Look;
use super::seen::Sight;
use super::update::Version;

/// Reads and arms in one request, so that nothing can happen in between. Where there is nothing to read,
/// arms a watch that tells when there is.
///
/// # Errors
///
/// Those of the client that say nothing of the znode: the look is to be tried again.
pub async fn look(client: &Client, znode: &str, requests: &Semaphore) -> Result<Look, Error> {
    // Held until the next read is armed: dropping it sooner would ask the server to forget the watches on
    // this znode while another is being made.
    let mut _held: Option<OneshotWatcher> = None;
    loop {
        let read = {
            let _permit = requests.acquire().await;
            client.get_and_watch_data(znode).await
        };
        let denied = match read {
            Ok((contents, stat, watcher)) => {
                let sight = Sight::Present { version: version(&stat), contents: Bytes::from(contents) };
                return Ok(Look { sight, watcher: Some(watcher) });
            }
            Err(Error::NoNode) => false,
            Err(Error::NoAuth) => true,
            Err(error) => return Err(error),
        };
        let exists = {
            let _permit = requests.acquire().await;
            client.check_and_watch_stat(znode).await
        };
        match exists {
            Ok((None, watcher)) => return Ok(Look { sight: Sight::Absent, watcher: Some(watcher) }),
            // Created since the read.
            Ok((Some(_), watcher)) if !denied => _held = Some(watcher),
            Ok((Some(_), watcher)) => return Ok(Look { sight: Sight::Unreadable, watcher: Some(watcher) }),
            // Newer servers ask the ACL of the parent before they say whether a znode is there.
            Err(Error::NoAuth) => return Ok(Look { sight: Sight::Unreadable, watcher: None }),
            Err(error) => return Err(error),
        }
    }
}

fn version(stat: &Stat) -> Version {
    Version { czxid: stat.czxid, mzxid: stat.mzxid, version: stat.version }
}
