//! Whether two AUROCs differ by more than chance: DeLong, DeLong and Clarke-Pearson, 1988.
//!
//! An AUROC is a mean over pairs of a good and a defective image. Its variance follows from the variance, over images of a kind, of
//! the mean over the pairs of one image. Two methods on the same images are correlated, so the variance of their difference is
//! computed from the differences per image.

/// With fewer images of a kind their variance is not estimated.
pub const LEAST: usize = 5;

/// Half the width of the 95 % interval of a normal distribution, in standard deviations.
const NORMAL_95: f64 = 1.959_963_984_540_054;

/// The AUROC, and for each good and each defective image the share of its pairs in the right order.
struct Placed {
    auroc: f64,
    good: Vec<f64>,
    bad: Vec<f64>,
}

fn place(good: &[f32], bad: &[f32]) -> Placed {
    let won = |bad: f32, good: f32| {
        if bad > good {
            1.0
        } else if bad == good {
            0.5
        } else {
            0.0
        }
    };
    let mean = |sum: f64, count: usize| sum / count as f64;
    let of_bad: Vec<f64> = bad.iter().map(|&b| mean(good.iter().map(|&g| won(b, g)).sum(), good.len())).collect();
    let of_good = good.iter().map(|&g| mean(bad.iter().map(|&b| won(b, g)).sum(), bad.len())).collect();
    Placed { auroc: mean(of_bad.iter().sum(), bad.len()), good: of_good, bad: of_bad }
}

/// The variance of the mean of `values`.
fn variance_of_mean(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    squares / (values.len() - 1) as f64 / values.len() as f64
}

/// Half the width of the 95 % interval of a method's AUROC; `None` with too few images of a kind.
pub fn half_width(good: &[f32], bad: &[f32]) -> Option<f64> {
    let placed = (good.len().min(bad.len()) >= LEAST).then(|| place(good, bad))?;
    Some(NORMAL_95 * (variance_of_mean(&placed.good) + variance_of_mean(&placed.bad)).sqrt())
}

/// The difference of the AUROCs of two methods on the same images, in the same order, and half the width of its 95 % interval, as
/// in [`half_width`].
pub fn difference([good_a, bad_a]: [&[f32]; 2], [good_b, bad_b]: [&[f32]; 2]) -> (f64, Option<f64>) {
    let (a, b) = (place(good_a, bad_a), place(good_b, bad_b));
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let (good, bad) = (apart(&a.good, &b.good), apart(&a.bad, &b.bad));
    // This equals the sum of both variances minus twice the covariance.
    let half = (good.len().min(bad.len()) >= LEAST)
        .then(|| NORMAL_95 * (variance_of_mean(&good) + variance_of_mean(&bad)).sqrt());
    (a.auroc - b.auroc, half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inctrl::internals::{STEP, mix};

    fn normal(state: &mut u64) -> f32 {
        let mut uniform = || {
            *state = state.wrapping_add(STEP);
            ((mix(*state) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        let (a, b) = (uniform(), uniform());
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    }

    /// Twenty good and ten bad images, judged by two methods that see a part of the same noise.
    fn sample(state: &mut u64) -> [[Vec<f32>; 2]; 2] {
        let mut kind = |shift: f32, count: usize| -> [Vec<f32>; 2] {
            let both: Vec<[f32; 2]> = (0..count)
                .map(|_| {
                    let common = normal(state);
                    [0, 1].map(|_| common + normal(state) + shift)
                })
                .collect();
            [0, 1].map(|method| both.iter().map(|scores| scores[method]).collect())
        };
        let ([good_a, good_b], [bad_a, bad_b]) = (kind(0.0, 20), kind(1.0, 10));
        [[good_a, bad_a], [good_b, bad_b]]
    }

    /// Equal methods differ by more than the half width in 5 of 100 cases. Of 2000 cases that is 100 with a standard deviation of
    /// 9.7; the variance is an estimate, as in Student's distribution, whose tails at 10 images are some 1.6 times as heavy.
    #[test]
    fn equal_methods_are_told_apart_about_as_often_as_promised() {
        let mut state = 7;
        let mut apart = 0;
        for _ in 0..2000 {
            let [[good_a, bad_a], [good_b, bad_b]] = sample(&mut state);
            let (difference, half) = difference([&good_a, &bad_a], [&good_b, &bad_b]);
            apart += usize::from(difference.abs() > half.unwrap());
        }
        assert!((60..=210).contains(&apart), "{apart} of 2000");
    }

    #[test]
    fn the_variance_of_a_difference_takes_out_what_is_common() {
        let mut state = 3;
        let [a, b] = sample(&mut state);
        let own = half_width(&a[0], &a[1]).unwrap();
        assert_eq!(difference([&a[0], &a[1]], [&a[0], &a[1]]), (0.0, Some(0.0)));
        let (_, both) = difference([&a[0], &a[1]], [&b[0], &b[1]]);
        let other = half_width(&b[0], &b[1]).unwrap();
        assert!(both.unwrap() < (own * own + other * other).sqrt(), "{both:?}, {own}, {other}");
    }

    /// By hand: of 5 good and 5 bad, one bad is below two goods and level with one.
    #[test]
    fn by_hand() {
        let (good, bad) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 3.0]);
        let placed = place(&good, &bad);
        assert_eq!(placed.auroc, (4.0 + 0.5) / 5.0);
        assert_eq!(placed.bad, [1.0, 1.0, 1.0, 1.0, 0.5]);
        assert_eq!(placed.good, [1.0, 1.0, 0.9, 0.8, 0.8]);
        // Sample variances 0.05 and 0.01, over 5 each.
        let expected = NORMAL_95 * (0.05f64 / 5.0 + 0.01 / 5.0).sqrt();
        assert!((half_width(&good, &bad).unwrap() - expected).abs() <= 1e-12);
        assert_eq!(half_width(&good, &bad[..4]), None);
    }
}
