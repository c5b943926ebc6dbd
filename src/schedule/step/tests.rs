//! `step` against the promises: examples first, then random histories.

use std::time::SystemTime;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::schedule::order::RunIds;

fn policy(run_mode: RunMode) -> Policy {
    Policy {
        znode: ZnodePath::try_from("/a").unwrap(),
        run_mode,
        run_on_load: RunOnLoad::Always,
        on_delete: OnDelete::Ignore,
    }
}

fn update(event: Event, mzxid: i64) -> Update {
    Update { event, version: Version { czxid: 1, mzxid, version: 0 }, contents: Bytes::new() }
}

/// A watch with a host that always has a place; collects the zxids of what it starts.
struct Played {
    watch: Watch,
    ids: RunIds,
    running: Vec<(RunId, i64)>,
    started: Vec<i64>,
    most_at_once: usize,
}

impl Played {
    fn new(policy: Policy) -> Self {
        Self {
            watch: Watch::new(policy),
            ids: RunIds::after([]),
            running: vec![],
            started: vec![],
            most_at_once: 0,
        }
    }

    fn tell(&mut self, input: Input) -> Decision {
        let decision = self.watch.step(input);
        while self.watch.wants_place() {
            let run = self.ids.next(SystemTime::UNIX_EPOCH);
            if let Decision::Start(update) = self.watch.step(Input::Place(run)) {
                self.running.push((run, update.version.mzxid));
                self.started.push(update.version.mzxid);
            }
        }
        self.most_at_once = self.most_at_once.max(self.running.len());
        decision
    }

    fn update(&mut self, mzxid: i64) -> Decision {
        self.tell(Input::Updated(update(Event::Changed, mzxid)))
    }

    fn end_one(&mut self) {
        if !self.running.is_empty() {
            let (run, _) = self.running.remove(0);
            let _ = self.tell(Input::Ended(run));
        }
    }
}

#[test]
fn ten_updates_during_a_queue_run_make_one_more_with_the_tenth() {
    let mut played = Played::new(policy(RunMode::Queue));
    for mzxid in 0..=10 {
        let _ = played.update(mzxid);
    }
    while !played.running.is_empty() {
        played.end_one();
    }
    assert_eq!(played.started, [0, 10]);
}

#[test]
fn ten_updates_during_a_discard_run_make_none() {
    let mut played = Played::new(policy(RunMode::Discard));
    let _ = played.update(0);
    for mzxid in 1..=10 {
        assert_eq!(played.update(mzxid), Decision::Dropped(Reason::Discarded));
    }
    played.end_one();
    assert_eq!(played.started, [0]);
}

#[test]
fn ten_updates_during_a_parallel_run_make_ten_more_in_order() {
    let mut played = Played::new(policy(RunMode::Parallel { max: 4 }));
    for mzxid in 0..=10 {
        let _ = played.update(mzxid);
    }
    assert_eq!(played.started, [0, 1, 2, 3]);
    while !played.running.is_empty() {
        played.end_one();
    }
    assert_eq!(played.started, (0..=10).collect::<Vec<_>>());
    assert_eq!(played.most_at_once, 4);
}

#[test]
fn a_discard_watch_that_waits_for_a_place_takes_the_newest_contents() {
    let mut watch = Watch::new(policy(RunMode::Discard));
    let _ = watch.step(Input::Updated(update(Event::Changed, 1)));
    let decision = watch.step(Input::Updated(update(Event::Changed, 2)));
    assert_eq!(decision, Decision::Accepted { instead_of: Some(1) });
    let run = RunIds::after([]).next(SystemTime::UNIX_EPOCH);
    assert_eq!(watch.step(Input::Place(run)), Decision::Start(update(Event::Changed, 2)));
}

#[test]
fn a_first_look_is_not_run_where_run_on_load_is_off() {
    let mut played = Played::new(Policy { run_on_load: RunOnLoad::Never, ..policy(RunMode::Queue) });
    let decision = played.tell(Input::Updated(update(Event::Loaded, 7)));
    assert_eq!(decision, Decision::Dropped(Reason::OnLoad));
    let _ = played.update(8);
    assert_eq!(played.started, [8]);
}

#[test]
fn an_update_is_not_lost_when_the_definition_changes_at_the_same_time() {
    let quiet = Policy { run_on_load: RunOnLoad::Never, ..policy(RunMode::Queue) };
    let mut played = Played::new(quiet.clone());
    let _ = played.tell(Input::Updated(update(Event::Loaded, 7)));
    let _ = played.tell(Input::Defined(quiet.clone()));
    // Written between the last look under the old definition and the first under the new one.
    let _ = played.tell(Input::Updated(update(Event::Loaded, 8)));
    assert_eq!(played.started, [8]);

    // One that waits behind a run is kept, and replaced by what is newer.
    let _ = played.update(9);
    let _ = played.tell(Input::Defined(quiet.clone()));
    let _ = played.tell(Input::Updated(update(Event::Loaded, 9)));
    played.end_one();
    assert_eq!(played.started, [8, 9]);
}

