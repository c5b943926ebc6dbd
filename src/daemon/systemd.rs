//! What systemd is told: that the daemon is ready, what it is doing, that it reloads. Nothing where systemd did not
//! start it.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::notifier::{Notification, Notifier};
use crate::config::loader::ReloadRequest;
use crate::watch::connection::Connection;
use crate::watch::hub::Readings;
use crate::watch::subscriptions::Looked;

/// How long readiness waits for the first looks. A daemon that waits for its ensemble is a running one.
const READY_AT_THE_LATEST: Duration = Duration::from_secs(10);

/// The status is told no more often than this: ten thousand znodes that are looked at are not as many messages.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Tells when the daemon is ready, which `ready` is told too, and from then on how things stand, until `stop`.
pub async fn keep_current(
    systemd: Notifier,
    servers: String,
    mut readings: Readings,
    ready: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let deadline = Instant::now() + READY_AT_THE_LATEST;
    let mut told = String::new();
    let mut tell_at = Instant::now();
    // Whether all was looked at once, which the log says once.
    let mut complete = false;
    loop {
        let (now, looked) = (Instant::now(), *readings.looked.borrow_and_update());
        let connection = *readings.connection.borrow_and_update();
        let status = status(&servers, connection, looked, readings.trouble.borrow_and_update().as_deref());
        let first_complete = looked.is_complete() && !complete;
        let becomes_ready = !*ready.borrow() && (first_complete || now >= deadline);
        if becomes_ready || first_complete {
            complete |= first_complete;
            info!("ready: {status}");
        }
        if becomes_ready {
            systemd.tell(Notification::ReadyAnd(status.clone())).await;
            ready.send_replace(true);
        } else if status != told && now >= tell_at {
            systemd.tell(Notification::Status(status.clone())).await;
        }
        if becomes_ready || now >= tell_at {
            if status != told {
                tell_at = now + STATUS_EVERY;
            }
            told = status.clone();
        }
        let is_ready = *ready.borrow();
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(deadline), if !is_ready => {}
            () = sleep_until(tell_at), if status != told => {}
            Ok(()) = readings.looked.changed() => {}
            Ok(()) = readings.connection.changed() => {}
            Ok(()) = readings.trouble.changed() => {}
        }
    }
}

/// What the daemon is doing, in a line.
fn status(servers: &str, connection: Connection, looked: Looked, trouble: Option<&str>) -> String {
    let Looked { batches, looked_at, total } = looked;
    let znodes = if total == 1 { "znode" } else { "znodes" };
    // Each line of a message is one of its own.
    let trouble = trouble.map(|trouble| format!(": {}", trouble.replace('\n', " "))).unwrap_or_default();
    match connection {
        _ if batches == 0 => "reading the watch files".to_owned(),
        _ if total == 0 => "watching 0 znodes: no watch is defined".to_owned(),
        Connection::Connected { .. } if looked.is_complete() => format!("watching {total} {znodes}"),
        Connection::Connected { .. } => {
            format!("looking at {total} {znodes}: {} not looked at yet", total - looked_at)
        }
        Connection::Connecting { .. } => format!("waiting for ZooKeeper at {servers}{trouble}"),
        Connection::Disconnected { .. } => {
            format!("waiting for ZooKeeper at {servers}, since the connection was lost{trouble}")
        }
    }
}

/// Has the config folder looked at each time that it is asked for, and tells so where the daemon is `ready`: who is
/// starting does not reload. Several times in quick succession may be one.
pub async fn reload_when_asked(
    systemd: Notifier,
    asked: Arc<Notify>,
    requests: mpsc::Sender<ReloadRequest>,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let work = async {
        loop {
            asked.notified().await;
            let is_ready = *ready.borrow();
            if is_ready && let Ok(NotifyState::MonotonicUsec(now)) = NotifyState::monotonic_usec_now() {
                systemd.tell(Notification::Reloading(now)).await;
            }
            let (reply, answer) = oneshot::channel();
            if requests.send(ReloadRequest { reply }).await.is_ok()
                && let Ok(summary) = answer.await
            {
                info!(
                    watches = summary.watches,
                    files = summary.files,
                    added = summary.added.len(),
                    redefined = summary.redefined.len(),
                    removed = summary.removed.len(),
                    problems = summary.problems.len(),
                    "reloaded"
                );
            }
            if is_ready {
                systemd.tell(Notification::Ready).await;
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(work).await;
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_status_says_what_is_waited_for() {
        let since = Timestamp::UNIX_EPOCH;
        let (connecting, lost) = (Connection::Connecting { since }, Connection::Disconnected { since });
        let connected = Connection::Connected { since, session: 1 };
        let looked = |batches, looked_at, total| Looked { batches, looked_at, total };
        for (connection, looked, trouble, expected) in [
            (connecting, looked(0, 0, 0), None, "reading the watch files"),
            (connecting, looked(1, 0, 0), None, "watching 0 znodes: no watch is defined"),
            (connecting, looked(1, 0, 2), None, "waiting for ZooKeeper at a:1"),
            (
                connecting,
                looked(1, 0, 2),
                Some("no server answers"),
                "waiting for ZooKeeper at a:1: no server answers",
            ),
            (connecting, looked(1, 0, 2), Some("no\nREADY=1"), "waiting for ZooKeeper at a:1: no READY=1"),
            (connected, looked(1, 1, 3), None, "looking at 3 znodes: 2 not looked at yet"),
            (connected, looked(1, 1, 1), None, "watching 1 znode"),
            (lost, looked(1, 3, 3), None, "waiting for ZooKeeper at a:1, since the connection was lost"),
            (
                lost,
                looked(1, 3, 3),
                Some("no server answers"),
                "waiting for ZooKeeper at a:1, since the connection was lost: no server answers",
            ),
        ] {
            assert_eq!(status("a:1", connection, looked, trouble), expected);
        }
    }
}
