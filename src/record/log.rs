//! Where the log goes and how a line of it looks. Set up once, before anything is logged.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use syslog_tracing::{Facility, Options, Syslog};
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::settings::{Log, LogFormat, LogTarget};
use crate::record::line::Lines;
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
        error: tracing_subscriber::filter::ParseError,
    },
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
}

impl Drop for Logging {
    /// Waits a little for the last lines to be written.
    fn drop(&mut self) {
        self.queue.flush(LAST_LINES);
    }
}

/// Sends what is logged from here on where the settings say. To be kept until the end.
///
/// # Errors
/// When that is nowhere to write to.
pub fn set_up(log: &Log) -> Result<Logging, LogError> {
    let target =
        resolve(&log.target, io::stderr().is_terminal(), std::env::var_os("JOURNAL_STREAM").is_some());
    let is_stderr = matches!(target, LogTarget::Stderr | LogTarget::Journald);
    let level = |error| LogError::Level { level: log.level.clone(), error };
    // The ZooKeeper client's own lines are about what the daemon says itself, and better. A line about each
    // event of inotify would be an event itself where the log is in a folder that is watched, such as the one
    // above the config folder.
    let filter = format!("zookeeper_client=off,notify=off,{}", log.level);
    let filter = EnvFilter::try_new(filter).map_err(level)?;
    // With times of its own only where nothing else adds one.
    let (writer, timed) = match target {
        LogTarget::Auto | LogTarget::Stderr => (BoxMakeWriter::new(io::stderr), true),
        LogTarget::Journald => (BoxMakeWriter::new(Prioritized), false),
        LogTarget::Syslog => match Syslog::new(c"twitcher", Options::LOG_PID, Facility::Daemon) {
            Some(syslog) => (BoxMakeWriter::new(syslog), false),
            None => return Err(LogError::Twice),
        },
        LogTarget::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let file = file.map_err(|error| LogError::File { path, error })?;
            (BoxMakeWriter::new(std::sync::Arc::new(file)), true)
        }
    };
    let colours = matches!(log.target, LogTarget::Auto | LogTarget::Stderr)
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let queue = Queue::start(writer, most).map_err(LogError::Thread)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .with_target(false)
        .with_ansi(colours)
        // Else a log that takes no more would be complained of on stderr, which may be that very log.
        .log_internal_errors(false);
    let set = match (log.format, timed) {
        (LogFormat::Json, _) => lines.json().flatten_event(true).with_target(true).try_init(),
        (LogFormat::Text, stamped) => lines.event_format(Lines { stamped }).try_init(),
    };
    set.map(|()| Logging { is_stderr, queue }).map_err(|_| LogError::Twice)
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

/// Stderr, with the priority at the start of each line that the journal takes off again: `sd-daemon(3)`.
#[derive(Debug)]
struct Prioritized;

/// One line on its way.
#[derive(Debug)]
struct Line {
    priority: u8,
}

impl<'a> MakeWriter<'a> for Prioritized {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: 6 }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        let priority = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        Line { priority }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut whole = format!("<{}>", self.priority).into_bytes();
        whole.extend_from_slice(line);
        io::stderr().write_all(&whole)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
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
