//! The hub on a thread of its own, and a hand that writes to ZooKeeper.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use twitcher::config::changes::Change;
use twitcher::config::spec::{
    Command, OnDelete, OnFailure, Output, Pacing, Retries, RunMode, RunOnLoad, Umask, WatchName, WatchSpec,
    WatchType, ZnodePath,
};
use twitcher::watch::client::Client;
use twitcher::watch::connection::Connection;
use twitcher::watch::ensemble::Ensemble;
use twitcher::watch::hub::{self, Readings};
use twitcher::watch::subscriptions::{Looked, ZnodeState};
use twitcher::watch::update::{FireId, Notice};

use crate::harness::{DEADLINE, eventually};

/// Short enough to expire within a test.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(1);

/// Short enough to be waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub struct Rig {
    changes: Option<mpsc::Sender<Vec<Change>>>,
    asks: mpsc::Sender<hub::Ask>,
    notices: std_mpsc::Receiver<Notice>,
    pub readings: Readings,
    log: Log,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    pub fn start(servers: &str) -> Self {
        Self::with_session_timeout(servers, SESSION_TIMEOUT)
    }

    pub fn with_session_timeout(servers: &str, session_timeout: Duration) -> Self {
        Self::with(Ensemble::plain(servers), session_timeout)
    }

    pub fn with(ensemble: Ensemble, session_timeout: Duration) -> Self {
        let options = hub::Options { ensemble, session_timeout, look_again: LOOK_AGAIN };
        let (changes, changes_out) = mpsc::channel(4);
        let (asks, asks_out) = mpsc::channel(4);
        let (notices_in, mut notices_out) = mpsc::channel(4);
        let (bridge, notices) = std_mpsc::channel();
        let (reports, readings) = hub::reports();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let log = Log::default();
        let writer = log.clone();
        let thread = thread::spawn(move || {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(LevelFilter::DEBUG)
                .without_time()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish()
                .with(Targets::new().with_target("twitcher", LevelFilter::DEBUG));
            let _guard = tracing::subscriber::set_default(subscriber);
            runtime().block_on(async {
                let forward = async move {
                    while let Some(notice) = notices_out.recv().await {
                        let _ = bridge.send(notice);
                    }
                };
                tokio::join!(hub::run(options, changes_out, asks_out, notices_in, reports, token), forward);
            });
        });
        Self { changes: Some(changes), asks, notices, readings, log, shutdown, thread: Some(thread) }
    }

    pub fn define(&self, changes: Vec<Change>) {
        self.changes.as_ref().unwrap().blocking_send(changes).unwrap();
    }

    pub fn fire(&self, name: &str, number: u64) {
        let name = WatchName::try_from(name).unwrap();
        self.asks.blocking_send(hub::Ask::Fire(name, FireId(number))).unwrap();
    }

    /// Waits until the znode of a watch stands like this.
    #[track_caller]
    pub fn wait_for_znode(&self, name: &str, is_so: impl Fn(ZnodeState) -> bool) {
        let name = WatchName::try_from(name).unwrap();
        eventually(DEADLINE, "a state of the znode", || {
            let (reply, answer) = oneshot::channel();
            self.asks.blocking_send(hub::Ask::Znode(name.clone(), reply)).unwrap();
            let state = answer.blocking_recv().unwrap().unwrap();
            if is_so(state) { Ok(()) } else { Err(state) }
        });
    }

    /// The next notice, in a few words, such as `a changed "contents"`.
    #[track_caller]
    pub fn next(&self) -> String {
        match self.notices.recv_timeout(DEADLINE) {
            Ok(notice) => brief(&notice),
            Err(_) => panic!("no notice within {DEADLINE:?}"),
        }
    }

    /// The next notices, sorted: between watches there is no order.
    #[track_caller]
    pub fn next_sorted(&self, count: usize) -> Vec<String> {
        let mut next: Vec<String> = (0..count).map(|_| self.next()).collect();
        next.sort();
        next
    }

    pub fn update(&self) -> twitcher::watch::update::Update {
        match self.notices.recv_timeout(DEADLINE) {
            Ok(Notice::Updated(_, update)) => update,
            other => panic!("{other:?} instead of an update"),
        }
    }

    /// Waits for a connection, and returns the session's id.
    pub fn connected(&self) -> i64 {
        eventually(DEADLINE, "a connection", || match *self.readings.connection.borrow() {
            Connection::Connected { session, .. } => Ok(session),
            other => Err(other),
        })
    }

    /// Waits until there is none.
    pub fn disconnected(&self) {
        eventually(DEADLINE, "the connection to go", || match *self.readings.connection.borrow() {
            Connection::Connected { .. } => Err("still connected"),
            Connection::Connecting { .. } | Connection::Disconnected { .. } => Ok(()),
        });
    }

    /// Waits for a line in the log with this in it.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        eventually(DEADLINE, text, || match self.log() {
            log if log.iter().any(|line| line.contains(text)) => Ok(()),
            log => Err(log),
        });
    }

    /// What was logged so far, a line each, but for those who look closely.
    pub fn log(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| !line.starts_with("DEBUG ")).collect()
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap().lines().map(String::from).collect()
    }

    /// Waits until those who look closely have been told this so often.
    #[track_caller]
    fn wait_for_debug(&self, text: &str, times: usize) {
        eventually(DEADLINE, text, || {
            let lines = self.lines();
            let told = lines.iter().filter(|line| line.starts_with("DEBUG ") && line.contains(text)).count();
            if told < times { Err(lines) } else { Ok(()) }
        });
    }

    /// Waits until it was tried in vain to make a session again, of which nothing more is said.
    #[track_caller]
    pub fn wait_for_tries(&self) {
        self.wait_for_debug("no session with ZooKeeper at '", 2);
    }

    /// Waits until this session is given up.
    #[track_caller]
    pub fn wait_until_over(&self, session: i64) {
        self.wait_for_debug(&format!("session {session:#x} is over"), 1);
    }

    pub fn looked(&self) -> Looked {
        *self.readings.looked.borrow()
    }

    /// Waits until all that is watched was looked at.
    pub fn complete(&self) -> Looked {
        eventually(DEADLINE, "the first looks", || match self.looked() {
            looked if looked.is_complete() => Ok(looked),
            looked => Err(looked),
        })
    }

    /// Ends the hub; returns when it has closed its session.
    pub fn stop(&mut self) {
        self.shutdown.cancel();
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // What it panicked of was printed; a second panic would hide the test's own.
            let _ = thread.join();
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn brief(notice: &Notice) -> String {
    match notice {
        Notice::Watched(spec) => format!("{} watched", spec.name),
        Notice::Unwatched(name) => format!("{name} unwatched"),
        Notice::Beat(beat) => format!("{beat:?}"),
        Notice::Missing(name) => format!("{name} missing"),
        Notice::Childless(name) => format!("{name} childless"),
        Notice::Fired(name, FireId(number), Err(unfit)) => format!("{name} {unfit:?} {number}"),
        Notice::Updated(name, update) | Notice::Fired(name, _, Ok(update)) => {
            let mut text = format!("{name} {}", update.event);
            if let Some(child) = &update.child {
                let _ = write!(text, " {child}");
            }
            if !update.contents.is_empty() {
                let _ = write!(text, " {:?}", String::from_utf8_lossy(&update.contents));
            }
            text
        }
    }
}

pub fn spec(name: &str, znode: &str) -> Arc<WatchSpec> {
    Arc::new(WatchSpec {
        name: WatchName::try_from(name).unwrap(),
        description: name.into(),
        znode: path(znode),
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

pub fn added(name: &str, znode: &str) -> Change {
    Change::Added(spec(name, znode))
}

pub fn spec_of(watch_type: WatchType, name: &str, znode: &str) -> Arc<WatchSpec> {
    Arc::new(WatchSpec { watch_type, ..(*spec(name, znode)).clone() })
}

pub fn added_of(watch_type: WatchType, name: &str, znode: &str) -> Change {
    Change::Added(spec_of(watch_type, name, znode))
}

pub fn path(znode: &str) -> ZnodePath {
    ZnodePath::try_from(znode).unwrap()
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Writes, and makes what is missing.
pub fn poke(servers: &str, znode: &str, contents: &str) {
    runtime().block_on(async {
        let client = Client::connect(&Ensemble::plain(servers), DEADLINE).await.unwrap();
        client.set_or_create(&path(znode), contents.as_bytes()).await.unwrap();
        client.close().await;
    });
}

pub fn delete(servers: &str, znode: &str) {
    with_client(servers, async |client| client.delete(znode, None).await.unwrap());
}

/// With a client that can do what the command line cannot.
pub fn with_client<T, F: Future<Output = T>>(
    servers: &str,
    visit: impl FnOnce(zookeeper_client::Client) -> F,
) -> T {
    runtime().block_on(async { visit(zookeeper_client::Client::connect(servers).await.unwrap()).await })
}
