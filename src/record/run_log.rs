//! Runs, in the log: a line for a start, a line for an end, and a line for each line that a child prints.

use tokio::task::yield_now;
use tracing::{error, info, warn};

use crate::record::line::OUTPUT;
use crate::record::printable::Printable;
use crate::run::happening::Happening;
use crate::run::protocol::{About, Dropped};
use crate::schedule::order::{Ended, Outcome, RunId};

/// How many lines of output are logged at once. In between others get their turn on the one thread: to write
/// a line may take as long as to start a run.
const LINES_AT_ONCE: usize = 64;

/// Logs what has happened to a run.
pub async fn log(happening: &Happening) {
    match happening {
        Happening::Started { run, about, pid, after: _ } => {
            let About { watch, znode: _, event, version, attempt } = about;
            let zxid = format_args!("{:#x}", version.mzxid);
            info!(%watch, %run, pid, %event, zxid, attempt, "run started");
        }
        Happening::Adopted { run, about, pid } => {
            info!(watch = %about.watch, %run, pid, "run goes on since before the daemon started");
        }
        Happening::Output { run, watch, lines, dropped } => {
            log_output(*run, watch, lines, *dropped).await;
        }
        Happening::Stuck { run, watch } => {
            error!(watch, %run, "the run does not end by SIGKILL: it waits in the kernel; no other one starts beside it");
        }
        Happening::Ended { end, about, .. } => log_end(end, about),
        Happening::Beat(_) => {}
    }
}

async fn log_output(run: RunId, watch: &str, lines: &[u8], dropped: Dropped) {
    if dropped != Dropped::default() {
        warn!(watch, %run, lines = dropped.lines, bytes = dropped.bytes, "output that is not logged, since there was too much of it");
    }
    // What a child prints must not pass for a line of the daemon's, nor steer the terminal of who reads it.
    for (number, line) in lines.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if number % LINES_AT_ONCE == LINES_AT_ONCE - 1 {
            yield_now().await;
        }
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        info!(target: OUTPUT, watch, %run, "{}", Printable::new(&line).keeping(&['\t']));
    }
}

fn log_end(end: &Ended, about: &About) {
    let Ended { run, watch, outcome, lasted, .. } = end;
    let zxid = format_args!("{:#x}", about.version.mzxid);
    let attempt = about.attempt;
    let lasted_seconds = lasted.as_secs_f64();
    match outcome {
        Outcome::Exited(0) => info!(%watch, %run, %outcome, lasted_seconds, zxid, attempt, "run ended"),
        Outcome::Exited(_)
        | Outcome::Signaled(_)
        | Outcome::TimedOut
        | Outcome::SpawnFailed(_)
        | Outcome::Lost => {
            warn!(%watch, %run, %outcome, lasted_seconds, zxid, attempt, "run failed");
        }
    }
}
