//! Durations as people write them: a number of seconds, or text such as `1m 30s`. Pure.

use std::time::Duration;

use jiff::fmt::friendly::{SpanParser, SpanPrinter};
use thiserror::Error;

/// More than this is taken for a slip: ten years.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Why something is not a duration.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DurationError {
    /// It has a sign.
    #[error("must not be negative")]
    Negative,
    /// It is infinite or not a number.
    #[error("must be a finite number of seconds")]
    NotFinite,
    /// It is longer than [`LONGEST`].
    #[error("must not be longer than ten years")]
    TooLong,
    /// It is not in the form that is understood.
    #[error("is not a duration")]
    Form,
}

/// What a duration looks like, for a `help:` line.
pub const FORM: &str = "write a number of seconds, or text such as \"90s\", \"1m 30s\", \"500ms\" or \"2h\"";

/// A duration from a number of seconds.
///
/// # Errors
/// It is negative, not finite or longer than [`LONGEST`].
pub fn from_seconds(seconds: f64) -> Result<Duration, DurationError> {
    if !seconds.is_finite() {
        return Err(DurationError::NotFinite);
    }
    if seconds < 0.0 {
        return Err(DurationError::Negative);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| DurationError::TooLong).and_then(checked)
}

/// A duration from text: `1m 30s`, `500ms`, or a number of seconds.
///
/// # Errors
/// It is not in that form, negative, or longer than [`LONGEST`].
pub fn from_text(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text.starts_with('-') || text.ends_with("ago") {
        return Err(DurationError::Negative);
    }
    // `parse::<f64>` knows words such as "infinity", which are no way to write a duration.
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return from_seconds(text.parse().map_err(|_| DurationError::Form)?);
    }
    SpanParser::new().parse_unsigned_duration(text).map_err(|_| DurationError::Form).and_then(checked)
}

fn checked(duration: Duration) -> Result<Duration, DurationError> {
    if duration > LONGEST { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// The duration as text that [`from_text`] reads back as the same: `1m 30s`.
#[must_use]
pub fn to_text(duration: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_and_numbers_are_both_durations() {
        for (text, ms) in [
            ("90", 90_000),
            ("0.5", 500),
            ("90s", 90_000),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2 hours", 7_200_000),
            (" 5s ", 5_000),
            ("0s", 0),
        ] {
            assert_eq!(from_text(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(from_seconds(1.5), Ok(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_no_duration_is_refused_for_its_reason() {
        use DurationError::*;
        for (text, why) in [
            ("", Form),
            (".", Form),
            ("soon", Form),
            ("inf", Form),
            ("-5s", Negative),
            ("5s ago", Negative),
            ("999999h", TooLong),
            ("99999999999999999999999", TooLong),
        ] {
            assert_eq!(from_text(text), Err(why), "{text}");
        }
        assert_eq!(from_seconds(f64::NAN), Err(NotFinite));
        assert_eq!(from_seconds(f64::INFINITY), Err(NotFinite));
        assert_eq!(from_seconds(-1.0), Err(Negative));
        assert_eq!(from_seconds(1e300), Err(TooLong));
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        for ns in [0, 1, 1_500, 999_999_999, 5_000_000_000, 90_000_000_001, 86_400_000_000_000] {
            let duration = Duration::from_nanos(ns);
            assert_eq!(from_text(&to_text(duration)), Ok(duration), "{}", to_text(duration));
        }
        assert_eq!(to_text(Duration::from_secs(90)), "1m 30s");
        assert_eq!(to_text(Duration::from_secs(60)), "1m");
    }
}
