//! What the daemon's parts see, told as events: who sees it does not know that there are any.

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::changes::Change;
use crate::config::difference::describe_difference;
use crate::config::loader::Reload;
use crate::config::problem::Problem;
use crate::config::spec::WatchName;
use crate::record::events::{Session, Teller, What};
use crate::schedule::scheduler::{ByHand, News};
use crate::watch::connection::Connection;

/// Tells what a look at the config folder has changed, and what is wrong that was not before.
pub fn tell_reload(reload: &Reload, teller: &Teller) {
    reload.changes.iter().for_each(|change| teller.tell(changed(change)));
    for Problem { file, place, message, help } in reload.news.new.iter().cloned() {
        let (line, column) = place.map(|place| (place.line, place.column)).unzip();
        teller.tell(What::FileProblem { file, line, column, message, help });
    }
    for file in reload.news.mended.iter().cloned() {
        teller.tell(What::FileMended { file });
    }
}

fn changed(change: &Change) -> What {
    match change {
        Change::Added(spec) => What::WatchAdded {
            watch: spec.name.clone(),
            znode: spec.znode.to_string(),
            enabled: spec.enabled,
        },
        Change::Redefined { old, new } => {
            What::WatchRedefined { watch: new.name.clone(), difference: describe_difference(old, new) }
        }
        Change::Removed(watch) => What::WatchRemoved { watch: watch.clone() },
    }
}

/// Tells of connections to `servers` that are made and lost, until `stop`.
pub async fn tell_connection(
    mut connection: watch::Receiver<Connection>,
    servers: String,
    teller: Teller,
    stop: CancellationToken,
) {
    let mut before = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = connection.changed() => if changed.is_err() { return },
        }
        let now = *connection.borrow_and_update();
        match now {
            Connection::Connecting { .. } => {}
            Connection::Connected { session, .. } => {
                let session_is = match before.replace(session) {
                    None => Session::First,
                    Some(before) if before == session => Session::Same,
                    Some(_) => Session::New,
                };
                let (servers, session) = (servers.clone(), format!("{session:#x}"));
                teller.tell(What::Connected { servers, session, session_is });
            }
            Connection::Disconnected { .. } => teller.tell(What::Disconnected { servers: servers.clone() }),
        }
    }
}

/// Tells what is decided, until nobody says.
pub async fn tell_news(mut news: mpsc::Receiver<News>, teller: Teller) {
    while let Some(news) = news.recv().await {
        teller.tell(match news {
            News::Seen { watch, event: update, mzxid, accepted: Ok(instead_of_mzxid) } => {
                What::UpdateAccepted { watch, update, mzxid, instead_of_mzxid }
            }
            News::Seen { watch, event: update, mzxid, accepted: Err(why) } => {
                What::UpdateDropped { watch, update, mzxid, why: why.to_string() }
            }
            News::Retry { watch, after, attempt } => {
                What::RetryPlanned { watch, after_seconds: after.as_secs_f64(), attempt }
            }
            News::Stopped { watch } => What::WatchStopped { watch },
            News::ByHand { watch, by, what } => by_hand(watch, by.as_raw(), what),
            News::Missing(count) => What::EventsMissing { count },
        });
    }
}

fn by_hand(watch: WatchName, by_uid: u32, what: ByHand) -> What {
    match what {
        ByHand::Paused => What::WatchPaused { watch, by_uid },
        ByHand::Resumed => What::WatchResumed { watch, by_uid },
        ByHand::Fired => What::WatchFired { watch, by_uid },
        ByHand::Ended(run) => What::RunKilled { run, watch, by_uid },
        ByHand::Signaled(run, signal) => {
            What::RunSignaled { run, watch, signal: signal.as_str().to_owned(), by_uid }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::record::events::teller;

    #[tokio::test]
    async fn what_the_scheduler_could_not_tell_is_told_to_be_missing() {
        let (teller, mut tidings) = teller();
        let (news_in, news) = mpsc::channel(1);
        news_in.send(News::Missing(3)).await.unwrap();
        drop(news_in);
        tell_news(news, teller).await;
        assert_eq!(tidings.next().await, Some(What::EventsMissing { count: 3 }));
    }
}
