//! `twitcher events`: what the daemon sees and decides, as it happens.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::daemon::{AskError, DaemonArgs};

/// What the daemon sees and decides, as it happens
///
/// Without --follow, the last of it that the daemon remembers. A line for each event, of JSON.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,

    /// Begin after the event of this id
    #[arg(long, value_name = "ID")]
    pub after: Option<u64>,

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
        let line = match name {
            None => data.to_owned(),
            Some(name) => {
                let mut event: Value = serde_json::from_str(data).unwrap_or_default();
                event["event"] = name.into();
                event.to_string()
            }
        };
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        let goes_on = written.is_ok();
        failed = written.err();
        Ok(goes_on)
    });
    followed.await?;
    failed.map_or(Ok(0), |error| Err(error.into()))
}
