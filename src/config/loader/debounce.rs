//! When a burst of events has ended. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A burst ends when this long nothing was seen…
const QUIET: Duration = Duration::from_millis(100);
/// …and is cut off after this long.
const LONGEST: Duration = Duration::from_millis(500);

/// The burst that is going on, if there is one.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    first_and_last: Option<(Instant, Instant)>,
}

impl Debounce {
    /// Something was seen at `now`.
    pub(super) fn event(&mut self, now: Instant) {
        let first = self.first_and_last.map_or(now, |(first, _)| first);
        self.first_and_last = Some((first, now));
    }

    /// When it is time to look.
    pub(super) fn due(&self) -> Option<Instant> {
        self.first_and_last.map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_after_a_pause_or_in_the_end_anyhow() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut debounce = Debounce::default();
        assert_eq!(debounce.due(), None);
        debounce.event(start);
        assert_eq!(debounce.due(), Some(at(100)));
        debounce.event(at(90));
        assert_eq!(debounce.due(), Some(at(190)));
        for ms in (100..490).step_by(30) {
            debounce.event(at(ms));
        }
        assert_eq!(debounce.due(), Some(at(500)));
    }
}
