//! `twitcher status`: the connection, then what each watch does and why it does no more.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::daemon::{AskError, DaemonArgs, watch_name};
use super::people::{ago, ahead, outcome, took};
use super::table::{size, table};
use crate::config::spec::WatchName;
use crate::control::api::{ConnectionState, Problem, State, Status, Watch};
use crate::control::client::ClientError;

const EXAMPLES: &str = "\
Examples:
  twitcher status                  everything
  twitcher status git-head         one watch, and whether it is failing: exit status 1
  twitcher status --json | jq -r '.watches[] | select(.state == \"stopped\") | .name'
  twitcher status --watch          again and again, in place

Failing: its last run failed, a failure has stopped it, or its znode cannot be read. That there is no connection, or no
znode yet, is no failure of a watch.

Exit status: 0 well; 1 a watch that was named is failing, or there is none of that name; 5 the daemon does not
answer; 6 no daemon.";

/// How often `--watch` draws.
const AGAIN: Duration = Duration::from_secs(1);

/// What the daemon does, and why not more
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Only these, and say by the exit status whether one of them is failing
    #[arg(value_name = "WATCH", value_parser = watch_name)]
    pub watches: Vec<WatchName>,

    /// For programs
    #[arg(long)]
    pub json: bool,

    /// Go on, and draw in place
    #[arg(short, long, conflicts_with = "json")]
    pub watch: bool,

    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// Prints how things stand. Returns the exit code.
///
/// # Errors
/// When there is no daemon, or no watch of a name.
pub async fn status(args: &StatusArgs, mut out: impl Write) -> Result<u8, AskError> {
    let client = args.daemon.client();
    loop {
        let mut status: Status = match client.get("/v1/status").await {
            Ok(status) => status,
            // It may come back, and this is left standing meanwhile.
            Err(error) if args.watch => {
                write!(out, "\x1b[H\x1b[2J{error}")?;
                out.flush()?;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !args.watches.is_empty() {
            for name in &args.watches {
                if !status.watches.iter().any(|watch| watch.name == name.as_str()) {
                    return Err(ClientError::Refused(Problem::no_watch(name.as_str())).into());
                }
            }
            status.watches.retain(|watch| args.watches.iter().any(|name| watch.name == name.as_str()));
        }
        if args.json {
            serde_json::to_writer_pretty(&mut out, &status)?;
            writeln!(out)?;
        } else {
            let (columns, rows) = size();
            let text = draw(&status, Timestamp::now(), columns);
            if args.watch {
                // To the upper left, and away with what was there.
                write!(out, "\x1b[H\x1b[2J{}", cut(&text, rows))?;
            } else {
                write!(out, "{text}")?;
            }
        }
        out.flush()?;
        if !args.watch {
            let failing = !args.watches.is_empty() && status.watches.iter().any(Watch::is_failing);
            return Ok(u8::from(failing));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// As much as fits on so many rows, and how much does not.
fn cut(text: &str, rows: u16) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let rows = usize::from(rows).max(2);
    if lines.len() < rows {
        return text.to_owned();
    }
    let shown = rows - 2;
    format!("{}\n… {} more lines", lines[..shown].join("\n"), lines.len() - shown)
}

fn draw(status: &Status, now: Timestamp, width: u16) -> String {
    let Status { release, host, pid, started, zookeeper, running, problems, watches } = status;
    let mut text = format!("{host}: twitcher {release}, pid {pid}, started {}\n", ago(*started, now));
    let since = ago(zookeeper.since, now);
    let session = zookeeper.session.as_deref().unwrap_or_default();
    let servers = &zookeeper.servers;
    let _ = match zookeeper.state {
        ConnectionState::Connected => {
            writeln!(text, "ZooKeeper at {servers}: connected {since}, session {session}")
        }
        ConnectionState::Connecting => {
            writeln!(text, "ZooKeeper at {servers}: NOT CONNECTED yet, tried since {since}")
        }
        ConnectionState::Disconnected => {
            writeln!(text, "ZooKeeper at {servers}: NOT CONNECTED since {since}")
        }
    };
    let _ = writeln!(text, "{} watches, {running} running", watches.len());
    for problem in problems {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            _ => String::new(),
        };
        let _ = writeln!(text, "BROKEN {}{place}: {}", problem.file, problem.message);
    }
    if !watches.is_empty() {
        let mut watches: Vec<&Watch> = watches.iter().collect();
        // What somebody should look at first.
        watches.sort_by_key(|watch| (!watch.is_failing(), watch.state != State::Running));
        let rows = watches.into_iter().map(|watch| row(watch, now)).collect();
        let _ = write!(text, "\n{}", table(&["WATCH", "STATE", "LAST", "ENDED", "TOOK", "WHY"], rows, width));
    }
    text
}

fn row(watch: &Watch, now: Timestamp) -> Vec<String> {
    let end = watch.last.as_ref().and_then(|last| last.end.as_ref());
    let until = watch.until.map(|until| format!(", {}", ahead(until, now))).unwrap_or_default();
    vec![
        watch.name.clone(),
        watch.state.word().to_owned(),
        watch.last.as_ref().map(outcome).unwrap_or_else(|| "-".to_owned()),
        end.map_or_else(|| "-".to_owned(), |end| ago(end.at, now)),
        end.map_or_else(|| "-".to_owned(), |end| took(end.lasted_seconds)),
        watch.reason.as_ref().map(|reason| format!("{reason}{until}")).unwrap_or_default(),
    ]
}
