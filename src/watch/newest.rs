//! Looks for the child of a znode with the highest sequence number, and at its contents. Which number is the
//! higher one is said in `sequence`, and whether it is an update in `seen`.

use bytes::Bytes;
use zookeeper_client::{Client, Error, OneshotWatcher, Stat};

use super::look::{Found, Look, find};
use super::seen::{Mark, Newest, Sight};
use super::sequence::{Position, newest};
use super::update::Version;

/// Lists the children, arms what tells of the next one that is made or deleted, and reads the newest one,
/// unless it comes no later than `last`, which was read in the same session.
///
/// # Errors
///
/// Those of the client that say nothing of the znode: the look is to be tried again.
pub async fn look(client: &Client, znode: &str, last: Option<&Newest>) -> Result<Look, Error> {
    // Held until the next one is armed, as in `find`.
    let mut _held: Option<OneshotWatcher> = None;
    loop {
        let (names, stat, watcher) =
            match find(client, znode, || client.get_and_watch_children(znode)).await? {
                Found::There(names, stat, watcher) => (names, stat, watcher),
                Found::Other(look) => return Ok(look),
            };
        let Some((child, number)) = newest(&names) else {
            return Ok(Look::of(Sight::Childless, watcher));
        };
        let position = Position { number, parent: stat.czxid, changes: stat.cversion };
        let newest = Newest { child: child.to_owned(), position };
        if last.is_some_and(|last| !last.position.is_succeeded_by(position)) {
            return Ok(Look { sight: None, watcher: Some(watcher) });
        }
        match client.get_data(&below(znode, child)).await {
            Ok((contents, stat)) => {
                let Stat { czxid, mzxid, version, .. } = stat;
                let version = Version { czxid, mzxid, version, sign: None };
                let contents = Bytes::from(contents);
                let sight = Sight::Present { version, contents, mark: Mark::Newest(newest) };
                return Ok(Look::of(sight, watcher));
            }
            // Deleted since it was listed, so that another one may be the newest.
            Err(Error::NoNode) => _held = Some(watcher),
            Err(Error::NoAuth) => return Ok(Look::of(Sight::Unreadable, watcher)),
            Err(error) => return Err(error),
        }
    }
}

fn below(znode: &str, child: &str) -> String {
    format!("{}/{child}", znode.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_children_too() {
        assert_eq!(below("/", "a"), "/a");
        assert_eq!(below("/a/b", "c"), "/a/b/c");
    }
}
