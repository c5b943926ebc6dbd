//! An event as a line for people, in the words of the log. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::people::place;
use crate::record::events::{Event, Session, What};
use crate::record::printable::Printable;
use crate::record::run_record::RunRecord;

/// The time, the watch, and what: as in the log, where there is a line of it there. Of output, a line for each.
#[must_use]
pub fn lines(event: &Event) -> String {
    let at = event.at;
    match &event.what {
        What::Output { run, watch, lines, dropped } => {
            let mut text = String::new();
            if dropped.lines > 0 || dropped.bytes > 0 {
                let what = "output that is not logged, since there was too much of it";
                let (lines, bytes) = (dropped.lines, dropped.bytes);
                let _ = writeln!(text, "{at:.6} {watch}[{run}]: {what} lines={lines} bytes={bytes}");
            }
            for line in lines {
                let _ = writeln!(text, "{at:.6} {watch}[{run}]| {}", one_line(line));
            }
            text
        }
        what => format!("{at:.6} {}\n", one_line(&words(what))),
    }
}

fn one_line(text: &str) -> Printable<'_> {
    Printable::new(text).keeping(&['\t'])
}

fn words(what: &What) -> String {
    match what {
        What::RunStarted { run } => {
            let RunRecord { event, mzxid, attempt, .. } = &**run;
            format!("{} run started{} event={event} zxid={mzxid:#x} attempt={attempt}", of(run), pid(run))
        }
        What::RunAdopted { run } => {
            format!("{} run goes on since before the daemon started{}", of(run), pid(run))
        }
        What::RunStuck { run, watch } => {
            let why = "it waits in the kernel; no other one starts beside it";
            format!("{watch}[{run}]: the run does not end by SIGKILL: {why}")
        }
        What::RunEnded { run } => {
            let RunRecord { mzxid, attempt, .. } = &**run;
            let end = run.end.as_ref().map(|end| {
                let how = if end.outcome.is_success() { "run ended" } else { "run failed" };
                let lasted = Duration::try_from_secs_f64(end.lasted_seconds).unwrap_or_default();
                format!("{how} outcome={} lasted={lasted:?}", end.outcome)
            });
            format!("{} {} zxid={mzxid:#x} attempt={attempt}", of(run), end.unwrap_or_default())
        }
        // Taken apart by `lines`.
        What::Output { run, watch, .. } => format!("{watch}[{run}]| "),
        What::Connected { servers, session, session_is } => match session_is {
            Session::First => format!("connected to ZooKeeper at '{servers}', session {session}"),
            Session::Same => format!("connected to ZooKeeper again, session {session} lived on"),
            Session::New => format!("connected to ZooKeeper again, with a new session, {session}"),
        },
        What::Disconnected { servers } => {
            format!("lost the connection to ZooKeeper at '{servers}'; trying to get it back")
        }
        What::UpdateAccepted { watch, update, mzxid, instead_of_mzxid } => match instead_of_mzxid {
            Some(older) => {
                let zxid = zxid(*mzxid);
                format!(
                    "{watch}: update takes the place of one that waits event={update}{zxid} older={older:#x}"
                )
            }
            None => format!("{watch}: update event={update}{}", zxid(*mzxid)),
        },
        What::UpdateDropped { watch, update, mzxid, why } => {
            format!("{watch}: update is not run: {why} event={update}{}", zxid(*mzxid))
        }
        What::RetryPlanned { watch, after_seconds, attempt } => {
            let after = Duration::try_from_secs_f64(*after_seconds).unwrap_or_default();
            format!("{watch}: the same update will be tried again after={after:?} attempt={attempt}")
        }
        What::WatchStopped { watch } => {
            format!("{watch}: stopped: the last attempt failed and on_failure is stop")
        }
        What::WatchPaused { watch, by_uid } => format!("{watch}: paused by hand uid={by_uid}"),
        What::WatchResumed { watch, by_uid } => format!("{watch}: resumed by hand uid={by_uid}"),
        What::WatchFired { watch, by_uid } => format!("{watch}: fired by hand uid={by_uid}"),
        What::RunKilled { run, watch, by_uid } => format!("{watch}[{run}]: ended by hand uid={by_uid}"),
        What::RunSignaled { run, watch, signal, by_uid } => {
            format!("{watch}[{run}]: signal sent by hand uid={by_uid} signal={signal}")
        }
        What::WatchAdded { watch, znode, enabled: true } => format!("{watch}: added, on znode {znode}"),
        What::WatchAdded { watch, znode: _, enabled: false } => format!("{watch}: added, and not enabled"),
        What::WatchRedefined { watch, difference } => format!("{watch}: {difference}"),
        What::WatchRemoved { watch } => format!("{watch}: removed"),
        What::FileProblem { file, line, column, message, help } => {
            let help = help.as_ref().map(|help| format!(" (help: {help})")).unwrap_or_default();
            format!("{}: {message}{help}", place(&file.display().to_string(), *line, *column))
                .replace('\n', " ")
        }
        What::FileMended { file } => format!("{}: nothing is wrong with it any more", file.display()),
        What::EventsMissing { count } => missing(Some(*count)),
    }
}

