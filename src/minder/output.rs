//! What of a child's output is kept and what is passed on. Pure.
//!
//! The last 64 KiB are kept, and what is passed on is taken from there, line by line, when there is
//! somebody to take it. A child that prints faster than that overruns what was not passed on yet, which
//! is counted; it is never made to wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::run::protocol::Dropped;

/// How much of a run's output is kept, in bytes.
pub const KEPT: usize = 64 << 10;

/// How much of a line is passed on, in bytes.
pub const LONGEST_LINE: usize = 8 << 10;

/// How long a line is at the most that counts as one, in bytes.
const ORDINARY_LINE: usize = 256;

/// How many lines are passed on at once, so that what else is said is never far behind them.
const LINES_AT_ONCE: usize = 256;

/// What stands in place of the rest of a line that is longer.
const CUT_MARK: &str = " [line cut]";

/// A run's output.
#[derive(Debug, Default)]
pub struct Output {
    kept: VecDeque<u8>,
    /// How many bytes at the end of `kept` were neither passed on nor counted as dropped.
    unsent: usize,
    /// The start of the line that comes next was passed on already; the rest of it is not.
    in_cut_line: bool,
    dropped: Dropped,
    allowance: Allowance,
}

/// Lines that are passed on, each ended by a newline, and what was dropped before them.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines {
    /// The lines.
    pub bytes: Vec<u8>,
    /// What came before them and is not among them.
    pub dropped: Dropped,
}

impl Output {
    /// Takes what a child printed.
    pub fn push(&mut self, printed: &[u8]) {
        let over = (self.kept.len() + printed.len()).saturating_sub(KEPT);
        let from_kept = over.min(self.kept.len());
        let sent = self.kept.len() - self.unsent;
        let lost = from_kept.saturating_sub(sent);
        let (front, back) = self.kept.as_slices();
        let in_front = |at: usize| at.min(front.len());
        let in_back = |at: usize| at.saturating_sub(front.len());
        self.dropped.count(&front[in_front(from_kept - lost)..in_front(from_kept)]);
        self.dropped.count(&back[in_back(from_kept - lost)..in_back(from_kept)]);
        self.kept.drain(..from_kept);
        self.unsent -= lost;
        let (overrun, last) = printed.split_at(over - from_kept);
        self.dropped.count(overrun);
        if lost > 0 || !overrun.is_empty() {
            // What is left begins in the middle of a line, or just after one; either way a new one to read.
            self.in_cut_line = false;
        }
        self.kept.extend(last);
        self.unsent += last.len();
    }

    /// The whole lines that may be passed on now, at most about `room` bytes of them and no more than one
    /// message should hold; there may be more.
    pub fn take_lines(&mut self, now: Instant, room: usize) -> Option<Lines> {
        let allowed = self.allowance.at(now).min(LINES_AT_ONCE);
        let lines = self.take(allowed, room, false)?;
        self.allowance.spend(lines.bytes.split_inclusive(|&byte| byte == b'\n').map(cost).sum());
        Some(lines)
    }

    /// All that is left, also the start of a line that never came to its end: when no more will come.
    pub fn take_rest(&mut self) -> Option<Lines> {
        self.take(usize::MAX, usize::MAX, true)
    }

    /// When `take_lines` will have something again that it held back, if it does.
    #[must_use]
    pub fn held_back_until(&self, now: Instant) -> Option<Instant> {
        let whole_line = self.unsent > LONGEST_LINE || self.unsent_bytes().any(|&byte| byte == b'\n');
        (whole_line && self.allowance.is_spent(now)).then(|| now + Allowance::PAUSE)
    }

    /// The last that was printed, at most `KEPT` bytes.
    #[must_use]
    pub fn last(&self) -> Vec<u8> {
        self.kept.iter().copied().collect()
    }

    /// What another minder has left: what was passed on of the last that was printed, what was not, and what
    /// was dropped before that.
    #[must_use]
    pub fn left(sent: &[u8], unsent: &[u8], dropped: Dropped) -> Self {
        let kept: VecDeque<u8> = sent.iter().chain(unsent).copied().collect();
        Self { kept, unsent: unsent.len(), dropped, ..Self::default() }
    }

