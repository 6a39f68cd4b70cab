//! The best and the second best of a column.

/// What a figure is among those of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The largest.
    Best,
    /// The second largest.
    Second,
    /// Any other, and every figure of a column that has only one.
    None,
}

/// The marks of the means in a column. Figures that are printed alike, in percent with one decimal, are marked alike.
pub fn marks(means: &[Option<f64>]) -> Vec<Mark> {
    let shown: Vec<Option<i64>> = means.iter().map(|mean| mean.map(|mean| (1000.0 * mean).round() as i64)).collect();
    let mut ranked: Vec<i64> = shown.iter().flatten().copied().collect();
    let alone = ranked.len() < 2;
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.dedup();
    let mark = |value: &Option<i64>| match value {
        Some(value) if !alone && ranked.first() == Some(value) => Mark::Best,
        Some(value) if !alone && ranked.get(1) == Some(value) => Mark::Second,
        _ => Mark::None,
    };
    shown.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_look_alike_are_marked_alike() {
        use Mark::{Best, None as Plain, Second};
        let of = |means: &[f64]| marks(&means.iter().map(|mean| Some(*mean)).collect::<Vec<_>>());
        assert_eq!(of(&[0.5, 0.9, 0.7]), [Plain, Best, Second]);
        assert_eq!(of(&[0.9004, 0.8996, 0.7, 0.6]), [Best, Best, Second, Plain]);
        assert_eq!(of(&[0.4]), [Plain]);
        assert_eq!(of(&[0.4, 0.4]), [Best, Best]);
        assert_eq!(marks(&[None, Some(0.4), None, Some(0.3)]), [Plain, Best, Plain, Second]);
        assert!(marks(&[]).is_empty());
    }
}
