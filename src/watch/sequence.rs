//! The numbers that ZooKeeper puts at the end of the names of sequential znodes, and which of two is the
//! later one: pure.

use serde::{Deserialize, Serialize};

/// The number of a sequential znode: a counter that its parent holds, of 32 bits with a sign.
///
/// After 2147483647 comes -2147483648 (ZooKeeper's programmer's guide, on sequence nodes), so that of two
/// numbers that one is the later that is reached from the other in less than half a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(i32);

/// Where a child comes among its siblings, and where in the life of their parent that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The number at the end of its name.
    pub number: Sequence,
    /// The zxid that made the parent. Another parent begins to count anew.
    pub parent: i64,
    /// The parent's `cversion`: every change of its children raises it, so that it falls only when an
    /// ensemble was restored from a backup.
    pub changes: i32,
}

impl Position {
    /// Whether `next` comes in another history than this one's: the numbers tell nothing.
    #[must_use]
    pub fn is_of_another_history(self, next: Self) -> bool {
        self.parent != next.parent || next.changes.wrapping_sub(self.changes) < 0
    }

    /// Whether `next` may be an update to who has seen `self`.
    #[must_use]
    pub fn is_succeeded_by(self, next: Self) -> bool {
        self.is_of_another_history(next) || next.number.is_after(self.number)
    }
}

/// How many characters ZooKeeper writes: `%010d`.
const WIDTH: usize = 10;

impl Sequence {
    /// The number at the end of a child's name; `None` where there is none that ZooKeeper could have put
    /// there.
    ///
    /// A dash before it may belong to it or end what the znode was to be called. It is taken for a sign where
    /// nothing stands before it, where another dash does, and before what is too much for a number without a
    /// sign.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count().min(WIDTH);
        let (before, digits) = name.split_at(name.len() - digits);
        let number: i64 = digits.parse().ok()?;
        let is_sign = before == "-" || before.ends_with("--");
        let number = match digits.len() {
            // With a sign there are no zeros before ten digits.
            WIDTH if number < 1_000_000_000 => number,
            WIDTH if is_sign || (before.ends_with('-') && number > i64::from(i32::MAX)) => -number,
            WIDTH => number,
            // The sign is the tenth.
            len if len == WIDTH - 1 && is_sign => -number,
            _ => return None,
        };
        i32::try_from(number).ok().map(Self)
    }

    /// Whether it was given later than `other`.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) > 0
    }
}

/// The one of these children that was made last, by its number.
#[must_use]
pub fn newest(names: &[String]) -> Option<(&str, Sequence)> {
    let numbered = names.iter().filter_map(|name| Some((name.as_str(), Sequence::of(name)?)));
    numbered.reduce(|newest, other| if other.1.is_after(newest.1) { other } else { newest })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn number(name: &str) -> Option<i32> {
        Sequence::of(name).map(|Sequence(number)| number)
    }

    fn newest_of(names: &[&str]) -> Option<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        newest(&names).map(|(name, _)| name.to_owned())
    }

    #[test]
    fn the_number_is_the_ten_last_digits_whatever_stands_before_them() {
        assert_eq!(number("0000000000"), Some(0));
        assert_eq!(number("release-0000000012"), Some(12));
        assert_eq!(number("release0000000012"), Some(12));
        // A znode that is called release7 but for its number.
        assert_eq!(number("release70000000012"), Some(12));
        assert_eq!(number("lock-1234567890"), Some(1_234_567_890));
        assert_eq!(number("n2147483647"), Some(i32::MAX));
        assert_eq!(number("größe-0000000003"), Some(3));
    }

    #[test]
    fn what_zookeeper_would_not_write_is_no_number() {
        for name in [
            "",
            "current",
            "123456789",
            "n-123456789",
            "n-000000005",
            "2147483648",
            "n9999999999",
            "0000000001x",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn the_counter_is_below_zero_after_its_wrap() {
        assert_eq!(number("-2147483648"), Some(i32::MIN));
        assert_eq!(number("-2147483647"), Some(-i32::MAX));
        assert_eq!(number("-000000005"), Some(-5));
        assert_eq!(number("n-2147483648"), Some(i32::MIN));
        assert_eq!(number("lock--2147483648"), Some(i32::MIN));
        assert_eq!(number("lock--2147483647"), Some(-i32::MAX));
        assert_eq!(number("lock--1000000000"), Some(-1_000_000_000));
        assert_eq!(number("lock--999999999"), Some(-999_999_999));
        assert_eq!(number("lock--000000005"), Some(-5));
        // Two dashes before a number that has zeros before it, as one with a sign has not.
        assert_eq!(number("lock--0000000005"), Some(5));
    }

    #[test]
    fn the_newest_has_the_highest_number_and_the_others_do_not_count() {
        assert_eq!(newest_of(&[]), None);
        assert_eq!(newest_of(&["current", "lock"]), None);
        assert_eq!(newest_of(&["z-0000000009", "a-0000000010", "current"]), Some("a-0000000010".into()));
        assert_eq!(newest_of(&["n-0000000002", "n-0000000001"]), Some("n-0000000002".into()));
    }

    #[test]
    fn the_first_after_the_wrap_is_newer_than_the_last_before_it() {
        assert_eq!(newest_of(&["n-2147483646", "n-2147483647", "n-2147483648"]), Some("n-2147483648".into()));
        assert_eq!(newest_of(&["n--2147483648", "n-2147483647"]), Some("n--2147483648".into()));
        assert_eq!(newest_of(&["n--000000001", "n-0000000000"]), Some("n-0000000000".into()));
        let of = |name| Sequence::of(name).unwrap();
        assert!(!of("n2147483647").is_after(of("n-2147483648")));
        assert!(!of("n0000000001").is_after(of("n0000000001")));
    }
}