    /// What of it was neither passed on nor counted as dropped.
    #[must_use]
    pub fn unsent(&self) -> Vec<u8> {
        self.unsent_bytes().copied().collect()
    }

    /// What was dropped since something was passed on.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Whether all of it was passed on or counted.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsent == 0
    }

    fn unsent_bytes(&self) -> impl Iterator<Item = &u8> {
        self.kept.range(self.kept.len() - self.unsent..)
    }

    fn take(&mut self, most: usize, room: usize, to_the_end: bool) -> Option<Lines> {
        let mut bytes = Vec::new();
        let (mut lines, mut spent) = (0, 0);
        while spent < most && bytes.len() < room && self.unsent > 0 {
            let newline = self.unsent_bytes().position(|&byte| byte == b'\n');
            let length = newline.unwrap_or(self.unsent);
            if newline.is_none() && !to_the_end && length <= LONGEST_LINE && !self.in_cut_line {
                break;
            }
            let start = self.kept.len() - self.unsent;
            if !self.in_cut_line {
                let begin = bytes.len();
                bytes.extend(self.kept.range(start..start + length.min(LONGEST_LINE)));
                if length > LONGEST_LINE {
                    bytes.extend(CUT_MARK.as_bytes());
                }
                bytes.push(b'\n');
                lines += 1;
                spent += cost(&bytes[begin..]);
            }
            let skipped = if self.in_cut_line { length } else { length.saturating_sub(LONGEST_LINE) };
            self.dropped.bytes += skipped as u64;
            self.in_cut_line = newline.is_none();
            self.unsent -= length + usize::from(newline.is_some());
        }
        let some = lines > 0 || (to_the_end && self.dropped != Dropped::default());
        some.then(|| Lines { bytes, dropped: std::mem::take(&mut self.dropped) })
    }
}

impl Dropped {
    fn count(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        // Of a slice, which is gone through many times as fast as what it is taken from.
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
}

/// What a line is worth of the allowance: a long one as many as the ordinary ones that would fill its place.
fn cost(line: &[u8]) -> usize {
    line.len().div_ceil(ORDINARY_LINE).max(1)
}

/// How many lines may be passed on: some at once, and then so many a second, so that a child that prints
/// without end fills neither the log's disk nor the daemon's time.
#[derive(Debug)]
struct Allowance {
    left: usize,
    refilled: Option<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: Self::AT_ONCE, refilled: None }
    }
}

impl Allowance {
    const AT_ONCE: usize = 10_000;
    const A_SECOND: usize = 1_000;
    /// How long to wait for more, once all is spent: long enough for a good handful.
    const PAUSE: Duration = Duration::from_millis(100);

    fn at(&mut self, now: Instant) -> usize {
        let since = *self.refilled.get_or_insert(now);
        let earned = (now - since).as_millis() as usize * Self::A_SECOND / 1000;
        if earned > 0 {
            self.left = (self.left + earned).min(Self::AT_ONCE);
            self.refilled = Some(now);
        }
        self.left
    }

    fn spend(&mut self, lines: usize) {
        self.left = self.left.saturating_sub(lines);
    }

