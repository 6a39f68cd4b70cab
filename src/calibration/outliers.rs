//! Scores that stick out among others.

/// Median and standard deviation of scores, with the deviation estimated from the median distance to the median; `None`
/// without scores.
pub fn spread(scores: &[f32]) -> Option<(f32, f32)> {
    if scores.is_empty() {
        return None;
    }
    let middle = median(scores.to_vec());
    // 0.6745 is the median distance of a normal distribution with deviation 1. If most scores are equal, a small floor
    // keeps rounding from counting as an outlier.
    let deviation = (median(scores.iter().map(|x| (x - middle).abs()).collect()) / 0.6745).max(1e-4);
    Some((middle, deviation))
}

/// Which of `scores` are outliers: more than 3.5 standard deviations above the median, with the deviation estimated
/// from the median distance to it (Iglewicz and Hoaglin, 1993). Fewer than four scores have no outliers.
pub fn outliers(scores: &[f32]) -> Vec<bool> {
    let Some((middle, deviation)) = spread(scores).filter(|_| scores.len() >= 4) else {
        return vec![false; scores.len()];
    };
    scores.iter().map(|x| (x - middle) / deviation > 3.5).collect()
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) { 0.5 * (values[half - 1] + values[half]) } else { values[half] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_above_the_rest_sticks_out() {
        assert_eq!(outliers(&[0.1, 0.11, 0.12, 0.1, 0.5]), [false, false, false, false, true]);
        assert_eq!(outliers(&[0.1, 0.11, 0.12, 0.1, 0.0]), [false; 5]);
        assert_eq!(outliers(&[0.2; 4]), [false; 4]);
        assert_eq!(outliers(&[0.1, 0.1, 0.9]), [false; 3]);
    }
}
