//! Times, and what is known of runs and of files, as people say it. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::terminal::Colour;
use crate::config::duration;
use crate::control::api::{FileProblem, Watch};
use crate::record::printable::Printable;
use crate::record::run_record::RunRecord;

/// How long ago: `3m ago`.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.duration_since(at)))
}

/// How long until then: `in 3m`.
#[must_use]
pub fn ahead(at: Timestamp, now: Timestamp) -> String {
    format!("in {}", span(at.duration_since(now)))
}

/// A time in its greatest unit: `45s`, `3m`, `5h`, `12d`.
#[must_use]
pub fn span(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long something took, or has gone on: `12ms`, `1.2s`, `3m 20s`, `5h 2m`, `12d 5h`.
#[must_use]
pub fn took(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 => format!("{:.0}ms", seconds * 1e3),
        1..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// What goes on of a watch, for how long, and how long it may; `None`: nothing does.
#[must_use]
pub fn going_on(watch: &Watch, now: Timestamp) -> Option<String> {
    let since = watch.running_since?;
    let runs = match &watch.running[..] {
        [] => return None,
        [run] => format!("run {run}"),
        [first, ..] => format!("{} runs, the first {first}", watch.running.len()),
    };
    // Of two clocks that do not agree.
    let goes_on = now.duration_since(since).as_secs_f64().max(0.0);
    let limit = watch.timeout_seconds.and_then(|limit| Duration::try_from_secs_f64(limit).ok());
    let limit = limit.map(|limit| format!(" (timeout {})", duration::to_text(limit))).unwrap_or_default();
    Some(format!("{runs} for {}{limit}", took(goes_on)))
}

/// A time in full, to the second, as the log has it: `2026-05-01T12:00:00Z`.
#[must_use]
pub fn full(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// So many: `1 watch`, `2 watches`.
#[must_use]
pub fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A place in a file, as far as it is known: `a.toml:2:9`.
#[must_use]
pub fn place(file: &str, line: Option<usize>, column: Option<usize>) -> String {
    let numbers = [line, column].into_iter().flatten();
    numbers.fold(file.to_owned(), |place, number| format!("{place}:{number}"))
}

/// What is wrong with a file, in one line that does not steer the terminal: its name and its text may be anybody's.
#[must_use]
pub fn wrong(problem: &FileProblem) -> String {
    let FileProblem { file, line, column, message, help: _ } = problem;
    Printable::new(&format!("{}: {message}", place(file, *line, *column))).to_string()
}

/// How a run ended, or that it goes on.
#[must_use]
pub fn outcome(run: &RunRecord) -> String {
    run.end.as_ref().map_or_else(|| "running".to_owned(), |end| end.outcome.to_string())
}

/// The colour of a part of what `outcome` says.
#[must_use]
pub fn colour_of_outcome(text: &str) -> Option<Colour> {
    let is_well = ["exited(0)", "running", "-", "attempt "].iter().any(|well| text.starts_with(well));
    (!is_well).then_some(Colour::Red)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_its_greatest_unit() {
        let said = |seconds| span(SignedDuration::from_secs(seconds));
        assert_eq!(
            [0, 59, 60, 3599, 3600, 86_399, 86_400].map(said),
            ["0s", "59s", "1m", "59m", "1h", "23h", "1d"]
        );
        // Of two clocks that do not agree.
        assert_eq!(said(-5), "0s");
    }

    #[test]
    fn one_is_not_many_and_a_place_has_what_is_known() {
        let said = |number| count(number, "watch", "watches");
        assert_eq!([0, 1, 2].map(said), ["0 watches", "1 watch", "2 watches"]);
        assert_eq!(place("a", Some(2), Some(9)), "a:2:9");
        assert_eq!(place("a", None, None), "a");
        assert_eq!(full("2026-05-01T12:00:00.9Z".parse().unwrap()), "2026-05-01T12:00:00Z");
    }

    #[test]
    fn what_took_little_is_said_more_exactly() {
        assert_eq!(
            [0.0123, 1.26, 200.0, 7260.0, 93_600.0].map(took),
            ["12ms", "1.3s", "3m 20s", "2h 1m", "1d 2h"]
        );
    }

    #[test]
    fn what_goes_on_is_said_with_how_long_it_has_and_how_long_it_may() {
        let said = |running: &[&str], timeout: Option<f64>, now: &str| {
            let watch = serde_json::json!({ "name": "a", "description": "a", "znode": "/a", "watch_type": "data",
                "run_mode": "PARALLEL", "state": "running", "reason": null, "until": null, "running": running,
                "running_since": "2026-05-01T12:00:00Z", "timeout_seconds": timeout, "waiting": 0, "last": null });
            going_on(&serde_json::from_value(watch).unwrap(), now.parse().unwrap())
        };
        let one = said(&["660d7be6dd338"], Some(5400.0), "2026-05-01T12:03:12Z").unwrap();
        assert_eq!(one, "run 660d7be6dd338 for 3m 12s (timeout 1h 30m)");
        let two = said(&["660d7be6dd338", "660d7be6dd339"], None, "2026-05-01T11:59:00Z").unwrap();
        assert_eq!(two, "2 runs, the first 660d7be6dd338 for 0ms");
        assert_eq!(said(&[], None, "2026-05-01T12:00:00Z"), None);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_one_line_that_steers_no_terminal() {
        let problem = FileProblem {
            file: "/etc/twitcher.d/\u{1b}]0;x\u{7}.toml".into(),
            line: Some(2),
            column: None,
            message: "no key \u{1b}[2J\nBROKEN".into(),
            help: None,
        };
        let expected = "/etc/twitcher.d/\\u{1b}]0;x\\u{7}.toml:2: no key \\u{1b}[2J\\nBROKEN";
        assert_eq!(wrong(&problem), expected);
    }
}
