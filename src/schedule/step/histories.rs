//! `step` against the promises, over random histories: updates, deletions, exits, failures, time, pauses,
//! changed definitions, and a daemon that dies and is started again. P2 and P3 are looked at by `played` at
//! each start, and that nothing is run after what is newer; P1 here, when all is quiet.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::config::spec::{OnFailure, Pacing, Retries};
use crate::schedule::step::played::{DELETED, Played, policy, update};

/// Something that happens.
#[derive(Debug, Clone)]
enum Happening {
    Update,
    Delete,
    /// Somebody wants a run.
    Fire,
    /// The run that has gone on for longest ends.
    End {
        well: bool,
    },
    Pass(Duration),
    Pause,
    Resume,
    Redefine(Policy),
    Restart,
}

/// A watch, and what an onlooker knows who sees only what goes in and what comes out.
struct World {
    played: Played,
    policy: Policy,
    /// The zxid of the last write; zero before the first.
    written: i64,
    /// The znode was deleted after that, when so many runs had been started.
    gone: Option<usize>,
    /// What is to have been run when all is quiet.
    owed: Option<i64>,
    /// The last write or deletion needs no run: it came when DISCARD did not want it, or before anything was
    /// applied by a watch that does not run on load, or nobody asks for runs of deletions.
    excused: bool,
}

impl World {
    fn new(policy: Policy) -> Self {
        let played = Played::new(policy.clone());
        Self { played, policy, written: 0, gone: None, owed: None, excused: false }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Update => {
                self.written += 1;
                self.gone = None;
                self.excused = false;
                self.tell_update(Event::Changed);
            }
            Happening::Delete if self.gone.is_some() || self.written == 0 => {}
            Happening::Delete => {
                self.gone = Some(self.played.started.len());
                self.excused = false;
                self.tell_update(Event::Deleted);
            }
            Happening::Fire => self.fire(),
            Happening::End { well } => drop(self.played.end_one(well)),
            Happening::Pass(time) => self.played.pass(time),
            Happening::Pause => drop(self.played.tell(Input::Pause)),
            Happening::Resume => drop(self.played.tell(Input::Resume)),
            Happening::Redefine(policy) => {
                self.policy = policy.clone();
                self.played.define(policy);
                self.look();
            }
            Happening::Restart => {
                self.played.restart(self.policy.clone());
                // Whatever it was, it is what the first look finds.
                self.owed = None;
                self.look();
            }
        }
    }

    /// The first look under a definition.
    fn look(&mut self) {
        if self.gone.is_none() && self.written > 0 {
            self.tell_update(Event::Loaded);
            return;
        }
        let nothing_known = self.played.ledger.applied().is_none() && self.played.running.is_empty();
        match self.played.tell(Input::Missing) {
            Decision::Accepted { .. } => {
                assert!(self.gone.is_some(), "a deletion of what never was");
                self.owed = Some(DELETED);
            }
            Decision::Nothing => {
                let is_queue = matches!(self.policy.run_mode, RunMode::Queue { .. });
                self.excused |= nothing_known || (self.policy.run_on_load == RunOnLoad::Never && !is_queue);
            }
            Decision::Dropped(Reason::OnDelete | Reason::Discarded) => self.excused = true,
            other => panic!("a deletion leads to {other:?}"),
        }
    }

    fn tell_update(&mut self, event: Event) {
        let runs = !self.played.running.is_empty();
        let told = self.played.tell(Input::Updated(update(event, self.written)));
        match told {
            Decision::Accepted { .. } => {
                self.owed = Some(if event == Event::Deleted { DELETED } else { self.written });
            }
            Decision::Dropped(Reason::Discarded) => {
                assert!(runs && self.policy.run_mode == RunMode::Discard, "discarded beside no run");
                self.excused = true;
            }
            Decision::Dropped(Reason::OnDelete) => {
                assert_eq!(event, Event::Deleted);
                self.excused = true;
            }
            Decision::Dropped(Reason::OnLoad) => {
                assert_eq!(event, Event::Loaded);
                assert_ne!(self.policy.run_on_load, RunOnLoad::Always);
                let is_queue = matches!(self.policy.run_mode, RunMode::Queue { .. });
                self.excused |= self.policy.run_on_load == RunOnLoad::Never
                    && (self.played.ledger.applied().is_none() || !is_queue);
            }
            other => panic!("an update leads to {other:?}"),
        }
    }

    fn fire(&mut self) {
        if self.written == 0 || self.gone.is_some() {
            return;
        }
        let runs = !self.played.running.is_empty();
        match self.played.tell(Input::Fired(update(Event::Fired, self.written))) {
            Decision::Fired { .. } => self.owed = Some(self.written),
            Decision::Dropped(Reason::Discarded) => {
                assert!(runs && self.policy.run_mode == RunMode::Discard, "discarded beside no run");
            }
            other => panic!("what somebody wants leads to {other:?}"),
        }
    }

    /// Nothing new happens, and all that goes on comes to its end.
    fn come_to_rest(&mut self) {
        let _ = self.played.tell(Input::Resume);
        for _ in 0..1000 {
            self.played.pass(Duration::from_secs(3600));
            if self.played.running.is_empty() {
                return;
            }
            let _ = self.played.end_one(true);
        }
        panic!("there is no rest: {:?}", self.played);
    }
}

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), (1..=most).prop_map(Duration::from_secs)]
}

