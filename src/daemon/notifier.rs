//! The way to systemd's notification socket (`sd_notify(3)`), which nobody waits for: a manager that does not read for a
//! while learns the latest when it does. Knows nothing of what is told.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

/// How much may wait for the task that tells it. That one waits for nothing else than for more.
const AHEAD: usize = 16;

/// How long after a socket that was not there, or took nothing, it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the end of the daemon waits for what was not told yet.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The longest status in bytes: of a message of more than 4 KiB systemd takes nothing, not even that the daemon is
/// ready.
const STATUS_MAX: usize = 2 << 10;

/// What systemd can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// It has started, or has reloaded.
    Ready,
    /// It has started, and this is what it is doing.
    ReadyAnd(String),
    /// It reloads, as of this many microseconds of the monotonic clock.
    Reloading(i128),
    /// It stops.
    Stopping,
    /// What it is doing, in a line.
    Status(String),
    /// It lives.
    Alive,
}

/// Takes what systemd is to be told.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// `None`: systemd did not start this process.
    queue: Option<mpsc::Sender<Notification>>,
}

impl Notifier {
    /// One for the socket that is in the environment, if there is one; and what is left to be done at the end.
    #[must_use]
    pub fn start() -> (Self, Rest) {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        socket.map_or((Self { queue: None }, Rest { task: None }), |socket| {
            let (queue, notifications) = mpsc::channel(AHEAD);
            let task = tokio::spawn(tell(socket, notifications));
            (Self { queue: Some(queue) }, Rest { task: Some(task) })
        })
    }

    /// Has systemd told, if it is there. Does not wait for it.
    pub async fn tell(&self, notification: Notification) {
        if let Some(queue) = &self.queue {
            // Closed: the runtime is about to end.
            let _ = queue.send(notification).await;
        }
    }
}

/// What was not told yet when nobody has more to tell.
#[derive(Debug)]
pub struct Rest {
    task: Option<JoinHandle<()>>,
}

impl Rest {
    /// Waits until it is, but not for long. Every [`Notifier`] has to be gone.
    pub async fn told(self) {
        if let Some(task) = self.task {
            let _ = timeout(LAST_WORDS, task).await;
        }
    }
}

async fn tell(socket: OsString, mut notifications: mpsc::Receiver<Notification>) {
    let mut untold = Untold::default();
    let mut more = true;
    let mut not_before = Instant::now();
    let mut is_failing = false;
    loop {
        let message = untold.message();
        tokio::select! {
            biased;
            notification = notifications.recv(), if more => match notification {
                Some(notification) => untold.add(notification),
                None => more = false,
            },
            sent = send(&socket, message.as_deref().unwrap_or_default(), not_before), if message.is_some() => {
                match sent {
                    Ok(()) => {
                        untold.told();
                        is_failing = false;
                    }
                    Err(_) if !more => return,
                    Err(error) => {
                        if !is_failing {
                            debug!("cannot notify systemd: {error}; trying again");
                        }
                        is_failing = true;
                        not_before = Instant::now() + AGAIN;
                    }
                }
            }
            else => return,
        }
    }
}

/// Sends a message as soon as it is taken. Where this is dropped before, nothing was sent.
async fn send(socket: &OsStr, message: &str, not_before: Instant) -> io::Result<()> {
    sleep_until(not_before).await;
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    // A new one each time: the manager may have been started again, at another socket of this name.
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.connect_addr(&address)?;
    tokio::net::UnixDatagram::from_std(sender)?.send(message.as_bytes()).await?;
    Ok(())
}

/// What systemd does not know yet. However long it takes nothing, this does not grow.
#[derive(Debug, Default)]
struct Untold {
    phases: Vec<Phase>,
    status: Option<String>,
    is_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Ready,
    Reloading(i128),
    Stopping,
}

