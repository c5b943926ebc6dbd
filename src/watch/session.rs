//! Keeps one ZooKeeper session alive and hands it to the loops: connects, notices its end, makes
//! another. Knows nothing of what is watched but how long the paths are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Client, Error, SessionState, StateWatcher};

use super::backoff::{Backoff, random};
use super::connection::{Announcer, Connection, Reconnects, Trouble};
use super::ensemble::{Ensemble, NotConnected};
use super::subscriptions::Paths;

/// A live session.
#[derive(Debug)]
pub struct Session {
    /// What requests are made with.
    pub client: Client,
    /// Which session of this process it is, from 1.
    pub number: u64,
    /// Cancelled when it is no longer to be used, also by a panic of its keeper.
    pub over: CancellationToken,
}

/// The ends of the channels that a keeper works with.
#[derive(Debug)]
pub struct Ports {
    /// The live session, while there is one.
    pub sessions: watch::Sender<Option<Arc<Session>>>,
    /// How things stand.
    pub connection: watch::Sender<Connection>,
    /// What keeps a session from being made.
    pub trouble: watch::Sender<Option<String>>,
    /// How often there was another connection.
    pub reconnects: watch::Sender<Reconnects>,
    /// The number of the last session that was found dead by someone who used it.
    pub dead: watch::Receiver<u64>,
    /// What a connection that is made anew has to carry.
    pub paths: watch::Receiver<Paths>,
}

/// A session whose watched paths are longer than this together, in bytes, is not carried over a lost
/// connection: the client library sends its watches again in batches of 128 KiB that all bear the same
/// number, and the server's second answer ends each new connection until the session expires.
const CARRIED_PATH_BYTES: usize = 100 * 1024;

/// The first wait is short, since a server that was restarted is back soon, and yet not the same for
/// everyone whose session ended with it.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(10) };

/// How long a closing session is waited for. The server drops it by itself after the session timeout.
const CLOSING: Duration = Duration::from_secs(1);

/// Why a session is no longer used.
enum End {
    /// It ended by itself or was left behind: another one takes its place.
    Over(Option<Trouble>),
    /// The daemon stops.
    Stopped,
}

/// Keeps a session until `shutdown`, and closes it then, so that the server drops it at once. Whoever
/// holds a clone of the client must have let go of it by then.
///
/// `session_timeout` is what is asked of the server, which has bounds of its own: 2 to 20 of its ticks by
/// default.
pub async fn keep(
    ensemble: Ensemble,
    session_timeout: Duration,
    mut ports: Ports,
    shutdown: CancellationToken,
) {
    let mut announcer =
        Announcer::new(&ensemble, ports.connection.clone(), ports.reconnects.clone(), ports.trouble.clone());
    let mut failures = 0;
    let mut number = 0;
    loop {
        let opened = tokio::select! {
            opened = open(&ensemble, session_timeout) => opened,
            () = shutdown.cancelled() => return,
        };
        match opened {
            Err((trouble, why)) => announcer.failed(trouble, &why),
            Ok(client) => {
                number += 1;
                let began = Instant::now();
                let states = client.state_watcher();
                announcer.opened(client.session_id().0);
                let over = CancellationToken::new();
                let ending = over.clone().drop_guard();
                ports.sessions.send_replace(Some(Arc::new(Session { client: client.clone(), number, over })));
                let end =
                    attend(states, (number, client.path()), &mut ports, &mut announcer, &shutdown).await;
                ports.sessions.send_replace(None);
                drop(ending);
                match end {
                    End::Stopped => return close(client).await,
                    End::Over(trouble) => announcer.ended(trouble),
                }
                if began.elapsed() > BACKOFF.most {
                    failures = 0;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BACKOFF.delay(failures, random())) => failures = failures.saturating_add(1),
            () = shutdown.cancelled() => return,
        }
    }
}

/// Makes a session whose reads are not older than what any server had acknowledged before: the server
/// that it is with may lag behind the one that an earlier session was with.
async fn open(ensemble: &Ensemble, session_timeout: Duration) -> Result<Client, (Trouble, String)> {
    let asked = ensemble.clone();
    // A task of its own: if the library panics, that is one failure more, and no end of the daemon.
    let mut task = JoinSet::new();
    task.spawn(async move {
        let connector = Client::connector().with_session_timeout(session_timeout);
        // One round over the servers, since the library's own delays are the same for everyone.
        let client = asked.connect(connector.with_fail_eagerly()).await?;
        client.sync("/").await?;
        if client.check_stat("/").await?.is_none() {
            tracing::warn!(
                "ZooKeeper has no {}, the chroot in '{}': all that is watched is missing until it is made",
                client.path(),
                asked.servers
            );
        }
        Ok::<_, NotConnected>(client)
    });
    // A server that takes the connection and then says nothing.
    let deadline = 3 * session_timeout.max(Duration::from_secs(1));
    match tokio::time::timeout(deadline, task.join_next()).await {
        Ok(Some(Ok(Ok(client)))) => Ok(client),
        Ok(Some(Ok(Err(NotConnected::Files(why))))) => Err((Trouble::Files, why)),
        Ok(Some(Ok(Err(NotConnected::Zk(error))))) => Err((trouble(&error), ensemble.explain(&error))),
        Ok(Some(Err(panic))) => Err((Trouble::Unreachable, panic.to_string())),
        Ok(None) | Err(_) => Err((Trouble::Unreachable, "no answer".to_owned())),
    }
}

/// Waits until the session is over, and says what becomes of its connection meanwhile.
async fn attend(
    mut states: StateWatcher,
    (number, chroot): (u64, &str),
    ports: &mut Ports,
    announcer: &mut Announcer,
    shutdown: &CancellationToken,
) -> End {
    let mut state = states.state();
    loop {
        match state {
            SessionState::SyncConnected => announcer.connected(),
            SessionState::Disconnected => {
                announcer.disconnected();
                if ports.paths.borrow().bytes_below(chroot) > CARRIED_PATH_BYTES {
                    return End::Over(None);
                }
            }
            SessionState::AuthFailed => return End::Over(Some(Trouble::Refused)),
            // A read-only server was not asked for.
            SessionState::Expired | SessionState::Closed | SessionState::ConnectedReadOnly => {
                return End::Over(None);
            }
        }
        state = tokio::select! {
            state = states.changed() => state,
            Ok(_) = ports.dead.wait_for(|dead| *dead >= number) => return End::Over(None),
            () = shutdown.cancelled() => return End::Stopped,
        };
    }
}

/// The library closes a session when the last client of it is dropped, should the connection be down as
/// soon as it is back.
pub(super) async fn close(client: Client) {
    let mut states = client.state_watcher();
    let mut state = states.state();
    drop(client);
    let closed = async {
        while !state.is_terminated() {
            state = states.changed().await;
        }
    };
    if tokio::time::timeout(CLOSING, closed).await.is_err() {
        tracing::debug!("the session was not closed in time; the server drops it after its timeout");
    }
}

fn trouble(error: &Error) -> Trouble {
    match error {
        Error::AuthFailed | Error::NoAuth => Trouble::Refused,
        Error::BadArguments(_) => Trouble::BadServers,
        _ => Trouble::Unreachable,
    }
}
