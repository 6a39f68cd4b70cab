//! Rows as a few numbers each, from which it follows for most pairs that they are not near: what makes the search for
//! near rows among many cheap, and leaves it exact.
//!
//! With orthonormal axes `V` and the mean `m` of all rows, a row `x` becomes `x̃ = (V (x - m), r)`, where `r` is the
//! length of what lies across the axes. Then `(x - m) · (y - m) <= x̃ · ỹ`: along the axes both are equal, and across
//! them the Cauchy-Schwarz inequality holds. So `|x - y|² >= |x - m|² + |y - m|² - 2 x̃ · ỹ`.
//!
//! Everything here is scaled so that the row farthest from the mean has length 1. Numbers are computed in f64 and
//! rounded once; products of them are in f32.

use crate::backend::cpu::{Columns, Cpu, Wanted};
use crate::error::Result;
use crate::memory;
use crate::split_mix::{STEP, mix};

/// Numbers of a short row: the axes, and what lies across them.
const LENGTH: usize = 64;
const AXES: usize = LENGTH - 1;
/// Rows that the axes are found from, at most.
const SAMPLE: usize = 512;
/// Rounds of the power iteration.
const ROUNDS: usize = 3;
/// How far a product in f32, less the half of a square and beside a level, can be off: a rounding of each addition and
/// each factor, and a few more. Lengths are at most 1.
const ERROR: f64 = (LENGTH + 16) as f64 * (f32::EPSILON / 2.0) as f64;

/// Short rows.
pub(super) struct Short {
    /// `[n, LENGTH]`.
    values: Vec<f32>,
    /// Squared distances from the mean.
    squares: Vec<f64>,
    /// By which a squared distance of rows is multiplied.
    scale: f64,
    /// The row that is farthest from the mean, the first of equals.
    farthest: usize,
}

impl Short {
    /// Bytes for `n` rows.
    pub fn bytes(n: usize) -> usize {
        // Axes and a sample are small.
        n.saturating_mul(4 * LENGTH + 3 * size_of::<f64>())
    }

