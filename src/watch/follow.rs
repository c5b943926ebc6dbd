//! The loop on one target, whatever its type: look and arm, deliver, wait, again. There is no polling: a
//! look has a notification, a new session, a nudge, or a failed look behind it. What is new in a look is
//! not judged here.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use zookeeper_client::{Client, Error, WatchedEvent};

use super::backoff::{Backoff, random};
use super::look::Look;
use super::seen::{Mark, Newest, Sight};
use super::session::Session;
use super::subscriptions::Target;
use super::{children, data, newest};
use crate::config::spec::WatchType;

/// What a loop works with.
#[derive(Debug)]
pub struct Following {
    /// What is followed.
    pub target: Target,
    /// The live session, while there is one.
    pub sessions: watch::Receiver<Option<Session>>,
    /// Sessions up to this number are not used.
    pub after: u64,
    /// A permit for each look, which has one request in flight at a time, over all loops: the library's queue has no
    /// bound, and a server has other clients.
    pub requests: Arc<Semaphore>,
    /// How long until the next look at what may not be read: a change of an ACL fires no watch.
    pub look_again: Duration,
    /// Asks for a look that tells what there is, whether it is new or not.
    pub nudge: Arc<Notify>,
    /// Where sights go, with the id of this task.
    pub sights: mpsc::Sender<(tokio::task::Id, Sight)>,
}

/// A read that failed has no watch to wait for.
const RETRY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(10) };

/// Follows a target through all sessions, until it is aborted.
pub async fn follow(mut following: Following) {
    let id = tokio::task::id();
    let mut unsaid = true;
    loop {
        let mut sessions = following.sessions.clone();
        let after = following.after;
        let Ok(session) = following
            .sessions
            .wait_for(|session| session.as_ref().is_some_and(|session| session.number > after))
            .await
            .map(|session| session.clone())
        else {
            return;
        };
        let Some(Session { client, number }) = session else { continue };
        tokio::select! {
            // Whatever is under way is lost with its session, a sight too: the next session has it read again.
            _ = sessions.wait_for(|session| session.as_ref().is_none_or(|session| session.number != number)) => {}
            () = follow_through_session(id, &client, &following, &mut unsaid) => return,
        }
    }
}

/// Returns when nobody takes the sights any more.
async fn follow_through_session(
    id: tokio::task::Id,
    client: &Client,
    following: &Following,
    unsaid: &mut bool,
) {
    // The watch that is armed lives until the one that takes its place is: see `look::find`.
    let mut armed: Option<Armed> = None;
    // What need not be read again. Another session reads it once more: the history may be another one.
    let mut last: Option<Newest> = None;
    loop {
        let look = look_until_it_succeeds(client, following, last.as_ref()).await;
        let again = match &look.sight {
            Some(Sight::Unreadable) => {
                if std::mem::replace(unsaid, false) {
                    tracing::warn!(
                        "ZooKeeper does not allow {} to be read; looking again every {} s",
                        following.target.znode,
                        following.look_again.as_secs_f64()
                    );
                }
                Some(following.look_again)
            }
            Some(Sight::Present { .. } | Sight::Childless | Sight::Absent) | None => {
                *unsaid = true;
                None
            }
        };
        let fired = armed.insert(match look.watcher {
            Some(watcher) => Box::pin(watcher.changed()),
            None => Box::pin(pending()),
        });
        if let Some(sight) = look.sight {
            // After anything else it has to be seen again that it is there: else nobody hears that it is readable.
            last = match &sight {
                Sight::Present { mark: Mark::Newest(newest), .. } => Some(newest.clone()),
                Sight::Present { mark: Mark::Data | Mark::Children(_), .. }
                | Sight::Childless
                | Sight::Absent
                | Sight::Unreadable => None,
            };
            if following.sights.send((id, sight)).await.is_err() {
                return;
            }
        }
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

type Armed = Pin<Box<dyn Future<Output = WatchedEvent> + Send>>;

async fn look_until_it_succeeds(client: &Client, following: &Following, last: Option<&Newest>) -> Look {
    let znode = following.target.znode.as_str();
    let mut failures = 0;
    loop {
        let look = {
            let _permit = following.requests.acquire().await;
            // In memory of its own, which is given back: of ten thousand loops hardly one looks at a time.
            match following.target.watch_type {
                WatchType::Data => Box::pin(data::look(client, znode)).await,
                WatchType::Children => Box::pin(children::look(client, znode)).await,
                WatchType::NewestChild => Box::pin(newest::look(client, znode, last)).await,
            }
        };
        match look {
            Ok(look) => return look,
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
    }
}

async fn maybe_sleep(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => pending().await,
    }
}
