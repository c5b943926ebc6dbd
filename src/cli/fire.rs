//! `twitcher fire`: has watches run now, as an update would.

use std::io::Write;

use clap::Args;

use super::daemon::{AskError, DaemonArgs, each, line_of, watch_name};
use crate::config::spec::WatchName;
use crate::control::api::Fired;

const EXAMPLES: &str = "\
Examples:
  twitcher fire git-head            run it, by its run_mode
  twitcher fire --wait git-head     and end as the run does

Ctrl-C while it waits leaves the run alone.

Exit status: 0 done, or with --wait that of the run: 128 and the signal's number where a signal ended it, 124 where \
its time was over, 125 where it could not be started; 1 there will be no run, or not before the watch is resumed; 5 \
the daemon does not answer; 6 no daemon, or no longer.";

/// Run watches now, as an update would
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct FireArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name, required = true)]
    pub watches: Vec<WatchName>,

    /// Wait for the end of the runs, one after the other, and take the first exit status that is not 0
    #[arg(short, long)]
    pub wait: bool,

    /// For programs: a line for each watch
    #[arg(long)]
    pub json: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// Has them run. Returns the exit code.
///
/// # Errors
/// When there is no daemon, or no longer.
pub async fn fire(args: &FireArgs, mut out: impl Write) -> Result<u8, AskError> {
    let client = args.daemon.client();
    each(&args.watches, async |name| {
        let path = format!("/v1/watches/{name}/fire");
        let fired: Fired = if args.wait {
            client.post_and_wait(&(path + "?wait=end")).await?
        } else {
            client.post(&path).await?
        };
        let words = match (&fired.run, &fired.end, &fired.reason) {
            (Some(run), Some(end), _) => Some(format!("run {run} {}", end.outcome)),
            (Some(run), None, _) => Some(format!("run {run}")),
            (None, _, reason) => reason.clone(),
        };
        if args.json {
            line_of(name, &fired, &mut out)?;
        } else if let Some(words) = words {
            writeln!(out, "{name}: {words}")?;
        }
        // Who waits for a long one wants to know meanwhile how those before it ended.
        out.flush()?;
        Ok(fired.end.map_or(u8::from(!fired.is_open), |end| end.exit_status))
    })
    .await
}
