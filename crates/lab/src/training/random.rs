//! Random numbers determined by a few integers.

use inctrl::internals::{STEP, mix};

/// SplitMix64: its counter.
pub(super) struct Random(u64);

impl Random {
    /// The stream for `key`: seed, purpose, and whatever distinguishes its uses. The order of uses does not matter, so
    /// a run can continue in the middle.
    pub fn new(key: &[u64]) -> Self {
        let mut state = 0;
        for &part in key {
            state = Random(state ^ part).next();
        }
        Random(state)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// At least 0 and less than 1, in steps of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `0..n`; `n` is not 0. The bias is n / 2⁶⁴.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// `count` of the items, each at most once, in random order; all of them if there are fewer.
    pub fn choose<T: Copy>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        let count = count.min(items.len());
        for i in 0..count {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
        items.truncate(count);
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_as_likely_as_any_other() {
        let mut counts = [[0u32; 5]; 3];
        for i in 0..30_000 {
            let chosen = Random::new(&[7, i]).choose(vec![0, 1, 2, 3, 4], 3);
            for (place, &item) in chosen.iter().enumerate() {
                counts[place][item] += 1;
            }
            assert!(chosen[0] != chosen[1] && chosen[0] != chosen[2] && chosen[1] != chosen[2]);
        }
        // Binomial with mean 6000 and standard deviation 69: five of these.
        assert!(counts.as_flattened().iter().all(|&count| count.abs_diff(6000) < 350), "{counts:?}");
        assert_eq!(Random::new(&[1]).choose(vec![1, 2], 9).len(), 2);
    }

    #[test]
    fn keys_name_streams() {
        let draw = |key: &[u64]| Random::new(key).unit();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert!(draw(&[1, 2]) != draw(&[2, 1]) && draw(&[1]) != draw(&[1, 0]) && draw(&[0]) != draw(&[1]));
        assert!((0..1000).all(|i| (0.0..1.0).contains(&draw(&[i]))));
    }
}
