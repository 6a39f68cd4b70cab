//! Moments for principal components, in f64: the number of rows, their mean, and the sum of products about it. Moments
//! of several images add up to those of all of them.

use nalgebra::DMatrix;

use crate::backend::cpu::Cpu;
use crate::error::{Error, ErrorKind, Result};
use crate::methods::NamedTensor;

/// Rows that are multiplied together: few enough to stay in a second cache.
const ROWS: usize = 64;

/// Of rows of one width.
pub(super) struct Moments {
    count: usize,
    mean: Vec<f64>,
    /// The upper triangle, row by row, of `Σ (x - mean) (x - mean)ᵀ`.
    products: Vec<f64>,
}

/// What a subspace is.
pub(super) struct Components {
    /// Orthonormal, `[M, W]`, the direction of most variance first; the largest element of each is positive.
    pub components: Vec<f64>,
    /// The variance along every axis, `[W]`, the largest first.
    pub values: Vec<f64>,
}

impl Moments {
    /// Numbers of moments of rows of `width`.
    pub fn numbers(width: usize) -> usize {
        1 + width + width * (width + 1) / 2
    }

    /// Of rows `[n, width]`, n at least 1.
    pub fn of(cpu: &mut Cpu, rows: &[f32], width: usize) -> Self {
        let count = rows.len() / width;
        let mut mean = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
        }
        mean.iter_mut().for_each(|mean| *mean /= count as f64);
        let mut products = vec![0.0; width * (width + 1) / 2];
        let mut lines: Vec<(usize, &mut [f64])> = Vec::with_capacity(width);
        let mut rest = &mut products[..];
        for i in 0..width {
            let (line, after) = rest.split_at_mut(width - i);
            lines.push((i, line));
            rest = after;
        }
        // Long lines beside short ones.
        let half = width / 2;
        let mut order = std::mem::take(&mut lines);
        let later = order.split_off(half);
        let mut pairs: Vec<_> =
            later.into_iter().rev().map(Some).zip(order.into_iter().map(Some).chain([None])).collect();
        let mut centred = vec![0.0; ROWS * width];
        for block in rows.chunks(ROWS * width) {
            let centred = &mut centred[..block.len()];
            for (centred, row) in centred.chunks_exact_mut(width).zip(block.chunks_exact(width)) {
                centred.iter_mut().zip(row).zip(&mean).for_each(|((c, x), mean)| *c = f64::from(*x) - mean);
            }
            let centred = &*centred;
            cpu.each_item(&mut pairs, |(a, b), arithmetic| {
                for (i, line) in [a, b].into_iter().flatten() {
                    for row in centred.chunks_exact(width) {
                        arithmetic.add_scaled(row[*i], &row[*i..], line);
                    }
                }
            });
        }
        Moments { count, mean, products }
    }

    /// Rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their width.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Their mean.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// As a tensor `[2, T]`: each number as an f32, and what that leaves of it.
    pub fn to_tensor(&self, name: &'static str) -> NamedTensor {
        let numbers: Vec<f64> = std::iter::once(self.count as f64)
            .chain(self.mean.iter().copied())
            .chain(self.products.iter().copied())
            .collect();
        let high = numbers.iter().map(|x| *x as f32);
        let low = numbers.iter().map(|x| (x - f64::from(*x as f32)) as f32);
        NamedTensor { name, shape: vec![2, numbers.len()], values: high.chain(low).collect::<Vec<f32>>().into() }
    }

    /// From the values of [`Moments::to_tensor`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for another number of values.
    pub fn from_values(values: &[f32]) -> Result<Self> {
        let (high, low) = values.split_at(values.len() / 2);
        let mut numbers = high.iter().zip(low).map(|(high, low)| f64::from(*high) + f64::from(*low));
        let wrong = || Error::new(ErrorKind::Internal, "a bank that was not checked is put together");
        let count = numbers.next().filter(|count| *count >= 1.0).ok_or_else(wrong)? as usize;
        let width = (0..).find(|width| Self::numbers(*width) >= high.len()).unwrap_or(0);
        if Self::numbers(width) != high.len() || low.len() != high.len() {
            return Err(wrong());
        }
        let mean = numbers.by_ref().take(width).collect();
        Ok(Moments { count, mean, products: numbers.collect() })
    }

    /// Those of the rows of all.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for none, or for rows of several widths.
    pub fn together(all: &[Self]) -> Result<Self> {
        let width = all.first().map_or(0, Self::width);
        if width == 0 || all.iter().any(|one| one.width() != width) {
            return Err(Error::new(ErrorKind::Internal, "prompts of no patches, or of patches of several widths"));
        }
        let count = all.iter().map(|one| one.count).sum();
        let mut mean = vec![0.0; width];
        for one in all {
            mean.iter_mut().zip(&one.mean).for_each(|(mean, x)| *mean += x * one.count as f64 / count as f64);
        }
        let mut products = vec![0.0; width * (width + 1) / 2];
        for one in all {
            let away: Vec<f64> = one.mean.iter().zip(&mean).map(|(own, mean)| own - mean).collect();
            let mut at = 0;
            for (i, a) in away.iter().enumerate() {
                for b in &away[i..] {
                    products[at] += one.products[at] + one.count as f64 * a * b;
                    at += 1;
                }
            }
        }
        Ok(Moments { count, mean, products })
    }

    /// The principal components that hold at least `share` of the variance: as few as do.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for one row, [`ErrorKind::Numeric`] where the numbers overflow.
    pub fn components(&self, share: f64) -> Result<Components> {
        let width = self.width();
        if self.count < 2 {
            let message = "the normal images leave one patch in all, which has no variance: give more images, or ignore less of them";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let mut covariance = DMatrix::zeros(width, width);
        let mut at = 0;
        for i in 0..width {
            for j in i..width {
                let value = self.products[at] / (self.count - 1) as f64;
                (covariance[(i, j)], covariance[(j, i)]) = (value, value);
                at += 1;
            }
        }
        let overflow = || Error::new(ErrorKind::Numeric, "the covariance of the normal patches is not finite");
        if !covariance.iter().all(|x| x.is_finite()) {
            return Err(overflow());
        }
        let eigen = covariance.try_symmetric_eigen(f64::EPSILON, 0).ok_or_else(overflow)?;
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let values: Vec<f64> = order.iter().map(|&axis| eigen.eigenvalues[axis]).collect();
        let all: f64 = values.iter().sum();
        let mut held = 0.0;
        let short = values.iter().take_while(|value| {
            held += **value;
            held / all < share
        });
        let count = (short.count() + 1).min(width);
        let axis = |&axis: &usize| -> Vec<f64> {
            let column = eigen.eigenvectors.column(axis);
            let largest = column.iter().copied().fold(0.0, |most: f64, x| if x.abs() > most.abs() { x } else { most });
            column.iter().map(|x| x * largest.signum()).collect()
        };
        Ok(Components { components: order[..count].iter().flat_map(axis).collect(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split_mix::{STEP, mix};

    fn rows(seed: u64, n: usize, width: usize) -> Vec<f32> {
        let number = |i: usize| (mix((seed * 7919 + i as u64).wrapping_mul(STEP)) >> 40) as f32 / (1 << 24) as f32;
        // Columns of falling scale about means of their own.
        (0..n * width).map(|i| (number(i) - 0.5) * 0.7f32.powi((i % width) as i32) + (i % width) as f32).collect()
    }

    #[test]
    fn moments_of_parts_add_up_and_go_through_a_tensor() {
        let mut cpu = Cpu::new(2).unwrap();
        for width in [1, 2, 5, 9] {
            let all = rows(1, 150, width);
            let whole = Moments::of(&mut cpu, &all, width);
            let parts = [&all[..3 * width], &all[3 * width..100 * width], &all[100 * width..]];
            let parts = parts.map(|part| {
                let tensor = Moments::of(&mut cpu, part, width).to_tensor("m");
                assert_eq!(tensor.shape, [2, Moments::numbers(width)]);
                Moments::from_values(&tensor.values).unwrap()
            });
            let together = Moments::together(&parts).unwrap();
            assert_eq!(together.count(), 150);
            for i in 0..width {
                let mean = (0..150).map(|r| f64::from(all[r * width + i])).sum::<f64>() / 150.0;
                assert!((whole.mean[i] - mean).abs() <= 1e-12 && (together.mean[i] - mean).abs() <= 1e-9);
            }
            // The sum of all products is that of squares along every axis.
            for (a, b) in whole.products.iter().zip(&together.products) {
                assert!((a - b).abs() <= 1e-9 * 150.0, "{a} is not {b}");
            }
            let first: f64 = (0..150).map(|r| (f64::from(all[r * width]) - whole.mean[0]).powi(2)).sum();
            assert!((whole.products[0] - first).abs() <= 1e-9 * first);
            assert!(Moments::from_values(&[1.0; 7]).is_err());
        }
    }

    #[test]
    fn components_are_orthonormal_hold_their_share_and_no_fewer_do() {
        let (n, width) = (300, 12);
        let moments = Moments::of(&mut Cpu::new(1).unwrap(), &rows(3, n, width), width);
        let all = moments.components(0.999_999_9).unwrap().values.iter().sum::<f64>();
        for share in [0.3, 0.9, 0.99] {
            let Components { components, values } = moments.components(share).unwrap();
            let count = components.len() / width;
            assert!(values[..count].iter().sum::<f64>() >= share * all);
            assert!(values[..count - 1].iter().sum::<f64>() < share * all);
            for (i, a) in components.chunks(width).enumerate() {
                for (j, b) in components.chunks(width).enumerate() {
                    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((dot - f64::from(u8::from(i == j))).abs() <= 1e-12, "{i} {j}: {dot}");
                }
            }
        }
        // The trace is what the products say.
        let trace: f64 = (0..width)
            .scan(0, |at, i| {
                let x = moments.products[*at];
                *at += width - i;
                Some(x)
            })
            .sum();
        assert!((all - trace / (n - 1) as f64).abs() <= 1e-9 * all);
    }

    #[test]
    fn one_row_has_no_variance_and_equal_rows_have_one_component() {
        let mut cpu = Cpu::new(1).unwrap();
        assert_eq!(Moments::of(&mut cpu, &[1.0, 2.0], 2).components(0.5).err().unwrap().kind(), ErrorKind::Argument);
        let equal = Moments::of(&mut cpu, &[1.0, 2.0, 1.0, 2.0], 2).components(0.5).unwrap();
        assert!(equal.components.iter().all(|x| x.is_finite()) && equal.components.len() == 2);
    }
}
