//! What the watches on a znode are told, and when a loop is started, nudged and stopped.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::spec::{Command, OnDelete, OnFailure, Output, Pacing, Retries, RunMode, RunOnLoad, Umask};
use crate::watch::seen::Mark;
use crate::watch::update::{Event, Sign, Version};

fn spec(name: &str, znode: &str) -> Arc<WatchSpec> {
    Arc::new(WatchSpec {
        name: WatchName::try_from(name).unwrap(),
        description: name.into(),
        znode: ZnodePath::try_from(znode).unwrap(),
        watch_type: WatchType::Data,
        command: Command::Shell("true".to_owned()),
        pipe_stdin: true,
        run_on_load: RunOnLoad::Always,
        run_mode: RunMode::Queue { notify_signal: None },
        pacing: Pacing::default(),
        retries: Retries { count: 0, delay: Duration::ZERO, max_delay: Duration::ZERO },
        on_failure: OnFailure::Keep,
        uid: None,
        gid: None,
        timeout: None,
        kill_after: Duration::from_secs(5),
        directory: PathBuf::from("/"),
        umask: Umask::DEFAULT,
        env: BTreeMap::new(),
        output: Output::Log,
        on_delete: OnDelete::Ignore,
        enabled: true,
    })
}

fn disabled(name: &str, znode: &str) -> Arc<WatchSpec> {
    Arc::new(WatchSpec { enabled: false, ..(*spec(name, znode)).clone() })
}

fn added(name: &str, znode: &str) -> Change {
    Change::Added(spec(name, znode))
}

fn redefined(name: &str, old: &str, new: &str) -> Change {
    Change::Redefined { old: spec(name, old), new: spec(name, new) }
}

fn removed(name: &str) -> Change {
    Change::Removed(WatchName::try_from(name).unwrap())
}

fn target(znode: &str) -> Target {
    Target { znode: ZnodePath::try_from(znode).unwrap(), watch_type: WatchType::Data }
}

fn present(mzxid: i64) -> Sight {
    let version = Version { czxid: 1, mzxid, version: 0, sign: Some(Sign::Data) };
    Sight::Present { version, contents: Bytes::from(mzxid.to_string()), mark: Mark::Data }
}

/// A notice in a few characters.
fn brief(notices: &[Notice]) -> Vec<String> {
    let brief = |notice: &Notice| match notice {
        Notice::Watched(spec) => format!("{} watched", spec.name),
        Notice::Missing(name) => format!("{name} missing"),
        Notice::Childless(name) => format!("{name} childless"),
        Notice::Updated(name, update) => format!("{name} {}", update.event),
        Notice::Fired(name, FireId(fire), Ok(update)) => format!("{name} {} for {fire}", update.event),
        Notice::Fired(name, FireId(fire), Err(unfit)) => format!("{name} {unfit:?} for {fire}"),
        Notice::Unwatched(name) => format!("{name} unwatched"),
        Notice::Beat(beat) => format!("{beat:?}"),
    };
    notices.iter().map(brief).collect()
}

#[test]
fn two_watches_on_one_znode_share_its_loop_and_are_both_told() {
    let mut subscriptions = Subscriptions::default();
    let plan = subscriptions.apply(vec![added("a", "/x"), added("b", "/x")]);
    assert_eq!(brief(&plan.notices), ["a watched", "b watched"]);
    assert_eq!(plan.start, [target("/x")]);
    assert!(plan.look_again.is_empty());
    assert_eq!(brief(&subscriptions.sighted(&target("/x"), &present(2))), ["a loaded", "b loaded"]);
    assert_eq!(brief(&subscriptions.sighted(&target("/x"), &present(3))), ["a changed", "b changed"]);
}

#[test]
fn a_newcomer_to_a_followed_znode_is_told_alone() {
    let mut subscriptions = Subscriptions::default();
    let _ = subscriptions.apply(vec![added("a", "/x")]);
    let _ = subscriptions.sighted(&target("/x"), &present(2));
    let plan = subscriptions.apply(vec![added("b", "/x")]);
    assert_eq!((plan.start, plan.look_again), (vec![], vec![target("/x")]));
    assert_eq!(brief(&subscriptions.sighted(&target("/x"), &present(2))), ["b loaded"]);
}

#[test]
fn a_redefinition_on_the_same_znode_keeps_the_loop_and_is_loaded_again() {
    let mut subscriptions = Subscriptions::default();
    let _ = subscriptions.apply(vec![added("a", "/x")]);
    let _ = subscriptions.sighted(&target("/x"), &present(2));
    let plan = subscriptions.apply(vec![redefined("a", "/x", "/x")]);
    assert_eq!((plan.start, plan.stop, plan.look_again), (vec![], vec![], vec![target("/x")]));
    assert_eq!(brief(&subscriptions.sighted(&target("/x"), &present(2))), ["a loaded"]);
}

