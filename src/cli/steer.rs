//! `twitcher pause`, `twitcher resume` and `twitcher kill`.

use std::io::Write;

use clap::Args;
use nix::sys::signal::Signal;

use super::daemon::{AskError, DaemonArgs, each, line_of, watch_name};
use crate::config::spec::{SignalError, WatchName, signal};
use crate::control::api::{Before, Killed, Steered, Watch};

/// What follows the help of `pause`.
pub const PAUSE: &str = "\
Examples:
  twitcher pause git-head
  twitcher pause git-head && twitcher kill git-head

Says of each watch whether that changed anything, and what goes on all the same.

Exit status: 0 done, or it was so already; 1 there is no watch of a name, and the others are paused all the same; 5 \
the daemon does not answer; 6 no daemon.";

/// What follows the help of `resume`.
pub const RESUME: &str = "\
Examples:
  twitcher resume git-head

Says of each watch whether that changed anything.

Exit status: 0 done, or it was so already; 1 there is no watch of a name, and the others are resumed all the same; 5 \
the daemon does not answer; 6 no daemon.";

/// Which watches are paused or resumed.
#[derive(Debug, Clone, Args)]
pub struct SteerArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name, required = true)]
    pub watches: Vec<WatchName>,

    /// For programs: a line for each watch
    #[arg(long)]
    pub json: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// End the runs of watches, as their timeout would: SIGTERM, and SIGKILL after kill_after
///
/// What waits is run then, and a run that is ended has failed and may be tried again: pause the watch first where it
/// is not to go on. Says what waits.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  twitcher kill git-head
  twitcher kill -s HUP git-head

Exit status: 0 done; 1 no run of a watch goes on, or there is none of that name, and the others are sent theirs all the \
same; 5 the daemon does not answer; 6 no daemon.")]
pub struct KillArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name, required = true)]
    pub watches: Vec<WatchName>,

    /// Send this to their process groups instead
    #[arg(short, long, value_name = "SIGNAL", value_parser = sent)]
    pub signal: Option<Signal>,

    /// For programs: a line for each watch
    #[arg(long)]
    pub json: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

fn sent(text: &str) -> Result<Signal, SignalError> {
    signal(text)
}

/// Pauses them.
///
/// # Errors
/// When there is no daemon.
pub async fn pause(args: &SteerArgs, out: impl Write) -> Result<u8, AskError> {
    let did = |before| match before {
        Before::Open => "paused",
        Before::Paused => "was paused already",
        Before::Stopped => "paused; a failure had stopped it before",
    };
    steer(args, "pause", did, out).await
}

/// Resumes them.
///
/// # Errors
/// When there is no daemon.
pub async fn resume(args: &SteerArgs, out: impl Write) -> Result<u8, AskError> {
    let did = |before| match before {
        Before::Open => "was not paused",
        Before::Paused => "resumed",
        Before::Stopped => "resumed, after a failure had stopped it",
    };
    steer(args, "resume", did, out).await
}

/// `did`: what that was, by how the watch was before.
async fn steer(
    args: &SteerArgs,
    how: &str,
    did: impl Fn(Before) -> &'static str,
    mut out: impl Write,
) -> Result<u8, AskError> {
    let SteerArgs { watches, json, daemon } = args;
    let client = daemon.client();
    each(watches, async |name| {
        let steered: Steered = client.post(&format!("/v1/watches/{name}/{how}")).await?;
        if *json {
            line_of(name, &steered, &mut out)?;
            return Ok(0);
        }
        let did = did(steered.before);
        let goes_on = match &steered.running[..] {
            [] => String::new(),
            [run] => format!("; run {run} goes on"),
            runs => format!("; runs {} go on", runs.join(" ")),
        };
        let waits = match steered.waiting {
            0 => String::new(),
            1 => "; 1 update waits".to_owned(),
            waiting => format!("; {waiting} updates wait"),
        };
        writeln!(out, "{name}: {did}{goes_on}{waits}")?;
        Ok(0)
    })
    .await
}

/// Ends what runs.
///
/// # Errors
/// When there is no daemon.
pub async fn kill(args: &KillArgs, mut out: impl Write) -> Result<u8, AskError> {
    let client = args.daemon.client();
    each(&args.watches, async |name| {
        let query = args.signal.map(|signal| format!("?signal={}", signal.as_str())).unwrap_or_default();
        // Before: once its run has ended, what waits for that has begun.
        let before: Watch = client.get(&format!("/v1/watches/{name}")).await?;
        let killed: Killed = client.post(&format!("/v1/watches/{name}/kill{query}")).await?;
        if args.json {
            line_of(name, &killed, &mut out)?;
            return Ok(0);
        }
        let what = args.signal.map_or_else(|| "ending".to_owned(), |signal| format!("sent {signal} to"));
        let next = before.reason.map(|reason| format!("; {reason}")).unwrap_or_default();
        writeln!(out, "{name}: {what} run {}{next}", killed.runs.join(" "))?;
        Ok(0)
    })
    .await
}
