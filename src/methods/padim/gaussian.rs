//! The Gaussian of each place, in f64: its mean, and the directions in which the images differ there with what a coordinate along
//! each counts.

use nalgebra::DMatrix;

use super::RIDGE;
use crate::backend::cpu::Cpu;
use crate::error::{Error, ErrorKind, Result};

/// Variances below this are rounding: what they would count differs from what the ridge alone does by less than rounding, too.
const NONE: f64 = 1e-9 * RIDGE;
/// The same beside the largest of a place, whose products round to that.
const NOISE: f64 = 1e-12;

/// Of all places.
pub(super) struct Gaussians {
    /// `[N, D]`.
    pub means: Vec<f32>,
    /// `[N, M, D]`, orthonormal; zeros where a place has fewer.
    pub directions: Vec<f32>,
    /// `[N, M]`, `1 / (variance + ridge)`; zero likewise.
    pub weights: Vec<f32>,
}

/// One place's part of them.
struct Place<'a> {
    cell: usize,
    mean: &'a mut [f32],
    directions: &'a mut [f32],
    weights: &'a mut [f32],
    failed: bool,
}

/// From tokens `[K, N, D]`; `most` directions of each place.
///
/// # Errors
/// [`ErrorKind::Numeric`] where the numbers overflow.
pub(super) fn each_place(
    cpu: &mut Cpu,
    tokens: &[f32],
    [count, cells, depth]: [usize; 3],
    most: usize,
) -> Result<Gaussians> {
    let mut means = vec![0.0; cells * depth];
    let mut directions = vec![0.0; cells * most * depth];
    let mut weights = vec![0.0; cells * most];
    let parts = directions.chunks_exact_mut(most * depth).zip(weights.chunks_exact_mut(most));
    let mut places: Vec<Place<'_>> = means
        .chunks_exact_mut(depth)
        .zip(parts)
        .enumerate()
        .map(|(cell, (mean, (directions, weights)))| Place { cell, mean, directions, weights, failed: false })
        .collect();
    cpu.each_item(&mut places, |place, _| {
        let rows: Vec<&[f32]> = (0..count).map(|k| &tokens[(k * cells + place.cell) * depth..][..depth]).collect();
        place.failed = fit(&rows, place).is_none();
    });
    if places.iter().any(|place| place.failed) {
        return Err(Error::new(ErrorKind::Numeric, "the covariance of the normal patches is not finite"));
    }
    Ok(Gaussians { means, directions, weights })
}

/// The Gaussian of rows; nothing where they overflow.
fn fit(rows: &[&[f32]], place: &mut Place<'_>) -> Option<()> {
    let (count, depth) = (rows.len(), place.mean.len());
    let mean: Vec<f64> =
        (0..depth).map(|i| rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / count as f64).collect();
    place.mean.iter_mut().zip(&mean).for_each(|(out, mean)| *out = *mean as f32);
    if count < 2 {
        return Some(());
    }
    let scale = 1.0 / (count as f64 - 1.0).sqrt();
    let away = DMatrix::from_fn(count, depth, |k, i| (f64::from(rows[k][i]) - mean[i]) * scale);
    // The smaller of the two products has the same variances.
    let by_images = count <= depth;
    let products = if by_images { &away * away.transpose() } else { away.transpose() * &away };
    if !products.iter().all(|x| x.is_finite()) {
        return None;
    }
    let eigen = products.try_symmetric_eigen(f64::EPSILON, 0)?;
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let largest = eigen.eigenvalues[order[0]];
    let most = place.weights.len();
    let kept = order.iter().take(most).filter(|&&axis| eigen.eigenvalues[axis] > NONE.max(NOISE * largest));
    let mut found: Vec<Vec<f64>> = Vec::new();
    for &axis in kept {
        let vector = eigen.eigenvectors.column(axis);
        let mut direction: Vec<f64> = if by_images {
            (away.transpose() * vector).iter().copied().collect()
        } else {
            vector.iter().copied().collect()
        };
        // Divided by a small variance, rounding would lean towards the directions before.
        for other in &found {
            let along: f64 = other.iter().zip(&direction).map(|(a, b)| a * b).sum();
            direction.iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
        }
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        direction.iter_mut().for_each(|x| *x /= length);
        let at = found.len();
        place.weights[at] = (1.0 / (eigen.eigenvalues[axis] + RIDGE)) as f32;
        place.directions[at * depth..][..depth].iter_mut().zip(&direction).for_each(|(out, x)| *out = *x as f32);
        found.push(direction);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split_mix::{STEP, mix};

    /// Against the inverse of the covariance itself.
    #[test]
    fn distances_are_those_of_the_full_matrix() {
        for (count, cells, depth) in [(1, 2, 3), (2, 3, 5), (4, 2, 6), (9, 2, 4), (30, 1, 7), (5, 2, 5)] {
            let number = |i: usize| (mix((i as u64 + 1).wrapping_mul(STEP)) >> 40) as f32 / (1 << 24) as f32 - 0.5;
            let mut tokens: Vec<f32> = (0..count * cells * depth).map(number).collect();
            if count == 4 {
                // Two images that are the same.
                tokens.copy_within(0..cells * depth, cells * depth);
            }
            let most = (count - 1).clamp(1, depth);
            let found = each_place(&mut Cpu::new(2).unwrap(), &tokens, [count, cells, depth], most).unwrap();
            for cell in 0..cells {
                let row = |k: usize, i: usize| f64::from(tokens[(k * cells + cell) * depth + i]);
                let mean = |i: usize| (0..count).map(|k| row(k, i)).sum::<f64>() / count as f64;
                let covariance = DMatrix::from_fn(depth, depth, |i, j| {
                    let sum: f64 = (0..count).map(|k| (row(k, i) - mean(i)) * (row(k, j) - mean(j))).sum();
                    sum / (count.max(2) - 1) as f64 + if i == j { RIDGE } else { 0.0 }
                });
                let delta = DMatrix::from_fn(depth, 1, |i, _| f64::from(number(7919 + i)));
                let expected = (delta.transpose() * covariance.try_inverse().unwrap() * &delta)[0];
                let axis = |j: usize| &found.directions[(cell * most + j) * depth..][..depth];
                let z: Vec<f64> =
                    (0..most).map(|j| axis(j).iter().zip(delta.iter()).map(|(a, d)| f64::from(*a) * d).sum()).collect();
                let rest: f64 = (0..depth)
                    .map(|i| (delta[i] - (0..most).map(|j| z[j] * f64::from(axis(j)[i])).sum::<f64>()).powi(2))
                    .sum();
                let weights = &found.weights[cell * most..][..most];
                let along: f64 = weights.iter().zip(&z).map(|(w, z)| f64::from(*w) * z * z).sum();
                let distance = rest / RIDGE + along;
                // Directions and weights are stored in f32.
                assert!(
                    (distance - expected).abs() <= 1e-5 * expected,
                    "{count} x {depth}: {distance} is not {expected}"
                );
                assert!((f64::from(found.means[cell * depth]) - mean(0)).abs() <= 1e-7);
            }
        }
    }
}
