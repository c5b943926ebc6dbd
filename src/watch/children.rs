//! Looks at the names of the children of a znode.

use bytes::Bytes;
use zookeeper_client::{Client, Error};

use super::look::{Found, Look, find};
use super::seen::{Mark, Sight};
use super::update::Version;

/// Lists the children, and arms what tells of the next one that is made or deleted.
///
/// # Errors
///
/// Those of the client that say nothing of the znode: the look is to be tried again.
pub async fn look(client: &Client, znode: &str) -> Result<Look, Error> {
    Ok(match find(client, znode, || client.get_and_watch_children(znode)).await? {
        Found::There(names, stat, watcher) => {
            let version =
                Version { czxid: stat.czxid, mzxid: stat.pzxid, version: stat.cversion, sign: None };
            let contents = lines(names);
            let sight =
                Sight::Present { version, contents: contents.clone(), mark: Mark::Children(contents) };
            Look::of(sight, watcher)
        }
        Found::Other(look) => look,
    })
}

/// The names in the order of their bytes, each ended by a newline, which no name has in it.
fn lines(mut names: Vec<String>) -> Bytes {
    names.sort_unstable();
    names.into_iter().flat_map(|name| name.into_bytes().into_iter().chain([b'\n'])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_each_ends_its_line() {
        assert_eq!(lines(vec![]), "");
        assert_eq!(lines(vec!["b".into(), "ä".into(), "a b".into(), "B".into()]), "B\na b\nb\nä\n");
    }
}
