//! The one task that knows all watches: takes changes in, runs a loop for each target, and sends notices
//! out in the order in which they became true. What is new, and for whom, `subscriptions` decides; what is
//! done about it, the scheduler.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Reconnects};
use super::ensemble::Ensemble;
use super::follow::{Following, Means, follow};
use super::seen::Sight;
use super::session::{Ports, keep};
use super::subscriptions::{Firing, Looked, Paths, Subscriptions, Target, ZnodeState};
use super::update::{Beat, FireId, Notice};
use crate::config::changes::Change;
use crate::config::spec::WatchName;

/// How many requests may be in flight at once, over all loops.
const REQUESTS: usize = 100;

/// How many sights may wait, each with up to a megabyte of contents.
const SIGHTS: usize = 16;

/// What the hub goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which ensemble, and how it is reached.
    pub ensemble: Ensemble,
    /// What is asked of the server for each session.
    pub session_timeout: Duration,
    /// How often it looks at what it may not read: a change of an ACL fires no watch.
    pub look_again: Duration,
}

/// Where the hub tells how things stand.
#[derive(Debug)]
pub struct Reports {
    connection: watch::Sender<Connection>,
    reconnects: watch::Sender<Reconnects>,
    looked: watch::Sender<Looked>,
    trouble: watch::Sender<Option<String>>,
}

/// What others want of the hub.
#[derive(Debug)]
pub enum Ask {
    /// A run of this watch with what there is now. What comes of it is a `Notice::Fired`.
    Fire(WatchName, FireId),
    /// How the znodes stand.
    Znodes(oneshot::Sender<HashMap<WatchName, ZnodeState>>),
    /// How that of one watch stands; `None`: there is no such watch.
    Znode(WatchName, oneshot::Sender<Option<ZnodeState>>),
    /// That this is handed on, as a `Notice::Beat`.
    Beat(Beat),
}

/// How things stand, for whoever wants to know.
#[derive(Debug, Clone)]
pub struct Readings {
    /// The connection with ZooKeeper.
    pub connection: watch::Receiver<Connection>,
    /// How often there was another one.
    pub reconnects: watch::Receiver<Reconnects>,
    /// How far the first looks have come.
    pub looked: watch::Receiver<Looked>,
    /// What keeps a session from being made, as it was found last; `None` while there is one, or was not tried.
    pub trouble: watch::Receiver<Option<String>>,
}

/// The two ends of what the hub tells of itself.
#[must_use]
pub fn reports() -> (Reports, Readings) {
    let (connection, connection_reading) = watch::channel(Connection::Connecting { since: Timestamp::now() });
    let (reconnects, reconnects_reading) = watch::channel(Reconnects::default());
    let (looked, looked_reading) = watch::channel(Looked::default());
    let (trouble, trouble_reading) = watch::channel(None);
    let readings = Readings {
        connection: connection_reading,
        reconnects: reconnects_reading,
        looked: looked_reading,
        trouble: trouble_reading,
    };
    (Reports { connection, reconnects, looked, trouble }, readings)
}

/// Watches what the changes say, until `shutdown` or until nobody takes the notices any more, and closes
/// the session. No state of ZooKeeper ends it: without an ensemble it waits for one.
pub async fn run(
    options: Options,
    mut changes: mpsc::Receiver<Vec<Change>>,
    mut asks: mpsc::Receiver<Ask>,
    notices: mpsc::Sender<Notice>,
    reports: Reports,
    shutdown: CancellationToken,
) {
    let (mut hub, mut sights) = Hub::new(options, reports);
    let working = async {
        let mut defining = true;
        loop {
            let told = tokio::select! {
                batch = changes.recv(), if defining => match batch {
                    Some(batch) => hub.define(batch),
                    None => {
                        defining = false;
                        Vec::new()
                    }
                },
                Some((following, sight)) = sights.recv() => hub.sighted(&following, &sight),
                Some(ask) = asks.recv() => hub.hear(ask),
                Some(ended) = hub.loops.join_next_with_id() => {
                    hub.restart(ended);
                    Vec::new()
                }
            };
            for notice in told {
                if notices.send(notice).await.is_err() {
                    return;
                }
            }
            hub.report();
        }
    };
    tokio::select! {
        () = working => {}
        () = shutdown.cancelled() => {}
    }
    hub.close().await;
}

