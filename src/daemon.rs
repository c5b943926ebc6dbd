//! Ties the pieces together: channels, signals, readiness, the stop. Holds no logic of theirs.

mod detached;
mod lock;
mod notifier;
mod pid_file;
mod run_dir;
mod state_dir;
mod systemd;
mod telling;
mod watchdog;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::SigSet;
use nix::unistd::Gid;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::detached::{Detached, start as start_detached};
use self::notifier::{Notification, Notifier};
pub use self::pid_file::PidFile;
pub use self::run_dir::RunDir;
pub use self::state_dir::StateDir;
use self::systemd::{keep_current, reload_when_asked};
use self::telling::{Problems, tell_connection, tell_news};
use self::watchdog::Watchdog;
use crate::config::loader;
use crate::config::settings::Settings;
use crate::control;
use crate::control::desk::{About, Desk, Wrong};
use crate::control::survey::Survey;
use crate::record::history::History;
use crate::record::journal::{self, Inlets};
use crate::record::ledger::Ledger;
use crate::record::log::Logging;
use crate::record::{events, reader};
use crate::run::link::LinkError;
use crate::run::minders::{Minders, Outlets};
use crate::schedule::scheduler::{Heritage, Scheduler};
use crate::watch::hub;
use crate::watch::update::Beat;

/// How often the config folder is looked at for what inotify cannot see, such as a change on another
/// machine of a shared file system.
const SLOW_RESCAN: Duration = Duration::from_secs(60);

/// How often a znode is looked at that may not be read.
const DENIED: Duration = Duration::from_secs(60);

/// How many messages may wait between two of the pieces.
const AHEAD: usize = 64;

/// How much that the scheduler has decided may wait to be told. It does not wait; what does not fit is not told.
const NEWS_AHEAD: usize = 1_024;

