//! The loop with both of its neighbours played by the test: what is applied is known across definitions.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Defaults;
use crate::config::parse::parse;
use crate::schedule::order::{Outcome, RunId};
use crate::schedule::step::Gate;
use crate::watch::sequence::{Position, Sequence};
use crate::watch::update::{Digest, Event, Sign, Update, Version};

struct Rig {
    notices: mpsc::Sender<Notice>,
    ended: mpsc::Sender<Ended>,
    asks: mpsc::Sender<Ask>,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Receiver<News>,
    scheduler: JoinHandle<()>,
}

impl Rig {
    fn new(heritage: Heritage) -> Self {
        let (notices, notices_out) = mpsc::channel(8);
        let (ended, ended_out) = mpsc::channel(8);
        let (orders_in, orders) = mpsc::channel(8);
        let (asks, asks_out) = mpsc::channel(8);
        let (news_in, news) = mpsc::channel(8);
        let scheduler = Scheduler::new("host".into(), 8, heritage, news_in);
        let scheduler = tokio::spawn(scheduler.run(notices_out, ended_out, asks_out, orders_in));
        Self { notices, ended, asks, orders, news, scheduler }
    }

    async fn define(&self, keys: &str) {
        self.notices.send(Notice::Watched(spec(keys))).await.unwrap();
    }

    async fn undefine(&self) {
        self.notices.send(Notice::Unwatched("a".try_into().unwrap())).await.unwrap();
    }

    async fn look(&self, mzxid: i64) {
        self.see(version(mzxid)).await;
    }

    async fn see(&self, version: Version) {
        let update = Update { event: Event::Loaded, version, contents: Bytes::new(), child: None };
        self.notices.send(Notice::Updated("a".try_into().unwrap(), update)).await.unwrap();
    }

    async fn end(&self, run: RunId, mzxid: i64) {
        self.end_with(Outcome::Exited(0), run, mzxid).await;
    }

    async fn end_with(&self, outcome: Outcome, run: RunId, mzxid: i64) {
        let given = applied(mzxid);
        let (watch, lasted) = ("a".try_into().unwrap(), Duration::ZERO);
        self.ended.send(Ended { run, watch, given, outcome, usage: None, lasted }).await.unwrap();
    }

    /// The zxids of what was ordered and not taken yet, once all that was told is taken in.
    async fn ordered(mut self) -> Vec<i64> {
        drop((self.notices, self.ended));
        let mut zxids = Vec::new();
        while let Some(order) = self.orders.recv().await {
            let Order::Start(Run { update, .. }) = order else { panic!("{order:?}") };
            zxids.push(update.version.mzxid);
        }
        self.scheduler.await.unwrap();
        zxids
    }
}

/// One that the test drives itself.
fn scheduler(news: mpsc::Sender<News>) -> Scheduler {
    Scheduler::new("host".into(), 8, Heritage::default(), news)
}

fn spec(keys: &str) -> Arc<WatchSpec> {
    let text = format!("[[watch]]\nznode = '/a'\ncommand = 'true'\n{keys}");
    parse(Path::new("a.toml"), text.as_bytes(), &Defaults::default(), "a").unwrap().remove(0).spec
}

fn version(mzxid: i64) -> Version {
    Version { czxid: 1, mzxid, version: 0, sign: Some(Sign::Data) }
}

fn applied(mzxid: i64) -> Applied {
    Applied { znode: "/a".into(), version: version(mzxid) }
}

fn heritage(mzxid: i64, runs: Vec<Adopted>) -> Heritage {
    Heritage { runs, applied: [("a".try_into().unwrap(), applied(mzxid))].into() }
}

fn children(pzxid: i64, names: &str) -> Version {
    Version { sign: Some(Sign::Children(Digest::of(names.as_bytes()))), ..version(pzxid) }
}

fn newest(czxid: i64, number: &str, changes: i32) -> Version {
    let position = Position { number: Sequence::of(number).unwrap(), parent: 1, changes };
    Version { czxid, mzxid: czxid, version: 0, sign: Some(Sign::Newest(position)) }
}

/// What is ordered by a daemon whose ledger has this, for a watch with these keys that sees that.
async fn ordered_after(known: Version, keys: &str, seen: Version) -> Vec<i64> {
    let known = Applied { znode: "/a".into(), version: known };
    let rig = Rig::new(Heritage { runs: Vec::new(), applied: [("a".try_into().unwrap(), known)].into() });
    rig.define(keys).await;
    rig.see(seen).await;
    rig.ordered().await
}

