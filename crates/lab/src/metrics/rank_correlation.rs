//! Spearman's rank correlation: whether two lists of numbers have the same order.

/// The rank correlation of two lists of the same length, with mean ranks for equal numbers. `None` where it is not
/// defined: for lists of different lengths, for fewer than two numbers, or if all numbers of a list are equal.
pub fn rank_correlation(a: &[f32], b: &[f32]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    // Both have this mean, whatever is equal.
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let moment = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    let spread = (moment(&a, &a) * moment(&b, &b)).sqrt();
    (spread > 0.0).then(|| moment(&a, &b) / spread)
}

/// The place of each number in ascending order, from 1; the mean of their places for equal numbers.
fn ranks(x: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_unstable_by(|&i, &j| x[i].total_cmp(&x[j]));
    let (mut ranks, mut first) = (vec![0.0; x.len()], 0);
    for group in order.chunk_by(|&i, &j| x[i] == x[j]) {
        let mean = (2 * first + group.len() + 1) as f64 / 2.0;
        group.iter().for_each(|&i| ranks[i] = mean);
        first += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: ranks 1, 2.5, 2.5, 4 and 2, 1, 3, 4; products 4.5, 2.25 + 4.5 = 4.5 of spreads 4.5 and 5.
    #[test]
    fn by_hand() {
        assert_eq!(ranks(&[1.0, 5.0, 5.0, 9.0]), [1.0, 2.5, 2.5, 4.0]);
        let found = rank_correlation(&[1.0, 5.0, 5.0, 9.0], &[0.2, 0.1, 0.3, 0.4]).unwrap();
        assert!((found - 3.0 / (4.5f64 * 5.0).sqrt()).abs() <= 1e-12, "{found}");
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[1.0, 10.0, 1e6]), Some(1.0));
        assert_eq!(rank_correlation(&[1.0, 2.0, 3.0], &[3.0, -2.0, -5.0]), Some(-1.0));
        for undefined in [([1.0, 1.0], [1.0, 2.0]), ([0.0, -0.0], [1.0, 2.0])] {
            assert_eq!(rank_correlation(&undefined.0, &undefined.1), None);
        }
        assert_eq!(rank_correlation(&[1.0], &[2.0]), None);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[2.0]), None);
    }
}