#[test]
fn a_redefinition_on_another_znode_moves() {
    let mut subscriptions = Subscriptions::default();
    let _ = subscriptions.apply(vec![added("a", "/x")]);
    let plan = subscriptions.apply(vec![redefined("a", "/x", "/y")]);
    assert_eq!((plan.start, plan.stop), (vec![target("/y")], vec![target("/x")]));
    assert!(subscriptions.sighted(&target("/x"), &present(2)).is_empty());
    assert_eq!(brief(&subscriptions.sighted(&target("/y"), &Sight::Absent)), ["a missing"]);
}

#[test]
fn a_renamed_watch_leaves_the_loop_alone() {
    let mut subscriptions = Subscriptions::default();
    let _ = subscriptions.apply(vec![added("a", "/x")]);
    let plan = subscriptions.apply(vec![removed("a"), added("b", "/x")]);
    assert_eq!(brief(&plan.notices), ["a unwatched", "b watched"]);
    assert_eq!((plan.start, plan.stop, plan.look_again), (vec![], vec![], vec![target("/x")]));
}

#[test]
fn the_last_to_leave_stops_the_loop() {
    let mut subscriptions = Subscriptions::default();
    let _ = subscriptions.apply(vec![added("a", "/x"), added("b", "/x")]);
    assert!(subscriptions.apply(vec![removed("a")]).stop.is_empty());
    assert_eq!(subscriptions.apply(vec![removed("b")]).stop, [target("/x")]);
    assert_eq!(subscriptions.paths(), Paths::default());
    assert!(subscriptions.apply(vec![removed("b")]).notices.is_empty());
}

#[test]
fn a_disabled_watch_is_known_and_follows_nothing() {
    let mut subscriptions = Subscriptions::default();
    let plan = subscriptions.apply(vec![Change::Added(disabled("a", "/x"))]);
    assert_eq!(brief(&plan.notices), ["a watched"]);
    assert!(plan.start.is_empty());
    let plan = subscriptions.apply(vec![redefined("a", "/x", "/x")]);
    assert_eq!(plan.start, [target("/x")]);
    let change = Change::Redefined { old: spec("a", "/x"), new: disabled("a", "/x") };
    assert_eq!(subscriptions.apply(vec![change]).stop, [target("/x")]);
}

#[test]
fn what_is_fired_is_told_with_the_next_look_and_takes_the_place_of_what_is_new_in_it() {
    let mut subscriptions = Subscriptions::default();
    let a = WatchName::try_from("a").unwrap();
    let _ = subscriptions.apply(vec![added("a", "/x"), added("b", "/x")]);
    let _ = subscriptions.sighted(&target("/x"), &present(2));
    let mut fire = |number| match subscriptions.fire(&a, FireId(number)) {
        Firing::Look(looked_at) => assert_eq!(looked_at, target("/x")),
        Firing::Tell(notice) => panic!("{notice:?}"),
    };
    (1..=2).for_each(&mut fire);
    assert_eq!(brief(&subscriptions.sighted(&target("/x"), &present(2))), ["a fired for 1", "a fired for 2"]);
    assert!(subscriptions.sighted(&target("/x"), &present(2)).is_empty());

    let mut fire = |number| drop(subscriptions.fire(&a, FireId(number)));
    (2..=3).for_each(&mut fire);
    // One of them has it: an update is one, however many wanted a run.
    let seen = subscriptions.sighted(&target("/x"), &present(3));
    assert_eq!(brief(&seen), ["a changed for 2", "a fired for 3", "b changed"]);
    let _ = subscriptions.fire(&a, FireId(4));
    assert_eq!(brief(&subscriptions.sighted(&target("/x"), &Sight::Unreadable)), ["a Unreadable for 4"]);
    let _ = subscriptions.fire(&a, FireId(5));
    let gone = subscriptions.sighted(&target("/x"), &Sight::Absent);
    assert_eq!(brief(&gone), ["a Missing for 5", "a deleted", "b deleted"]);
}

#[test]
fn what_is_fired_before_a_look_outlives_a_new_definition_and_not_the_watch() {
    let mut subscriptions = Subscriptions::default();
    let a = WatchName::try_from("a").unwrap();
    let Firing::Tell(unknown) = subscriptions.fire(&a, FireId(1)) else { panic!("there is no such watch") };
    assert_eq!(brief(&[unknown]), ["a Unwatched for 1"]);

    let _ = subscriptions.apply(vec![added("a", "/x")]);
    let _ = subscriptions.fire(&a, FireId(2));
    let _ = subscriptions.apply(vec![redefined("a", "/x", "/y")]);
    assert_eq!(brief(&subscriptions.sighted(&target("/y"), &present(2))), ["a loaded for 2"]);

    let _ = subscriptions.fire(&a, FireId(3));
    assert_eq!(brief(&subscriptions.apply(vec![removed("a")]).notices), ["a Unwatched for 3", "a unwatched"]);
    let _ = subscriptions.apply(vec![Change::Added(disabled("a", "/x"))]);
    assert!(matches!(subscriptions.fire(&a, FireId(4)), Firing::Tell(_)));
}

