//! `twitcher history` and `twitcher log`: the last runs of a watch, and what they printed.

use std::io::{IsTerminal, Write, stdout};

use clap::Args;
use jiff::Timestamp;

use super::daemon::{AskError, DaemonArgs, watch_name};
use super::people::{ago, colour_of_outcome, full, outcome, took};
use super::table::{paint, table};
use super::terminal::Terminal;
use crate::config::spec::WatchName;
use crate::control::api::{Problem, Runs};
use crate::control::client::{ClientError, Parts};
use crate::record::printable::Printable;
use crate::record::run_record::RunRecord;
use crate::schedule::order::RunId;

/// The last runs of a watch, newest first
///
/// The last hundred are kept, also over a restart of the daemon. Times are in UTC, as in the log. The zxids of what
/// they were given, and what they used, are in --json.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  twitcher history git-head
  twitcher history git-head | grep -v 'exited(0)'
  twitcher history git-head --json |
      jq -r 'select(.end.outcome.kind == \"timed-out\").run'

With --json a line is an object: a run as the control socket has it among those of GET /v1/watches/NAME/runs, which \
etc/openapi.json describes as RunRecord.

Exit status: 0 done; 1 there is no such watch; 5 the daemon does not answer; 6 no daemon.")]
pub struct HistoryArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name)]
    pub watch: WatchName,

    /// At most so many
    #[arg(short = 'n', long, value_name = "RUNS", default_value = "100")]
    pub lines: usize,

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
/// When there is no daemon, or no such watch.
pub async fn history(args: &HistoryArgs, mut out: impl Write) -> Result<u8, AskError> {
    let mut runs: Runs = args.daemon.client().get(&format!("/v1/watches/{}/runs", args.watch)).await?;
    let has_run = !runs.runs.is_empty();
    runs.runs.truncate(args.lines);
    if args.json {
        for run in &runs.runs {
            serde_json::to_writer(&mut out, run)?;
            writeln!(out)?;
        }
        return Ok(0);
    }
    if !has_run {
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
  twitcher log git-head       the last run
  twitcher log git-head -f    and what those after it print
  twitcher log git-head --run 660d7be6dd338

The ids of runs are in 'twitcher history'.

Exit status: 0 done; 1 there is no such watch or run, or it has not run yet; 5 the daemon does not answer; 6 no \
daemon, or no longer.")]
pub struct LogArgs {
    /// Which
    #[arg(value_name = "WATCH", value_parser = watch_name)]
    pub watch: WatchName,

    /// This run and no other
    #[arg(long, value_name = "RUN")]
    pub run: Option<RunId>,

    /// Go on with what is printed from now on: by the run until it has ended, or by this and all later ones
    #[arg(short, long)]
    pub follow: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// What a command has printed must not steer the terminal of who reads it.
fn harmless(output: &[u8]) -> String {
    Printable::new(&String::from_utf8_lossy(output)).keeping(&['\n', '\t']).to_string()
}

/// Prints it.
///
/// # Errors
/// When there is no daemon, no such watch, or it has never run.
pub async fn log(args: &LogArgs, mut out: impl Write) -> Result<u8, AskError> {
    let client = args.daemon.client();
    if args.follow && args.run.is_none() {
        return print(client.stream(&format!("/v1/watches/{}/output?follow", args.watch)).await?, out).await;
    }
    let runs: Runs = client.get(&format!("/v1/watches/{}/runs", args.watch)).await?;
    let run = args.run.or_else(|| runs.runs.first().map(|run| run.run));
    let Some(run) = run else {
        let detail = format!("'{}' has not run yet", args.watch);
        return Err(ClientError::Refused(Problem::new(404, "no run", detail)).into());
    };
    let Some(known) = runs.runs.iter().find(|known| known.run == run) else {
        let detail = format!("run {run} is not one of '{}'", args.watch);
        return Err(ClientError::Refused(Problem::new(404, "no such run", detail)).into());
    };
    if args.follow {
        return print(client.stream(&format!("/v1/runs/{run}/output?follow")).await?, out).await;
    }
    let output = client.bytes("GET", &format!("/v1/runs/{run}/output")).await?;
    if known.end.as_ref().is_some_and(|end| end.output_truncated) {
        // Not among what it has printed, which may be for a program.
        eprintln!("twitcher: of what run {run} has printed, only the last is kept: {} bytes", output.len());
    }
    if stdout().is_terminal() {
        out.write_all(harmless(&output).as_bytes())?;
    } else {
        out.write_all(&output)?;
    }
    out.flush()?;
    Ok(0)
}

/// Prints what comes: on a terminal in whole lines, since what would steer it may come in two parts.
async fn print(mut parts: Parts, mut out: impl Write) -> Result<u8, AskError> {
    let is_terminal = stdout().is_terminal();
    let mut line = Vec::new();
    while let Some(part) = parts.next().await? {
        if is_terminal {
            line.extend_from_slice(&part);
            let whole = line.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            out.write_all(harmless(&line[..whole]).as_bytes())?;
            line.drain(..whole);
        } else {
            out.write_all(&part)?;
        }
        out.flush()?;
    }
    out.write_all(harmless(&line).as_bytes())?;
    out.flush()?;
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
