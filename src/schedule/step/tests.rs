//! `step` by example. Random histories are in `histories`.

use super::*;
use crate::config::spec::{OnFailure, Pacing, Retries, WatchType, ZnodePath};
use crate::schedule::step::played::{DELETED, Played, policy, update, version};
use crate::watch::sequence::{Position, Sequence};
use crate::watch::subscriptions::Target;
use crate::watch::update::Sign;

const SECOND: Duration = Duration::from_secs(1);

fn queue() -> RunMode {
    RunMode::Queue { notify_signal: None }
}

#[test]
fn ten_updates_during_a_queue_run_make_one_more_with_the_tenth() {
    let mut played = Played::new(policy(queue()));
    for mzxid in 0..=10 {
        let _ = played.update(mzxid);
    }
    played.end_all();
    assert_eq!(played.started, [0, 10]);
}

#[test]
fn what_a_newer_update_takes_the_place_of_is_counted_once_wherever_it_waits() {
    let settle = Policy { pacing: Pacing { settle: SECOND, ..Pacing::default() }, ..policy(queue()) };
    for (policy, collapsed) in [
        // The first runs, and of the others each but the last makes room.
        (policy(queue()), 3),
        (settle, 4),
        (policy(RunMode::Discard), 0),
        (policy(RunMode::Parallel { max: 1 }), 0),
    ] {
        let mut played = Played::new(policy);
        for mzxid in 0..5 {
            let _ = played.update(mzxid);
        }
        assert_eq!(played.watch.take_collapsed(), collapsed);
        assert_eq!(played.watch.take_collapsed(), 0);
    }
}

#[test]
fn ten_updates_during_a_discard_run_make_none() {
    let mut played = Played::new(policy(RunMode::Discard));
    let _ = played.update(0);
    for mzxid in 1..=10 {
        assert_eq!(played.update(mzxid), Decision::Dropped(Reason::Discarded));
    }
    played.end_all();
    assert_eq!(played.started, [0]);
}

#[test]
fn ten_updates_during_a_parallel_run_make_ten_more_in_order() {
    let mut played = Played::new(policy(RunMode::Parallel { max: 4 }));
    for mzxid in 0..=10 {
        let _ = played.update(mzxid);
    }
    assert_eq!(played.started, [0, 1, 2, 3]);
    played.end_all();
    assert_eq!(played.started, (0..=10).collect::<Vec<_>>());
    assert_eq!(played.most_at_once, 4);
}

#[test]
fn a_discard_watch_that_waits_for_a_place_takes_the_newest_contents() {
    let mut played = Played::without_places(policy(RunMode::Discard));
    let _ = played.update(1);
    assert_eq!(played.update(2), Decision::Accepted { instead_of: Some(1), notify: None });
    played.give_places();
    assert_eq!(played.started, [2]);
}

#[test]
fn a_first_look_is_not_run_where_run_on_load_is_off() {
    let mut played = Played::new(Policy { run_on_load: RunOnLoad::Never, ..policy(queue()) });
    assert_eq!(played.tell(Input::Updated(update(Event::Loaded, 7))), Decision::Dropped(Reason::OnLoad));
    let _ = played.update(8);
    assert_eq!(played.started, [8]);
}

#[test]
fn a_first_look_is_run_if_the_ledger_says_otherwise() {
    let applied = |mzxid| Some(version(mzxid));
    for (run_on_load, ledger, started) in [
        (RunOnLoad::IfChanged, None, 1),
        (RunOnLoad::IfChanged, applied(6), 1),
        (RunOnLoad::IfChanged, applied(7), 0),
        (RunOnLoad::Never, None, 0),
        (RunOnLoad::Never, applied(7), 0),
        // P1: it came while no daemon was there.
        (RunOnLoad::Never, applied(6), 1),
        (RunOnLoad::Always, applied(7), 1),
    ] {
        let policy = Policy { run_on_load, ..policy(queue()) };
        let mut played = Played::with_ledger(policy, ledger);
        let _ = played.tell(Input::Updated(update(Event::Loaded, 7)));
        assert_eq!(played.started.len(), started, "{run_on_load:?} {ledger:?}");
    }
}

