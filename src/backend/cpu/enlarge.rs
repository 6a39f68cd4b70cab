//! A map of cells at the size of the image: bilinear, then blurred. Both are products along one axis after the other, so that they
//! are one product along each: with how much every cell counts for every pixel.

use std::ops::Range;

use super::Cpu;
use crate::backend::{Enlarge, need};
use crate::error::Result;
use crate::memory::reserve;

const OP: &str = "enlarge";

/// How much each cell of an axis counts for each of its pixels, from call to call.
#[derive(Default)]
pub(super) struct Memory {
    axes: [Axis; 2],
}

#[derive(Default)]
struct Axis {
    /// What it is for: cells, pixels of a cell, border, weights of the blur.
    cells: usize,
    patch: usize,
    mirrored: bool,
    blur: Vec<f32>,
    /// `[cells patch, cells]`, and which of a row's are not zero.
    weights: Vec<f32>,
    used: Vec<Range<usize>>,
}

impl Axis {
    /// Makes it that of `cells` cells, if it is not.
    fn be(&mut self, cells: usize, at: &Enlarge, blur: &[f32]) -> Result<()> {
        if [self.cells, self.patch] == [cells, at.patch] && self.mirrored == at.mirrored && self.blur == blur {
            return Ok(());
        }
        (self.cells, self.patch, self.mirrored) = (cells, at.patch, at.mirrored);
        self.blur.clear();
        self.blur.extend_from_slice(blur);
        let pixels = cells * at.patch;
        self.weights.clear();
        reserve("the enlarging of maps", &mut self.weights, pixels * cells)?;
        self.weights.resize(pixels * cells, 0.0);
        self.used.clear();
        let radius = (blur.len() / 2) as isize;
        for (pixel, row) in self.weights.chunks_exact_mut(cells).enumerate() {
            let mut used = cells..0;
            for (offset, weight) in (-radius..).zip(blur) {
                let from = at.reflected(pixel as isize + offset, pixels);
                let ((low, high), share) = at.between(from, cells);
                for (cell, share) in [(low, 1.0 - share), (high, share)] {
                    row[cell] += weight * share;
                    used = used.start.min(cell)..used.end.max(cell + 1);
                }
            }
            self.used.push(used);
        }
        Ok(())
    }

    /// The cells that count for a pixel, and how much.
    fn of(&self, pixel: usize) -> (Range<usize>, &[f32]) {
        let used = self.used[pixel].clone();
        (used.clone(), &self.weights[pixel * self.cells..][used])
    }
}

impl Cpu {
    pub(super) fn run_enlarge(
        &mut self,
        map: &[f32],
        valid: &[f32],
        at: &Enlarge,
        blur: &[f32],
        out: &mut [f32],
        out_valid: &mut [f32],
    ) -> Result<()> {
        let Enlarge { rows, cols, patch, .. } = *at;
        let first = at.map * rows * cols;
        need(OP, "map", map.len(), first + rows * cols)?;
        need(OP, "valid", valid.len(), first + rows * cols)?;
        need(OP, "out", out.len(), at.pixels())?;
        need(OP, "out_valid", out_valid.len(), at.pixels())?;
        let (map, valid) = (&map[first..][..rows * cols], &valid[first..][..rows * cols]);
        self.reserve(cols)?;
        let [down, across] = &mut self.enlarge.axes;
        down.be(rows, at, blur)?;
        across.be(cols, at, blur)?;
        let (down, across) = (&*down, &*across);
        let width = cols * patch;
        self.pool.run_chunks(&mut out[..at.pixels()], width, |y, out, memory| {
            let line = memory.take(cols);
            line.fill(0.0);
            let (used, weights) = down.of(y);
            for (row, weight) in used.zip(weights) {
                line.iter_mut().zip(&map[row * cols..]).for_each(|(x, cell)| *x += weight * cell);
            }
            for (x, out) in out.iter_mut().enumerate() {
                let (used, weights) = across.of(x);
                *out = line[used].iter().zip(weights).map(|(cell, weight)| cell * weight).sum();
            }
        });
        self.pool.run_chunks(&mut out_valid[..at.pixels()], width, |y, out, _| {
            for (x, out) in out.iter_mut().enumerate() {
                *out = valid[y / patch * cols + x / patch];
            }
        });
        Ok(())
    }
}
