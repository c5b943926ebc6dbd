//! What is new to whom, by the type of the watch.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::watch::sequence::Sequence;

fn version(czxid: i64, mzxid: i64) -> Version {
    Version { czxid, mzxid, version: 0, sign: None }
}

fn present(czxid: i64, mzxid: i64) -> Sight {
    Sight::Present { version: version(czxid, mzxid), contents: Bytes::from_static(b"x"), mark: Mark::Data }
}

fn data(czxid: i64, mzxid: i64) -> Seen {
    Seen::Present(version(czxid, mzxid), Mark::Data)
}

/// A list of children, with the `pzxid` of their parent.
fn children(czxid: i64, pzxid: i64, names: &'static str) -> Sight {
    let names = Bytes::from_static(names.as_bytes());
    Sight::Present { version: version(czxid, pzxid), contents: names.clone(), mark: Mark::Children(names) }
}

/// A newest child that was made by the transaction `czxid`, when the children had changed so often.
fn newest(czxid: i64, child: &str, parent: i64, changes: i32) -> Sight {
    let position = Position { number: Sequence::of(child).unwrap(), parent, changes };
    let mark = Mark::Newest(Newest { child: child.to_owned(), position });
    Sight::Present { version: version(czxid, czxid), contents: Bytes::from(child.to_owned()), mark }
}

/// What a watch is told that has seen nothing, of one look after the other.
fn told(sights: &[Sight]) -> Vec<String> {
    let mut seen = Seen::Nothing;
    let mut told = Vec::new();
    for sight in sights {
        let (next, news) = seen.compare(sight);
        seen = next;
        told.push(match news {
            None => String::new(),
            Some(News::Missing) => "missing".to_owned(),
            Some(News::Childless) => "childless".to_owned(),
            Some(News::Update(update)) => match update.child {
                Some(child) => format!("{} {child}", update.event),
                None => update.event.to_string(),
            },
        });
    }
    told
}

fn event(seen: Seen, sight: &Sight) -> Option<Event> {
    match seen.compare(sight).1 {
        Some(News::Update(update)) => Some(update.event),
        Some(News::Missing | News::Childless) | None => None,
    }
}

#[test]
fn the_first_look_is_loaded_or_missing() {
    assert_eq!(event(Seen::Nothing, &present(1, 1)), Some(Event::Loaded));
    assert_eq!(Seen::Nothing.compare(&Sight::Absent), (Seen::Absent, Some(News::Missing)));
}

#[test]
fn p3_an_equal_state_is_silence() {
    let seen = data(1, 5);
    assert_eq!(seen.clone().compare(&present(1, 5)), (seen, None));
    assert_eq!(Seen::Absent.compare(&Sight::Absent), (Seen::Absent, None));
}

#[test]
fn a_write_is_changed_and_a_new_znode_created() {
    assert_eq!(event(data(3, 5), &present(3, 6)), Some(Event::Changed));
    assert_eq!(event(data(3, 5), &present(9, 9)), Some(Event::Created));
    assert_eq!(event(Seen::Absent, &present(9, 9)), Some(Event::Created));
}

#[test]
fn a_state_from_a_restored_backup_is_new_though_its_zxid_is_lower() {
    assert_eq!(event(data(3, 9), &present(3, 4)), Some(Event::Changed));
    assert_eq!(event(data(3, 9), &present(2, 9)), Some(Event::Created));
}

#[test]
fn a_deletion_carries_the_last_version_and_no_contents() {
    let (seen, news) = data(3, 5).compare(&Sight::Absent);
    let version = version(3, 5).gone(WatchType::Data);
    let update = Update { event: Event::Deleted, version, contents: Bytes::new(), child: None };
    assert_eq!((seen, news), (Seen::Absent, Some(News::Update(update))));
}

#[test]
fn what_may_not_be_read_changes_nothing() {
    for seen in [Seen::Nothing, Seen::Absent, data(1, 2)] {
        assert_eq!(seen.clone().compare(&Sight::Unreadable), (seen, None));
    }
}

#[test]
fn another_list_of_children_is_an_update_whatever_the_zxids() {
    let looks = [
        children(1, 1, ""),
        children(1, 2, "a\n"),
        children(1, 3, "a\nb\n"),
        // From a restored backup.
        children(1, 2, "a\n"),
        Sight::Absent,
        children(9, 9, "a\n"),
    ];
    assert_eq!(told(&looks), ["loaded", "children", "children", "children", "deleted", "created"]);
}

#[test]
fn p3_a_child_that_was_deleted_and_made_again_is_silence() {
    let looks = [children(1, 2, "a\n"), children(1, 4, "a\n"), children(1, 2, "a\n"), children(9, 9, "a\n")];
    assert_eq!(told(&looks), ["loaded", "", "", ""]);
}