#[tokio::test]
async fn p3_what_was_applied_of_the_contents_under_an_earlier_daemon_says_nothing_of_the_children() {
    let keys = "run_on_load = false\nwatch_type = 'children'";
    assert!(ordered_after(version(6), keys, children(7, "x\n")).await.is_empty());
}

#[tokio::test]
async fn p1_p3_a_list_that_is_equal_at_the_next_start_is_not_run_whatever_came_and_went_meanwhile() {
    for on_load in ["false", "'if-changed'"] {
        let keys = format!("run_on_load = {on_load}\nwatch_type = 'children'");
        assert!(ordered_after(children(6, "x\n"), &keys, children(8, "x\n")).await.is_empty());
        assert_eq!(ordered_after(children(6, "x\n"), &keys, children(8, "y\n")).await, [8]);
        // Something else was begun in between, and nobody knows how far it came.
        let begun = children(6, "x\n").once_begun(&children(7, "y\n")).unwrap();
        assert_eq!(ordered_after(begun, &keys, children(8, "x\n")).await, [8]);
        assert_eq!(ordered_after(begun, &keys, children(7, "y\n")).await, [7]);
    }
}

#[tokio::test]
async fn p1_p3_a_newest_child_that_was_deleted_leaves_an_older_one_that_is_not_run() {
    for on_load in ["false", "'if-changed'"] {
        let keys = format!("run_on_load = {on_load}\nwatch_type = 'newest-child'");
        let known = newest(12, "0000000002", 3);
        assert!(ordered_after(known, &keys, newest(11, "0000000001", 4)).await.is_empty());
        assert_eq!(ordered_after(known, &keys, newest(13, "0000000003", 5)).await, [13]);
        // From a backup.
        assert_eq!(ordered_after(known, &keys, newest(11, "0000000001", 2)).await, [11]);
    }
}

#[tokio::test]
async fn p1_a_list_that_came_back_while_another_one_was_run_without_success_is_run() {
    let keys = "run_on_load = 'if-changed'\nwatch_type = 'children'";
    let run = RunId::from_u64(1);
    let given = |version| Applied { znode: "/a".into(), version };
    let left = Adopted { run, watch: "a".try_into().unwrap(), given: given(children(7, "y\n")) };
    let applied = [("a".try_into().unwrap(), given(children(6, "x\n")))].into();
    let rig = Rig::new(Heritage { runs: vec![left], applied });
    rig.define(keys).await;
    rig.see(children(8, "x\n")).await;
    let (watch, lasted) = ("a".try_into().unwrap(), Duration::ZERO);
    let (given, outcome) = (given(children(7, "y\n")), Outcome::Exited(1));
    rig.ended.send(Ended { run, watch, given, outcome, usage: None, lasted }).await.unwrap();
    assert_eq!(rig.ordered().await, [8]);
}

#[tokio::test]
async fn p3_a_run_that_an_earlier_daemon_has_started_and_that_ends_before_its_watch_is_defined_is_applied() {
    for (keys, ordered) in
        [("run_on_load = 'if-changed'", &[][..]), ("run_on_load = false", &[]), ("run_on_load = true", &[7])]
    {
        let run = RunId::from_u64(1);
        let rig =
            Rig::new(heritage(6, vec![Adopted { run, watch: "a".try_into().unwrap(), given: applied(7) }]));
        rig.end(run, 7).await;
        // It is told of an end before it is told of anything else.
        rig.define(keys).await;
        rig.look(7).await;
        assert_eq!(rig.ordered().await, ordered, "{keys}");
    }
}

#[tokio::test]
async fn p3_a_watch_that_is_taken_away_and_comes_back_knows_what_it_has_applied() {
    for (seen_then, ordered) in [(6, &[][..]), (7, &[7])] {
        let rig = Rig::new(heritage(6, Vec::new()));
        rig.define("run_on_load = 'if-changed'").await;
        rig.look(6).await;
        rig.undefine().await;
        rig.define("run_on_load = 'if-changed'").await;
        rig.look(seen_then).await;
        assert_eq!(rig.ordered().await, ordered, "{seen_then}");
    }
}