/// Why the daemon did not start, or ended without having been asked to.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// One of its folders cannot be made or used.
    #[error("cannot use the folder {path}: {error}")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is one already.
    #[error(
        "another daemon uses the {what} folder {folder}\nhelp: stop it, or give this one a folder of its own with {flag}"
    )]
    AlreadyRunning {
        /// What the folder is for.
        what: &'static str,
        /// The folder that both want.
        folder: PathBuf,
        /// What names another one.
        flag: &'static str,
    },
    /// There is no parent for children.
    #[error(transparent)]
    Minder(#[from] LinkError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    /// One of its parts has a bug. Children go on; the next start takes them over.
    #[error("the {0} ended without having been asked to; this is a bug")]
    PartEnded(&'static str),
}

/// Runs until SIGTERM or SIGINT; at SIGHUP, rescans and has a log file opened again. The folders are held until then.
/// `group` is whose members may use the control socket, too; `up` is called when signals are heeded and somebody answers
/// there.
///
/// # Errors
/// When it cannot start. Once it has, nothing but a bug.
pub async fn run(
    settings: Settings,
    held: (RunDir, StateDir),
    group: Option<Gid>,
    log: &Logging,
    up: impl FnOnce(),
) -> Result<(), DaemonError> {
    let _held = held;
    let daemon = &settings.daemon;
    // From the start, so that one that comes early is not the end of the process.
    let mut signals = Signals::new().map_err(DaemonError::Signals)?;
    let state_dir = daemon.state_dir.clone();
    // On a thread of its own: a disk may take its time.
    let ledger = tokio::task::spawn_blocking(move || Ledger::open(&state_dir)).await;
    let ledger = ledger.map_err(|_| DaemonError::PartEnded("ledger"))?;
    let lang = std::env::var("LANG").ok();
    let (minders, adopted) = Minders::find(&daemon.run_dir, lang).await?;
    info!(
        release = env!("CARGO_PKG_VERSION"),
        host = daemon.hostname,
        servers = settings.zookeeper.servers,
        config = %daemon.config_dir.display(),
        running = adopted.len(),
        "started"
    );

    let stop = CancellationToken::new();
    let mut parts = Parts::default();
    let (requests, reload_requests) = mpsc::channel(AHEAD);
    let (reloads_in, mut reloads) = mpsc::channel(AHEAD);
    let (changes_in, changes) = mpsc::channel(AHEAD);
    let (notices_in, notices) = mpsc::channel(AHEAD);
    let (orders_in, orders) = mpsc::channel(AHEAD);
    let (ended_in, ended) = mpsc::channel(AHEAD);
    let (happenings_in, happenings) = mpsc::channel(AHEAD);
    let (kept_in, kept) = mpsc::unbounded_channel();
    let (hub_asks_in, hub_asks) = mpsc::channel(AHEAD);
    let (scheduler_asks_in, scheduler_asks) = mpsc::channel(AHEAD);
    let (teller, tidings) = events::teller();
    let (records, asked) = reader::reader();
    let (wrong_in, wrong) = watch::channel(Wrong::default());

    let options = loader::Options {
        config_dir: daemon.config_dir.clone(),
        defaults: settings.defaults.clone(),
        euid: nix::unistd::geteuid().as_raw(),
        slow_rescan: SLOW_RESCAN,
    };
    parts.add("loader", loader::run(options, reload_requests, reloads_in, stop.clone()));
    let reload_teller = teller.clone();
    parts.add("loader", async move {
        let mut problems = Problems::default();
        while let Some(reload) = reloads.recv().await {
            problems.tell(&reload, &reload_teller);
            wrong_in.send_replace(Wrong { problems: reload.problems, outdated: reload.outdated });
            if changes_in.send(reload.changes).await.is_err() {
                return;
            }
        }
    });
    let options = hub::Options {
        session_timeout: settings.zookeeper.session_timeout,
        ensemble: settings.zookeeper.clone().into(),
        look_again: DENIED,
    };
    let (reports, readings) = hub::reports();
    parts.add("watch hub", hub::run(options, changes, hub_asks, notices_in, reports, stop.clone()));
    let heritage = Heritage { runs: adopted, applied: ledger.applied() };
    let scheduler = Scheduler::new(daemon.hostname.clone(), daemon.max_running, heritage);
    let (news_in, news) = mpsc::channel(NEWS_AHEAD);
    let scheduler = scheduler.telling(news_in);
    parts.add_passing(tell_news(news, teller.clone()));
    parts.add_passing(tell_connection(readings.connection.clone(), teller, stop.clone()));
    parts.add("scheduler", scheduler.run(notices, ended, scheduler_asks, orders_in));
    let waits = minders.waits();
    let outlets = Outlets { ended: ended_in, happenings: happenings_in };
    parts.add("minder's link", minders.run(orders, outlets, kept, stop.clone(), daemon.stop_children));
    let (beats_in, beats) = watch::channel(Beat::default());
    let inlets = Inlets { happenings, tidings, requests: asked, beats: beats_in };
    let history = History::new(daemon.state_dir.clone());
    parts.add("journal", journal::keep(inlets, ledger, history, kept_in));
    let mut watchdog = Watchdog::new(sd_notify::watchdog_enabled(), hub_asks_in.clone(), beats, waits);
    let desk = Desk {
        about: About {
            host: daemon.hostname.clone(),
            servers: settings.zookeeper.servers.clone(),
            config_dir: daemon.config_dir.clone(),
            started: Timestamp::now(),
        },
        hub: hub_asks_in,
        scheduler: scheduler_asks_in,
        loader: requests.clone(),
        readings: readings.clone(),
        wrong,
        records,
        last_fire: Arc::default(),
        scenes: Survey::default(),
        exposition: Survey::default(),
        lost_lines: log.lost(),
    };
    // What it is for is done without them as well.
    let metrics = settings.metrics.listen.and_then(|address| {
        control::tcp::start(address, desk.clone(), stop.clone())
            .inspect_err(|error| error!("cannot serve metrics at {address}: {error}"))
            .ok()
    });
    let control = control::server::start(&daemon.run_dir, group, desk, stop.clone())
        .inspect_err(|error| error!("no control socket in {}: {error}", daemon.run_dir.display()));
    up();
    let (ready_in, ready) = watch::channel(false);
    let (systemd, untold) = Notifier::start();
    let servers = settings.zookeeper.servers.clone();
    parts.add_passing(keep_current(systemd.clone(), servers, readings, ready_in, stop.clone()));
    let rescan = Arc::new(Notify::new());
    parts.add_passing(reload_when_asked(systemd.clone(), Arc::clone(&rescan), requests, ready, stop.clone()));

    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop(name) => {
                    info!("stopping: {name}");
                    break;
                }
                Asked::Reload => {
                    log.reopen();
                    rescan.notify_one();
                }
            },
            is_alive = watchdog.turn() => if is_alive {
                systemd.tell(Notification::Alive).await;
            },
            Some(ended) = parts.ended() => {
                stop.cancel();
                return Err(DaemonError::PartEnded(ended));
            }
        }
    }
    systemd.tell(Notification::Stopping).await;
    stop.cancel();
    loop {
        tokio::select! {
            () = parts.all_ended() => break,
            name = signals.next_stop() => {
                warn!("stopping at once: {name} again");
                break;
            }
            // How long a stop may take is another limit's to say: that of the runs that are waited for.
            _ = watchdog.turn() => systemd.tell(Notification::Alive).await,
        }
    }
    for server in control.ok().into_iter().chain(metrics) {
        // It has been told to stop, and waits for nobody.
        let _ = server.join();
    }
    drop(systemd);
    untold.told().await;
    info!("stopped");
    Ok(())
}

/// What a signal asks for.
enum Asked {
    Stop(&'static str),
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        };
        // Whoever started this process may have blocked them, and one of them may be waiting.
        SigSet::empty().thread_set_mask()?;
        Ok(signals)
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    async fn next_stop(&mut self) -> &'static str {
        loop {
            if let Asked::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}

/// The tasks that make up the daemon.
#[derive(Default)]
struct Parts {
    tasks: JoinSet<Option<&'static str>>,
}

impl Parts {
    /// Runs a part that is to work until it is stopped.
    fn add(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            // A panic is the part's own; caught here, it can be told whose.
            let _ = tokio::spawn(part).await;
            Some(name)
        });
    }

    /// Runs one that may end by itself.
    fn add_passing(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            None
        });
    }

    /// The next part that ended and should not have.
    async fn ended(&mut self) -> Option<&'static str> {
        loop {
            if let Some(name) = self.tasks.join_next().await?.unwrap_or(None) {
                return Some(name);
            }
        }
    }

    async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
