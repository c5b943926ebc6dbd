//! The words of `[log]`. Sets no logging up.

use std::path::PathBuf;

use tracing_subscriber::filter::Targets;

use crate::config::keys;

/// To whom the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Stderr on a terminal, the journal under systemd, else syslog.
    Auto,
    /// The local syslog socket, facility daemon.
    Syslog,
    /// The systemd journal.
    Journald,
    /// The daemon's stderr.
    Stderr,
    /// The end of this file.
    File(PathBuf),
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

pub(super) const TARGETS: &[(&str, LogTarget)] = &[
    ("auto", LogTarget::Auto),
    ("syslog", LogTarget::Syslog),
    ("journald", LogTarget::Journald),
    ("stderr", LogTarget::Stderr),
];

pub(super) const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

/// What a level looks like, for a `help:` line.
pub(super) const LEVELS: &str = "a level is \"error\", \"warn\", \"info\", \"debug\", \"trace\" or \"off\"; a filter is such as \
     \"info,twitcher::watch=debug\"";

/// Reads a level or filter: levels of targets, separated by commas, and a level of what is left.
///
/// # Errors
/// What is wrong with it: lower case, no full stop.
pub fn log_filter(text: &str) -> Result<Targets, String> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    // To the filter, a word that is no level is the name of a target, and a slip would silence the log.
    let is_word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphabetic());
    if is_word && !levels.contains(&text.to_lowercase().as_str()) {
        let hint = keys::nearest(text, levels).map(|word| format!("; did you mean {word:?}?"));
        return Err(format!("{text:?} is not a log level{}", hint.unwrap_or_default()));
    }
    // An empty one would be taken for "error".
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err("a log level must not be empty".into());
    }
    // They would be taken for a part of a target's name, which no target has.
    if text.contains(['[', '{']) {
        return Err(format!("{text:?} is not a filter: it can be about targets, not about spans or fields"));
    }
    parts.join(",").parse().map_err(|error| format!("{text:?} is not a filter: {error}"))
}
