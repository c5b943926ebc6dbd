//! How long to wait before the next try, and nothing else: no clock, no timer.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A doubling delay with full jitter: evenly spread between zero and a bound that doubles with each
/// failure, so that those who failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound after no failure.
    pub first: Duration,
    /// What the bound never exceeds.
    pub most: Duration,
}

impl Backoff {
    /// The wait after so many failures in a row. `random` is uniform over all of `u64`.
    #[must_use]
    pub fn delay(self, failures: u32, random: u64) -> Duration {
        let bound = doubled(self.first, failures, self.most).as_nanos();
        let share = (bound * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// `first`, doubled so many times, and `most` at the most.
#[must_use]
pub fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
}

/// A number that another process, or another call, does not get: enough to spread delays, not for
/// secrets.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(10) };

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let bounds = [0, 1, 2, 3, 4, 5, 6, 31, 32, u32::MAX];
        let millis = bounds.map(|failures| SECONDS.delay(failures, u64::MAX).as_millis() + 1);
        assert_eq!(millis, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn the_delay_is_spread_evenly_from_zero() {
        assert_eq!(SECONDS.delay(9, 0), Duration::ZERO);
        assert_eq!(SECONDS.delay(9, u64::MAX / 4 + 1), Duration::from_millis(2500));
        assert_eq!(SECONDS.delay(9, u64::MAX / 2 + 1), Duration::from_secs(5));
    }

    #[test]
    fn two_calls_give_different_numbers() {
        assert_ne!(random(), random());
    }
}