struct Hub {
    subscriptions: Subscriptions,
    /// The loop on each target. What comes of one that is not in here comes too late.
    followed: HashMap<Target, Followed>,
    loops: JoinSet<()>,
    means: Arc<Means>,
    dead: watch::Sender<u64>,
    paths: watch::Sender<Paths>,
    looked: watch::Sender<Looked>,
    keeper: JoinHandle<()>,
    stop_keeper: CancellationToken,
}

struct Followed {
    task: AbortHandle,
    following: Arc<Following>,
}

impl Hub {
    fn new(options: Options, reports: Reports) -> (Self, mpsc::Receiver<(Arc<Following>, Sight)>) {
        let (sights, sights_out) = mpsc::channel(SIGHTS);
        let (session, sessions) = watch::channel(None);
        let (dead, dead_out) = watch::channel(0);
        let (paths, paths_out) = watch::channel(Paths::default());
        let stop_keeper = CancellationToken::new();
        let ports = Ports {
            sessions: session,
            connection: reports.connection,
            trouble: reports.trouble,
            reconnects: reports.reconnects,
            dead: dead_out,
            paths: paths_out,
        };
        let hub = Self {
            subscriptions: Subscriptions::default(),
            followed: HashMap::new(),
            loops: JoinSet::new(),
            means: Arc::new(Means {
                sessions,
                requests: Semaphore::new(REQUESTS),
                look_again: options.look_again,
                sights,
            }),
            dead,
            paths,
            looked: reports.looked,
            keeper: tokio::spawn(keep(options.ensemble, options.session_timeout, ports, stop_keeper.clone())),
            stop_keeper,
        };
        (hub, sights_out)
    }

    fn define(&mut self, changes: Vec<Change>) -> Vec<Notice> {
        let plan = self.subscriptions.apply(changes);
        for target in plan.stop {
            if let Some(followed) = self.followed.remove(&target) {
                followed.task.abort();
            }
        }
        self.paths.send_replace(self.subscriptions.paths());
        for target in plan.start {
            self.start(target);
        }
        for target in plan.look_again {
            if let Some(followed) = self.followed.get(&target) {
                followed.following.nudge.notify_one();
            }
        }
        plan.notices
    }

    fn sighted(&mut self, from: &Arc<Following>, sight: &Sight) -> Vec<Notice> {
        match self.followed.get(&from.target) {
            Some(followed) if Arc::ptr_eq(&followed.following, from) => {
                self.subscriptions.sighted(&from.target, sight)
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn hear(&mut self, ask: Ask) -> Vec<Notice> {
        match ask {
            Ask::Fire(name, fire) => match self.subscriptions.fire(&name, fire) {
                Firing::Look(target) => {
                    if let Some(followed) = self.followed.get(&target) {
                        followed.following.nudge.notify_one();
                    }
                    Vec::new()
                }
                Firing::Tell(notice) => vec![notice],
            },
            Ask::Znodes(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.subscriptions.znodes());
                Vec::new()
            }
            Ask::Znode(name, reply) => {
                let _ = reply.send(self.subscriptions.znode(&name));
                Vec::new()
            }
            Ask::Beat(beat) => vec![Notice::Beat(beat)],
        }
    }

    fn start(&mut self, target: Target) {
        let following = Arc::new(Following {
            target: target.clone(),
            after: *self.dead.borrow(),
            nudge: Notify::new(),
            means: Arc::clone(&self.means),
        });
        let task = self.loops.spawn(follow(Arc::clone(&following)));
        self.followed.insert(target, Followed { task, following });
    }

    /// A loop ends by itself only when it panics, and with a library that panics once its own task has
    /// panicked that means that the session is of no use. Others find it out too: it is one session less.
    fn restart(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            // It was stopped.
            Err(error) if error.is_cancelled() => return,
            Err(error) => error.id(),
        };
        let of_it = self.followed.iter().find(|(_, followed)| followed.task.id() == id);
        let Some(target) = of_it.map(|(target, _)| target.clone()) else { return };
        let number = self.means.sessions.borrow().as_ref().map_or(0, |session| session.number);
        tracing::error!("the loop on {} ended; making a new session", target.znode);
        self.dead.send_if_modified(|dead| number > std::mem::replace(dead, number.max(*dead)));
        self.start(target);
    }

    fn report(&mut self) {
        let looked = self.subscriptions.looked();
        self.looked.send_if_modified(|before| std::mem::replace(before, looked) != looked);
    }

    /// The loops first: as long as one of them holds the session's client, the session is not closed.
    async fn close(mut self) {
        self.loops.shutdown().await;
        self.stop_keeper.cancel();
        if let Err(panic) = self.keeper.await {
            tracing::error!("the session's keeper ended: {panic}");
        }
    }
}
