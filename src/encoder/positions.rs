//! Position embeddings of patches: the table of the trained grid, and its interpolation to other grids.

use std::borrow::Cow;

use crate::error::Result;
use crate::memory::zeros;
use crate::view::Grid;
use crate::weights::Interpolation;

/// The position embeddings in the weights.
pub struct Positions {
    stored: Vec<f32>,
    grid: Grid,
    width: usize,
    rule: Interpolation,
}

impl Positions {
    /// Positions from the table `[N, W]` of a grid.
    pub fn new(stored: Vec<f32>, grid: Grid, rule: Interpolation) -> Self {
        let width = stored.len().checked_div(grid.cells()).unwrap_or(0);
        Positions { stored, grid, width, rule }
    }

    /// The table of a grid, `[N, W]`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn of(&self, grid: Grid) -> Result<Cow<'_, [f32]>> {
        if grid == self.grid {
            return Ok(Cow::Borrowed(&self.stored));
        }
        Ok(Cow::Owned(resample(&self.stored, self.grid, self.width, self.rule, grid)?))
    }
}

/// Interpolates a table `[N, width]` of the cells of `stored_grid` to the cells of `grid`.
///
/// Computed in f32 in PyTorch's order of operations, as in the official models: coordinates first, then columns, then
/// rows. An axis of unchanged length stays unchanged by the rule [`Interpolation::Size`]. By [`Interpolation::Factor`]
/// the official offset of a tenth of a cell shifts it a little.
///
/// # Errors
/// As [`Positions::of`].
pub fn resample(stored: &[f32], stored_grid: Grid, width: usize, rule: Interpolation, grid: Grid) -> Result<Vec<f32>> {
    let what = format!("the positions of {grid} patches");
    let across = taps(stored_grid.cols, grid.cols, rule);
    let down = taps(stored_grid.rows, grid.rows, rule);
    let mut wide = zeros::<f32>(&what, stored_grid.rows * grid.cols * width)?;
    for (row, out) in wide.chunks_exact_mut((grid.cols * width).max(1)).enumerate() {
        let cell = |col: usize| &stored[(row * stored_grid.cols + col) * width..][..width];
        for (taps, out) in across.iter().zip(out.chunks_exact_mut(width)) {
            mix(taps, cell, out);
        }
    }
    let mut table = zeros::<f32>(&what, grid.cells() * width)?;
    for (taps, out) in down.iter().zip(table.chunks_exact_mut((grid.cols * width).max(1))) {
        mix(taps, |row| &wide[row * grid.cols * width..][..grid.cols * width], out);
    }
    Ok(table)
}

/// `out = sum of weight * line(index)`
fn mix<'a>(taps: &[(usize, f32)], line: impl Fn(usize) -> &'a [f32], out: &mut [f32]) {
    for &(index, weight) in taps {
        out.iter_mut().zip(line(index)).for_each(|(out, x)| *out += weight * x);
    }
}

/// For each of `new` cells of an axis, the `stored` cells that contribute to it and their weights.
fn taps(stored: usize, new: usize, rule: Interpolation) -> Vec<Vec<(usize, f32)>> {
    match rule {
        Interpolation::Factor => {
            let factor = (new as f64 + 0.1) / stored as f64;
            let scale = (1.0 / factor) as f32;
            (0..new).map(|cell| plain(stored, scale * (cell as f32 + 0.5) - 0.5)).collect()
        }
        Interpolation::Size => {
            let scale = stored as f32 / new as f32;
            (0..new).map(|cell| antialiased(stored, scale, scale * (cell as f32 + 0.5))).collect()
        }
    }
}

/// The four cells around a coordinate. Cells beyond the edge are replaced by the edge cell.
fn plain(stored: usize, at: f32) -> Vec<(usize, f32)> {
    let first = at.floor();
    let fraction = at - first;
    let last = stored.saturating_sub(1) as f32;
    let cell = |offset: f32| (first + offset).clamp(0.0, last) as usize;
    [-1.0, 0.0, 1.0, 2.0].map(|offset| (cell(offset), cubic(offset - fraction, -0.75))).to_vec()
}

/// The cells under the kernel at `centre`, whose width is the reduction factor, with weights that sum to 1.
fn antialiased(stored: usize, scale: f32, centre: f32) -> Vec<(usize, f32)> {
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    // Truncation towards zero, as PyTorch's conversion to an integer does.
    let first = ((centre - support + 0.5) as i64).max(0) as usize;
    let end = ((centre + support + 0.5) as i64).clamp(0, stored as i64) as usize;
    let weight = |cell: usize| cubic((cell as f32 - centre + 0.5) / stretch, -0.5);
    let weights: Vec<f32> = (first..end).map(weight).collect();
    let sum: f32 = weights.iter().sum();
    (first..end).zip(weights).map(|(cell, weight)| (cell, weight / sum)).collect()
}

/// Keys' cubic convolution.
fn cubic(x: f32, a: f32) -> f32 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::SafeTensors;

    use super::*;

    /// Tables that PyTorch made (`scripts/fixtures/dinov2.py`).
    #[test]
    fn tables_are_those_of_the_official_rule() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dinov2/positions.safetensors");
        let bytes = fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let (stored, mut compared) = (floats("stored"), 0);
        for name in file.names() {
            let Some((rule, size)) = name.split_once('.') else { continue };
            let (rows, cols) = size.split_once('x').unwrap();
            let grid = Grid::new(rows.parse().unwrap(), cols.parse().unwrap());
            let rule = if rule == "factor" { Interpolation::Factor } else { Interpolation::Size };
            let found = resample(&stored, Grid::square(6), 3, rule, grid).unwrap();
            let expected = floats(name);
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            // A coordinate of f32 is exact to half an ulp of 8, a weight to as much again times the kernel's slope, and
            // eight products are added twice.
            let tolerance = 24.0 * f32::EPSILON * largest;
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!((found - expected).abs() <= tolerance, "{name}: element {at} is {found}, expected {expected}");
            }
            compared += 1;
        }
        assert_eq!(compared, 16);
    }

    #[test]
    fn the_stored_grid_is_taken_as_it_is() {
        let stored: Vec<f32> = (0..4 * 5 * 2).map(|i| (i as f32).sin()).collect();
        let grid = Grid::new(4, 5);
        for rule in [Interpolation::Factor, Interpolation::Size] {
            assert_eq!(*Positions::new(stored.clone(), grid, rule).of(grid).unwrap(), stored);
        }
        // To the size, a kernel of whole cells at whole cells is 1 there and 0 elsewhere.
        assert_eq!(resample(&stored, grid, 2, Interpolation::Size, grid).unwrap(), stored);
        assert_ne!(resample(&stored, grid, 2, Interpolation::Factor, grid).unwrap(), stored);
    }
}
