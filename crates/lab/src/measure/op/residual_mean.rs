//! The mean over layers of the distance to the nearest row.

use inctrl::Result;
use inctrl::backend::{Backend, Role};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places};
use super::inputs::{Input, numbers, output};
use super::{Case, Operation, Size, Sizes, Work};

pub const RESIDUAL_MEAN: Operation = Operation {
    name: "residual_mean",
    formula: "map = valid * mean over taps of (1 - cosine) / 2",
    sizes: &[Size::new("taps", 3, "layers"), Size::new("cells", 225, "cells of the maps of the batch")],
};

pub struct ResidualMean<B: Backend> {
    taps: usize,
    cells: usize,
    cosines: Input<B>,
    valid: Input<B>,
    map: B::Buffer,
}

impl<B: HeadOps> ResidualMean<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (taps, cells) = (sizes.get("taps"), sizes.get("cells"));
        let cosines = Input::new(backend, Role::Nearest, numbers(1, taps * cells))?;
        let valid = (0..cells).map(|cell| if cell % 5 == 4 { 0.0 } else { 1.0 }).collect();
        let valid = Input::new(backend, Role::Stream, valid)?;
        let map = backend.buffer(Role::Result, cells)?;
        Ok(Box::new(ResidualMean { taps, cells, cosines, valid, map }))
    }
}

impl<B: HeadOps> Case<B> for ResidualMean<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let (cosines, valid) = (&self.cosines.buffer, &self.valid.buffer);
        backend.residual_mean(cosines, self.taps, self.cells, 0.5, valid, &mut self.map)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let map = output(backend, &self.map, self.cells)?;
        found.all_finite(&map);
        for cell in places(self.cells, 4096) {
            let residual = |tap: usize| 0.5 * (1.0 - f64::from(self.cosines.values[tap * self.cells + cell]));
            let mean = (0..self.taps).map(residual).sum::<f64>() / self.taps as f64;
            found.compare(cell, map[cell], f64::from(self.valid.values[cell]) * mean, 1e-6);
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: 4 * self.cells * (self.taps + 2) }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.taps, self.cells)
    }
}