#[test]
fn a_deletion_tells_the_version_that_was_seen_last_though_it_was_no_news() {
    let (seen, _) = Seen::Nothing.compare(&children(1, 2, "a\n"));
    let (seen, _) = seen.compare(&children(1, 4, "a\n"));
    let (_, news) = seen.compare(&Sight::Absent);
    let Some(News::Update(update)) = news else { panic!("{news:?}") };
    assert_eq!(update.version, version(1, 4).gone(WatchType::Children));
}

#[test]
fn a_newest_child_is_new_when_its_number_rises() {
    let looks = [
        newest(5, "n-0000000003", 1, 4),
        newest(6, "n-0000000004", 1, 5),
        // It was deleted: an older one is the newest, then none is.
        newest(5, "n-0000000003", 1, 6),
        Sight::Childless,
        newest(9, "n-0000000005", 1, 8),
        newest(10, "m-0000000006", 1, 9),
    ];
    assert_eq!(
        told(&looks),
        [
            "loaded n-0000000003",
            "changed n-0000000004",
            "",
            "",
            "changed n-0000000005",
            "changed m-0000000006"
        ]
    );
}

#[test]
fn a_parent_without_the_child_is_waited_with_as_if_it_were_missing() {
    assert_eq!(
        told(&[Sight::Childless, Sight::Absent, Sight::Childless, newest(5, "0000000000", 4, 1)]),
        ["childless", "missing", "", "created 0000000000"]
    );
    assert_eq!(told(&[newest(5, "0000000000", 4, 1), Sight::Childless, Sight::Absent])[2], "deleted");
}

#[test]
fn another_parent_counts_anew() {
    let looks = [newest(5, "0000000003", 1, 4), newest(9, "0000000000", 8, 1), newest(9, "0000000000", 8, 1)];
    assert_eq!(told(&looks), ["loaded 0000000003", "created 0000000000", ""]);
}

#[test]
fn after_a_restored_backup_another_newest_child_is_new_though_its_number_is_lower() {
    let looks = [
        newest(15, "0000000009", 1, 10),
        newest(6, "0000000002", 1, 3),
        newest(17, "0000000003", 1, 4),
        newest(5, "0000000001", 1, 2),
    ];
    assert_eq!(
        told(&looks),
        ["loaded 0000000009", "changed 0000000002", "changed 0000000003", "changed 0000000001"]
    );
    // The backup had the same one.
    assert_eq!(told(&[newest(15, "0000000009", 1, 14), newest(15, "0000000009", 1, 10)])[1], "");
}

#[test]
fn numbers_go_on_after_the_wrap() {
    let looks = [newest(5, "n-2147483647", 1, i32::MAX), newest(6, "n-2147483648", 1, i32::MIN)];
    assert_eq!(told(&looks), ["loaded n-2147483647", "changed n-2147483648"]);
}

fn sights() -> impl Strategy<Value = Vec<Sight>> {
    let sight = prop_oneof![
        Just(Sight::Absent),
        Just(Sight::Unreadable),
        (0..3_i64, 0..3_i64).prop_map(|(czxid, mzxid)| present(czxid, mzxid)),
    ];
    prop::collection::vec(sight, 0..12)
}

/// The children of one parent, made and deleted, and looked at or not.
fn lives() -> impl Strategy<Value = Vec<(bool, bool)>> {
    prop::collection::vec((any::<bool>(), any::<bool>()), 0..40)
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
                Some(News::Missing | News::Childless) => told = Some(None),
                Some(News::Update(update)) if update.event == Event::Deleted => told = Some(None),
                Some(News::Update(update)) => told = Some(Some(Version { sign: None, ..update.version })),
            }
            match sight {
                Sight::Unreadable | Sight::Childless => {}
                Sight::Absent => real = Some(None),
                Sight::Present { version, .. } => real = Some(Some(*version)),
            }
            prop_assert_eq!(told, real);
            prop_assert_eq!(news.is_some(), told != before);
            seen = next;
        }
    }

    /// Whatever is deleted meanwhile, and however seldom one looks: what was told last is the highest that
    /// there was at any look, and it was told once.
    #[test]
    fn the_newest_child_that_was_told_is_the_highest_that_was_seen(life in lives()) {
        let mut seen = Seen::Nothing;
        let (mut alive, mut made, mut changes) = (Vec::new(), 0_i32, 0_i32);
        let (mut highest, mut told) = (None, None);
        for (make, look) in life {
            if make {
                alive.push(made);
                made += 1;
                changes += 1;
            } else if alive.pop().is_some() {
                changes += 1;
            }
            if look {
                let sight = match alive.last() {
                    Some(&number) => newest(i64::from(number) + 2, &format!("{number:010}"), 1, changes),
                    None => Sight::Childless,
                };
                highest = highest.max(alive.last().copied());
                let (next, news) = seen.compare(&sight);
                seen = next;
                if let Some(News::Update(update)) = news {
                    let number = update.child.unwrap().parse::<i32>().unwrap();
                    prop_assert!(Some(number) > told);
                    told = Some(number);
                }
                prop_assert_eq!(told, highest);
            }
        }
    }
}