#[test]
fn what_waited_for_another_znode_is_forgotten() {
    let mut played = Played::new(policy(RunMode::Queue));
    let _ = played.update(1);
    let _ = played.update(2);
    let elsewhere = Policy { znode: ZnodePath::try_from("/b").unwrap(), ..policy(RunMode::Queue) };
    let _ = played.tell(Input::Defined(elsewhere));
    played.end_one();
    assert_eq!(played.started, [1]);
}

#[test]
fn a_queue_watch_that_was_parallel_waits_for_all_of_its_runs() {
    let mut played = Played::new(policy(RunMode::Parallel { max: 3 }));
    for mzxid in 1..=3 {
        let _ = played.update(mzxid);
    }
    let _ = played.tell(Input::Defined(policy(RunMode::Queue)));
    let _ = played.update(4);
    for _ in 0..2 {
        played.end_one();
        assert_eq!(played.started, [1, 2, 3]);
    }
    played.end_one();
    assert_eq!(played.started, [1, 2, 3, 4]);
}

#[test]
fn a_run_that_an_earlier_daemon_left_behind_is_waited_for() {
    let mut ids = RunIds::after([]);
    let old = ids.next(SystemTime::UNIX_EPOCH);
    let mut watch = Watch::adopted(old);
    assert!(!watch.is_over());
    let _ = watch.step(Input::Defined(policy(RunMode::Queue)));
    let _ = watch.step(Input::Updated(update(Event::Loaded, 1)));
    assert!(!watch.wants_place());
    let _ = watch.step(Input::Ended(old));
    assert!(watch.wants_place());
}

#[test]
fn a_watch_that_is_no_longer_defined_is_over_when_its_run_is() {
    let mut played = Played::new(policy(RunMode::Queue));
    let _ = played.update(1);
    let _ = played.update(2);
    let _ = played.tell(Input::Undefined);
    assert!(!played.watch.is_over());
    played.end_one();
    assert!(played.watch.is_over());
    assert_eq!(played.started, [1]);
}

#[test]
fn a_deletion_is_run_only_where_it_is_asked_for() {
    let mut played = Played::new(policy(RunMode::Queue));
    let _ = played.update(1);
    played.end_one();
    let decision = played.tell(Input::Updated(update(Event::Deleted, 1)));
    assert_eq!(decision, Decision::Dropped(Reason::OnDelete));
    let _ = played.tell(Input::Defined(Policy { on_delete: OnDelete::Run, ..policy(RunMode::Queue) }));
    let _ = played.tell(Input::Updated(update(Event::Deleted, 1)));
    assert_eq!(played.started, [1, 1]);
}

#[derive(Debug, Clone)]
enum Happening {
    Update,
    End,
    Redefine(RunMode),
}

fn run_mode() -> impl Strategy<Value = RunMode> {
    prop_oneof![
        Just(RunMode::Queue),
        Just(RunMode::Discard),
        (1u32..4).prop_map(|max| RunMode::Parallel { max })
    ]
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        5 => Just(Happening::Update),
        4 => Just(Happening::End),
        1 => run_mode().prop_map(Happening::Redefine),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn p1_p2_p3_hold_over_any_history(first in run_mode(), history in happenings()) {
        let mut mode = first;
        let mut played = Played::new(policy(first));
        let mut written = 0;
        let mut owed = None;
        for happening in history {
            let ran_before = played.running.len();
            let started_before = played.started.len();
            match happening {
                Happening::Update => {
                    written += 1;
                    let decision = played.update(written);
                    let may_drop = mode == RunMode::Discard && ran_before > 0;
                    prop_assert_eq!(decision == Decision::Dropped(Reason::Discarded), may_drop);
                    if !may_drop {
                        owed = Some(written);
                    }
                }
                Happening::End => played.end_one(),
                Happening::Redefine(other) => {
                    mode = other;
                    let quiet = Policy { run_on_load: RunOnLoad::Never, ..policy(mode) };
                    let _ = played.tell(Input::Defined(quiet));
                    let _ = played.tell(Input::Updated(update(Event::Loaded, written)));
                }
            }
            // P2: under QUEUE and DISCARD nothing is started beside a run.
            if !matches!(mode, RunMode::Parallel { .. }) && played.started.len() > started_before {
                prop_assert_eq!(played.running.len(), 1);
            }
            if let RunMode::Parallel { max } = mode {
                prop_assert!(played.running.len() <= (max as usize).max(ran_before));
            }
        }
        while !played.running.is_empty() {
            played.end_one();
        }
        // P1: the last update that did not come during a DISCARD run was run, and last.
        prop_assert_eq!(played.started.last().copied(), owed);
        // P3: no update was run twice, and none that was not made; each after the ones before it.
        prop_assert!(played.started.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(played.started.iter().all(|zxid| (1..=written).contains(zxid)));
    }
}
