//! The weighted choice between groups.

use parking_lot::Mutex;

/// Smooth weighted round robin (the algorithm of nginx): in any run of as many choices as the weights' sum, each
/// entry is chosen exactly as often as its weight says, spread as evenly as can be. It needs no randomness, so a
/// share can be asserted exactly.
#[derive(Debug)]
pub(crate) struct SmoothChoice {
    weights: Vec<u32>,
    current: Mutex<Vec<i64>>,
}

impl SmoothChoice {
    pub(crate) fn new(weights: Vec<u32>) -> Self {
        let current = Mutex::new(vec![0; weights.len()]);
        Self { weights, current }
    }

    /// The index of the next entry; `None` when every weight is 0.
    pub(crate) fn next(&self) -> Option<usize> {
        let total: i64 = self.weights.iter().map(|weight| i64::from(*weight)).sum();
        let mut current = self.current.lock();
        let mut best: Option<(usize, &mut i64)> = None;
        for (index, (weight, value)) in self.weights.iter().zip(current.iter_mut()).enumerate() {
            if *weight == 0 {
                continue;
            }
            *value += i64::from(*weight);
            if best.as_ref().is_none_or(|(_, most)| *value > **most) {
                best = Some((index, value));
            }
        }
        let (index, value) = best?;
        *value -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(choice: &SmoothChoice, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; choice.weights.len()];
        for _ in 0..picks {
            counts[choice.next().unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn shares_are_exact_over_every_period() {
        let cases: [(&[u32], usize, &[usize]); 7] = [
            (&[20, 80], 5, &[1, 4]),
            (&[20, 80], 1000, &[200, 800]),
            (&[1, 999], 1000, &[1, 999]),
            (&[50, 50], 2, &[1, 1]),
            (&[0, 100], 10, &[0, 10]),
            (&[5, 1, 1], 7, &[5, 1, 1]),
            (&[0, 3, 0, 1], 8, &[0, 6, 0, 2]),
        ];
        for (weights, picks, expected) in cases {
            let choice = SmoothChoice::new(weights.to_vec());
            assert_eq!(counts(&choice, picks), expected, "{weights:?}");
            assert_eq!(counts(&choice, picks), expected, "{weights:?} again");
        }
    }

    #[test]
    fn picks_are_spread_not_bunched() {
        let choice = SmoothChoice::new(vec![5, 1, 1]);
        let picks: Vec<usize> = (0..7).filter_map(|_| choice.next()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn nothing_is_chosen_when_all_weights_are_zero() {
        assert_eq!(SmoothChoice::new(vec![0, 0]).next(), None);
        assert_eq!(SmoothChoice::new(Vec::new()).next(), None);
    }
}
