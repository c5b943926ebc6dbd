//! What is new in a look at a znode, for one watch: pure, with neither clock nor channel.

use bytes::Bytes;

use super::sequence::Position;
use super::update::{Digest, Event, Sign, Update, Version};
use crate::config::spec::WatchType;

/// What one look at a znode found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// What is watched is there.
    Present {
        /// Which state of it was read.
        version: Version,
        /// What a run is given of it.
        contents: Bytes,
        /// What tells this state from another.
        mark: Mark,
    },
    /// The znode is there, without the child that is watched.
    Childless,
    /// It is not there.
    Absent,
    /// It may not be read: its ACL does not allow it.
    Unreadable,
}

/// What makes a state another one than the last, by the type of the watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The zxids: a write of the same bytes counts.
    Data,
    /// The names of the children, sorted, a line each. The zxids do not count, since they also differ after
    /// a child was deleted and made again.
    Children(Bytes),
    /// The number of the newest child.
    Newest(Newest),
}

/// The newest child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its name.
    pub child: String,
    /// Where it comes among its siblings.
    pub position: Position,
}

impl Mark {
    /// What is kept of it for a daemon that comes later.
    #[must_use]
    pub fn sign(&self) -> Sign {
        match self {
            Self::Data => Sign::Data,
            Self::Children(names) => Sign::Children(Digest::of(names)),
            Self::Newest(newest) => Sign::Newest(newest.position),
        }
    }

    fn watch_type(&self) -> WatchType {
        match self {
            Self::Data => WatchType::Data,
            Self::Children(_) => WatchType::Children,
            Self::Newest(_) => WatchType::NewestChild,
        }
    }

    /// The name of the child whose contents were read, where it is the newest that is watched.
    #[must_use]
    pub fn child(&self) -> Option<&str> {
        match self {
            Self::Newest(newest) => Some(&newest.child),
            Self::Data | Self::Children(_) => None,
        }
    }
}

/// What a watch was last told of its znode, under its current definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That it is not there.
    Absent,
    /// That it is there, without the child that is watched.
    Childless,
    /// That it is there, in this state.
    Present(Version, Mark),
}

/// What a watch is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// There is no znode, and there was no look that found what is watched.
    Missing,
    /// The first look found the znode without the child that is watched.
    Childless,
    /// There is an update.
    Update(Update),
}

impl Seen {
    /// What a look tells a watch that has seen this, and what it has seen then. `None`: nothing new.
    ///
    /// A state is new when it is *different*, not when its zxids are higher: an ensemble that was restored
    /// from a backup goes back in time. Only the number of a newest child has to rise. A znode that was
    /// deleted and made again between two looks is one update, `Created`.
    #[must_use]
    pub fn compare(self, sight: &Sight) -> (Self, Option<News>) {
        match (self, sight) {
            (seen, Sight::Unreadable) => (seen, None),
            (Self::Nothing | Self::Childless, Sight::Absent) => (Self::Absent, Some(News::Missing)),
            (Self::Nothing, Sight::Childless) => (Self::Childless, Some(News::Childless)),
            (seen @ Self::Absent, Sight::Absent | Sight::Childless)
            | (seen @ Self::Childless, Sight::Childless) => (seen, None),
            // The numbers go on where they were.
            (seen @ Self::Present(..), Sight::Childless) => (seen, None),
            (Self::Present(version, mark), Sight::Absent) => {
                let version = version.gone(mark.watch_type());
                let update = Update { event: Event::Deleted, version, contents: Bytes::new(), child: None };
                (Self::Absent, Some(News::Update(update)))
            }
            (seen, Sight::Present { version, contents, mark }) => match seen.event(*version, mark) {
                Some(event) => {
                    let child = mark.child().map(str::to_owned);
                    let signed = Version { sign: Some(mark.sign()), ..*version };
                    let update = Update { event, version: signed, contents: contents.clone(), child };
                    (Self::Present(*version, mark.clone()), Some(News::Update(update)))
                }
                None => (seen.without_news(*version, mark), None),
            },
        }
    }

    fn event(&self, now: Version, mark: &Mark) -> Option<Event> {
        let (before, old) = match self {
            Self::Nothing => return Some(Event::Loaded),
            Self::Absent | Self::Childless => return Some(Event::Created),
            Self::Present(before, old) => (before, old),
        };
        match (old, mark) {
            (Mark::Data, Mark::Data) if before.czxid != now.czxid => Some(Event::Created),
            (Mark::Data, Mark::Data) => (before.mzxid != now.mzxid).then_some(Event::Changed),
            (Mark::Children(old), Mark::Children(new)) if old == new => None,
            (Mark::Children(_), Mark::Children(_)) if before.czxid != now.czxid => Some(Event::Created),
            (Mark::Children(_), Mark::Children(_)) => Some(Event::Children),
            (Mark::Newest(old), Mark::Newest(new)) if old.position.parent != new.position.parent => {
                Some(Event::Created)
            }
            (Mark::Newest(old), Mark::Newest(new)) if old.position.is_of_another_history(new.position) => {
                (before.czxid != now.czxid).then_some(Event::Changed)
            }
            (Mark::Newest(old), Mark::Newest(new)) => {
                old.position.is_succeeded_by(new.position).then_some(Event::Changed)
            }
            // Another type is another definition.
            (Mark::Data, Mark::Children(_) | Mark::Newest(_))
            | (Mark::Children(_), Mark::Data | Mark::Newest(_))
            | (Mark::Newest(_), Mark::Data | Mark::Children(_)) => Some(Event::Loaded),
        }
    }

    /// What was seen, after a look in which nothing is new.
    fn without_news(self, now: Version, mark: &Mark) -> Self {
        match (self, mark) {
            // An older child may be the newest for now. The number to be exceeded stays, the history goes on.
            (Self::Present(version, Mark::Newest(highest)), Mark::Newest(new)) => {
                let position = Position { changes: new.position.changes, ..highest.position };
                Self::Present(version, Mark::Newest(Newest { position, ..highest }))
            }
            (Self::Nothing | Self::Absent | Self::Childless | Self::Present(..), _) => {
                Self::Present(now, mark.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests;
