//! What is new in a look at a znode, for one watch: pure, with neither clock nor channel.

use bytes::Bytes;

use super::sequence::Sequence;
use super::update::{Event, Update, Version};

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

/// The newest child, and where in the life of its parent it was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// Its name.
    pub child: String,
    /// The number at the end of its name.
    pub number: Sequence,
    /// The zxid that made the parent. Another parent begins to count anew.
    pub parent: i64,
    /// The parent's `cversion`: every change of its children raises it, so that it falls only when an
    /// ensemble was restored from a backup.
    pub changes: i32,
}

impl Newest {
    /// Whether it comes after this one in another history than this one's: the numbers tell nothing.
    #[must_use]
    pub fn is_of_another_history(&self, next: &Self) -> bool {
        self.parent != next.parent || next.changes.wrapping_sub(self.changes) < 0
    }

    /// Whether this one may be an update to who has seen `self`.
    #[must_use]
    pub fn is_succeeded_by(&self, next: &Self) -> bool {
        self.is_of_another_history(next) || next.number.is_after(self.number)
    }
}

impl Mark {
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
    /// That it is there, in this state.
    Present(Version, Mark),
}

/// What a watch is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The first look found no znode.
    Missing,
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
            (Self::Nothing, Sight::Absent | Sight::Childless) => (Self::Absent, Some(News::Missing)),
            (Self::Absent, Sight::Absent | Sight::Childless) => (Self::Absent, None),
            // The numbers go on where they were.
            (seen @ Self::Present(..), Sight::Childless) => (seen, None),
            (Self::Present(version, _), Sight::Absent) => {
                let update = Update { event: Event::Deleted, version, contents: Bytes::new(), child: None };
                (Self::Absent, Some(News::Update(update)))
            }
            (seen, Sight::Present { version, contents, mark }) => match seen.event(*version, mark) {
                Some(event) => {
                    let child = mark.child().map(str::to_owned);
                    let update = Update { event, version: *version, contents: contents.clone(), child };
                    (Self::Present(*version, mark.clone()), Some(News::Update(update)))
                }
                None => (seen.without_news(*version, mark), None),
            },
        }
    }

    fn event(&self, now: Version, mark: &Mark) -> Option<Event> {
        let (before, old) = match self {
            Self::Nothing => return Some(Event::Loaded),
            Self::Absent => return Some(Event::Created),
            Self::Present(before, old) => (before, old),
        };
        match (old, mark) {
            (Mark::Data, Mark::Data) if before.czxid != now.czxid => Some(Event::Created),
            (Mark::Data, Mark::Data) => (before.mzxid != now.mzxid).then_some(Event::Changed),
            (Mark::Children(old), Mark::Children(new)) if old == new => None,
            (Mark::Children(_), Mark::Children(_)) if before.czxid != now.czxid => Some(Event::Created),
            (Mark::Children(_), Mark::Children(_)) => Some(Event::Children),
            (Mark::Newest(old), Mark::Newest(new)) if old.parent != new.parent => Some(Event::Created),
            (Mark::Newest(old), Mark::Newest(new)) if old.is_of_another_history(new) => {
                (before.czxid != now.czxid).then_some(Event::Changed)
            }
            (Mark::Newest(old), Mark::Newest(new)) => {
                new.number.is_after(old.number).then_some(Event::Changed)
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
                Self::Present(version, Mark::Newest(Newest { changes: new.changes, ..highest }))
            }
            (Self::Nothing | Self::Absent | Self::Present(..), _) => Self::Present(now, mark.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
