//! Signals, as people write them.

use nix::sys::signal::Signal;
use thiserror::Error;

/// Reads a signal as people write it: `HUP`, `SIGHUP`, `hup` or `1`.
///
/// # Errors
/// When it is none of Linux' standard signals.
pub fn signal(text: &str) -> Result<Signal, SignalError> {
    let upper = text.trim().to_ascii_uppercase();
    let found = match upper.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) if upper.starts_with("SIG") => upper.parse().ok(),
        Err(_) => format!("SIG{upper}").parse().ok(),
    };
    found.ok_or_else(|| SignalError(text.to_owned()))
}

/// A text that is not a signal.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not a signal; write one as \"HUP\", \"SIGHUP\" or 1")]
pub struct SignalError(String);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_many_spellings() {
        for text in ["HUP", "SIGHUP", "sighup", "1", " hup "] {
            assert_eq!(signal(text), Ok(Signal::SIGHUP), "{text:?}");
        }
        assert!(signal("NOPE").is_err());
        assert!(signal("0").is_err());
    }
}
