//! `twitcher events`: what the daemon sees and decides, as it happens.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::daemon::{AskError, DaemonArgs};
use super::event_line::{lines, missing};
use crate::record::events::Event;

/// What the daemon sees and decides, as it happens
///
/// Without --follow, the last of it that the daemon remembers. A line for each event, in the words of the log; what
/// commands print is among it with --follow.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  twitcher events                                          what happened last
  twitcher events -f                                       what happens
  twitcher events -f --json | jq 'select(.event == \"run-ended\")'

With --json a line is an object: its id, which --after takes, the time, and in 'event' what happened.")]
pub struct EventsArgs {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,

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
    let path = match (args.after, args.follow) {
        (None, false) => "/v1/events?past".to_owned(),
        (None, true) => "/v1/events".to_owned(),
        (Some(after), false) => format!("/v1/events?after={after}&past"),
        (Some(after), true) => format!("/v1/events?after={after}"),
    };
    let mut failed = None;
    let client = args.daemon.client();
    let followed = client.follow(&path, |name, data| {
        let text = if args.json { as_json(name, data) } else { as_words(name, data) };
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