fn policies() -> impl Strategy<Value = Policy> {
    let run_mode = prop_oneof![
        2 => Just(RunMode::Queue { notify_signal: None }),
        1 => Just(RunMode::Discard),
        1 => (1u32..4).prop_map(|max| RunMode::Parallel { max }),
    ];
    let run_on_load =
        prop_oneof![Just(RunOnLoad::Always), Just(RunOnLoad::IfChanged), Just(RunOnLoad::Never)];
    let on_delete = prop_oneof![Just(OnDelete::Ignore), Just(OnDelete::Run)];
    let on_failure = prop_oneof![Just(OnFailure::Keep), Just(OnFailure::Stop)];
    let pacing = (seconds(3), seconds(5), seconds(10));
    (run_mode, run_on_load, on_delete, on_failure, pacing, 0u32..3).prop_map(
        |(run_mode, run_on_load, on_delete, on_failure, (settle, splay, min_interval), count)| Policy {
            run_on_load,
            on_delete,
            on_failure,
            pacing: Pacing { settle, splay, min_interval },
            retries: Retries { count, ..policy(run_mode).retries },
            ..policy(run_mode)
        },
    )
}

fn histories() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        8 => Just(Happening::Update),
        1 => Just(Happening::Delete),
        6 => prop::bool::weighted(0.7).prop_map(|well| Happening::End { well }),
        6 => (100u64..8000).prop_map(|millis| Happening::Pass(Duration::from_millis(millis))),
        1 => Just(Happening::Pause),
        1 => Just(Happening::Resume),
        1 => policies().prop_map(Happening::Redefine),
        1 => Just(Happening::Restart),
        1 => Just(Happening::Fire),
    ];
    prop::collection::vec(happening, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("seeds"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn p1_p2_p3_hold_over_any_history(policy in policies(), history in histories()) {
        let mut world = World::new(policy);
        for happening in history {
            world.happen(happening);
        }
        world.come_to_rest();
        // P1, for what was taken on: it is not left undone.
        let started = &world.played.started;
        if let Some(owed) = world.owed {
            prop_assert!(started.contains(&owed), "{owed} is not in {started:?}");
        }
        // P1, over the death of the daemon too: the last write was given to a run.
        if matches!(world.policy.run_mode, RunMode::Queue { .. }) && world.written > 0 && !world.excused {
            let (last, since) = match world.gone {
                None => (world.written, 0),
                // A run of an earlier deletion does, where nothing else was begun since.
                Some(since) => (DELETED, since.saturating_sub(1)),
            };
            prop_assert!(started[since..].contains(&last), "{last} is not in {started:?} since {since}");
        }
    }
}