#[test]
fn an_update_is_not_lost_when_the_definition_changes_at_the_same_time() {
    let quiet = Policy { run_on_load: RunOnLoad::Never, ..policy(queue()) };
    let mut played = Played::new(quiet.clone());
    let _ = played.tell(Input::Updated(update(Event::Loaded, 7)));
    played.define(quiet.clone());
    // Written between the last look under the old definition and the first under the new one.
    let _ = played.tell(Input::Updated(update(Event::Loaded, 8)));
    assert_eq!(played.started, [8]);

    // One that waits behind a run is kept.
    let _ = played.update(9);
    played.define(quiet);
    let _ = played.tell(Input::Updated(update(Event::Loaded, 9)));
    played.end_all();
    assert_eq!(played.started, [8, 9]);
}

#[test]
fn what_waited_for_another_znode_is_forgotten() {
    let mut played = Played::new(policy(queue()));
    let _ = played.update(1);
    let _ = played.update(2);
    let target = Target { znode: ZnodePath::try_from("/b").unwrap(), watch_type: WatchType::Data };
    played.define(Policy { target, ..policy(queue()) });
    played.end_all();
    assert_eq!(played.started, [1]);
}

#[test]
fn a_queue_watch_that_was_parallel_waits_for_all_of_its_runs() {
    let mut played = Played::new(policy(RunMode::Parallel { max: 3 }));
    for mzxid in 1..=3 {
        let _ = played.update(mzxid);
    }
    played.define(policy(queue()));
    let _ = played.update(4);
    for _ in 0..2 {
        let _ = played.end_one(true);
        assert_eq!(played.started, [1, 2, 3]);
    }
    let _ = played.end_one(true);
    assert_eq!(played.started, [1, 2, 3, 4]);
}

#[test]
fn a_run_that_an_earlier_daemon_left_behind_is_waited_for() {
    let mut played = Played::adopting(policy(queue()), 1);
    let _ = played.tell(Input::Updated(update(Event::Loaded, 1)));
    assert!(played.started.is_empty());
    let _ = played.end_one(true);
    assert_eq!(played.started, [1]);
}

#[test]
fn what_a_run_of_an_earlier_daemon_has_applied_is_not_run_again_only_since_the_daemon_is_new() {
    for (well, started) in [(true, 0), (false, 1)] {
        let policy = Policy { run_on_load: RunOnLoad::IfChanged, ..policy(queue()) };
        let mut played = Played::adopting(policy, 1);
        let _ = played.tell(Input::Updated(update(Event::Loaded, 1)));
        let _ = played.end_one(well);
        assert_eq!(played.started.len(), started, "ended well: {well}");
    }
}

#[test]
fn p3_what_a_run_of_an_earlier_daemon_is_about_to_apply_is_waited_for_in_every_way_to_be_run() {
    let settle = Pacing { settle: SECOND, ..Pacing::default() };
    for (run_mode, pacing) in [
        (queue(), settle),
        (RunMode::Parallel { max: 4 }, Pacing::default()),
        (RunMode::Parallel { max: 4 }, settle),
    ] {
        for (well, started) in [(true, vec![]), (false, vec![1])] {
            let policy = Policy { run_on_load: RunOnLoad::IfChanged, pacing, ..policy(run_mode) };
            let mut played = Played::adopting(policy, 1);
            let _ = played.tell(Input::Updated(update(Event::Loaded, 1)));
            for pause in [SECOND / 2, SECOND * 5] {
                played.pass(pause);
                assert!(played.started.is_empty(), "{run_mode:?} {pacing:?}");
            }
            let _ = played.end_one(well);
            played.pass(SECOND * 5);
            assert_eq!(played.started, started, "{run_mode:?} {pacing:?}");
        }
    }
    // It has not settled when the run ends.
    let policy = Policy { run_on_load: RunOnLoad::IfChanged, pacing: settle, ..policy(queue()) };
    let mut played = Played::adopting(policy, 1);
    let _ = played.tell(Input::Updated(update(Event::Loaded, 1)));
    let _ = played.end_one(true);
    played.pass(SECOND * 5);
    assert!(played.started.is_empty());
}

