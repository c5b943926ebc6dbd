//! One look at a znode, whatever is read of it, and the watch that it leaves there. Knows nothing of who
//! wants to know.

use std::future::Future;

use zookeeper_client::{Client, Error, OneshotWatcher, Stat};

use super::seen::Sight;

/// One look at a target, and what tells when the next is due.
#[derive(Debug)]
pub struct Look {
    /// What was found. `None`: what the last look found, which was not read again.
    pub sight: Option<Sight>,
    /// `None`: nothing could be armed.
    pub watcher: Option<OneshotWatcher>,
}

impl Look {
    pub(super) fn of(sight: Sight, watcher: OneshotWatcher) -> Self {
        Self { sight: Some(sight), watcher: Some(watcher) }
    }
}

/// What a read came to.
pub(super) enum Found<T> {
    /// It was answered, and armed.
    There(T, Stat, OneshotWatcher),
    /// It was refused, and something else is armed.
    Other(Look),
}

/// Reads and arms in one request, so that nothing can happen in between. Where there is nothing to read,
/// arms a watch that tells when there is.
///
/// # Errors
///
/// Those of the client that say nothing of the znode: the look is to be tried again.
pub(super) async fn find<T, F>(client: &Client, znode: &str, read: impl Fn() -> F) -> Result<Found<T>, Error>
where
    F: Future<Output = Result<(T, Stat, OneshotWatcher), Error>>,
{
    // Held until the next read is armed: dropping it sooner would ask the server to forget the watches on
    // this znode while another is being made.
    let mut _held: Option<OneshotWatcher> = None;
    loop {
        let denied = match read().await {
            Ok((found, stat, watcher)) => return Ok(Found::There(found, stat, watcher)),
            Err(Error::NoNode) => false,
            Err(Error::NoAuth) => true,
            Err(error) => return Err(error),
        };
        let look = match client.check_and_watch_stat(znode).await {
            Ok((None, watcher)) => Look::of(Sight::Absent, watcher),
            // Created since the read.
            Ok((Some(_), watcher)) if !denied => {
                _held = Some(watcher);
                continue;
            }
            Ok((Some(_), watcher)) => Look::of(Sight::Unreadable, watcher),
            // Newer servers ask the ACL of the parent before they say whether a znode is there.
            Err(Error::NoAuth) => Look { sight: Some(Sight::Unreadable), watcher: None },
            Err(error) => return Err(error),
        };
        return Ok(Found::Other(look));
    }
}
