//! Percentiles of what was measured.

use std::time::Duration;

/// Measured durations, in order of size.
#[derive(Clone, Debug)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// A sample of these.
    pub fn new(mut durations: Vec<Duration>) -> Self {
        durations.sort();
        Self(durations)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest that `percent` percent do not exceed (nearest rank), in milliseconds; NaN of an empty sample.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sample = Sample::new((1..=200).rev().map(Duration::from_millis).collect());
        let percentiles = [50, 99, 100].map(|percent| sample.percentile(percent).round() as i64);
        assert_eq!(percentiles, [100, 198, 200]);
        assert!(Sample::new(Vec::new()).percentile(50).is_nan());
        assert!((Sample::new(vec![Duration::from_millis(7)]).percentile(99) - 7.0).abs() < 1e-9);
    }
}
