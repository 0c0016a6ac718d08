//! Durations, counted by their length.
//!
//! Pure, with a fixed size. The measuring task owns a histogram, and gives copies to others.

use std::time::Duration;

/// The number of durations for each of `N` bounds, their total number, and their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// Rising.
    bounds: &'static [Duration; N],
    /// Each duration is counted once, in the first bucket that fits.
    counts: [u64; N],
    beyond: u64,
    sum: Duration,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram. `bounds` have to increase.
    pub const fn new(bounds: &'static [Duration; N]) -> Self {
        Histogram { bounds, counts: [0; N], beyond: 0, sum: Duration::ZERO }
    }

    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let place = self.bounds.partition_point(|bound| *bound < duration);
        *self.counts.get_mut(place).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Each bound with the number of durations in its bucket; the last entry has no bound, and the number of longer ones.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounded = self.bounds.iter().zip(self.counts).map(|(bound, count)| (Some(*bound), count));
        bounded.chain([(None, self.beyond)])
    }
}

/// Bounds, as microseconds.
pub const fn micros<const N: usize>(micros: [u64; N]) -> [Duration; N] {
    let mut bounds = [Duration::ZERO; N];
    let mut index = 0;
    while index < N {
        bounds[index] = Duration::from_micros(micros[index]);
        index += 1;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_where_it_fits_first() {
        static BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];
        let mut histogram = Histogram::new(&BOUNDS);
        for micros in [0, 1_000, 1_001, 10_000, 10_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(Some(BOUNDS[0]), 2), (Some(BOUNDS[1]), 2), (None, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_micros(22_002)));
    }
}
