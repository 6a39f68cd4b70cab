//! The mean of the largest cells of each map.

use inctrl::Result;
use inctrl::backend::{Backend, Largest, Role};
use inctrl::methods::inctrl::HeadOps;

use super::comparison::{Comparison, places};
use super::inputs::{Input, output};
use super::{Case, Operation, Size, Sizes, Work};

pub const MEAN_OF_LARGEST: Operation = Operation {
    name: "mean_of_largest",
    formula: "out = mean of the largest max(1, floor(cells / one-in)) cells of a map",
    sizes: &[
        Size::new("maps", 1, "maps of the batch"),
        Size::new("cells", 1024, "cells of a map"),
        Size::new("one-in", 100, "one cell in so many counts"),
    ],
};

pub struct MeanOfLargest<B: Backend> {
    at: Largest,
    map: Input<B>,
    valid: Input<B>,
    out: B::Buffer,
}

impl<B: HeadOps> MeanOfLargest<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (maps, cells) = (sizes.get("maps"), sizes.get("cells"));
        let at = Largest { maps, cells, one_in: sizes.get("one-in"), out_pitch: 1, column: 0 };
        let map = Input::numbers(backend, Role::Result, 1, maps * cells)?;
        let valid = Input::new(backend, Role::Stream, vec![1.0; maps * cells])?;
        let out = backend.buffer(Role::Result, maps)?;
        Ok(Box::new(MeanOfLargest { at, map, valid, out }))
    }
}

impl<B: HeadOps> Case<B> for MeanOfLargest<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        backend.mean_of_largest(&self.map.buffer, &self.valid.buffer, &self.at, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let Largest { maps, cells, one_in, .. } = self.at;
        let out = output(backend, &self.out, maps)?;
        found.all_finite(&out);
        for map in places(maps, 64) {
            let mut sorted = self.map.values[map * cells..][..cells].to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let count = (cells / one_in).max(1);
            let mean = sorted[..count].iter().map(|x| f64::from(*x)).sum::<f64>() / count as f64;
            found.compare(map, out[map], mean, 1e-6);
        }
        Ok(())
    }

    fn work(&self) -> Work {
        Work { flop: 0, bytes: 4 * self.at.maps * (2 * self.at.cells + 1) }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.at.maps, self.at.cells)
    }
}
