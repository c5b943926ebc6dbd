//! The daemon's end with the minders played by the test: two are found, of which one is of an earlier release.

use std::fs;
use std::sync::Arc;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::config::Defaults;
use crate::config::parse::parse;
use crate::config::spec::{UserRef, WatchSpec};
use crate::run::preparation::tests::look_up_by_fifo;
use crate::run::protocol::{Decoder, PROTOCOL, encode};
use crate::schedule::order::Run;
use crate::watch::update::{Beat, Event, Update, Version};

struct Minder {
    stream: UnixStream,
    decoder: Decoder,
}

impl Minder {
    /// Takes the daemon's connection, and says that it has these.
    async fn welcome(listener: &UnixListener, executable: Executable, runs: Vec<Minded>) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut minder = Self { stream, decoder: Decoder::default() };
        assert!(matches!(minder.hear().await, Request::Hello { .. }));
        minder.say(&Report::Welcome { protocol: PROTOCOL, executable, runs, more: false }).await;
        minder
    }

    async fn hear(&mut self) -> Request {
        loop {
            if let Some((request, _)) = self.decoder.next_message().unwrap() {
                return request;
            }
            let mut bytes = [0; 1 << 10];
            let length = timeout(ANSWER, self.stream.read(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(length, 0, "the daemon has closed the connection");
            self.decoder.push(&bytes[..length]);
        }
    }

    /// The id of the run that is ordered next.
    async fn hear_start(&mut self) -> RunId {
        match self.hear().await {
            Request::Start(start) => start.run,
            other => panic!("{other:?}"),
        }
    }

    async fn say(&mut self, report: &Report) {
        self.stream.write_all(&encode(report, &[]).unwrap()).await.unwrap();
    }
}

struct Rig {
    orders: mpsc::Sender<Order>,
    ended: mpsc::Receiver<Ended>,
    happenings: mpsc::Receiver<Happening>,
    earlier: Minder,
    current: Minder,
    folder: TempDir,
}

impl Rig {
    /// One in which an earlier minder has these runs.
    async fn new(left: Vec<Minded>) -> Self {
        Self::after(left, async |_, _| {}).await
    }

    /// One in which this is done before the daemon listens to the minders, of which the earlier one has these runs.
    async fn after(left: Vec<Minded>, first: impl AsyncFnOnce(&mut Minders, &mut Minder)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sockets = folder.path().join(FOLDER);
        fs::create_dir(&sockets).unwrap();
        let [one, other] = ["1.sock", "2.sock"].map(|name| UnixListener::bind(sockets.join(name)).unwrap());
        let own = executable().unwrap();
        let playing = async {
            let earlier = Executable { release: "0.0.1".into(), ..own.clone() };
            let mut earlier = Minder::welcome(&one, earlier, left).await;
            assert_eq!(earlier.hear().await, Request::Retire);
            let mut current = Minder::welcome(&other, own.clone(), vec![]).await;
            assert_eq!(current.hear().await, Request::Adopt);
            current.say(&Report::Adopted { runs: vec![], more: false }).await;
            (earlier, current)
        };
        let (found, (mut earlier, current)) =
            tokio::join!(Minders::find(folder.path(), look_up_by_fifo, None), playing);
        let mut minders = found.unwrap().0;
        first(&mut minders, &mut earlier).await;
        let (orders, orders_out) = mpsc::channel(16);
        let (ended_in, ended) = mpsc::channel(16);
        let (happenings_in, happenings) = mpsc::channel(16);
        let outlets = Outlets { ended: ended_in, happenings: happenings_in };
        let (_, kept) = mpsc::unbounded_channel();
        tokio::spawn(minders.run(orders_out, outlets, kept, CancellationToken::new(), false));
        Self { orders, ended, happenings, earlier, current, folder }
    }

    /// Gives these orders, and waits until they are taken in.
    async fn order(&mut self, orders: impl IntoIterator<Item = Order>) {
        for order in orders {
            self.orders.send(order).await.unwrap();
        }
        self.orders.send(Order::Beat(Beat::default())).await.unwrap();
        while !matches!(self.happenings.recv().await, Some(Happening::Beat(_))) {}
    }

    /// Has the current minder say that the run has begun, and waits until that is taken in.
    async fn begin(&mut self, run: RunId) {
        self.current.say(&Report::Started { run, pid: 70 }).await;
        while !matches!(self.happenings.recv().await, Some(Happening::Started { .. })) {}
    }

    async fn next_end(&mut self) -> Ended {
        timeout(ANSWER, self.ended.recv()).await.unwrap().unwrap()
    }

    /// A user that is found when something is written there.
    fn slow_user(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    }
}

fn run(number: u64, user: Option<&Path>) -> Run {
    let text = b"[[watch]]\nznode = '/a'\ncommand = 'true'";
    let spec = parse(Path::new("a.toml"), text, &Defaults::default(), "a").unwrap().remove(0).spec;
    let uid = user.map(|path| UserRef::Name(path.to_str().unwrap().to_owned()));
    Run {
        id: RunId::from_u64(number),
        spec: Arc::new(WatchSpec { uid, ..Arc::unwrap_or_clone(spec) }),
        update: Update {
            event: Event::Loaded,
            version: Version::default(),
            contents: Bytes::new(),
            child: None,
        },
        seen: StdInstant::now(),
        attempt: 1,
    }
}

#[tokio::test]
async fn what_is_asked_of_a_run_while_its_user_is_looked_up_is_done_once_the_user_is_known() {
    let mut rig = Rig::new(vec![]).await;
    let [first, second] = ["first", "second"].map(|name| rig.slow_user(name));
    let [one, two, three] = [1, 2, 3].map(RunId::from_u64);
    let (signal, number) = (Signal::SIGHUP, Signal::SIGHUP as i32);
    rig.order([
        Order::Start(run(1, Some(&first))),
        Order::Start(run(2, Some(&second))),
        Order::Start(run(3, None)),
        Order::Signal { run: one, signal },
        Order::End { run: two },
    ])
    .await;
    for user in [first, second] {
        tokio::task::spawn_blocking(|| fs::write(user, "")).await.unwrap().unwrap();
    }
    assert_eq!(rig.current.hear_start().await, one);
    assert_eq!(rig.current.hear().await, Request::Signal { run: one, signal: number });
    // Nobody executes what somebody has ended.
    let end = rig.next_end().await;
    assert_eq!(
        (end.run, &*end.outcome.to_string()),
        (two, "spawn-failed(it was ended before it was started)")
    );
    assert_eq!(rig.current.hear_start().await, three);
}

#[tokio::test]
async fn a_lookup_that_panics_is_the_end_of_its_run_and_of_nothing_else() {
    let mut rig = Rig::new(vec![]).await;
    let not_there = rig.folder.path().join("not-there");
    rig.order([Order::Start(run(1, Some(&not_there))), Order::Start(run(2, None))]).await;
    let end = rig.next_end().await;
    assert_eq!(end.run, RunId::from_u64(1));
    assert_eq!(end.outcome, Outcome::SpawnFailed("preparing it has panicked".into()));
    assert_eq!(rig.current.hear_start().await, RunId::from_u64(2));
}

#[tokio::test]
async fn what_is_asked_of_a_run_whose_minder_is_gone_is_said_to_the_one_that_takes_it_over() {
    let ids = [7, 8].map(RunId::from_u64);
    let left = || ids.map(|id| Minded { run: id, about: run(7, None).about(), pid: Some(70) }).into();
    let mut rig = Rig::new(left()).await;
    let [seven, eight] = ids;
    // It hears this, and dies of something else.
    rig.order([Order::End { run: seven }]).await;
    assert_eq!(rig.earlier.hear().await, Request::End { run: seven });
    rig.earlier.stream.shutdown().await.unwrap();
    assert_eq!(rig.current.hear().await, Request::Adopt);
    rig.order([Order::End { run: eight }]).await;
    rig.current.say(&Report::Adopted { runs: left(), more: false }).await;
    for run in ids {
        assert_eq!(rig.current.hear().await, Request::End { run });
    }
}

#[tokio::test]
async fn a_run_is_told_of_an_update_only_once_it_has_begun_and_while_it_has_a_minder() {
    let left = || vec![Minded { run: RunId::from_u64(7), about: run(7, None).about(), pid: Some(70) }];
    let mut rig = Rig::new(left()).await;
    let [one, seven] = [1, 7].map(RunId::from_u64);
    let (too_early, signal) = (Signal::SIGUSR1, Signal::SIGHUP);
    let told = |run| Request::Signal { run, signal: signal as i32 };
    let user = rig.slow_user("user");
    rig.order([Order::Start(run(1, Some(&user))), Order::Notify { run: one, signal: too_early }]).await;
    tokio::task::spawn_blocking(|| fs::write(user, "")).await.unwrap().unwrap();
    assert_eq!(rig.current.hear_start().await, one);
    rig.order([Order::Notify { run: one, signal: too_early }]).await;
    rig.begin(one).await;
    rig.order([Order::Notify { run: one, signal }]).await;
    assert_eq!(rig.current.hear().await, told(one));

    rig.earlier.stream.shutdown().await.unwrap();
    assert_eq!(rig.current.hear().await, Request::Adopt);
    rig.order([Order::Notify { run: seven, signal: too_early }]).await;
    rig.current.say(&Report::Adopted { runs: left(), more: false }).await;
    rig.begin(seven).await;
    rig.order([Order::Notify { run: seven, signal }]).await;
    assert_eq!(rig.current.hear().await, told(seven));
}

#[tokio::test]
async fn a_signal_that_a_dying_minder_does_not_take_is_said_to_the_one_that_takes_its_run_over() {
    let left = || vec![Minded { run: RunId::from_u64(7), about: run(7, None).about(), pid: Some(70) }];
    let seven = RunId::from_u64(7);
    let signal = Request::Signal { run: seven, signal: Signal::SIGHUP as i32 };
    let asking = async |minders: &mut Minders, minder: &mut Minder| {
        // It is closed both ways: nobody takes what is said.
        minder.stream = UnixStream::pair().unwrap().0;
        let held = async {
            while minders.runs[&seven].asked.is_empty() {
                minders.tell_of(seven, signal.clone()).await;
                tokio::task::yield_now().await;
            }
        };
        timeout(ANSWER, held).await.unwrap();
    };
    let mut rig = Rig::after(left(), asking).await;
    assert_eq!(rig.current.hear().await, Request::Adopt);
    rig.current.say(&Report::Adopted { runs: left(), more: false }).await;
    assert_eq!(rig.current.hear().await, signal);
}
