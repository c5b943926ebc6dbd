//! What the watch loops tell the scheduler.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::spec::{WatchName, WatchSpec, WatchType};

/// What reaches the scheduler, in the order in which it became true.
///
/// The definition of a watch travels on the same channel as its updates, so that an update is never
/// taken for one of a definition that came later.
#[derive(Debug, Clone)]
pub enum Notice {
    /// From here on this is the definition of the watch of that name, new or instead of an older one.
    Watched(Arc<WatchSpec>),
    /// The znode was looked at for the first time under the current definition, and is not there. What
    /// follows is `Created`.
    Missing(WatchName),
    /// What is watched has changed, or was seen for the first time.
    Updated(WatchName, Update),
    /// Somebody wants a run of this watch, and this is what it is about; or why there is nothing to run it with.
    Fired(WatchName, FireId, Result<Update, Unfit>),
    /// The watch is no longer defined.
    Unwatched(WatchName),
}

/// Names what somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FireId(pub u64);

/// Why there is nothing to run a watch with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The znode does not exist, or has no child where a child's contents are what is run.
    Missing,
    /// The znode may not be read.
    Unreadable,
    /// The watch is disabled, or there is none of that name.
    Unwatched,
}

/// An observed change of what is watched, with all that a run is given of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// What happened.
    pub event: Event,
    /// The state that was read. After a deletion: the last one that was seen, all zero if none was.
    pub version: Version,
    /// What goes to the child's stdin. Empty after a deletion.
    pub contents: Bytes,
    /// The name of the child whose contents these are, where it is the newest child that is watched. None
    /// after a deletion.
    pub child: Option<String>,
}

/// What tells one state of a znode from another, also over a restart of the daemon.
///
/// Where the children are watched it is their parent's, with its `pzxid` and its `cversion` in the place of
/// `mzxid` and `version`: the `pzxid` is the zxid of the transaction that last made or deleted a child, so
/// that of one znode equal ones have equal lists. Two that differ may have equal lists all the same, when a
/// child was deleted and made again. Where the newest child is watched it is that child's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// The zxid of the transaction that created the znode.
    pub czxid: i64,
    /// The zxid of the transaction that last wrote its contents.
    pub mzxid: i64,
    /// How often its contents were written since it was created.
    pub version: i32,
}

/// What happened to a znode; `TWITCHER_EVENT` in the child's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It was seen for the first time under this definition.
    Loaded,
    /// It came into being, again or for the first time.
    Created,
    /// Its contents were written.
    Changed,
    /// It went away.
    Deleted,
    /// A child of it was made or deleted.
    Children,
    /// Nothing: somebody wants a run.
    Fired,
}

impl Event {
    /// What a later state is, after `Loaded`, to a watch of this type.
    #[must_use]
    pub fn later(watch_type: WatchType) -> Self {
        match watch_type {
            WatchType::Data | WatchType::NewestChild => Self::Changed,
            WatchType::Children => Self::Children,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Loaded => "loaded",
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Children => "children",
            Self::Fired => "fired",
        })
    }
}
