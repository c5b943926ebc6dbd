//! `twitcher history` and `twitcher log`: the last runs of a watch, and what they printed.

use std::io::{IsTerminal, Write, stdout};

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::daemon::{AskError, DaemonArgs, watch_name};
use super::people::{ago, colour_of_outcome, full, outcome, took};
use super::table::{paint, table};
use super::terminal::Terminal;
use crate::config::spec::WatchName;
use crate::control::api::{Problem, Runs};
use crate::control::client::ClientError;
use crate::record::run_record::RunRecord;
use crate::schedule::order::RunId;

/// The last runs of a watch, newest first
///
/// The last hundred are kept, also over a restart of the daemon. Times are in UTC, as in the log. The zxids of what
/// they were given, and what they used, are in --json.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name)]
    pub watch: WatchName,

    /// At most so many
    #[arg(short = 'n', long, value_name = "RUNS", default_value = "100")]
    pub lines: usize,

    /// For programs
    #[arg(long)]
    pub json: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// Prints them.
///
/// # Errors
/// When there is no daemon, or no such watch.
pub async fn history(args: &HistoryArgs, mut out: impl Write) -> Result<u8, AskError> {
    let mut runs: Runs = args.daemon.client().get(&format!("/v1/watches/{}/runs", args.watch)).await?;
    runs.runs.truncate(args.lines);
    if args.json {
        serde_json::to_writer_pretty(&mut out, &runs)?;
        writeln!(out)?;
        return Ok(0);
    }
    if runs.runs.is_empty() {
        writeln!(out, "'{}' has not run yet", args.watch)?;
        return Ok(0);
    }
    let now = Timestamp::now();
    let row = |run: &RunRecord| {
        vec![
            run.run.to_string(),
            full(run.started),
            ago(run.started, now),
            run.end.as_ref().map_or_else(|| "-".to_owned(), |end| took(end.lasted_seconds)),
            run.event.to_string(),
            match run.attempt {
                1 => outcome(run),
                attempt => format!("{}, attempt {attempt}", outcome(run)),
            },
        ]
    };
    let head = ["RUN", "STARTED", "AGO", "TOOK", "EVENT", "OUTCOME"];
    let terminal = Terminal::of_stdout();
    let width = terminal.map(|terminal| terminal.columns);
    let text = table(&head, runs.runs.iter().map(row).collect(), width);
    if terminal.is_some_and(|terminal| terminal.has_colours) {
        write!(out, "{}", paint(&text, "OUTCOME", colour_of_outcome))?;
    } else {
        write!(out, "{text}")?;
    }
    Ok(0)
}

/// What the last run of a watch has printed
///
/// The last 64 KiB of each of the last ten runs are kept; everything is in the daemon's log.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  twitcher log git-head                 the last run
  twitcher log git-head --run 660d5fe   one that 'twitcher history' has shown
  twitcher log git-head -f              and what it and those after it print")]
pub struct LogArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name)]
    pub watch: WatchName,

    /// This run and not the last
    #[arg(long, value_name = "RUN")]
    pub run: Option<RunId>,

    /// Go on with what is printed from now on
    #[arg(short, long, conflicts_with = "run")]
    pub follow: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// What a command has printed must not steer the terminal of who reads it.
fn harmless(output: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(output).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            control if control.is_control() => text.extend(control.escape_default()),
            other => text.push(other),
        }
    }
    text
}

/// Prints it.
///
/// # Errors
/// When there is no daemon, no such watch, or it has never run.
pub async fn log(args: &LogArgs, mut out: impl Write) -> Result<u8, AskError> {
    let client = args.daemon.client();
    let runs: Runs = client.get(&format!("/v1/watches/{}/runs", args.watch)).await?;
    let run = args.run.or_else(|| runs.runs.first().map(|run| run.run));
    match run {
        Some(run) if !runs.runs.iter().any(|known| known.run == run) => {
            let detail = format!("run {run} is not one of '{}'", args.watch);
            return Err(ClientError::Refused(Problem::new(404, "no such run", detail)).into());
        }
        Some(run) => {
            let output = client.bytes("GET", &format!("/v1/runs/{run}/output")).await?;
            let end = runs.runs.iter().find(|known| known.run == run).and_then(|known| known.end.as_ref());
            if end.is_some_and(|end| end.output_truncated) {
                // Not among what it has printed, which may be for a program.
                eprintln!(
                    "twitcher: of what run {run} has printed, only the last is kept: {} bytes",
                    output.len()
                );
            }
            if stdout().is_terminal() {
                out.write_all(harmless(&output).as_bytes())?;
            } else {
                out.write_all(&output)?;
            }
        }
        None if args.follow => {}
        None => {
            let detail = format!("'{}' has not run yet", args.watch);
            return Err(ClientError::Refused(Problem::new(404, "no run", detail)).into());
        }
    }
    out.flush()?;
    if args.follow {
        let follow = client.follow("/v1/events", |_, data| {
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            if event["event"] == "output" && event["watch"] == args.watch.as_str() {
                let dropped = event["dropped"]["lines"].as_u64().unwrap_or_default();
                if dropped > 0 {
                    writeln!(out, "[{dropped} lines left out]")?;
                }
                for line in event["lines"].as_array().into_iter().flatten() {
                    writeln!(out, "{}", harmless(line.as_str().unwrap_or_default().as_bytes()))?;
                }
                out.flush()?;
            }
            Ok(true)
        });
        follow.await?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_made_visible() {
        assert_eq!(harmless(b"a\tb\n\x1b[31m\xff\r"), "a\tb\n\\u{1b}[31m\u{fffd}\\r");
    }
}