impl Untold {
    fn add(&mut self, notification: Notification) {
        match notification {
            Notification::Ready => self.phases.push(Phase::Ready),
            Notification::ReadyAnd(status) => {
                self.phases.push(Phase::Ready);
                self.status = Some(status);
            }
            Notification::Reloading(since) => {
                // One reload stands for those before it of which nothing is known.
                if let [.., Phase::Reloading(_), Phase::Ready] = self.phases[..] {
                    self.phases.truncate(self.phases.len() - 2);
                }
                self.phases.push(Phase::Reloading(since));
            }
            Notification::Stopping => self.phases.push(Phase::Stopping),
            Notification::Status(status) => self.status = Some(status),
            Notification::Alive => self.is_alive = true,
        }
    }

    /// The next message.
    fn message(&self) -> Option<String> {
        let status = self.status.as_deref().map(|status| NotifyState::Status(shortened(status)));
        let states = match self.phases.first() {
            Some(Phase::Ready) => [Some(NotifyState::Ready), status],
            Some(Phase::Reloading(since)) => {
                [Some(NotifyState::Reloading), Some(NotifyState::MonotonicUsec(*since))]
            }
            Some(Phase::Stopping) => [Some(NotifyState::Stopping), None],
            None if self.is_alive => [Some(NotifyState::Watchdog), None],
            None => [status, None],
        };
        let lines: Vec<String> = states.iter().flatten().map(|state| format!("{state}\n")).collect();
        (!lines.is_empty()).then(|| lines.concat())
    }

    /// The next message was sent.
    fn told(&mut self) {
        match self.phases.first() {
            Some(phase) => {
                if *phase == Phase::Ready {
                    self.status = None;
                }
                self.phases.remove(0);
            }
            None if self.is_alive => self.is_alive = false,
            None => self.status = None,
        }
    }
}

fn shortened(status: &str) -> &str {
    let end = (0..=STATUS_MAX.min(status.len())).rev().find(|&end| status.is_char_boundary(end));
    &status[..end.unwrap_or_default()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(mut untold: Untold) -> Vec<String> {
        std::iter::from_fn(|| {
            let message = untold.message()?;
            untold.told();
            Some(message)
        })
        .collect()
    }

    fn untold(notifications: impl IntoIterator<Item = Notification>) -> Untold {
        let mut untold = Untold::default();
        notifications.into_iter().for_each(|notification| untold.add(notification));
        untold
    }

    #[test]
    fn of_what_could_not_be_told_the_latest_is_and_readiness_always() {
        let mut notifications = vec![
            Notification::Status("one".to_owned()),
            Notification::ReadyAnd("two".to_owned()),
            Notification::Alive,
        ];
        for since in 1..1000 {
            let reload = [Notification::Reloading(since), Notification::Ready];
            notifications.extend(reload);
            notifications.extend([Notification::Status(format!("status {since}")), Notification::Alive]);
        }
        notifications.push(Notification::Stopping);
        assert_eq!(
            all(untold(notifications)),
            [
                "READY=1\nSTATUS=status 999\n",
                "RELOADING=1\nMONOTONIC_USEC=999\n",
                "READY=1\n",
                "STOPPING=1\n",
                "WATCHDOG=1\n",
            ]
        );
    }

    #[test]
    fn a_reload_that_systemd_knows_of_is_told_the_end_of() {
        let mut untold = untold([Notification::Reloading(1)]);
        untold.told();
        for notification in [Notification::Ready, Notification::Reloading(2), Notification::Ready] {
            untold.add(notification);
        }
        assert_eq!(all(untold), ["READY=1\n", "RELOADING=1\nMONOTONIC_USEC=2\n", "READY=1\n"]);
    }

    #[test]
    fn a_message_is_never_longer_than_systemd_takes_and_ends_with_a_whole_character() {
        let message = untold([Notification::ReadyAnd("…".repeat(3000))]).message().unwrap();
        assert!(message.len() < 4096, "{}", message.len());
        assert!(message.starts_with("READY=1\nSTATUS=…"));
    }

    #[tokio::test]
    async fn a_name_without_a_file_is_taken_as_well() {
        let name = format!("@twitcher-notifier-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&name), "READY=1\n", Instant::now()).await.unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
    }
}
