//! Delays as arithmetic: the part of a splay that is a host's own, and how long to wait before a retry.
//! Pure.

use std::time::Duration;

use crate::watch::backoff::doubled;

/// Where in its splay this host runs a watch: from nothing up to `splay`, always the same for the same host
/// and watch, and over many hosts spread evenly.
///
/// What it is for a host must not change with a release: a fleet that is half updated would bunch up.
#[must_use]
pub fn splay_of(splay: Duration, host: &str, watch: &str) -> Duration {
    portion(splay, hash(&[host.as_bytes(), watch.as_bytes()]))
}

/// How long to wait after the `attempt`th failure, from 1: `delay`, doubled each time up to `most`, and of
/// that between a half and all, as `seed` says. So hosts that failed together do not come back together.
#[must_use]
pub fn retry_delay(delay: Duration, most: Duration, attempt: u32, seed: u64) -> Duration {
    let whole = doubled(delay, attempt.saturating_sub(1), most);
    whole / 2 + portion(whole / 2, hash(&[&seed.to_le_bytes(), &attempt.to_le_bytes()]))
}

/// `whole` times `hash` out of 2^64.
fn portion(whole: Duration, hash: u64) -> Duration {
    let nanos = (whole.as_nanos().min(u128::from(u64::MAX)) * u128::from(hash)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// FNV-1a over the parts with a byte between them that none of them has, and then the finalizer of
/// SplitMix64, since the high bits, which are all that counts here, are FNV's weak ones.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for &byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_same_place_in_a_splay_in_every_release() {
        let splay = Duration::from_secs(100);
        assert_eq!(splay_of(splay, "web1", "git").as_millis(), 36_069);
        assert_eq!(splay_of(splay, "web1", "git"), splay_of(splay, "web1", "git"));
        assert_ne!(splay_of(splay, "web1", "git"), splay_of(splay, "web1", "conf"));
        assert_eq!(splay_of(Duration::ZERO, "web1", "git"), Duration::ZERO);
    }

    #[test]
    fn a_fleet_with_names_that_hardly_differ_is_spread_evenly() {
        let splay = Duration::from_secs(10);
        let mut tenths = [0; 10];
        for host in 0..10_000 {
            let at = splay_of(splay, &format!("web{host:04}.example.org"), "git-head");
            tenths[at.as_secs() as usize] += 1;
        }
        // A thousand each on average; six standard deviations.
        assert!(tenths.iter().all(|count| (820..=1180).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_delay_before_a_retry_doubles_up_to_its_bound_and_is_never_less_than_half_of_that() {
        let (delay, most) = (Duration::from_secs(1), Duration::from_secs(60));
        for (attempt, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (40, 60), (u32::MAX, 60)]
        {
            for seed in 0..100 {
                let found = retry_delay(delay, most, attempt, seed);
                let whole = Duration::from_secs(whole);
                assert!(found >= whole / 2 && found <= whole, "attempt {attempt}: {found:?} of {whole:?}");
            }
        }
        let spread = (0..100).map(|seed| retry_delay(delay, most, 7, seed));
        assert!(spread.clone().max() > spread.min().map(|least| least + Duration::from_secs(20)));
    }
}