#[test]
fn what_was_written_while_a_run_had_no_daemon_is_run_after_it_also_without_a_ledger() {
    for (written, started) in [(1, vec![]), (2, vec![2])] {
        let policy = Policy { run_on_load: RunOnLoad::Never, ..policy(queue()) };
        let mut played = Played::adopting(policy, 1);
        let _ = played.tell(Input::Updated(update(Event::Loaded, written)));
        let _ = played.end_one(true);
        assert_eq!(played.started, started);
    }
}

#[test]
fn a_parallel_watch_keeps_no_more_waiting_than_memory_allows() {
    let mut played = Played::without_places(policy(RunMode::Parallel { max: 1 }));
    let contents = bytes::Bytes::from(vec![0; 1 << 20]);
    for mzxid in 1..=100 {
        let _ = played
            .tell(Input::Updated(Update { contents: contents.clone(), ..update(Event::Changed, mzxid) }));
    }
    played.give_places();
    played.end_all();
    assert_eq!(played.started.len(), 64);
    assert_eq!(played.started.last(), Some(&100));
}

#[test]
fn a_watch_that_is_no_longer_defined_is_over_when_its_run_is() {
    let mut played = Played::new(policy(queue()));
    let _ = played.update(1);
    let _ = played.update(2);
    let _ = played.tell(Input::Undefined);
    assert!(!played.watch.is_over());
    let _ = played.end_one(true);
    assert!(played.watch.is_over());
    assert_eq!(played.started, [1]);
}

#[test]
fn a_deletion_is_run_only_where_it_is_asked_for() {
    let mut played = Played::new(policy(queue()));
    let _ = played.update(1);
    played.end_all();
    let deletion = || Input::Updated(update(Event::Deleted, 1));
    assert_eq!(played.tell(deletion()), Decision::Dropped(Reason::OnDelete));
    played.define(Policy { on_delete: OnDelete::Run, ..policy(queue()) });
    let _ = played.tell(deletion());
    assert_eq!(played.started, [1, DELETED]);
}

#[test]
fn p1_a_deletion_that_no_daemon_was_there_to_see_is_run_where_it_is_asked_for() {
    let there = Some(version(7));
    let gone = Some(version(7).gone(WatchType::Data));
    let unsigned = Some(Version { sign: None, ..version(7) });
    for (run_on_load, run_mode, on_delete, ledger, started) in [
        (RunOnLoad::Always, queue(), OnDelete::Run, there, 1),
        (RunOnLoad::IfChanged, RunMode::Discard, OnDelete::Run, there, 1),
        (RunOnLoad::Never, queue(), OnDelete::Run, there, 1),
        (RunOnLoad::Never, RunMode::Discard, OnDelete::Run, there, 0),
        (RunOnLoad::Always, queue(), OnDelete::Ignore, there, 0),
        // P3: it was run, or there is nothing to say that there was anything to be deleted.
        (RunOnLoad::Always, queue(), OnDelete::Run, gone, 0),
        (RunOnLoad::Always, queue(), OnDelete::Run, None, 0),
        (RunOnLoad::Always, queue(), OnDelete::Run, unsigned, 0),
    ] {
        let policy = Policy { run_on_load, on_delete, ..policy(run_mode) };
        let mut played = Played::with_ledger(policy, ledger);
        let _ = played.tell(Input::Missing);
        played.end_all();
        // Not again by another look.
        let _ = played.tell(Input::Missing);
        assert_eq!(
            played.started,
            vec![DELETED; started],
            "{run_on_load:?} {run_mode:?} {on_delete:?} {ledger:?}"
        );
    }
}

#[test]
fn p1_a_deletion_between_two_definitions_is_run() {
    let mut played = Played::new(Policy { on_delete: OnDelete::Run, ..policy(queue()) });
    let _ = played.update(7);
    played.end_all();
    played.define(Policy { on_delete: OnDelete::Run, ..policy(RunMode::Discard) });
    let _ = played.tell(Input::Missing);
    assert_eq!(played.started, [7, DELETED]);
}

