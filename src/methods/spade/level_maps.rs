//! Distances of the cells of a ResNet's stages, each stage on its own grid, and the map that they make.

use crate::backend::{Backend, Resample, Role};
use crate::encoder::vision::{Features, Level};
use crate::error::Result;
use crate::memory;
use crate::methods::{Batch, NamedTensor, Options, Outputs, levels, not_finite, valid_rows};
use crate::view::Grid;
use crate::weights::Arch;

/// The largest number of stages that are compared: each is a tensor of the bank.
pub(super) const MOST_LEVELS: usize = 3;
/// Names of their tensors.
pub(super) const LEVELS: [&str; MOST_LEVELS] = ["level_1", "level_2", "level_3"];

/// One scorer's memory.
pub(super) struct LevelMaps<B: Backend> {
    /// The nearest rows of a stage, and how far they are, `[slots, N]`.
    found: B::Buffer,
    distances: B::Buffer,
    /// The distances of all stages on the grid of the first, `[slots, N, L]`.
    wide: B::Buffer,
}

/// Elements of an image: of the two buffers of a stage, and of the last buffer.
fn lens(arch: &Arch, options: &Options, cells: usize) -> [usize; 2] {
    let most = levels::most(arch, options, cells);
    [most.iter().copied().max().unwrap_or(0), cells.saturating_mul(most.len())]
}

/// Bytes of an image.
pub(super) fn bytes(arch: &Arch, options: &Options, cells: usize) -> usize {
    let [each, wide] = lens(arch, options, cells);
    8 * each + 4 * wide
}

impl<B: Backend> LevelMaps<B> {
    /// Memory for `slots` maps of up to `cells` cells.
    pub fn new(backend: &B, arch: &Arch, options: &Options, slots: usize, cells: usize) -> Result<Self> {
        let [each, wide] = lens(arch, options, cells);
        Ok(LevelMaps {
            found: backend.buffer(Role::Nearest, slots * each)?,
            distances: backend.buffer(Role::Stream, slots * each)?,
            wide: backend.buffer(Role::Stream, slots * wide)?,
        })
    }

    /// The mean over the stages of the distance to the nearest cell of the bank, enlarged bilinearly to the grid of the
    /// first stage.
    pub fn record(&mut self, backend: &mut B, batch: &Batch<'_, B>, out: &mut Outputs<B>) -> Result<()> {
        let (slots, to, all) = (batch.slots(), batch.features.grid, &batch.features.levels);
        let device = backend.levels();
        for (column, Level { grid, rows, .. }) in all.iter().enumerate() {
            for run in batch.runs {
                let at = batch.search_of(run, column, grid.cells());
                let bank = batch.banks[run.bank];
                device.nearest_euclidean(rows, &at, bank, &mut self.found, None, &mut self.distances)?;
            }
            let at = Resample { from: *grid, width: 1, to, pitch: all.len(), column, bilinear: true };
            device.resample(&self.distances, slots, &at, &mut self.wide)?;
        }
        device.pool_columns(&self.wide, slots * to.cells(), all.len(), 1, Some(batch.valid), &mut out.map)
    }
}

/// The rows of each stage of view 0, and how many there are. An ignored cell is replaced by the first that counts, so
/// that it adds nothing; a cell of a coarser stage counts where one of those under it does.
pub(super) fn rows<B: Backend>(backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
    let mut tensors = Vec::with_capacity(features.levels.len());
    for (name, Level { grid, width, rows }) in LEVELS.into_iter().zip(&features.levels) {
        let mut values = memory::zeros("the features of a prompt", grid.cells() * width)?;
        backend.download(rows, &mut values)?;
        if !values.iter().all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let counts = coarser(valid, features.grid, *grid);
        let (kept, _) = valid_rows(&values, &counts, *width)?;
        for (row, valid) in values.chunks_exact_mut(*width).zip(&counts) {
            if *valid == 0.0 {
                row.copy_from_slice(&kept[..*width]);
            }
        }
        tensors.push(NamedTensor { name, shape: vec![grid.cells(), *width], values: values.into() });
    }
    Ok(tensors)
}

/// Which cells of a coarser grid count.
fn coarser(valid: &[f32], from: Grid, to: Grid) -> Vec<f32> {
    let mut counts = vec![0.0; to.cells()];
    let (down, across) = (from.rows.div_ceil(to.rows.max(1)), from.cols.div_ceil(to.cols.max(1)));
    for (cell, valid) in valid.iter().enumerate().filter(|(_, valid)| **valid > 0.0) {
        let (row, col) = (cell / from.cols / down, cell % from.cols / across);
        counts[row.min(to.rows - 1) * to.cols + col.min(to.cols - 1)] = *valid;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_cell_counts_where_one_under_it_does() {
        let mut valid = vec![0.0; 5 * 6];
        valid[4 * 6 + 5] = 1.0;
        valid[6 + 1] = 1.0;
        let counts = coarser(&valid, Grid::new(5, 6), Grid::new(3, 3));
        assert_eq!(counts, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(coarser(&valid, Grid::new(5, 6), Grid::new(5, 6)), valid);
    }
}
