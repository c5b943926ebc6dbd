//! When another minder takes the place of one that has ended, and what of that is news. Starts none.

use std::time::Duration;

use tokio::time::Instant;

use crate::watch::backoff::doubled;

/// A minder that has lived for so long was a good one.
const LASTS: Duration = Duration::from_secs(10);

/// How long to wait before the second one after another is started that did not last, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Counts the minders that did not last.
#[derive(Debug)]
pub struct Restarts {
    /// When the last one was started.
    started: Instant,
    /// How many in a row have ended before they had lasted, or did not come to be.
    short: u32,
    /// The last one did not come to be.
    has_failed: bool,
}

/// What there is to be said of the end of a minder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It has ended, and another one is started.
    Ended,
    /// So has its successor, before it had lasted.
    Again,
    /// It goes on like that.
    Nothing,
}

impl Restarts {
    /// A minder was started, or is about to be.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { started: now, short: 0, has_failed: false }
    }

    /// One was started.
    pub fn started(&mut self, now: Instant) {
        (self.started, self.has_failed) = (now, false);
    }

    /// It has ended: when the next one is to be started, and what is to be said.
    #[must_use]
    pub fn ended(&mut self, now: Instant) -> (Instant, News) {
        if now.saturating_duration_since(self.started) >= LASTS {
            self.short = 0;
        }
        let news = match self.short {
            0 => News::Ended,
            1 => News::Again,
            _ => News::Nothing,
        };
        (self.next(now), news)
    }

    /// It could not be started: when to try again, and whether that is to be said.
    #[must_use]
    pub fn failed(&mut self, now: Instant) -> (Instant, bool) {
        let is_news = !std::mem::replace(&mut self.has_failed, true);
        self.short = self.short.max(1);
        (self.next(now), is_news)
    }

    fn next(&mut self, now: Instant) -> Instant {
        // One that ended by itself, or was ended, is replaced at once.
        let pause = self.short.checked_sub(1).map(|before| doubled(PAUSE.0, before, PAUSE.1));
        self.short = self.short.saturating_add(1);
        now + pause.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_has_lasted_is_replaced_at_once_and_those_that_do_not_last_less_and_less_often() {
        let mut now = Instant::now();
        let mut restarts = Restarts::new(now);
        now += LASTS;
        assert_eq!(restarts.ended(now), (now, News::Ended));
        let mut pauses = Vec::new();
        let mut news = Vec::new();
        for _ in 0..8 {
            restarts.started(now);
            let (next, said) = restarts.ended(now);
            pauses.push((next - now).as_millis());
            news.push(said);
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(news[0], News::Again);
        assert!(news[1..].iter().all(|said| *said == News::Nothing));
        restarts.started(now);
        assert_eq!(restarts.ended(now + LASTS), (now + LASTS, News::Ended));
    }

    #[test]
    fn that_one_cannot_be_started_is_said_once_until_one_is() {
        let now = Instant::now();
        let mut restarts = Restarts::new(now);
        let (first, is_news) = restarts.failed(now);
        assert!(first > now && is_news);
        assert!(!restarts.failed(now).1);
        restarts.started(now);
        assert!(restarts.failed(now).1);
    }
}