#[test]
fn p1_a_deletion_is_run_again_that_was_run_before_something_else_was_begun() {
    let policy = Policy { on_delete: OnDelete::Run, ..policy(queue()) };
    let mut played = Played::new(policy.clone());
    let _ = played.tell(Input::Updated(update(Event::Deleted, 1)));
    let _ = played.end_one(true);
    let _ = played.update(2);
    let _ = played.end_one(false);
    // Deleted again while no daemon is there.
    played.restart(policy);
    let _ = played.tell(Input::Missing);
    assert_eq!(played.started, [DELETED, 2, DELETED]);
}

#[test]
fn p3_an_older_child_that_is_the_newest_by_now_is_no_update_to_another_definition() {
    let child = |czxid, number: &str, changes| {
        let position = Position { number: Sequence::of(number).unwrap(), parent: 1, changes };
        let version = Version { czxid, mzxid: czxid, version: 0, sign: Some(Sign::Newest(position)) };
        Input::Updated(Update { version, ..update(Event::Loaded, 0) })
    };
    let target = Target { znode: ZnodePath::try_from("/a").unwrap(), watch_type: WatchType::NewestChild };
    let quiet = Policy { target, run_on_load: RunOnLoad::Never, ..policy(queue()) };
    let mut played = Played::new(quiet.clone());
    let _ = played.tell(child(12, "0000000002", 2));
    played.define(quiet.clone());
    assert_eq!(played.tell(child(11, "0000000001", 3)), Decision::Dropped(Reason::OnLoad));
    played.define(quiet);
    let _ = played.tell(child(13, "0000000003", 4));
    assert_eq!(played.started, [13]);
}

#[test]
fn updates_that_come_in_quick_succession_are_run_once_when_they_have_settled() {
    let pacing = Pacing { settle: SECOND, ..Pacing::default() };
    for run_mode in [queue(), RunMode::Discard, RunMode::Parallel { max: 4 }] {
        let mut played = Played::new(Policy { pacing, ..policy(run_mode) });
        for mzxid in 1..=5 {
            let _ = played.update(mzxid);
            played.pass(SECOND / 2);
        }
        assert!(played.started.is_empty());
        played.pass(SECOND / 2);
        assert_eq!(played.started, [5], "{run_mode:?}");
    }
}

#[test]
fn updates_that_never_settle_are_run_after_ten_times_as_long() {
    let pacing = Pacing { settle: SECOND, ..Pacing::default() };
    let mut played = Played::new(Policy { pacing, ..policy(queue()) });
    for mzxid in 1..=25 {
        let _ = played.update(mzxid);
        played.pass(SECOND / 2);
    }
    assert_eq!(played.started, [20]);
}

#[test]
fn the_delay_of_a_splay_is_one_for_the_watch_and_not_one_for_each_update() {
    let pacing = Pacing { splay: SECOND * 3, ..Pacing::default() };
    let mut played = Played::new(Policy { pacing, ..policy(queue()) });
    for mzxid in 1..=6 {
        let _ = played.update(mzxid);
        played.pass(SECOND / 2);
    }
    assert_eq!(played.started, [6]);

    let mut played = Played::new(Policy { pacing, ..policy(RunMode::Parallel { max: 9 }) });
    let _ = played.update(1);
    played.pass(SECOND);
    let _ = played.update(2);
    played.pass(SECOND * 2);
    assert_eq!(played.started, [1]);
    played.pass(SECOND);
    assert_eq!(played.started, [1, 2]);
}

#[test]
fn two_starts_are_an_interval_apart_and_what_comes_sooner_is_deferred() {
    let pacing = Pacing { min_interval: SECOND * 10, ..Pacing::default() };
    let mut played = Played::new(Policy { pacing, ..policy(queue()) });
    let _ = played.update(1);
    played.end_all();
    let _ = played.update(2);
    let _ = played.update(3);
    played.pass(SECOND * 9);
    assert_eq!(played.started, [1]);
    played.pass(SECOND);
    assert_eq!(played.started, [1, 3]);
}

