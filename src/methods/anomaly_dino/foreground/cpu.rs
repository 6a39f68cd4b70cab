//! Masks on the processor; sums are f32 but for means, which are f64.

use super::{CutOut, ForegroundOps, Middle, THRESHOLD, Tokens};
use crate::backend::cpu::{Cpu, Matrices};
use crate::backend::need;
use crate::error::Result;
use crate::view::Grid;

impl Tokens<'_, Cpu> {
    /// The patches of each image.
    fn patches(&self, op: &'static str) -> Result<Matrices<'_>> {
        let Tokens { values, images, each, width } = *self;
        need(op, "tokens", values.len(), images * each.count() * width)?;
        let (first, pitch) = (each.prefix * width, each.count() * width);
        Ok(Matrices { values, images, first, pitch, rows: each.patches, width })
    }
}

impl ForegroundOps for Cpu {
    type ForegroundKernels = ();

    fn foreground_kernels(&self) -> Result<()> {
        Ok(())
    }

    fn covariance(&mut self, (): &(), tokens: &Tokens<'_, Cpu>, out: &mut Vec<f32>) -> Result<()> {
        const OP: &str = "foreground_covariance";
        need(OP, "out", out.len(), tokens.images * tokens.width * tokens.width)?;
        self.gram(tokens.patches(OP)?, true, |_| 1.0, out)
    }

    fn squared(&mut self, (): &(), c: &Vec<f32>, images: usize, width: usize, out: &mut Vec<f32>) -> Result<()> {
        const OP: &str = "foreground_squared";
        need(OP, "c", c.len(), images * width * width)?;
        need(OP, "out", out.len(), images * width * width)?;
        let c = Matrices { values: c, images, first: 0, pitch: width * width, rows: width, width };
        let scale = |c: &[f32]| {
            let trace: f32 = c.iter().step_by(width + 1).sum();
            if trace == 0.0 { 0.0 } else { 1.0 / trace }
        };
        self.gram(c, false, scale, out)
    }

    fn component(&mut self, (): &(), tokens: &Tokens<'_, Cpu>, c: &Vec<f32>, out: &mut Vec<f32>) -> Result<()> {
        const OP: &str = "foreground_component";
        let (&Tokens { images, width, .. }, patches) = (tokens, tokens.patches(OP)?);
        need(OP, "c", c.len(), images * width * width)?;
        need(OP, "out", out.len(), images * patches.rows)?;
        if patches.rows == 0 {
            return Ok(());
        }
        self.each_row(&mut out[..images * patches.rows], patches.rows, width, |image, out, axis, arithmetic| {
            let c = &c[image * width * width..][..width * width];
            // The first of the largest, as a fold of strict comparisons.
            let largest =
                (0..width).fold(0, |best, i| if c[i * (width + 1)] > c[best * (width + 1)] { i } else { best });
            // A symmetric matrix: the column is a row.
            axis.copy_from_slice(&c[largest * width..][..width]);
            arithmetic.unit(axis);
            for (out, patch) in out.iter_mut().zip(patches.of(image).chunks_exact(width)) {
                *out = arithmetic.dot(patch, axis);
            }
        })
    }

    fn cut_out(&mut self, (): &(), at: &CutOut<'_, Cpu>, maps: &mut Vec<f32>) -> Result<()> {
        const OP: &str = "foreground_cut_out";
        let cells = at.grid.cells();
        let slots = at.first_slot..at.first_slot + at.images.len();
        need(OP, "components", at.components.len(), at.images.end * cells)?;
        need(OP, "valid", at.valid.len(), slots.end * cells)?;
        need(OP, "maps", maps.len(), slots.end * cells)?;
        if cells == 0 {
            return Ok(());
        }
        let (middle, first) = (Middle::of(at.grid), slots.start);
        let maps = &mut maps[slots.start * cells..slots.end * cells];
        self.each_row(maps, cells, 3 * cells, |row, map, scratch, _| {
            let components = &at.components[(at.images.start + row) * cells..][..cells];
            let valid = &at.valid[(first + row) * cells..][..cells];
            let (component, masks) = scratch.split_at_mut(cells);
            let (mask, room) = masks.split_at_mut(cells);
            centred(components, component);
            select(component, at.grid, &middle, mask);
            grow(mask, room, at.grid);
            grow(room, mask, at.grid);
            shrink(mask, room, at.grid);
            let broken = component[0].is_nan();
            let is_left = broken || room.iter().zip(valid).any(|(mask, valid)| mask * valid != 0.0);
            for (cell, mask) in map.iter_mut().zip(&*room) {
                *cell = match (broken || cell.is_nan(), is_left) {
                    (true, _) => f32::NAN,
                    (false, true) => *cell * mask,
                    (false, false) => f32::INFINITY,
                };
            }
        })
    }
}

/// The components less their mean, the largest absolute value positive; all NaN where one is not finite.
fn centred(components: &[f32], out: &mut [f32]) {
    let mean = components.iter().map(|x| f64::from(*x)).sum::<f64>() / components.len() as f64;
    if !mean.is_finite() {
        return out.fill(f32::NAN);
    }
    out.iter_mut().zip(components).for_each(|(out, x)| *out = x - mean as f32);
    let (least, most) = out.iter().fold((0.0_f32, 0.0_f32), |(least, most), x| (least.min(*x), most.max(*x)));
    if -least > most {
        out.iter_mut().for_each(|x| *x = -*x);
    }
}

/// 1 where the component is above the threshold, or where its opposite is, where too little of the middle is above it; else 0.
fn select(component: &[f32], grid: Grid, middle: &Middle, mask: &mut [f32]) {
    let of_middle = |row: usize| &component[row * grid.cols..][middle.cols.clone()];
    let found = middle.rows.clone().flat_map(of_middle).filter(|x| **x > THRESHOLD).count();
    let sign = if found > middle.few { 1.0 } else { -1.0 };
    mask.iter_mut().zip(component).for_each(|(mask, x)| *mask = f32::from(u8::from(sign * x > THRESHOLD)));
}

/// 1 where a cell of the 3 x 3 around is.
fn grow(mask: &[f32], out: &mut [f32], grid: Grid) {
    neighbourhoods(mask, out, grid, f32::max);
}

/// 1 where all cells of the 3 x 3 around are.
fn shrink(mask: &[f32], out: &mut [f32], grid: Grid) {
    neighbourhoods(mask, out, grid, f32::min);
}

/// `fold` over the 3 x 3 cells around each, as far as they are there.
fn neighbourhoods(mask: &[f32], out: &mut [f32], grid: Grid, fold: impl Fn(f32, f32) -> f32) {
    let around = |at: usize, extent: usize| at.saturating_sub(1)..(at + 2).min(extent);
    for (cell, out) in out.iter_mut().enumerate() {
        let (row, col) = (cell / grid.cols, cell % grid.cols);
        *out = mask[cell];
        for row in around(row, grid.rows) {
            mask[row * grid.cols..][around(col, grid.cols)].iter().for_each(|x| *out = fold(*out, *x));
        }
    }
}
