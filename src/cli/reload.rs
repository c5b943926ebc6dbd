//! `twitcher reload`: has the daemon look at its config folder, and says what changed.

use std::io::Write;

use clap::Args;

use super::EXIT_CONFIGURATION;
use super::daemon::{AskError, DaemonArgs};
use super::people::{count, wrong};
use crate::control::api::Reloaded;
use crate::record::printable::Printable;

/// Read the watch files again, and say what changed
///
/// The daemon does so by itself as files change; this is for those who want to know what came of it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Exit status: 0 all files are well; 3 something is wrong with one; 5 the daemon does not answer; 6 no daemon.")]
pub struct ReloadArgs {
    /// For programs
    #[arg(long)]
    pub json: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// Has it look. Returns the exit code.
///
/// # Errors
/// When there is no daemon.
pub async fn reload(args: &ReloadArgs, mut out: impl Write) -> Result<u8, AskError> {
    let reloaded: Reloaded = args.daemon.client().post("/v1/reload").await?;
    if args.json {
        serde_json::to_writer_pretty(&mut out, &reloaded)?;
        writeln!(out)?;
    } else {
        for (what, names) in
            [("added", &reloaded.added), ("redefined", &reloaded.redefined), ("removed", &reloaded.removed)]
        {
            names.iter().try_for_each(|name| writeln!(out, "{what} {name}"))?;
        }
        for problem in &reloaded.problems {
            writeln!(out, "{}", wrong(problem))?;
            if let Some(help) = &problem.help {
                writeln!(out, "help: {}", Printable::new(help))?;
            }
        }
        let (watches, files) = (reloaded.watches, reloaded.files);
        writeln!(out, "{} in {}", count(watches, "watch", "watches"), count(files, "file", "files"))?;
    }
    Ok(if reloaded.problems.is_empty() { 0 } else { EXIT_CONFIGURATION })
}