#[test]
fn a_failed_run_is_tried_again_with_growing_delays_and_then_given_up() {
    let retries = Retries { count: 2, delay: SECOND, max_delay: SECOND * 60 };
    let mut played = Played::new(Policy { retries, on_failure: OnFailure::Stop, ..policy(queue()) });
    let _ = played.update(1);
    for attempt in 2..=3 {
        let Decision::Retry { after, attempt: found } = played.end_one(false) else { panic!() };
        assert_eq!(found, attempt);
        assert!(played.started.len() < attempt as usize);
        played.pass(after);
        assert_eq!(played.started.len(), attempt as usize);
    }
    assert_eq!(played.end_one(false), Decision::Stopped);
    let _ = played.update(2);
    played.pass(SECOND * 1000);
    assert_eq!(played.started, [1, 1, 1]);
    let _ = played.tell(Input::Resume);
    assert_eq!(played.started, [1, 1, 1, 2]);
}

#[test]
fn a_newer_update_ends_the_wait_for_a_retry_and_starts_a_new_count() {
    let retries = Retries { count: 1, delay: SECOND * 60, max_delay: SECOND * 60 };
    let mut played = Played::new(Policy { retries, ..policy(queue()) });
    let _ = played.update(1);
    assert!(matches!(played.end_one(false), Decision::Retry { attempt: 2, .. }));
    let _ = played.update(2);
    assert_eq!(played.started, [1, 2]);
    assert!(matches!(played.end_one(false), Decision::Retry { attempt: 2, .. }));
    // One that waits already when the run fails does so too.
    played.pass(SECOND * 60);
    let _ = played.update(3);
    assert_eq!(played.end_one(false), Decision::Nothing);
    assert_eq!(played.started, [1, 2, 2, 3]);
}

#[test]
fn a_stopped_watch_goes_on_when_its_definition_changes() {
    let stopping = Policy { on_failure: OnFailure::Stop, ..policy(queue()) };
    let mut played = Played::new(stopping.clone());
    let _ = played.update(1);
    assert_eq!(played.end_one(false), Decision::Stopped);
    assert_ne!(played.watch.standing(played.now).gate, Gate::Open);
    played.define(stopping);
    let _ = played.tell(Input::Updated(update(Event::Loaded, 1)));
    assert_eq!(played.started, [1, 1]);
}

#[test]
fn an_update_during_a_pause_is_run_on_resume() {
    let mut played = Played::new(policy(queue()));
    let _ = played.tell(Input::Pause);
    let _ = played.update(1);
    let _ = played.update(2);
    played.pass(SECOND);
    assert!(played.started.is_empty());
    let _ = played.tell(Input::Resume);
    assert_eq!(played.started, [2]);
}

#[test]
fn a_pause_is_for_somebody_to_end_and_not_for_another_definition_also_of_a_watch_that_has_failed() {
    let stopping = Policy { on_failure: OnFailure::Stop, ..policy(queue()) };
    let mut played = Played::new(stopping.clone());
    let _ = played.update(1);
    assert_eq!(played.end_one(false), Decision::Stopped);
    let _ = played.tell(Input::Pause);
    for disabled in [false, true] {
        if disabled {
            let _ = played.tell(Input::Disabled);
        }
        played.define(stopping.clone());
        let _ = played.tell(Input::Updated(update(Event::Loaded, 1)));
        assert_eq!(played.watch.standing(played.now).gate, Gate::Paused, "disabled: {disabled}");
        assert_eq!(played.started, [1], "disabled: {disabled}");
    }
    let _ = played.tell(Input::Resume);
    assert_eq!(played.started, [1, 1]);
    // Gone is gone: who defines a watch of that name means another one.
    let _ = played.tell(Input::Pause);
    let _ = played.tell(Input::Undefined);
    assert_eq!(played.watch.standing(played.now).gate, Gate::Open);
}

#[test]
fn a_watch_that_fails_during_a_pause_is_stopped_and_one_resume_ends_both() {
    let mut played = Played::new(Policy { on_failure: OnFailure::Stop, ..policy(queue()) });
    let _ = played.update(1);
    let _ = played.tell(Input::Pause);
    assert_eq!(played.end_one(false), Decision::Stopped);
    assert_eq!(played.watch.standing(played.now).gate, Gate::Paused);
    let _ = played.update(2);
    let _ = played.tell(Input::Resume);
    assert_eq!(played.started, [1, 2]);
}

