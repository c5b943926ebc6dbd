//! How a line of the log looks for people: `watch[run]: what happened key=value`, and `watch[run]| text` for
//! what a child prints. Programs read the JSON.

use std::fmt::{self, Write};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Formats events as lines.
#[derive(Debug)]
pub struct Lines {
    /// Whether a line starts with the time and the level: not where the log adds them by itself.
    pub stamped: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = line_of(event);
        if self.stamped {
            SystemTime.format_time(&mut writer)?;
            let level = event.metadata().level();
            if writer.has_ansi_escapes() {
                let colour = match *level {
                    tracing::Level::ERROR => 31,
                    tracing::Level::WARN => 33,
                    tracing::Level::INFO => 32,
                    tracing::Level::DEBUG | tracing::Level::TRACE => 34,
                };
                write!(writer, " \u{1b}[{colour}m{level:>5}\u{1b}[0m ")?;
            } else {
                write!(writer, " {level:>5} ")?;
            }
        }
        writeln!(writer, "{line}")
    }
}

/// What an event says, without a time and a level.
pub(super) fn line_of(event: &Event<'_>) -> String {
    let mut line = Line { is_output: event.metadata().target() == OUTPUT, ..Line::default() };
    event.record(&mut line);
    line.to_string()
}

/// The target of the lines that children print.
pub const OUTPUT: &str = "output";

/// What an event says.
#[derive(Debug, Default)]
struct Line {
    /// What a child prints is marked, so that none of it can pass for a line of the daemon's.
    is_output: bool,
    watch: String,
    run: String,
    message: String,
    rest: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    /// A time is a number for programs, and for people has its unit.
    fn record_f64(&mut self, field: &Field, value: f64) {
        match (field.name().strip_suffix("_seconds"), Duration::try_from_secs_f64(value)) {
            // Writing to a string does not fail.
            (Some(name), Ok(time)) => _ = write!(self.rest, " {name}={time:?}"),
            (None, _) | (_, Err(_)) => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "watch" => write!(self.watch, "{value:?}"),
            "run" => write!(self.run, "{value:?}"),
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.watch)?;
        if !self.run.is_empty() {
            write!(f, "[{}]", self.run)?;
        }
        if !self.watch.is_empty() {
            f.write_str(if self.is_output { "| " } else { ": " })?;
        }
        // What has several lines, such as a problem with its place in a file, is still seen to be one event.
        let mut lines = self.message.lines();
        f.write_str(lines.next().unwrap_or_default())?;
        f.write_str(&self.rest)?;
        lines.try_for_each(|line| write!(f, "\n    {line}"))
    }
}