#[test]
fn readiness_waits_for_the_first_definitions_and_the_first_look_at_each() {
    let mut subscriptions = Subscriptions::default();
    assert!(!subscriptions.looked().is_complete());
    let _ = subscriptions.apply(vec![added("a", "/x"), added("b", "/y")]);
    let _ = subscriptions.sighted(&target("/x"), &Sight::Absent);
    assert_eq!(subscriptions.looked(), Looked { batches: 1, looked_at: 1, total: 2 });
    let _ = subscriptions.sighted(&target("/y"), &Sight::Unreadable);
    assert!(subscriptions.looked().is_complete());
    let _ = subscriptions.apply(vec![removed("a"), removed("b")]);
    assert!(subscriptions.looked().is_complete());
}

#[test]
fn a_chroot_counts_once_for_each_path() {
    let mut subscriptions = Subscriptions::default();
    let _ = subscriptions.apply(vec![added("a", "/x"), added("b", "/x"), added("c", "/long")]);
    assert_eq!(subscriptions.paths().bytes_below("/"), 7);
    assert_eq!(subscriptions.paths().bytes_below("/prod"), 17);
}

#[derive(Debug, Clone)]
enum Step {
    Define(u8, u8),
    Remove(u8),
    /// What is there is read.
    Look(u8),
    /// The znode is written and read.
    Write(u8),
    /// The znode is deleted and that is read.
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        (0..3_u8, 0..2_u8).prop_map(|(name, znode)| Step::Define(name, znode)),
        (0..3_u8).prop_map(Step::Remove),
        (0..2_u8).prop_map(Step::Look),
        (0..2_u8).prop_map(Step::Write),
        (0..2_u8).prop_map(Step::Delete),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 0..12)
}

proptest! {
    /// Whatever is defined, redefined and removed while znodes change: there is a loop for each watched
    /// znode and no other, a watch is first told its definition, then `loaded` or missing, then changes
    /// only, and knows the state once its loop has looked.
    #[test]
    fn each_watch_is_told_its_definition_then_its_first_look_then_changes(batches in steps()) {
        let mut subscriptions = Subscriptions::default();
        let mut clock = 1;
        let mut real: [Option<i64>; 2] = [None; 2];
        let mut defined: BTreeMap<u8, u8> = BTreeMap::new();
        let mut loops: Vec<Target> = Vec::new();
        // The znode that a watch is on, and what it was told: nothing, missing, or an mzxid.
        let mut told: HashMap<WatchName, Option<Option<i64>>> = HashMap::new();
        let znode = |number: u8| if number == 0 { "/x" } else { "/y" };

        for batch in batches {
            let mut changes = Vec::new();
            let mut looks: Vec<u8> = Vec::new();
            for step in batch {
                match step {
                    Step::Define(name, on) => {
                        let text = format!("w{name}");
                        changes.push(match defined.insert(name, on) {
                            None => added(&text, znode(on)),
                            Some(old) => redefined(&text, znode(old), znode(on)),
                        });
                    }
                    Step::Remove(name) => {
                        if defined.remove(&name).is_some() {
                            changes.push(removed(&format!("w{name}")));
                        }
                    }
                    Step::Look(on) => looks.push(on),
                    Step::Write(on) => {
                        clock += 1;
                        real[usize::from(on)] = Some(clock);
                        looks.push(on);
                    }
                    Step::Delete(on) => {
                        real[usize::from(on)] = None;
                        looks.push(on);
                    }
                }
            }
            let plan = subscriptions.apply(changes);
            loops.retain(|target| !plan.stop.contains(target));
            for target in plan.start {
                prop_assert!(!loops.contains(&target));
                loops.push(target);
            }
            let mut notices = plan.notices;
            for on in looks.into_iter().chain([0, 1]) {
                if loops.contains(&target(znode(on))) {
                    let sight = real[usize::from(on)].map_or(Sight::Absent, present);
                    notices.extend(subscriptions.sighted(&target(znode(on)), &sight));
                }
            }
            for notice in notices {
                match notice {
                    Notice::Watched(spec) => {
                        told.insert(spec.name.clone(), None);
                    }
                    Notice::Unwatched(name) => prop_assert!(told.remove(&name).is_some()),
                    Notice::Fired(..) | Notice::Beat(_) => prop_assert!(false, "nobody asked for it"),
                    Notice::Childless(name) => prop_assert!(false, "{name} is about contents"),
                    Notice::Missing(name) => prop_assert_eq!(told.insert(name, Some(None)), Some(None)),
                    Notice::Updated(name, update) => {
                        let now = (update.event != Event::Deleted).then_some(update.version.mzxid);
                        let before = told.insert(name, Some(now));
                        prop_assert_eq!(before == Some(None), update.event == Event::Loaded);
                        prop_assert!(before.is_some() && before != Some(Some(now)));
                    }
                }
            }
            prop_assert_eq!(told.len(), defined.len());
            for (name, on) in &defined {
                prop_assert!(loops.contains(&target(znode(*on))));
                let name = WatchName::try_from(format!("w{name}").as_str()).unwrap();
                prop_assert_eq!(told[&name], Some(real[usize::from(*on)]));
            }
            prop_assert!(loops.iter().all(|target| defined.values().any(|on| znode(*on) == target.znode.as_str())));
            prop_assert!(subscriptions.looked().is_complete());
        }
    }
}
