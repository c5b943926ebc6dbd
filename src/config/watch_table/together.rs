//! Keys that mean something only together: what they amount to, and whether they agree.
//!
//! A key of a watch may have to agree with one of `[defaults]` or with a built-in value. It is reported
//! where the watch has it, since that is what can be changed for this watch alone.

use std::time::Duration;

use toml::de::DeTable;

use super::{Defaults, MAX_PARALLEL, RETRY_DELAY, RETRY_MAX_DELAY};
use crate::config::duration::to_text;
use crate::config::reader::Reader;
use crate::config::spec::{Retries, RunMode};
use crate::config::words::{self, Mode};

/// What `run_mode` and the keys of one mode alone amount to.
pub(super) fn run_mode(
    r: &mut Reader<'_>,
    table: &DeTable<'_>,
    own: &Defaults,
    defaults: &Defaults,
) -> RunMode {
    let mode = own.run_mode.or(defaults.run_mode).unwrap_or(Mode::Queue);
    // One that could not be read has been reported, and may have been meant to be any.
    let is_known = own.run_mode.is_some() || !table.contains_key("run_mode");
    for (key, of) in [("max_parallel", Mode::Parallel), ("notify_signal", Mode::Queue)] {
        if let Some((name, _)) = table.get_key_value(key).filter(|_| is_known && mode != of) {
            let word = words::word(words::RUN_MODE, &of);
            let message = format!("{key} has a meaning only with run_mode = {word:?}");
            r.report_with_help(name.span(), message, format!("set that too, or leave {key} out"));
        }
    }
    match mode {
        Mode::Queue => RunMode::Queue { notify_signal: own.notify_signal.or(defaults.notify_signal) },
        Mode::Discard => RunMode::Discard,
        Mode::Parallel => {
            RunMode::Parallel { max: own.max_parallel.or(defaults.max_parallel).unwrap_or(MAX_PARALLEL) }
        }
    }
}

/// What `retries` and its delays amount to.
pub(super) fn retries(
    r: &mut Reader<'_>,
    table: &DeTable<'_>,
    own: &Defaults,
    defaults: &Defaults,
) -> Retries {
    let delay = Delay::new("retry_delay", table, own.retry_delay, defaults.retry_delay, RETRY_DELAY);
    let most =
        Delay::new("retry_max_delay", table, own.retry_max_delay, defaults.retry_max_delay, RETRY_MAX_DELAY);
    if delay.length > most.length && delay.is_known && most.is_known {
        let (at, than, other) = match table.contains_key(most.key) {
            true => (&most, "less", &delay),
            false => (&delay, "more", &most),
        };
        // Neither is in this table where `[defaults]` disagrees with itself, and it is reported there.
        if let Some(value) = table.get(at.key) {
            let message = format!(
                "{} is {}, {than} than {}, which is {}{}",
                at.key,
                at.text(),
                other.key,
                other.text(),
                other.from
            );
            let help = format!(
                "set {} to {} or more, or {} to {} or less",
                most.key,
                delay.text(),
                delay.key,
                most.text()
            );
            r.report_with_help(value.span(), message, help);
        }
    }
    let count = own.retries.or(defaults.retries).unwrap_or(0);
    Retries { count, delay: delay.length, max_delay: most.length }
}

/// One of the two delays, and where it comes from.
struct Delay {
    key: &'static str,
    length: Duration,
    /// Added to its length in a message.
    from: &'static str,
    /// `false`: it is in the table and could not be read, which has been reported.
    is_known: bool,
}

impl Delay {
    fn new(
        key: &'static str,
        table: &DeTable<'_>,
        own: Option<Duration>,
        default: Option<Duration>,
        built_in: Duration,
    ) -> Self {
        let is_known = own.is_some() || !table.contains_key(key);
        let (length, from) = match (own, default) {
            (Some(length), _) => (length, ""),
            (None, Some(length)) => (length, " in [defaults]"),
            (None, None) => (built_in, " unless it is set"),
        };
        Self { key, length, from, is_known }
    }

    fn text(&self) -> String {
        to_text(self.length)
    }
}
