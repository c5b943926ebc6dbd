//! What is new in a look at a znode, for one watch: pure, with neither clock nor channel.

use bytes::Bytes;

use super::update::{Event, Update, Version};

/// What one look at a znode found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It is there.
    Present {
        /// Which state of it was read.
        version: Version,
        /// Its contents in that state.
        contents: Bytes,
    },
    /// It is not there.
    Absent,
    /// It may not be read: its ACL does not allow it.
    Unreadable,
}

/// What a watch was last told of its znode, under its current definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That it is not there.
    Absent,
    /// That it is there, in this state.
    Present(Version),
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
    /// A state is new when its zxids are *different*, not when they are higher: an ensemble that was
    /// restored from a backup goes back in time. A znode that was deleted and made again between two
    /// looks is one update, `Created`.
    #[must_use]
    pub fn compare(self, sight: &Sight) -> (Self, Option<News>) {
        match (self, sight) {
            (seen, Sight::Unreadable) => (seen, None),
            (Self::Nothing, Sight::Absent) => (Self::Absent, Some(News::Missing)),
            (Self::Absent, Sight::Absent) => (Self::Absent, None),
            (Self::Present(version), Sight::Absent) => {
                let update = Update { event: Event::Deleted, version, contents: Bytes::new() };
                (Self::Absent, Some(News::Update(update)))
            }
            (seen, Sight::Present { version, contents }) => {
                let news = seen.event(*version).map(|event| {
                    News::Update(Update { event, version: *version, contents: contents.clone() })
                });
                (Self::Present(*version), news)
            }
        }
    }

    fn event(self, now: Version) -> Option<Event> {
        match self {
            Self::Nothing => Some(Event::Loaded),
            Self::Absent => Some(Event::Created),
            Self::Present(before) if before.czxid != now.czxid => Some(Event::Created),
            Self::Present(before) if before.mzxid != now.mzxid => Some(Event::Changed),
            Self::Present(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(czxid: i64, mzxid: i64) -> Version {
        Version { czxid, mzxid, version: 0 }
    }

    fn present(czxid: i64, mzxid: i64) -> Sight {
        Sight::Present { version: version(czxid, mzxid), contents: Bytes::from_static(b"x") }
    }

    fn event(seen: Seen, sight: &Sight) -> Option<Event> {
        match seen.compare(sight).1 {
            Some(News::Update(update)) => Some(update.event),
            Some(News::Missing) | None => None,
        }
    }

    #[test]
    fn the_first_look_is_loaded_or_missing() {
        assert_eq!(event(Seen::Nothing, &present(1, 1)), Some(Event::Loaded));
        assert_eq!(Seen::Nothing.compare(&Sight::Absent), (Seen::Absent, Some(News::Missing)));
    }

    #[test]
    fn p3_an_equal_state_is_silence() {
        let seen = Seen::Present(version(1, 5));
        assert_eq!(seen.compare(&present(1, 5)), (seen, None));
        assert_eq!(Seen::Absent.compare(&Sight::Absent), (Seen::Absent, None));
    }

    #[test]
    fn a_write_is_changed_and_a_new_znode_created() {
        let seen = Seen::Present(version(3, 5));
        assert_eq!(event(seen, &present(3, 6)), Some(Event::Changed));
        assert_eq!(event(seen, &present(9, 9)), Some(Event::Created));
        assert_eq!(event(Seen::Absent, &present(9, 9)), Some(Event::Created));
    }

    #[test]
    fn a_state_from_a_restored_backup_is_new_though_its_zxid_is_lower() {
        assert_eq!(event(Seen::Present(version(3, 9)), &present(3, 4)), Some(Event::Changed));
        assert_eq!(event(Seen::Present(version(3, 9)), &present(2, 9)), Some(Event::Created));
    }

    #[test]
    fn a_deletion_carries_the_last_version_and_no_contents() {
        let (seen, news) = Seen::Present(version(3, 5)).compare(&Sight::Absent);
        let update = Update { event: Event::Deleted, version: version(3, 5), contents: Bytes::new() };
        assert_eq!((seen, news), (Seen::Absent, Some(News::Update(update))));
    }

    #[test]
    fn what_may_not_be_read_changes_nothing() {
        for seen in [Seen::Nothing, Seen::Absent, Seen::Present(version(1, 2))] {
            assert_eq!(seen.compare(&Sight::Unreadable), (seen, None));
        }
    }

    fn sights() -> impl Strategy<Value = Vec<Sight>> {
        let sight = prop_oneof![
            Just(Sight::Absent),
            Just(Sight::Unreadable),
            (0..3_i64, 0..3_i64).prop_map(|(czxid, mzxid)| present(czxid, mzxid)),
        ];
        prop::collection::vec(sight, 0..12)
    }

    proptest! {
        /// Whoever only listens to the news knows at each moment what was last seen (P1), and hears
        /// nothing twice (P3).
        #[test]
        fn the_news_alone_tell_the_state(sights in sights()) {
            let mut seen = Seen::Nothing;
            let mut told: Option<Option<Version>> = None;
            let mut real: Option<Option<Version>> = None;
            for sight in &sights {
                let before = told;
                let (next, news) = seen.compare(sight);
                match &news {
                    None => {}
                    Some(News::Missing) => told = Some(None),
                    Some(News::Update(update)) if update.event == Event::Deleted => told = Some(None),
                    Some(News::Update(update)) => told = Some(Some(update.version)),
                }
                match sight {
                    Sight::Unreadable => {}
                    Sight::Absent => real = Some(None),
                    Sight::Present { version, .. } => real = Some(Some(*version)),
                }
                prop_assert_eq!(told, real);
                prop_assert_eq!(news.is_some(), told != before);
                seen = next;
            }
        }
    }
}