    fn is_spent(&self, now: Instant) -> bool {
        self.left == 0 && self.refilled.is_some_and(|since| now - since < Self::PAUSE)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(output: &mut Output) -> (String, Dropped) {
        let mut all = (String::new(), Dropped::default());
        let now = Instant::now();
        while let Some(lines) = output.take_lines(now, 1 << 20).or_else(|| output.take_rest()) {
            all.0.push_str(&String::from_utf8(lines.bytes).unwrap());
            all.1.lines += lines.dropped.lines;
            all.1.bytes += lines.dropped.bytes;
        }
        all
    }

    #[test]
    fn a_line_is_passed_on_when_it_is_whole() {
        let mut output = Output::default();
        let now = Instant::now();
        output.push(b"one\ntw");
        assert_eq!(output.take_lines(now, 1024).unwrap().bytes, b"one\n");
        assert_eq!(output.take_lines(now, 1024), None);
        output.push(b"o\n");
        assert_eq!(output.take_lines(now, 1024).unwrap().bytes, b"two\n");
        output.push(b"three");
        assert_eq!(output.take_rest().unwrap().bytes, b"three\n");
        assert_eq!(output.last(), b"one\ntwo\nthree");
    }

    #[test]
    fn a_long_line_is_cut_with_a_mark_and_the_next_one_is_not() {
        let mut output = Output::default();
        output.push(&[b'x'; 9000]);
        output.push(&[b'y'; 9000]);
        output.push(b"\nshort\n");
        let (lines, dropped) = taken(&mut output);
        assert_eq!(lines, format!("{}{CUT_MARK}\nshort\n", "x".repeat(LONGEST_LINE)));
        assert_eq!(dropped.bytes, 18_000 - LONGEST_LINE as u64);
    }

    #[test]
    fn what_is_overrun_before_anybody_took_it_is_counted() {
        let mut output = Output::default();
        for n in 0..20_000 {
            output.push(format!("{n:07}\n").as_bytes());
        }
        let (lines, dropped) = taken(&mut output);
        assert_eq!(lines.lines().next(), Some("0011808"));
        assert_eq!(lines.lines().last(), Some("0019999"));
        assert_eq!(dropped, Dropped { lines: 11_808, bytes: 11_808 * 8 });
    }

    #[test]
    fn a_flood_is_passed_on_at_a_steady_pace_after_the_first_burst() {
        let mut output = Output::default();
        let start = Instant::now();
        let mut passed = [0, 0];
        for millis in 0..2000 {
            let now = start + Duration::from_millis(millis);
            for _ in 0..100 {
                output.push(b"flood\n");
            }
            if let Some(lines) = output.take_lines(now, 1 << 20) {
                passed[usize::from(millis >= 1000)] +=
                    lines.bytes.iter().filter(|&&byte| byte == b'\n').count();
            }
        }
        assert!((10_000..=11_000).contains(&passed[0]), "{passed:?}");
        assert!((900..=1_100).contains(&passed[1]), "{passed:?}");
        assert!(output.held_back_until(start + Duration::from_secs(2)).is_some());
    }

    #[test]
    fn a_flood_of_long_lines_is_held_back_sooner() {
        let mut output = Output::default();
        let now = Instant::now();
        let line = [&[b'x'; LONGEST_LINE - 1][..], b"\n"].concat();
        let mut passed = 0;
        for _ in 0..2000 {
            output.push(&line);
            while let Some(lines) = output.take_lines(now, 1 << 20) {
                passed += lines.bytes.len();
            }
        }
        assert!((2_000_000..3_000_000).contains(&passed), "{passed}");
    }

    proptest! {
        #[test]
        fn every_byte_is_passed_on_or_counted(pieces in prop::collection::vec((0usize..30_000, any::<bool>()), 0..30)) {
            let mut output = Output::default();
            let (mut printed, mut passed, mut dropped, mut cuts) = (0u64, 0u64, 0u64, 0u64);
            let mut take = |lines: Lines| {
                let text = String::from_utf8(lines.bytes).unwrap();
                cuts += text.matches(CUT_MARK).count() as u64;
                passed += text.len() as u64;
                dropped += lines.dropped.bytes;
            };
            for (length, newline) in pieces {
                let mut piece = vec![b'a'; length];
                if newline {
                    piece.push(b'\n');
                }
                printed += piece.len() as u64;
                output.push(&piece);
                if let Some(lines) = output.take_lines(Instant::now(), 4096) {
                    take(lines);
                }
            }
            let unfinished = u64::from(output.kept.back().is_some_and(|&last| last != b'\n'));
            if let Some(lines) = output.take_rest() {
                take(lines);
            }
            dropped += output.dropped.bytes;
            let marks = cuts * CUT_MARK.len() as u64;
            // A line that was cut, or never ended, is given the newline that it has not printed (yet).
            let accounted = passed - marks + dropped;
            prop_assert!(accounted >= printed && accounted <= printed + cuts + unfinished,
                "printed {} accounted {} cuts {} unfinished {}", printed, accounted, cuts, unfinished);
        }
    }
}
