//! `twitcher events`: what the daemon sees and decides, as it happens.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::daemon::{AskError, DaemonArgs, watch_name};
use super::event_line::{lines, missing};
use crate::config::spec::WatchName;
use crate::record::events::Event;

/// What the daemon sees and decides, as it happens
///
/// Without --follow, the last thousand of it that the daemon remembers. A line for each event, in the words of the log;
/// what commands print is among it with --follow.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  twitcher events                what happened last
  twitcher events -f             what happens
  twitcher events -f -n 20 web   what happens to one watch
  twitcher events -f --json |
      jq 'select(.event == \"run-ended\")'

With names, what is about no watch is left out, such as a lost connection.

With --json a line is an object: its id, which --after takes, the time, and in 'event' what happened, as \
etc/openapi.json describes it; the control socket has it at /v1/events.

Exit status: 0 done; 1 there is no such watch; 5 the daemon does not answer; 6 no daemon, or no longer.")]
pub struct EventsArgs {
    /// Only what is about these
    #[arg(value_name = "WATCH", value_parser = watch_name)]
    pub watches: Vec<WatchName>,

    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,

    /// At most so many of those that there are; with --follow none without this
    #[arg(short = 'n', long, value_name = "EVENTS")]
    pub lines: Option<u64>,

    /// Begin after the event of this id
    #[arg(long, value_name = "ID")]
    pub after: Option<u64>,

    /// For programs: a line of JSON for each
    #[arg(long)]
    pub json: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// Prints them.
///
/// # Errors
/// When there is no daemon.
pub async fn events(args: &EventsArgs, mut out: impl Write) -> Result<u8, AskError> {
    let EventsArgs { watches, follow, lines, after, json, daemon } = args;
    let names = watches.iter().map(|name| format!("watch={name}"));
    let numbers = [("after", after), ("last", lines)].into_iter();
    let numbers = numbers.filter_map(|(name, number)| Some(format!("{name}={}", (*number)?)));
    let past = (!follow).then(|| "past".to_owned());
    let path = format!("/v1/events?{}", names.chain(numbers).chain(past).collect::<Vec<_>>().join("&"));
    let mut failed = None;
    let client = daemon.client();
    let followed = client.follow(&path, |name, data| {
        let text = if *json { as_json(name, data) } else { as_words(name, data) };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let goes_on = written.is_ok();
        failed = written.err();
        Ok(goes_on)
    });
    followed.await?;
    failed.map_or(Ok(0), |error| Err(error.into()))
}

fn as_json(name: Option<&str>, data: &str) -> String {
    let Some(name) = name else { return format!("{data}\n") };
    let mut event: Value = serde_json::from_str(data).unwrap_or_default();
    event["event"] = name.into();
    format!("{event}\n")
}

fn as_words(name: Option<&str>, data: &str) -> String {
    if name == Some("missed") {
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        return format!("{}\n", missing(event["count"].as_u64()));
    }
    match serde_json::from_str::<Event>(data) {
        Ok(event) => lines(&event),
        // Of a later release, which knows more kinds.
        Err(_) => format!("{data}\n"),
    }
}
