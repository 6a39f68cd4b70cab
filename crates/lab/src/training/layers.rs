//! The layers of the heads in f64, forward and backward, on matrices `[rows, columns]`.
//!
//! Every sum has one fixed order, so that a repeated run has the same bits.

/// Epsilon of PyTorch's batch normalisation.
const EPSILON: f64 = 1e-5;

/// Sums that [`dot`] keeps side by side: few enough for registers, enough to hide the latency of an addition.
const LANES: usize = 8;

/// `y = x Wᵀ + b`: `x` is `[rows, inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]` or empty.
pub(super) fn linear(x: &[f64], inputs: usize, weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let outputs = weight.len() / inputs;
    let mut y = Vec::with_capacity(x.len() / inputs * outputs);
    for x in x.chunks_exact(inputs) {
        for (o, w) in weight.chunks_exact(inputs).enumerate() {
            y.push(dot(x, w) + bias.get(o).copied().unwrap_or(0.0));
        }
    }
    y
}

/// The backward pass of [`linear`]: adds to the gradients of weight and bias, and to `dx` unless it is empty.
pub(super) fn linear_back(
    x: &[f64],
    inputs: usize,
    weight: &[f64],
    dy: &[f64],
    [dweight, dbias]: [&mut [f64]; 2],
    dx: &mut [f64],
) {
    let outputs = weight.len() / inputs;
    for (row, (x, dy)) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)).enumerate() {
        for (o, &d) in dy.iter().enumerate() {
            axpy(d, x, &mut dweight[o * inputs..][..inputs]);
            if !dx.is_empty() {
                axpy(d, &weight[o * inputs..][..inputs], &mut dx[row * inputs..][..inputs]);
            }
        }
        dbias.iter_mut().zip(dy).for_each(|(b, d)| *b += d);
    }
}

/// `max(x, 0)` in place; keeps NaN.
pub(super) fn relu(x: &mut [f64]) {
    x.iter_mut().filter(|x| **x < 0.0).for_each(|x| *x = 0.0);
}

/// The backward pass of [`relu`], from its output.
pub(super) fn relu_back(y: &[f64], dy: &mut [f64]) {
    dy.iter_mut().zip(y).filter(|(_, y)| **y <= 0.0).for_each(|(d, _)| *d = 0.0);
}

/// What the backward pass of [`batch_norm`] needs, and what enters the running statistics.
pub(super) struct Normalised {
    /// `(x - mean) / deviation`, `[rows, columns]`.
    standard: Vec<f64>,
    /// One over the deviation, `[columns]`.
    inverse: Vec<f64>,
    /// Mean of each column.
    pub mean: Vec<f64>,
    /// Variance of each column, divided by `rows - 1`.
    pub unbiased: Vec<f64>,
}

/// Batch normalisation with the statistics of the batch, as PyTorch trains: `y = (x - mean) / sqrt(var + 1e-5) * scale
/// + shift`, where the variance is divided by the number of rows. `x` is `[rows, columns]` with at least two rows.
pub(super) fn batch_norm(x: &[f64], scale: &[f64], shift: &[f64]) -> (Vec<f64>, Normalised) {
    let columns = scale.len();
    let rows = x.len() / columns;
    let mut mean = vec![0.0; columns];
    x.chunks_exact(columns).for_each(|row| axpy(1.0, row, &mut mean));
    mean.iter_mut().for_each(|m| *m /= rows as f64);
    let mut squares = vec![0.0; columns];
    for row in x.chunks_exact(columns) {
        squares.iter_mut().zip(row.iter().zip(&mean)).for_each(|(s, (x, m))| *s += (x - m) * (x - m));
    }
    let inverse: Vec<f64> = squares.iter().map(|s| 1.0 / (s / rows as f64 + EPSILON).sqrt()).collect();
    let unbiased = squares.iter().map(|s| s / (rows - 1) as f64).collect();
    let column = |i: usize| i % columns;
    let standard: Vec<f64> = x.iter().enumerate().map(|(i, x)| (x - mean[column(i)]) * inverse[column(i)]).collect();
    let y = standard.iter().enumerate().map(|(i, s)| s * scale[column(i)] + shift[column(i)]).collect();
    (y, Normalised { standard, inverse, mean, unbiased })
}

/// The backward pass of [`batch_norm`]: adds to the gradients of scale and shift and returns that of `x`.
pub(super) fn batch_norm_back(
    kept: &Normalised,
    scale: &[f64],
    dy: &[f64],
    [dscale, dshift]: [&mut [f64]; 2],
) -> Vec<f64> {
    let columns = scale.len();
    let rows = (dy.len() / columns) as f64;
    // Sums over the batch of dy and of dy times the standardised input.
    let (mut sum, mut product) = (vec![0.0; columns], vec![0.0; columns]);
    for (dy, standard) in dy.chunks_exact(columns).zip(kept.standard.chunks_exact(columns)) {
        axpy(1.0, dy, &mut sum);
        product.iter_mut().zip(dy.iter().zip(standard)).for_each(|(p, (d, s))| *p += d * s);
    }
    axpy(1.0, &product, dscale);
    axpy(1.0, &sum, dshift);
    let dx = |(i, (d, s)): (usize, (&f64, &f64))| {
        let c = i % columns;
        scale[c] * kept.inverse[c] * (d - sum[c] / rows - s * product[c] / rows)
    };
    dy.iter().zip(&kept.standard).enumerate().map(dx).collect()
}

