//! The loop on one target, whatever its type: look and arm, deliver, wait, again. There is no polling: a
//! look has a notification, a new session, a nudge, or a failed look behind it. What is new in a look is
//! not judged here.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch};
use zookeeper_client::{Client, Error, WatchedEvent};

use super::backoff::{Backoff, random};
use super::look::Look;
use super::seen::{Mark, Newest, Sight};
use super::session::Session;
use super::subscriptions::Target;
use super::{children, data, newest};
use crate::config::spec::WatchType;

/// What all loops work with.
#[derive(Debug)]
pub struct Means {
    /// The live session, while there is one.
    pub sessions: watch::Receiver<Option<Arc<Session>>>,
    /// A permit for each look, which has one request in flight at a time, over all loops: the library's queue has no
    /// bound, and a server has other clients.
    pub requests: Semaphore,
    /// How long until the next look at what may not be read: a change of an ACL fires no watch.
    pub look_again: Duration,
    /// Where sights go, with whose they are.
    pub sights: mpsc::Sender<(Arc<Following>, Sight)>,
}

/// What one loop works with.
#[derive(Debug)]
pub struct Following {
    /// What is followed.
    pub target: Target,
    /// Sessions up to this number are not used.
    pub after: u64,
    /// Asks for a look that tells what there is, whether it is new or not.
    pub nudge: Notify,
    /// What it has in common with the others.
    pub means: Arc<Means>,
}

/// A read that failed has no watch to wait for.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10) };

/// Follows a target through all sessions, until it is aborted.
///
/// Of ten thousand loops hardly one does more than wait for its znode. So what is held meanwhile is little: all else
/// that a loop does is in memory of its own, which is given back.
pub async fn follow(following: Arc<Following>) {
    let mut unsaid = true;
    while let Some(session) = Box::pin(next_session(&following)).await {
        tokio::select! {
            // Whatever is under way is lost with its session, a sight too: the next session has it read again.
            () = session.over.cancelled() => {}
            () = follow_through_session(&session.client, &following, &mut unsaid) => return,
        }
    }
}

/// `None`: there will be none any more.
async fn next_session(following: &Following) -> Option<Arc<Session>> {
    let mut sessions = following.means.sessions.clone();
    let is_next = |session: &Arc<Session>| session.number > following.after;
    let session = sessions.wait_for(|session| session.as_ref().is_some_and(is_next)).await.ok()?;
    session.clone()
}

/// Returns when nobody takes the sights any more.
async fn follow_through_session(client: &Client, following: &Arc<Following>, unsaid: &mut bool) {
    // The watch that is armed lives until the one that takes its place is: see `look::find`.
    let mut armed: Option<Armed> = None;
    // What need not be read again. Another session reads it once more: the history may be another one.
    let mut last: Option<Box<Newest>> = None;
    loop {
        // First, so that those who wait for it have not taken more memory yet.
        let Ok(permit) = following.means.requests.acquire().await else { return };
        let looked = Box::pin(look_and_tell(client, following, permit, &mut last, unsaid)).await;
        let Some(Next { fired, again }) = looked else { return };
        let fired = armed.insert(fired);
        tokio::select! {
            event = fired => {
                if event.session_state.is_terminated() {
                    // The caller ends this when the keeper of the session has heard of it too.
                    pending::<()>().await;
                }
            }
            () = following.nudge.notified() => last = None,
            () = maybe_sleep(again) => {}
        }
    }
}

/// What makes the next look due.
struct Next {
    fired: Armed,
    /// After this time, where nothing tells of a change.
    again: Option<Duration>,
}

type Armed = Pin<Box<dyn Future<Output = WatchedEvent> + Send>>;

/// Looks until that succeeds, and tells what was seen. `None`: nobody takes the sights any more.
async fn look_and_tell(
    client: &Client,
    following: &Arc<Following>,
    permit: SemaphorePermit<'_>,
    last: &mut Option<Box<Newest>>,
    unsaid: &mut bool,
) -> Option<Next> {
    let look = look_until_it_succeeds(client, following, permit, last.as_deref()).await?;
    let again = match &look.sight {
        Some(Sight::Unreadable) => {
            if std::mem::replace(unsaid, false) {
                tracing::warn!(
                    "ZooKeeper does not allow {} to be read; looking again every {} s",
                    following.target.znode,
                    following.means.look_again.as_secs_f64()
                );
            }
            Some(following.means.look_again)
        }
        Some(Sight::Present { .. } | Sight::Childless | Sight::Absent) | None => {
            *unsaid = true;
            None
        }
    };
    if let Some(sight) = look.sight {
        // After anything else it has to be seen again that it is there: else nobody hears that it is readable.
        *last = match &sight {
            Sight::Present { mark: Mark::Newest(newest), .. } => Some(Box::new(newest.clone())),
            Sight::Present { mark: Mark::Data | Mark::Children(_), .. }
            | Sight::Childless
            | Sight::Absent
            | Sight::Unreadable => None,
        };
        following.means.sights.send((Arc::clone(following), sight)).await.ok()?;
    }
    let fired: Armed = match look.watcher {
        Some(watcher) => Box::pin(watcher.changed()),
        None => Box::pin(pending()),
    };
    Some(Next { fired, again })
}

async fn look_until_it_succeeds(
    client: &Client,
    following: &Following,
    mut permit: SemaphorePermit<'_>,
    last: Option<&Newest>,
) -> Option<Look> {
    let znode = following.target.znode.as_str();
    let mut failures = 0;
    loop {
        let look = match following.target.watch_type {
            WatchType::Data => data::look(client, znode).await,
            WatchType::Children => children::look(client, znode).await,
            WatchType::NewestChild => newest::look(client, znode, last).await,
        };
        drop(permit);
        match look {
            Ok(look) => return Some(look),
            Err(error) => {
                match &error {
                    // Said of the connection already, which all loops share.
                    Error::ConnectionLoss
                    | Error::SessionExpired
                    | Error::ClientClosed
                    | Error::Custom(_) => {
                        tracing::debug!("could not look at {znode}: {error}");
                    }
                    _ if failures == 0 => tracing::warn!("could not look at {znode}: {error}; trying again"),
                    _ => tracing::debug!("could not look at {znode}: {error}"),
                }
                tokio::time::sleep(RETRY.delay(failures, random())).await;
                failures = failures.saturating_add(1);
            }
        }
        permit = following.means.requests.acquire().await.ok()?;
    }
}

async fn maybe_sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => Box::pin(tokio::time::sleep(duration)).await,
        None => pending().await,
    }
}
