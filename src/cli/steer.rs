//! `twitcher pause`, `twitcher resume` and `twitcher kill`.

use std::io::Write;

use clap::Args;
use nix::sys::signal::Signal;

use super::daemon::{AskError, DaemonArgs, each, line_of, watch_name};
use crate::config::spec::{SignalError, WatchName, signal};
use crate::control::api::{Killed, Steered, Watch};

/// Keep watches from running
///
/// What goes on is not ended. An update that comes meanwhile is run when the watch is resumed. A pause ends with the
/// daemon.
#[derive(Debug, Clone, Args)]
pub struct PauseArgs {
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

/// Let watches run again that were paused, or that a failure has stopped
#[derive(Debug, Clone, Args)]
pub struct ResumeArgs {
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
pub async fn pause(args: &PauseArgs, out: impl Write) -> Result<u8, AskError> {
    steer(&args.daemon, &args.watches, "pause", args.json, out).await
}

/// Resumes them.
///
/// # Errors
/// When there is no daemon.
pub async fn resume(args: &ResumeArgs, out: impl Write) -> Result<u8, AskError> {
    steer(&args.daemon, &args.watches, "resume", args.json, out).await
}

async fn steer(
    daemon: &DaemonArgs,
    watches: &[WatchName],
    how: &str,
    json: bool,
    mut out: impl Write,
) -> Result<u8, AskError> {
    let client = daemon.client();
    each(watches, async |name| {
        let steered: Steered = client.post(&format!("/v1/watches/{name}/{how}")).await?;
        if json {
            line_of(name, &steered, &mut out)?;
        }
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