    /// Of rows `[n, width]`, at least one.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short, here and below.
    pub fn of(cpu: &mut Cpu, rows: &[f32], width: usize) -> Result<Self> {
        const WHAT: &str = "short rows";
        let n = rows.len() / width;
        let row = |at: usize| &rows[at * width..][..width];
        let mut mean = vec![0.0; width];
        for row in rows.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
        }
        mean.iter_mut().for_each(|mean| *mean /= n as f64);
        let mut numbered = memory::collected(WHAT, n, (0..n).map(|at| (at, 0.0)))?;
        cpu.each_item(&mut numbered, |(at, square), _| {
            *square = row(*at).iter().zip(&mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum();
        });
        let nearer = |a: &&(usize, f64), b: &&(usize, f64)| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0));
        let (farthest, largest) = numbered.iter().max_by(nearer).copied().unwrap_or_default();
        let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
        let squares = memory::collected(WHAT, n, numbered.into_iter().map(|(_, square)| scale * square))?;
        let sample: Vec<Vec<f64>> = (0..n)
            .step_by(n.div_ceil(SAMPLE))
            .map(|at| row(at).iter().zip(&mean).map(|(x, mean)| scale.sqrt() * (f64::from(*x) - mean)).collect())
            .collect();
        let axes = principal(cpu, &sample, width);
        let skew = 1.0 + 2.0 * skew(&axes) + 1e-12;
        // Columns of the axes side by side, times the scale.
        let turned: Vec<f64> = (0..width).flat_map(|p| axes.iter().map(move |axis| scale.sqrt() * axis[p])).collect();
        let mut values = memory::zeros(WHAT, n * LENGTH)?;
        cpu.each_row(&mut values, LENGTH, 0, |at, out, _, arithmetic| {
            let mut along = [0.0; AXES];
            arithmetic.centred_product(row(at), &mean, &turned, &mut along);
            out.iter_mut().zip(along).for_each(|(out, along)| *out = along as f32);
            let left = squares[at] * skew - along.iter().map(|along| along * along).sum::<f64>();
            out[AXES] = left.max(0.0).sqrt() as f32;
        })?;
        Ok(Short { values, squares, scale, farthest })
    }

    /// The row that is farthest from the mean of all, the first of equals.
    pub fn farthest(&self) -> usize {
        self.farthest
    }

    /// Room for `most` of the rows as columns.
    pub fn columns(&self, cpu: &Cpu, most: usize) -> Result<Columns> {
        Columns::with_room(cpu, LENGTH, most)
    }

    /// Bytes of these columns.
    pub fn columns_bytes(most: usize) -> usize {
        Columns::bytes(LENGTH, most)
    }

    /// Adds a row to columns.
    pub fn add_to(&self, columns: &mut Columns, row: usize) {
        columns.push(self.row(row), (0.5 * self.squares[row]) as f32);
    }

    /// What columns from `from` on have, if their squared distance from `row` is less than `far`.
    pub fn nearer_than(&self, far: f64, row: usize, from: usize) -> Wanted<'_> {
        Wanted { row: self.row(row), from, level: self.level(far, row) }
    }

    /// The level of [`Short::nearer_than`].
    pub fn level(&self, far: f64, row: usize) -> f32 {
        (0.5 * (self.squares[row] - self.scale * far) - ERROR) as f32
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.values[at * LENGTH..][..LENGTH]
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Orthonormal axes of most of the squared lengths of `sample`, roughly: a power iteration from random directions. Axes
/// that the rows do not need are zero.
fn principal(cpu: &mut Cpu, sample: &[Vec<f64>], width: usize) -> Vec<Vec<f64>> {
    let mut state = 0u64;
    let mut number = || {
        state = state.wrapping_add(STEP);
        (mix(state) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let mut axes: Vec<Vec<f64>> = (0..AXES).map(|_| (0..width).map(|_| number()).collect()).collect();
    orthonormalise(&mut axes);
    for _ in 0..ROUNDS {
        // Each axis becomes the sample's sum of squares times it.
        cpu.each_item(&mut axes, |axis, arithmetic| {
            let mut sum = vec![0.0; width];
            sample.iter().for_each(|x| arithmetic.add_scaled(dot(axis, x), x, &mut sum));
            *axis = sum;
        });
        orthonormalise(&mut axes);
    }
    axes
}

/// Makes axes orthonormal, in their order; those that depend on earlier ones become zero.
fn orthonormalise(axes: &mut [Vec<f64>]) {
    for i in 0..axes.len() {
        let (before, rest) = axes.split_at_mut(i);
        let axis = &mut rest[0];
        // Twice: the first time leaves roundings of what it takes away.
        for _ in 0..2 {
            let length = dot(axis, axis).sqrt();
            for other in before.iter() {
                let along = dot(axis, other);
                axis.iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
            }
            let left = dot(axis, axis).sqrt();
            let scale = if left > 1e-9 * length { 1.0 / left } else { 0.0 };
            axis.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

/// A bound of the largest eigenvalue of `V Vᵀ - 1`, by Gershgorin's circles, or 0.
fn skew(axes: &[Vec<f64>]) -> f64 {
    let row = |(i, a): (usize, &Vec<f64>)| {
        let others = axes.iter().enumerate();
        others.map(|(j, b)| if i == j { dot(a, a) - 1.0 } else { dot(a, b).abs() }).sum::<f64>()
    };
    axes.iter().enumerate().map(row).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of any length, in few directions and in all; some are equal.
    fn rows(n: usize, width: usize, directions: usize, length: f32) -> Vec<f32> {
        let number = |i: usize| (mix((i as u64 + 1).wrapping_mul(STEP)) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let row = |at: usize| {
            (0..width).map(move |p| {
                let along = (0..directions).map(|d| number(at * directions + d) * number(1_000_000 + d * width + p));
                length * (along.sum::<f32>() + 0.01 * number(2_000_000 + at * width + p) + 3.0)
            })
        };
        (0..n).flat_map(|at| row(at - usize::from(at % 9 == 8))).collect()
    }

    #[test]
    fn no_nearer_row_is_passed_over_and_most_others_are() {
        for threads in [1, 3] {
            let mut cpu = Cpu::new(threads).unwrap();
            for (width, directions, length) in
                [(1, 1, 1.0), (7, 2, 1e-12), (100, 4, 1.0), (200, 30, 1e15), (300, 0, 1.0)]
            {
                let n = 120;
                let rows = rows(n, width, directions, length);
                let row = |at: usize| &rows[at * width..][..width];
                let far = |a: usize, b: usize| -> f64 {
                    row(a).iter().zip(row(b)).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
                };
                let short = Short::of(&mut cpu, &rows, width).unwrap();
                let mut columns = short.columns(&cpu, n).unwrap();
                (0..n).for_each(|at| short.add_to(&mut columns, at));
                // Each row wants those that are nearer than the tenth nearest.
                let mut items: Vec<(usize, f64, Vec<usize>)> = (0..n)
                    .map(|at| {
                        let mut all: Vec<f64> = (0..n).map(|other| far(at, other)).collect();
                        all.sort_by(f64::total_cmp);
                        (at, all[9], Vec::new())
                    })
                    .collect();
                cpu.each_above(
                    &mut items,
                    &columns,
                    |(at, far, _)| short.nearer_than(*far, *at, 0),
                    |(at, far, found), column, _| {
                        found.push(column);
                        short.level(*far, *at)
                    },
                )
                .unwrap();
                let mut visited = 0;
                for (at, most, found) in &items {
                    let missing = (0..n).find(|other| far(*at, *other) < *most && !found.contains(other));
                    assert_eq!(missing, None, "{width} numbers, row {at}");
                    visited += found.len();
                }
                if (1..30).contains(&directions) {
                    assert!(visited <= 25 * n, "{width} numbers in {directions} directions: {visited} pairs");
                }
            }
        }
    }

    #[test]
    fn rows_that_are_all_equal_want_each_other() {
        let mut cpu = Cpu::new(1).unwrap();
        let short = Short::of(&mut cpu, &[2.0; 12], 3).unwrap();
        let mut columns = short.columns(&cpu, 4).unwrap();
        (0..4).for_each(|at| short.add_to(&mut columns, at));
        let mut found = [Vec::new()];
        cpu.each_above(
            &mut found,
            &columns,
            |_| short.nearer_than(1.0, 0, 1),
            |found, column, _| {
                found.push(column);
                short.level(1.0, 0)
            },
        )
        .unwrap();
        assert_eq!((found, short.farthest()), ([vec![1, 2, 3]], 0));
    }
}