/// What is said where events are missing.
#[must_use]
pub fn missing(count: Option<u64>) -> String {
    match count {
        Some(1) => "1 event is missing here".to_owned(),
        Some(count) => format!("{count} events are missing here"),
        None => "some events are missing here: they are no longer kept".to_owned(),
    }
}

/// That of a znode that is not there is not known.
fn zxid(mzxid: i64) -> String {
    if mzxid == 0 { String::new() } else { format!(" zxid={mzxid:#x}") }
}

fn of(run: &RunRecord) -> String {
    format!("{}[{}]:", run.watch, run.run)
}

fn pid(run: &RunRecord) -> String {
    run.pid.map(|pid| format!(" pid={pid}")).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn said(mut event: serde_json::Value) -> String {
        event["id"] = 7.into();
        event["at"] = "2026-05-01T12:00:00.5Z".into();
        lines(&serde_json::from_value(event).unwrap())
    }

    #[test]
    fn an_event_is_a_line_and_output_one_for_each_that_was_printed() {
        let update = json!({ "event": "update-accepted", "watch": "a", "update": "changed", "mzxid": 17,
            "instead_of_mzxid": 16 });
        let expected = "2026-05-01T12:00:00.500000Z a: update takes the place of one that waits event=changed \
            zxid=0x11 older=0x10\n";
        assert_eq!(said(update), expected);
        let output = json!({ "event": "output", "run": "660d7be6dd338", "watch": "a",
            "lines": ["one", "\x1b[2Jtwo"], "dropped": { "lines": 3, "bytes": 40 } });
        let expected = "\
2026-05-01T12:00:00.500000Z a[660d7be6dd338]: output that is not logged, since there was too much of it lines=3 bytes=40
2026-05-01T12:00:00.500000Z a[660d7be6dd338]| one
2026-05-01T12:00:00.500000Z a[660d7be6dd338]| \\u{1b}[2Jtwo
";
        assert_eq!(said(output), expected);
        let paused = json!({ "event": "watch-paused", "watch": "a", "by_uid": 7 });
        assert_eq!(said(paused), "2026-05-01T12:00:00.500000Z a: paused by hand uid=7\n");
        let signaled = json!({ "event": "run-signaled", "run": "660d7be6dd338", "watch": "a", "signal": "SIGHUP",
            "by_uid": 7 });
        let expected =
            "2026-05-01T12:00:00.500000Z a[660d7be6dd338]: signal sent by hand uid=7 signal=SIGHUP\n";
        assert_eq!(said(signaled), expected);
        let problem = json!({ "event": "file-problem", "file": "/a.toml", "line": 2, "column": 9,
            "message": "no\nsuch", "help": "that" });
        assert_eq!(said(problem), "2026-05-01T12:00:00.500000Z /a.toml:2:9: no such (help: that)\n");
        assert_eq!(missing(Some(1)), "1 event is missing here");
    }
}
