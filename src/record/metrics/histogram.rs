//! How often something took how long. Pure.

use std::time::Duration;

/// Counts in buckets, each up to and with its bound.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// In seconds, rising.
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one with these bounds, in seconds, rising.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts what took this long.
    pub fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.counts[self.bounds.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
    }

    /// Each bound with how much was not above it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut so_far = 0;
        self.bounds.iter().zip(&self.counts).map(move |(bound, count)| {
            so_far += count;
            (*bound, so_far)
        })
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of it took, in seconds.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_all_that_is_not_above_its_bound() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for milliseconds in [100, 500, 501, 1000, 5000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(0.5, 2), (1.0, 4)]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 7.101).abs() < 1e-9);
    }
}
