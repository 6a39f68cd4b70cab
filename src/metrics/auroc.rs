//! Area under the receiver operating characteristic.

/// The probability that an anomalous sample scores higher than a normal one, a tie counting half.
///
/// This is the Mann-Whitney statistic divided by the number of pairs, and equals scikit-learn's `roc_auc_score`. Pairs
/// are counted in integers; the only rounding is that of the final quotient.
///
/// `None` if the slices differ in length, if either class is absent, or if a score is NaN.
pub fn auroc(scores: &[f32], anomalous: &[bool]) -> Option<f64> {
    if scores.len() != anomalous.len() || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let mut samples: Vec<(f32, bool)> = scores.iter().copied().zip(anomalous.iter().copied()).collect();
    samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut normal_below, mut anomalous_below, mut half_wins) = (0u128, 0u128, 0u128);
    // `==` rather than the total order: 0.0 and -0.0 tie.
    for tied in samples.chunk_by(|a, b| a.0 == b.0) {
        let here = tied.iter().filter(|sample| sample.1).count() as u128;
        let normal_here = tied.len() as u128 - here;
        half_wins += here * (2 * normal_below + normal_here);
        normal_below += normal_here;
        anomalous_below += here;
    }
    let pairs = normal_below * anomalous_below;
    (pairs > 0).then(|| half_wins as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_scikit_learn_manual() {
        assert_eq!(auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Some(0.75));
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(auroc(&[0.5, 0.5], &[true, false]), Some(0.5));
        assert_eq!(auroc(&[0.0, -0.0, 1.0], &[true, false, true]), Some(0.75));
        assert_eq!(auroc(&[1.0, 2.0, 2.0, 3.0], &[false, true, false, true]), Some(0.875));
        assert_eq!(auroc(&[f32::NEG_INFINITY, f32::INFINITY], &[false, true]), Some(1.0));
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(auroc(&[], &[]), None);
        assert_eq!(auroc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(auroc(&[1.0, 2.0], &[false, false]), None);
        assert_eq!(auroc(&[1.0], &[true, false]), None);
        assert_eq!(auroc(&[1.0, f32::NAN], &[true, false]), None);
    }

    proptest! {
        /// Few distinct scores, so that ties are common.
        #[test]
        fn equals_the_count_over_all_pairs(samples in prop::collection::vec((0u8..6, any::<bool>()), 0..40)) {
            let (scores, truth): (Vec<f32>, Vec<bool>) = samples.iter().map(|&(s, t)| (f32::from(s), t)).unzip();
            let (mut wins, mut pairs) = (0.0, 0.0);
            for &(a, _) in samples.iter().filter(|sample| sample.1) {
                for &(n, _) in samples.iter().filter(|sample| !sample.1) {
                    pairs += 1.0;
                    wins += if a > n { 1.0 } else if a == n { 0.5 } else { 0.0 };
                }
            }
            prop_assert_eq!(auroc(&scores, &truth), (pairs > 0.0).then(|| wins / pairs));
        }
    }
}
