//! The log by way of syslog(3).
//!
//! The C library says nothing of what becomes of a line. It makes its connection anew where the one that it had is
//! no longer any good, and keeps whoever calls it waiting where syslog does not read: here that is the log's own
//! thread. Where nobody listens it drops the line without a word, so that this is looked at before each.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::errno::Errno;
use syslog_tracing::{Facility, Options, Syslog};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Subscriber, debug, error, info, trace, warn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::record::stream::missing;
use crate::record::writer::Target;

/// Where the C library looks for syslog.
pub const SOCKET: &str = "/dev/log";

/// Lines to syslog, of facility daemon.
#[derive(Debug)]
pub struct ToSyslog {
    lines: Dispatch,
}

impl ToSyslog {
    /// `None`: there is one already, and the C library has but one.
    #[must_use]
    pub fn new() -> Option<Self> {
        // Not LOG_CONS nor LOG_PERROR: neither the console nor stderr is for what syslog does not take.
        let syslog = Syslog::new(c"twitcher", Options::LOG_PID, Facility::Daemon)?;
        // It wants to know the level of a line, which only an event can tell it.
        let lines = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(syslog)
            .with_ansi(false)
            .log_internal_errors(false)
            .event_format(AsItIs)
            .finish();
        Some(Self { lines: Dispatch::new(lines) })
    }
}

/// Whether somebody listens at the datagram socket of that path.
///
/// # Errors
/// Nobody does.
pub fn listens(path: impl AsRef<Path>) -> io::Result<()> {
    match UnixDatagram::unbound()?.connect(path) {
        // A stream, as some have it: the C library takes that, too.
        Err(error) if error.raw_os_error() == Some(Errno::EPROTOTYPE as i32) => Ok(()),
        connected => connected,
    }
}

impl Target for ToSyslog {
    fn write(&mut self, level: Level, line: &[u8]) -> io::Result<()> {
        listens(SOCKET)?;
        let line = String::from_utf8_lossy(line);
        tracing::dispatcher::with_default(&self.lines, || match level {
            Level::ERROR => error!("{line}"),
            Level::WARN => warn!("{line}"),
            Level::INFO => info!("{line}"),
            Level::DEBUG => debug!("{line}"),
            Level::TRACE => trace!("{line}"),
        });
        Ok(())
    }

    fn missing(&self, lines: u64) -> Vec<u8> {
        missing(lines).into_bytes()
    }
}

/// A line that is formatted already.
struct AsItIs;

impl<S, N> FormatEvent<S, N> for AsItIs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        context.format_fields(writer, event)
    }
}
