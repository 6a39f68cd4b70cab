//! The operations of convolutional encoders on the processor.

use super::{Bank, Cpu, Linear};
use crate::backend::{Convolution, LevelOps, Resample, Search, Then};
use crate::error::Result;
use crate::view::Grid;

impl LevelOps<Vec<f32>, Linear, Bank> for Cpu {
    fn convolve(
        &mut self,
        x: &Vec<f32>,
        images: usize,
        at: &Convolution,
        w: &Linear,
        then: Then,
        unfolded: &mut Vec<f32>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_convolve(x, images, at, w, then, unfolded, out)
    }

    fn max_pool(&mut self, x: &Vec<f32>, images: usize, grid: Grid, width: usize, out: &mut Vec<f32>) -> Result<()> {
        self.run_max_pool(x, images, grid, width, out)
    }

    fn mean_cells(
        &mut self,
        x: &Vec<f32>,
        images: usize,
        cells: usize,
        width: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_mean_cells(x, images, cells, width, out)
    }

    fn pool_neighbours(
        &mut self,
        x: &Vec<f32>,
        images: usize,
        grid: Grid,
        width: usize,
        bins: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_pool_neighbours(x, images, grid, width, bins, out)
    }

    fn resample(&mut self, x: &Vec<f32>, images: usize, at: &Resample, out: &mut Vec<f32>) -> Result<()> {
        self.run_resample(x, images, at, out)
    }

    fn pool_columns(
        &mut self,
        x: &Vec<f32>,
        rows: usize,
        width: usize,
        bins: usize,
        valid: Option<&Vec<f32>>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_pool_columns(x, rows, width, bins, valid.map(Vec::as_slice), out)
    }

    fn nearest_euclidean(
        &mut self,
        queries: &Vec<f32>,
        at: &Search,
        bank: &Bank,
        found: &mut Vec<f32>,
        valid: Option<&Vec<f32>>,
        map: &mut Vec<f32>,
    ) -> Result<()> {
        self.run_nearest_euclidean(queries, at, bank, found, valid.map(Vec::as_slice), map)
    }
}