#[tokio::test]
async fn p3_what_was_applied_of_the_contents_says_nothing_of_the_children() {
    let rig = Rig::new(heritage(6, Vec::new()));
    rig.define("run_on_load = false").await;
    rig.look(6).await;
    rig.define("run_on_load = false\nwatch_type = 'children'").await;
    rig.look(7).await;
    assert!(rig.ordered().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_is_told_to_those_who_want_to_know() {
    let mut rig = Rig::new(Heritage::default());
    let watch: WatchName = "a".try_into().unwrap();
    rig.define("retries = 1\non_failure = 'stop'").await;
    rig.look(6).await;
    for attempt in 1..=2 {
        let Some(Order::Start(Run { id: run, attempt: ordered, .. })) = rig.orders.recv().await else {
            panic!("an order")
        };
        assert_eq!(ordered, attempt);
        rig.end_with(Outcome::Exited(1), run, 6).await;
    }
    rig.define("run_on_load = false").await;
    rig.look(6).await;
    let seen = |mzxid, accepted| News::Seen { watch: watch.clone(), event: Event::Loaded, mzxid, accepted };
    assert_eq!(rig.news.recv().await, Some(seen(6, Ok(None))));
    assert!(matches!(rig.news.recv().await, Some(News::Retry { attempt: 2, .. })));
    assert_eq!(rig.news.recv().await, Some(News::Stopped { watch: watch.clone() }));
    assert_eq!(rig.news.recv().await, Some(seen(6, Err(Reason::OnLoad))));
}

#[tokio::test]
async fn who_waits_for_what_was_fired_is_told_of_its_last_attempt() {
    let mut rig = Rig::new(Heritage::default());
    rig.define("run_on_load = false\nretries = 1\nretry_delay = 0.001").await;
    rig.look(1).await;
    let (accepted, is_accepted) = oneshot::channel();
    let (started, start) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    rig.asks
        .send(Ask::Await(FireId(7), Awaited { by: Uid::from_raw(7), accepted, started, ended }))
        .await
        .unwrap();
    let update = Update { event: Event::Fired, version: version(1), contents: Bytes::new(), child: None };
    rig.notices.send(Notice::Fired("a".try_into().unwrap(), FireId(7), Ok(update))).await.unwrap();
    let accepted = is_accepted.await.unwrap().unwrap();
    assert_eq!((accepted.gate, accepted.run), (Gate::Open, Some(start.await.unwrap())));
    let mut last = None;
    for outcome in [Outcome::Exited(3), Outcome::Exited(5)] {
        let Some(Order::Start(Run { id: run, .. })) = rig.orders.recv().await else { panic!("a start") };
        assert!(last.is_some() || accepted.run == Some(run));
        let (watch, given) = ("a".try_into().unwrap(), applied(1));
        let ended = Ended { run, watch, given, outcome, usage: None, lasted: Duration::ZERO };
        rig.ended.send(ended).await.unwrap();
        last = Some(run);
    }
    assert_eq!(end.await.unwrap(), (last.unwrap(), Outcome::Exited(5)));
}

#[tokio::test]
async fn what_cannot_be_fired_is_said_and_what_nobody_waits_for_is_not_run() {
    let rig = Rig::new(Heritage::default());
    rig.define("run_on_load = false").await;
    let fire = |number, update| Notice::Fired("a".try_into().unwrap(), FireId(number), update);
    let (accepted, is_accepted) = oneshot::channel();
    let (started, _start) = oneshot::channel();
    let (ended, _end) = oneshot::channel();
    rig.asks
        .send(Ask::Await(FireId(7), Awaited { by: Uid::from_raw(7), accepted, started, ended }))
        .await
        .unwrap();
    rig.notices.send(fire(7, Err(Unfit::Missing))).await.unwrap();
    assert_eq!(is_accepted.await.unwrap(), Err(NotRun::Unfit(Unfit::Missing)));
    let update = Update { event: Event::Fired, version: version(1), contents: Bytes::new(), child: None };
    rig.notices.send(fire(8, Ok(update))).await.unwrap();
    assert!(rig.ordered().await.is_empty());
}

#[tokio::test]
async fn what_is_fired_while_a_run_goes_on_has_no_run_yet_and_one_run_stands_for_all_of_it() {
    let mut rig = Rig::new(Heritage::default());
    rig.define("").await;
    rig.look(1).await;
    let Some(Order::Start(Run { id: first, .. })) = rig.orders.recv().await else { panic!("a start") };
    let mut starts = Vec::new();
    for number in [7, 8] {
        let (accepted, is_accepted) = oneshot::channel();
        let ((started, start), (ended, _end)) = (oneshot::channel(), oneshot::channel());
        let awaited = Awaited { by: Uid::from_raw(7), accepted, started, ended };
        rig.asks.send(Ask::Await(FireId(number), awaited)).await.unwrap();
        let update = Update { event: Event::Fired, version: version(1), contents: Bytes::new(), child: None };
        rig.notices.send(Notice::Fired("a".try_into().unwrap(), FireId(number), Ok(update))).await.unwrap();
        assert_eq!(is_accepted.await.unwrap(), Ok(Accepted { gate: Gate::Open, run: None }));
        starts.push(start);
    }
    rig.end(first, 1).await;
    let Some(Order::Start(Run { id: run, .. })) = rig.orders.recv().await else { panic!("a start") };
    for start in starts {
        assert_eq!(start.await.unwrap(), run);
    }
}

#[tokio::test]
async fn a_watch_that_is_disabled_is_known_and_runs_nothing_that_waited() {
    let rig = Rig::new(Heritage::default());
    rig.define("settle = '1h'").await;
    rig.look(1).await;
    rig.define("enabled = false").await;
    let (reply, stands) = oneshot::channel();
    while rig.notices.capacity() < rig.notices.max_capacity() {
        tokio::task::yield_now().await;
    }
    rig.asks.send(Ask::Watches(reply)).await.unwrap();
    let stands = stands.await.unwrap();
    assert!(!stands[0].spec.as_ref().unwrap().enabled);
    assert_eq!(stands[0].standing.waiting, 0);
    // As if it had come anew.
    rig.define("run_on_load = false").await;
    rig.look(2).await;
    rig.undefine().await;
    assert!(rig.ordered().await.is_empty());
}

/// What comes of a look that shows this, and for which somebody has asked who is still there or has gone.
fn fired(keys: &str, event: Event, is_there: bool) -> Scheduler {
    let now = Instant::now();
    let mut scheduler = scheduler(mpsc::channel(8).0);
    scheduler.hear_notice(Notice::Watched(spec(keys)), now);
    let (accepted, is_accepted) = oneshot::channel();
    let ((started, _start), (ended, _end)) = (oneshot::channel(), oneshot::channel());
    let awaited = Awaited { by: Uid::from_raw(7), accepted, started, ended };
    scheduler.hear_ask(Ask::Await(FireId(1), awaited), now);
    let _waits = is_there.then_some(is_accepted);
    let update = Update { event, version: version(7), contents: Bytes::new(), child: None };
    scheduler.hear_notice(Notice::Fired("a".try_into().unwrap(), FireId(1), Ok(update)), now);
    scheduler.fill_places(now, SystemTime::UNIX_EPOCH);
    scheduler
}

#[test]
fn what_was_fired_by_somebody_who_has_given_up_is_not_run_but_an_update_that_came_with_it_is() {
    for (keys, event, is_there, orders) in [
        ("", Event::Fired, true, 1),
        ("", Event::Fired, false, 0),
        ("", Event::Changed, false, 1),
        ("run_on_load = false", Event::Loaded, true, 1),
        ("run_on_load = false", Event::Loaded, false, 0),
    ] {
        let scheduler = fired(keys, event, is_there);
        assert_eq!(scheduler.orders.len(), orders, "{keys} {event} {is_there}");
        assert!(scheduler.awaited.is_empty());
    }
}

#[test]
fn an_update_that_was_run_for_somebody_is_counted_and_what_was_fired_alone_is_not() {
    for (event, count) in [(Event::Fired, 0), (Event::Changed, 1)] {
        let scheduler = fired("", event, true);
        assert_eq!(scheduler.tally.received, count);
        assert_eq!(scheduler.watches.values().map(|entry| entry.updates).sum::<u64>(), count);
    }
    // Also one that is not run, since a run goes on.
    let mut scheduler = fired("run_mode = 'DISCARD'", Event::Changed, true);
    let (accepted, _is_accepted) = oneshot::channel();
    let ((started, _start), (ended, _end)) = (oneshot::channel(), oneshot::channel());
    let awaited = Awaited { by: Uid::from_raw(7), accepted, started, ended };
    let now = Instant::now();
    scheduler.hear_ask(Ask::Await(FireId(2), awaited), now);
    let update = Update { event: Event::Changed, version: version(8), contents: Bytes::new(), child: None };
    scheduler.hear_notice(Notice::Fired("a".try_into().unwrap(), FireId(2), Ok(update)), now);
    assert_eq!((scheduler.tally.received, scheduler.tally.discarded), (2, 1));
}

#[test]
fn news_that_nobody_takes_in_time_are_counted() {
    let (now, (news, mut told)) = (Instant::now(), mpsc::channel(2));
    let mut scheduler = scheduler(news);
    scheduler.hear_notice(Notice::Watched(spec("")), now);
    let mut update = |mzxid| {
        let update =
            Update { event: Event::Changed, version: version(mzxid), contents: Bytes::new(), child: None };
        scheduler.hear_notice(Notice::Updated("a".try_into().unwrap(), update), now);
    };
    (1..=5).for_each(&mut update);
    for expected in 1..=2 {
        assert!(matches!(told.try_recv(), Ok(News::Seen { mzxid, .. }) if mzxid == expected));
    }
    update(6);
    assert_eq!(told.try_recv(), Ok(News::Missing(3)));
    assert!(matches!(told.try_recv(), Ok(News::Seen { mzxid: 6, .. })));
}

#[test]
fn a_pause_outlasts_a_disabled_definition() {
    let name: WatchName = "a".try_into().unwrap();
    let (now, by) = (Instant::now(), Uid::from_raw(7));
    let mut scheduler = scheduler(mpsc::channel(8).0);
    scheduler.hear_notice(Notice::Watched(spec("")), now);
    scheduler.hear_ask(Ask::Pause(name.clone(), by, oneshot::channel().0), now);
    for keys in ["enabled = false", ""] {
        scheduler.hear_notice(Notice::Watched(spec(keys)), now);
        assert_eq!(scheduler.watches[&name].watch.standing(now).gate, Gate::Paused, "{keys}");
    }
}

#[test]
fn a_paused_watch_that_is_fired_without_end_keeps_only_those_who_wait() {
    let name: WatchName = "a".try_into().unwrap();
    let (now, by) = (Instant::now(), Uid::from_raw(7));
    let mut scheduler = scheduler(mpsc::channel(8).0);
    scheduler.hear_notice(Notice::Watched(spec("run_on_load = false")), now);
    scheduler.hear_ask(Ask::Pause(name.clone(), by, oneshot::channel().0), now);
    let mut fire = |number| {
        let (accepted, is_accepted) = oneshot::channel();
        let ((started, start), (ended, end)) = (oneshot::channel(), oneshot::channel());
        scheduler.hear_ask(Ask::Await(FireId(number), Awaited { by, accepted, started, ended }), now);
        let update = Update { event: Event::Fired, version: version(1), contents: Bytes::new(), child: None };
        scheduler.hear_notice(Notice::Fired(name.clone(), FireId(number), Ok(update)), now);
        scheduler.answer(now);
        (scheduler.watches[&name].waiting.len(), is_accepted, start, end)
    };
    let (_, _accepted, _start, _end) = fire(0);
    for number in 1..1_000 {
        // The one who waits, and this one, who has gone by the next.
        assert_eq!(fire(number).0, 2, "{number}");
    }
}

#[test]
fn of_more_watches_than_any_host_has_the_oldest_are_forgotten_but_not_those_that_are_defined() {
    let now = Instant::now();
    let name = |number: u64| WatchName::try_from(format!("w{number}").as_str()).unwrap();
    let heritage =
        (1..=50).map(|number| (name(number), applied(1))).chain([("a".try_into().unwrap(), applied(1))]);
    let heritage = Heritage { runs: Vec::new(), applied: heritage.collect() };
    let mut scheduler = Scheduler::new("host".into(), 8, heritage, mpsc::channel(1).0);
    scheduler.hear_notice(Notice::Watched(spec("")), now);
    for number in 51..=100 {
        scheduler.progress.entry(name(number)).or_default().begin(RunId::from_u64(number), applied(1));
        scheduler.forget_beyond(16);
        assert!(scheduler.progress.len() <= 16 + 1);
    }
    assert!(scheduler.progress.contains_key(&"a".try_into().unwrap()));
    assert!((90..=100).all(|number| scheduler.progress.contains_key(&name(number))));
}
