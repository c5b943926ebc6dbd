//! Times, and what is known of runs, as people say it. Pure.

use jiff::{SignedDuration, Timestamp};

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

/// How long something took: `12ms`, `1.2s`, `3m 20s`.
#[must_use]
pub fn took(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 => format!("{:.0}ms", seconds * 1e3),
        1..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        _ => format!("{}h {}m", whole / 3600, whole % 3600 / 60),
    }
}

/// How a run ended, or that it goes on.
#[must_use]
pub fn outcome(run: &RunRecord) -> String {
    run.end.as_ref().map_or_else(|| "running".to_owned(), |end| end.outcome.to_string())
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
    fn what_took_little_is_said_more_exactly() {
        assert_eq!([0.0123, 1.26, 200.0, 7260.0].map(took), ["12ms", "1.3s", "3m 20s", "2h 1m"]);
    }
}