/// Batch normalisation with running statistics, as in PyTorch's evaluation mode, in place.
pub(super) fn batch_norm_running(x: &mut [f64], scale: &[f64], shift: &[f64], mean: &[f64], variance: &[f64]) {
    let columns = scale.len();
    for (i, x) in x.iter_mut().enumerate() {
        let c = i % columns;
        *x = (*x - mean[c]) / (variance[c] + EPSILON).sqrt() * scale[c] + shift[c];
    }
}

/// `y += a x`.
pub(super) fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    fn numbers(random: &mut Random, len: usize) -> Vec<f64> {
        (0..len).map(|_| 2.0 * random.unit() - 1.0).collect()
    }

    /// Holds `gradient` against central differences of `loss` at `x`, in every coordinate.
    ///
    /// With a step of 1e-5 the truncation error is of the order of 1e-10 times the third derivative, rounding adds
    /// 1e-11.
    fn check(what: &str, x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
        const STEP: f64 = 1e-5;
        assert_eq!(x.len(), gradient.len(), "{what}");
        assert!(gradient.iter().any(|g| g.abs() > 1e-3), "{what}: the gradient is zero");
        for i in 0..x.len() {
            let at = |step: f64| {
                let mut moved = x.to_vec();
                moved[i] += step;
                loss(&moved)
            };
            let (expected, found) = ((at(STEP) - at(-STEP)) / (2.0 * STEP), gradient[i]);
            let tolerance = 1e-8 * (1.0 + expected.abs());
            assert!((found - expected).abs() <= tolerance, "{what}, element {i}: {found}, differences say {expected}");
        }
    }

    /// A loss with a different weight for every output.
    fn weighted(y: &[f64], weights: &[f64]) -> f64 {
        y.iter().zip(weights).map(|(y, w)| y * w).sum()
    }

    #[test]
    fn a_linear_layer_has_the_gradients_of_finite_differences() {
        let mut random = Random::new(&[1]);
        // More inputs than lanes, and a rest.
        let (rows, inputs, outputs) = (3, 11, 4);
        let (x, w, b) = (
            numbers(&mut random, rows * inputs),
            numbers(&mut random, outputs * inputs),
            numbers(&mut random, outputs),
        );
        let weights = numbers(&mut random, rows * outputs);
        let (mut dw, mut db, mut dx) = (vec![0.0; w.len()], vec![0.0; b.len()], vec![0.0; x.len()]);
        linear_back(&x, inputs, &w, &weights, [&mut dw, &mut db], &mut dx);
        check("x", &x, &dx, |x| weighted(&linear(x, inputs, &w, &b), &weights));
        check("weight", &w, &dw, |w| weighted(&linear(&x, inputs, w, &b), &weights));
        check("bias", &b, &db, |b| weighted(&linear(&x, inputs, &w, b), &weights));
    }

    #[test]
    fn a_relu_has_the_gradient_of_finite_differences() {
        let mut random = Random::new(&[2]);
        let (x, weights) = (numbers(&mut random, 20), numbers(&mut random, 20));
        let forward = |x: &[f64]| {
            let mut y = x.to_vec();
            relu(&mut y);
            y
        };
        let mut dx = weights.clone();
        relu_back(&forward(&x), &mut dx);
        assert!(dx.contains(&0.0));
        check("x", &x, &dx, |x| weighted(&forward(x), &weights));
        assert!(forward(&[f64::NAN])[0].is_nan());
    }

    #[test]
    fn batch_normalisation_has_the_gradients_of_finite_differences() {
        let mut random = Random::new(&[3]);
        let (rows, columns) = (5, 3);
        let (x, scale, shift) =
            (numbers(&mut random, rows * columns), numbers(&mut random, columns), numbers(&mut random, columns));
        let weights = numbers(&mut random, rows * columns);
        let (mut dscale, mut dshift) = (vec![0.0; columns], vec![0.0; columns]);
        let (_, kept) = batch_norm(&x, &scale, &shift);
        let dx = batch_norm_back(&kept, &scale, &weights, [&mut dscale, &mut dshift]);
        check("x", &x, &dx, |x| weighted(&batch_norm(x, &scale, &shift).0, &weights));
        check("scale", &scale, &dscale, |scale| weighted(&batch_norm(&x, scale, &shift).0, &weights));
        check("shift", &shift, &dshift, |shift| weighted(&batch_norm(&x, &scale, shift).0, &weights));
    }

    #[test]
    fn running_statistics_of_the_batch_itself_normalise_alike() {
        let mut random = Random::new(&[4]);
        let (x, scale, shift) = (numbers(&mut random, 8), numbers(&mut random, 2), numbers(&mut random, 2));
        let (y, kept) = batch_norm(&x, &scale, &shift);
        // Four rows: the biased variance is three quarters of the unbiased one.
        let variance: Vec<f64> = kept.unbiased.iter().map(|v| v * 0.75).collect();
        let mut running = x.clone();
        batch_norm_running(&mut running, &scale, &shift, &kept.mean, &variance);
        assert!(y.iter().zip(&running).all(|(a, b)| (a - b).abs() <= 1e-14));
    }
}