#[test]
fn a_run_is_told_of_an_update_if_it_wants_to_be() {
    let mut played = Played::new(policy(RunMode::Queue { notify_signal: Some(Signal::SIGHUP) }));
    assert_eq!(played.update(1), Decision::Accepted { instead_of: None, notify: None });
    let runs = played.running.iter().map(|(run, _)| *run).collect();
    assert_eq!(
        played.update(2),
        Decision::Accepted { instead_of: None, notify: Some((Signal::SIGHUP, runs)) }
    );
}

fn fired(mzxid: i64) -> Input {
    Input::Fired(update(Event::Fired, mzxid))
}

#[test]
fn what_is_fired_waits_neither_to_settle_nor_for_the_splay_and_is_what_settles_too() {
    let pacing = Pacing { settle: SECOND * 10, splay: SECOND * 60, min_interval: SECOND * 5 };
    let mut played = Played::new(Policy { pacing, ..policy(queue()) });
    let _ = played.update(1);
    assert_eq!(played.tell(fired(1)), Decision::Fired { number: 1, notify: None });
    assert_eq!(played.started, [1]);
    played.end_all();
    // But for the interval between two starts.
    assert_eq!(played.tell(fired(1)), Decision::Fired { number: 2, notify: None });
    assert_eq!(played.started, [1]);
    played.pass(SECOND * 200);
    assert_eq!(played.started, [1, 1]);
}

#[test]
fn what_is_fired_is_run_by_the_rules_of_the_run_mode() {
    let mut played = Played::new(policy(RunMode::Discard));
    let _ = played.update(1);
    assert_eq!(played.tell(fired(1)), Decision::Dropped(Reason::Discarded));

    let mut played = Played::new(policy(RunMode::Queue { notify_signal: Some(Signal::SIGHUP) }));
    let _ = played.update(1);
    let runs = played.running.iter().map(|(run, _)| *run).collect();
    assert_eq!(played.tell(fired(1)), Decision::Fired { number: 2, notify: Some((Signal::SIGHUP, runs)) });
    // What comes before its turn stands for it.
    let _ = played.update(2);
    played.end_all();
    assert_eq!(played.started, [1, 2]);

    let mut played = Played::new(Policy { run_on_load: RunOnLoad::Never, ..policy(queue()) });
    let _ = played.tell(Input::Pause);
    let _ = played.tell(fired(1));
    assert!(played.started.is_empty());
    let _ = played.tell(Input::Resume);
    assert_eq!(played.started, [1]);
}

#[test]
fn each_thing_that_keeps_an_update_from_being_run_can_be_told() {
    let pacing = Pacing { settle: SECOND, splay: SECOND * 2, min_interval: SECOND * 20 };
    let retries = Retries { count: 1, delay: SECOND * 60, max_delay: SECOND * 60 };
    let mut played = Played::new(Policy { pacing, retries, on_failure: OnFailure::Stop, ..policy(queue()) });
    let hindrance = |played: &Played| played.watch.standing(played.now).hindrance;
    assert_eq!(hindrance(&played), None);
    let _ = played.update(1);
    assert!(
        matches!(hindrance(&played), Some(Hindrance::Settling { until }) if until == played.now + SECOND)
    );
    played.pass(SECOND);
    assert!(
        matches!(hindrance(&played), Some(Hindrance::Splay { until }) if until == played.now + SECOND * 2)
    );
    played.pass(SECOND * 2);
    assert_eq!(played.watch.standing(played.now).running.len(), 1);
    let _ = played.update(2);
    played.pass(SECOND);
    assert_eq!(hindrance(&played), Some(Hindrance::Running));
    assert_eq!(played.watch.standing(played.now).waiting, 1);
    let _ = played.end_one(true);
    played.pass(SECOND * 2);
    assert!(matches!(hindrance(&played), Some(Hindrance::Interval { .. })));
    played.pass(SECOND * 20);
    assert!(matches!(played.end_one(false), Decision::Retry { .. }));
    assert!(matches!(hindrance(&played), Some(Hindrance::Retry { attempt: 2, .. })));
    played.pass(SECOND * 100);
    assert_eq!(played.end_one(false), Decision::Stopped);
    assert_eq!(played.watch.standing(played.now).gate, Gate::Stopped);

    let mut played = Played::without_places(policy(queue()));
    let _ = played.update(1);
    assert_eq!(hindrance(&played), Some(Hindrance::Place));
}
