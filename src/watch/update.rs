//! What the watch loops tell the scheduler.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::sequence::Position;
use crate::config::spec::{WatchName, WatchSpec, WatchType};

/// What reaches the scheduler, in the order in which it became true.
///
/// The definition of a watch travels on the same channel as its updates, so that an update is never
/// taken for one of a definition that came later.
#[derive(Debug, Clone)]
pub enum Notice {
    /// From here on this is the definition of the watch of that name, new or instead of an older one.
    Watched(Arc<WatchSpec>),
    /// Under the current definition the znode was never seen, and is not there. What follows is `Created`.
    Missing(WatchName),
    /// The znode was looked at for the first time under the current definition, and is there without the
    /// child that is watched.
    Childless(WatchName),
    /// What is watched has changed, or was seen for the first time.
    Updated(WatchName, Update),
    /// Somebody wants a run of this watch, and this is what it is about; or why there is nothing to run it with.
    Fired(WatchName, FireId, Result<Update, Unfit>),
    /// The watch is no longer defined.
    Unwatched(WatchName),
    /// About no watch: goes the way of an update to its end, to show that nothing on it stands still.
    Beat(Beat),
}

/// Names one of the daemon's own heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Beat(pub u64);

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
/// child was deleted and made again: `sign` tells. Where the newest child is watched it is that child's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Version {
    /// The zxid of the transaction that created the znode.
    pub czxid: i64,
    /// The zxid of the transaction that last wrote its contents.
    pub mzxid: i64,
    /// How often its contents were written since it was created.
    pub version: i32,
    /// What else there is to go by. `None`: nothing, since an earlier release has kept it, or since nobody is
    /// to compare it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
}

/// What tells a state from another beside the zxids, by what of the znode is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// Of contents the zxids tell all.
    Data,
    /// The names of the children.
    Children(Digest),
    /// Where the newest child comes among its siblings.
    Newest(Position),
    /// The znode was not there. The zxids are those of the last state before.
    Absent(WatchType),
    /// A run was begun with this state after another one was applied, and how far it came is not known: so
    /// whatever there is by now is to be run, the state that was applied before it too.
    Begun(WatchType),
}

impl Sign {
    fn watch_type(self) -> WatchType {
        match self {
            Self::Data => WatchType::Data,
            Self::Children(_) => WatchType::Children,
            Self::Newest(_) => WatchType::NewestChild,
            Self::Absent(watch_type) | Self::Begun(watch_type) => watch_type,
        }
    }
}

impl Version {
    /// The same, after what was watched went away.
    #[must_use]
    pub fn gone(self, watch_type: WatchType) -> Self {
        Self { sign: Some(Sign::Absent(watch_type)), ..self }
    }

    /// Whether a watch of this type can have been given it.
    #[must_use]
    pub fn is_of(&self, watch_type: WatchType) -> bool {
        self.sign.is_none_or(|sign| sign.watch_type() == watch_type)
    }

    /// Whether this state is an update to who was given `known`, of the same znode and type and perhaps by an
    /// earlier daemon: as `Seen::compare` has it for those who have seen what came before.
    #[must_use]
    pub fn is_update_to(&self, known: &Self) -> bool {
        let is_other = (self.czxid, self.mzxid) != (known.czxid, known.mzxid);
        match (known.sign, self.sign) {
            (Some(Sign::Absent(_)), Some(Sign::Absent(_))) => false,
            (Some(Sign::Children(old)), Some(Sign::Children(new))) => old != new,
            (Some(Sign::Newest(old)), Some(Sign::Newest(new))) if old.is_of_another_history(new) => is_other,
            (Some(Sign::Newest(old)), Some(Sign::Newest(new))) => old.is_succeeded_by(new),
            (None | Some(Sign::Data), None | Some(Sign::Data))
            | (None, Some(Sign::Children(_) | Sign::Newest(_)))
            | (Some(Sign::Children(_) | Sign::Newest(_)), None) => is_other,
            (Some(Sign::Absent(_) | Sign::Begun(_)), _) | (_, Some(Sign::Absent(_) | Sign::Begun(_))) => true,
            // Of another type.
            (Some(Sign::Data), Some(Sign::Children(_) | Sign::Newest(_)))
            | (Some(Sign::Children(_)), Some(Sign::Data | Sign::Newest(_)))
            | (Some(Sign::Newest(_)), Some(Sign::Data | Sign::Children(_))) => true,
        }
    }

    /// What is to be known of what was applied once a run is begun with `begun`; `None`: what was known.
    ///
    /// A list of names or a znode that is not there can come back just as it was, and then there would be
    /// nothing to tell that something else was begun in between. Zxids and numbers do not come back.
    #[must_use]
    pub fn once_begun(&self, begun: &Self) -> Option<Self> {
        let can_come_back = matches!(self.sign, Some(Sign::Children(_) | Sign::Absent(_)));
        let watch_type = begun.sign.map(Sign::watch_type)?;
        let unsure = Self { sign: Some(Sign::Begun(watch_type)), ..*begun };
        (can_come_back && begun.is_update_to(self)).then_some(unsure)
    }
}

/// Stands for bytes that are too many to be kept. It must be the same in every release: that is why it is made
/// here, by FNV-1a in 128 bits, and not by a hasher of the standard library, which may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(
    /// Not as a number: that would be aligned to 16 bytes, and all that holds a state with it.
    [u8; 16],
);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let offset = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let hash = |hash: u128, &byte| (hash ^ u128::from(byte)).wrapping_mul(prime);
        Self(bytes.iter().fold(offset, hash).to_be_bytes())
    }
}

impl From<Digest> for String {
    fn from(Digest(bytes): Digest) -> Self {
        format!("{:032x}", u128::from_be_bytes(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(|number| Self(number.to_be_bytes()))
    }
}

/// What happened to a znode; `TWITCHER_EVENT` in the child's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "UpdateEvent"))]
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_in_every_release() {
        assert_eq!(String::from(Digest::of(b"")), "6c62272e07bb014262b821756295c58d");
        assert_eq!(String::from(Digest::of(b"a")), "d228cb696f1a8caf78912b704e4a8964");
        assert_eq!(Digest::try_from(String::from(Digest::of(b"a"))), Ok(Digest::of(b"a")));
    }

    #[test]
    fn a_state_of_an_earlier_release_is_told_by_its_zxids() {
        let unsigned = Version { czxid: 1, mzxid: 3, version: 0, sign: None };
        let signs = [Sign::Data, Sign::Children(Digest::of(b""))];
        for sign in signs {
            assert!(!Version { sign: Some(sign), ..unsigned }.is_update_to(&unsigned));
            assert!(Version { mzxid: 4, sign: Some(sign), ..unsigned }.is_update_to(&unsigned));
        }
        assert!(unsigned.gone(WatchType::Data).is_update_to(&unsigned));
    }
}
