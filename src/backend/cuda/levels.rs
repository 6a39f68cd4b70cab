//! The operations of convolutional encoders on a GPU.

use super::{Bank, Buffer, Cuda, Linear};
use crate::backend::{Convolution, LevelOps, Resample, Search, Then};
use crate::error::Result;
use crate::view::Grid;

impl LevelOps<Buffer, Linear, Bank> for Cuda {
    fn convolve(
        &mut self,
        x: &Buffer,
        images: usize,
        at: &Convolution,
        w: &Linear,
        then: Then,
        unfolded: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_convolve(x, images, at, w, then, unfolded, out)
    }

    fn max_pool(&mut self, x: &Buffer, images: usize, grid: Grid, width: usize, out: &mut Buffer) -> Result<()> {
        self.launch_max_pool(x, images, grid, width, out)
    }

    fn mean_cells(&mut self, x: &Buffer, images: usize, cells: usize, width: usize, out: &mut Buffer) -> Result<()> {
        self.launch_mean_cells(x, images, cells, width, out)
    }

    fn pool_neighbours(
        &mut self,
        x: &Buffer,
        images: usize,
        grid: Grid,
        width: usize,
        bins: usize,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_pool_neighbours(x, images, grid, width, bins, out)
    }

    fn resample(&mut self, x: &Buffer, images: usize, at: &Resample, out: &mut Buffer) -> Result<()> {
        self.launch_resample(x, images, at, out)
    }

    fn pool_columns(
        &mut self,
        x: &Buffer,
        rows: usize,
        width: usize,
        bins: usize,
        valid: Option<&Buffer>,
        out: &mut Buffer,
    ) -> Result<()> {
        self.launch_pool_columns(x, rows, width, bins, valid, out)
    }

    fn nearest_euclidean(
        &mut self,
        queries: &Buffer,
        at: &Search,
        bank: &Bank,
        found: &mut Buffer,
        valid: Option<&Buffer>,
        map: &mut Buffer,
    ) -> Result<()> {
        self.launch_nearest_euclidean(queries, at, bank, found, valid, map)
    }
}
