//! `twitcher status`: the connection, then what each watch does and why it does no more.

mod screen;

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::daemon::{AskError, DaemonArgs, watch_name};
use super::people::{ago, ahead, colour_of_outcome, count, full, going_on, outcome, took, wrong};
use super::table::{paint, table};
use super::terminal::{Colour, Terminal};
use crate::config::spec::WatchName;
use crate::control::api::{ConnectionState, Problem, State, Status, Watch};
use crate::control::client::{Client, ClientError};
use crate::record::printable::Printable;

const EXAMPLES: &str = "\
Examples:
  twitcher status             everything
  twitcher status git-head    one watch; 1 if it is failing
  twitcher status --watch     again and again, in place
  twitcher status --json |
      jq -r '.watches[] | select(.state == \"stopped\").name'

A terminal is drawn on in its own width, with what fails first; a pipe gets a line for each watch. Ctrl-C ends \
--watch by SIGINT.

Failing: its last run failed, a failure has stopped it, or its znode cannot be read. That there is no connection, or \
no znode yet, is no failure of a watch.

Exit status: 0 well, and where no watch is named whenever the daemon answers; 1 a watch that was named is failing, \
or there is none of that name; 5 the daemon does not answer; 6 no daemon.";

/// How often `--watch` draws.
const AGAIN: Duration = Duration::from_secs(1);

/// How many rows of a terminal there are for one that names what is wrong with a file.
const ROWS_A_PROBLEM: usize = 4;

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
    if args.watch {
        return watch(args, &client, out).await;
    }
    let status = look(args, &client).await?;
    if args.json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", draw(&status, Timestamp::now(), Terminal::of_stdout()))?;
    }
    out.flush()?;
    let failing = !args.watches.is_empty() && status.watches.iter().any(Watch::is_failing);
    Ok(u8::from(failing))
}

/// How things stand with the watches that were asked about.
async fn look(args: &StatusArgs, client: &Client) -> Result<Status, ClientError> {
    let mut status: Status = client.get("/v1/status").await?;
    if !args.watches.is_empty() {
        for name in &args.watches {
            if !status.watches.iter().any(|watch| watch.name == name.as_str()) {
                return Err(ClientError::Refused(Problem::no_watch(name.as_str())));
            }
        }
        status.watches.retain(|watch| args.watches.iter().any(|name| watch.name == name.as_str()));
    }
    Ok(status)
}

/// Draws until it is ended by a signal. Nothing of the terminal is changed that would have to be put back then.
async fn watch(args: &StatusArgs, client: &Client, mut out: impl Write) -> Result<u8, AskError> {
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        let looked = look(args, client).await;
        let terminal = Terminal::of_stdout();
        let text = match looked {
            // The last column stays free: a terminal moves on to the next row when, and only when, more follows there.
            Ok(status) => {
                let columns = |terminal: Terminal| terminal.columns.saturating_sub(1);
                let inner = terminal.map(|terminal| Terminal { columns: columns(terminal), ..terminal });
                draw(&status, Timestamp::now(), inner)
            }
            // It may come back, and this is left standing meanwhile.
            Err(error) => format!("{error}\n"),
        };
        match terminal.filter(|terminal| terminal.is_addressable) {
            Some(terminal) => out.write_all(screen::draw(&text, terminal).as_bytes())?,
            None => writeln!(out, "{text}")?,
        }
        out.flush()?;
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = resized.recv() => {}
        }
    }
}

fn draw(status: &Status, now: Timestamp, terminal: Option<Terminal>) -> String {
    let Status { release, host, pid, started, zookeeper, problems, watches, .. } = status;
    let has_colours = terminal.is_some_and(|terminal| terminal.has_colours);
    let mut text = format!("{host}: twitcher {release}, pid {pid}, started {}\n", ago(*started, now));
    let since = ago(zookeeper.since, now);
    let session = zookeeper.session.as_deref().unwrap_or_default();
    let servers = &zookeeper.servers;
    let away = Colour::Red.paint("NOT CONNECTED", has_colours);
    let trouble = zookeeper.trouble.as_ref().map(|trouble| format!(": {}", Printable::new(trouble)));
    let trouble = trouble.unwrap_or_default();
    let _ = match zookeeper.state {
        ConnectionState::Connected => {
            writeln!(text, "ZooKeeper at {servers}: connected {since}, session {session}")
        }
        ConnectionState::Connecting => {
            writeln!(text, "ZooKeeper at {servers}: {away} yet, first tried {since}{trouble}")
        }
        ConnectionState::Disconnected => {
            writeln!(text, "ZooKeeper at {servers}: {away} since {}, {since}{trouble}", full(zookeeper.since))
        }
    };
    let running: usize = watches.iter().map(|watch| watch.running.len()).sum();
    let _ = writeln!(text, "{}, {running} running", count(watches.len(), "watch", "watches"));
    // On a terminal, some rows are left to the watches.
    let most = terminal.map_or(usize::MAX, |terminal| (usize::from(terminal.rows) / ROWS_A_PROBLEM).max(1));
    let broken = Colour::Red.paint("BROKEN", has_colours);
    for problem in problems.iter().take(most) {
        let _ = writeln!(text, "{broken} {}", wrong(problem));
    }
    if problems.len() > most {
        let _ = writeln!(text, "{broken} and {} more: 'twitcher reload' names all", problems.len() - most);
    }
    if !watches.is_empty() {
        let mut watches: Vec<&Watch> = watches.iter().collect();
        // What somebody should look at first.
        watches.sort_by_key(|watch| (!watch.is_failing(), watch.state != State::Running));
        let rows = watches.into_iter().map(|watch| row(watch, now)).collect();
        let width = terminal.map(|terminal| terminal.columns);
        let mut rows = table(&["WATCH", "STATE", "LAST", "ENDED", "TOOK", "WHY"], rows, width);
        if has_colours {
            rows = paint(&rows, "STATE", colour_of_state);
            rows = paint(&rows, "LAST", colour_of_outcome);
        }
        let _ = write!(text, "\n{rows}");
    }
    text
}

fn colour_of_state(word: &str) -> Option<Colour> {
    match word {
        "running" => Some(Colour::BoldGreen),
        "stopped" | "unreadable" => Some(Colour::Red),
        _ => None,
    }
}

fn row(watch: &Watch, now: Timestamp) -> Vec<String> {
    let end = watch.last.as_ref().and_then(|last| last.end.as_ref());
    let until = watch.until.map(|until| format!(", {}", ahead(until, now))).unwrap_or_default();
    let reason = watch.reason.as_ref().map(|reason| format!("{reason}{until}"));
    let why: Vec<String> = going_on(watch, now).into_iter().chain(reason).collect();
    vec![
        watch.name.clone(),
        watch.state.word().to_owned(),
        watch.last.as_ref().map(outcome).unwrap_or_else(|| "-".to_owned()),
        end.map_or_else(|| "-".to_owned(), |end| ago(end.at, now)),
        end.map_or_else(|| "-".to_owned(), |end| took(end.lasted_seconds)),
        why.join("; "),
    ]
}
