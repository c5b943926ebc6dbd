//! `twitcher pause`, `twitcher resume` and `twitcher kill`.

use std::io::Write;

use clap::Args;
use nix::sys::signal::Signal;

use super::daemon::{AskError, DaemonArgs, watch_name};
use crate::config::spec::{SignalError, WatchName, signal};
use crate::control::api::{Killed, Steered};

/// Keep watches from running
///
/// What goes on is not ended. An update that comes meanwhile is run when the watch is resumed. A pause ends with the
/// daemon.
#[derive(Debug, Clone, Args)]
pub struct PauseArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name, required = true)]
    pub watches: Vec<WatchName>,

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

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// End the runs of watches, as their timeout would: SIGTERM, and SIGKILL after kill_after
///
/// What waits is run then, and a run that is ended has failed and may be tried again: pause the watch first where it
/// is not to go on.
#[derive(Debug, Clone, Args)]
pub struct KillArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name, required = true)]
    pub watches: Vec<WatchName>,

    /// Send this to their process groups instead
    #[arg(short, long, value_name = "SIGNAL", value_parser = sent)]
    pub signal: Option<Signal>,

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
/// When there is no daemon, or no such watch.
pub async fn pause(args: &PauseArgs) -> Result<u8, AskError> {
    steer(&args.daemon, &args.watches, "pause").await
}

/// Resumes them.
///
/// # Errors
/// When there is no daemon, or no such watch.
pub async fn resume(args: &ResumeArgs) -> Result<u8, AskError> {
    steer(&args.daemon, &args.watches, "resume").await
}

async fn steer(daemon: &DaemonArgs, watches: &[WatchName], how: &str) -> Result<u8, AskError> {
    for name in watches {
        let _: Steered = daemon.client().post(&format!("/v1/watches/{name}/{how}")).await?;
    }
    Ok(0)
}

/// Ends what runs.
///
/// # Errors
/// When there is no daemon, no such watch, or nothing runs.
pub async fn kill(args: &KillArgs, mut out: impl Write) -> Result<u8, AskError> {
    for name in &args.watches {
        let query = args.signal.map(|signal| format!("?signal={}", signal.as_str())).unwrap_or_default();
        let killed: Killed = args.daemon.client().post(&format!("/v1/watches/{name}/kill{query}")).await?;
        writeln!(out, "{name}: {}", killed.runs.join(" "))?;
    }
    Ok(0)
}
