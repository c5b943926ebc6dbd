//! Where the log goes and how a line of it looks. Set up once, before anything is logged.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::{Log, LogFormat, LogTarget, log_filter};
use crate::record::journald::{self, Entries, Journald, is_stream};
use crate::record::line::Lines;
use crate::record::stream::Stream;
use crate::record::syslog::{self, ToSyslog, listens};
use crate::record::writer::{LostLines, Queue};

/// How long the end of the process waits for a log that does not take the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The file cannot be written to.
    #[error("cannot open the log file {path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The level or filter is not one.
    #[error("the log level '{level}' is not one: {error}")]
    Level {
        /// As it was given.
        level: String,
        /// Why.
        error: String,
    },
    /// There is no socket to send it through.
    #[error("cannot make a socket for the log: {0}")]
    Socket(io::Error),
    /// There is no thread to write it.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(io::Error),
    /// Something has set the log up before.
    #[error("the log is set up already")]
    Twice,
}

/// A log that is set up.
#[derive(Debug)]
pub struct Logging {
    /// Whether it goes to stderr, in one way or another.
    pub is_stderr: bool,
    queue: Queue,
}

impl Logging {
    /// How many lines it does not take.
    #[must_use]
    pub fn lost(&self) -> LostLines {
        self.queue.lost()
    }

    /// Has a log file opened again, for who moves log files away.
    pub fn reopen(&self) {
        self.queue.reopen();
    }
}

impl Drop for Logging {
    /// Waits a little for the last lines to be written.
    fn drop(&mut self) {
        self.queue.flush(LAST_LINES);
    }
}

/// Where the log goes, before anything is logged.
#[derive(Debug)]
pub struct Opened {
    outlet: Outlet,
    filter: Targets,
    format: LogFormat,
    colours: bool,
    is_stderr: bool,
}

#[derive(Debug)]
enum Outlet {
    Stream(Stream),
    Syslog(ToSyslog),
    Journald(Journald),
}

/// Opens what the settings say that is logged to. Who `is_detached` has no stderr worth the name.
///
/// # Errors
/// When that is nowhere to write to.
pub fn open(log: &Log, is_detached: bool) -> Result<Opened, LogError> {
    let is_terminal = !is_detached && io::stderr().is_terminal();
    let is_journal = !is_detached && stderr_is_journal();
    let level = |error| LogError::Level { level: log.level.clone(), error };
    // The ZooKeeper client's own lines are about what the daemon says itself, and better. A line about each
    // event of inotify would be an event itself where the log is in a folder that is watched, such as the one
    // above the config folder.
    let filter = log_filter(&format!("zookeeper_client=off,notify=off,{}", log.level)).map_err(level)?;
    let (outlet, is_stderr) = match resolve(&log.target, is_terminal, is_journal) {
        LogTarget::Auto | LogTarget::Stderr => (Outlet::Stream(Stream::stderr(log.format)), true),
        LogTarget::File(path) => {
            let file = Stream::file(path.clone(), log.format);
            (Outlet::Stream(file.map_err(|error| LogError::File { path, error })?), false)
        }
        LogTarget::Syslog => {
            warn_of_nobody_at(syslog::SOCKET);
            (Outlet::Syslog(ToSyslog::new().ok_or(LogError::Twice)?), false)
        }
        LogTarget::Journald => {
            warn_of_nobody_at(journald::SOCKET);
            (Outlet::Journald(Journald::new(journald::SOCKET).map_err(LogError::Socket)?), is_journal)
        }
    };
    let colours = matches!(log.target, LogTarget::Auto | LogTarget::Stderr)
        && is_terminal
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Ok(Opened { outlet, filter, format: log.format, colours, is_stderr })
}

impl Opened {
    /// Sends there what is logged from here on, by a thread of this process. To be kept until the end.
    ///
    /// # Errors
    /// When there can be no thread, or the log was set up before.
    pub fn start(self) -> Result<Logging, LogError> {
        let Self { outlet, filter, format, colours, is_stderr } = self;
        // With times of its own only where nothing else adds one.
        let (queue, stamped) = match outlet {
            Outlet::Stream(stream) => (Queue::start(stream), true),
            Outlet::Syslog(syslog) => (Queue::start(syslog), false),
            Outlet::Journald(journald) => {
                let queue = Queue::start(journald).map_err(LogError::Thread)?;
                // Whatever the format is: the journal keeps fields by itself, and gives them as JSON to who wants that.
                let entries = tracing_subscriber::registry().with(filter).with(Entries(queue.clone()));
                return entries
                    .try_init()
                    .map(|()| Logging { is_stderr, queue })
                    .map_err(|_| LogError::Twice);
            }
        };
        let queue = queue.map_err(LogError::Thread)?;
        let lines = tracing_subscriber::fmt()
            // That is the filter's.
            .with_max_level(LevelFilter::TRACE)
            .with_writer(queue.clone())
            .with_target(false)
            .with_ansi(colours)
            // Else a log that takes no more would be complained of on stderr, which may be that very log.
            .log_internal_errors(false);
        let set = match format {
            LogFormat::Json => {
                lines.json().flatten_event(true).with_target(true).finish().with(filter).try_init()
            }
            LogFormat::Text => lines.event_format(Lines { stamped }).finish().with(filter).try_init(),
        };
        set.map(|()| Logging { is_stderr, queue }).map_err(|_| LogError::Twice)
    }
}

/// Whether systemd has connected stderr with the journal.
fn stderr_is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok().zip(rustix::fs::fstat(io::stderr()).ok());
    stream.is_some_and(|(stream, stderr)| is_stream(&stream, stderr.st_dev, stderr.st_ino))
}

/// Where a log goes that nobody takes, nobody would learn of it there. It is no reason not to start: somebody may
/// come to take it.
fn warn_of_nobody_at(socket: impl AsRef<Path>) {
    if let Err(error) = listens(&socket) {
        let socket = socket.as_ref().display();
        eprintln!(
            "twitcher: nobody takes the log at {socket}: {error}; lines are missing until somebody does\n\
             help: --log-to-stderr, or target = \"/path/to/a/file\" in [log]"
        );
    }
}

/// What `auto` stands for here.
fn resolve(target: &LogTarget, is_terminal: bool, is_journal: bool) -> LogTarget {
    match target {
        LogTarget::Auto if is_terminal => LogTarget::Stderr,
        LogTarget::Auto if is_journal => LogTarget::Journald,
        LogTarget::Auto => LogTarget::Syslog,
        LogTarget::Syslog | LogTarget::Journald | LogTarget::Stderr | LogTarget::File(_) => target.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_the_terminal_then_the_journal_then_syslog() {
        assert_eq!(resolve(&LogTarget::Auto, true, true), LogTarget::Stderr);
        assert_eq!(resolve(&LogTarget::Auto, false, true), LogTarget::Journald);
        assert_eq!(resolve(&LogTarget::Auto, false, false), LogTarget::Syslog);
        assert_eq!(resolve(&LogTarget::Stderr, false, false), LogTarget::Stderr);
    }
}
