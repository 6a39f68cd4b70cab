//! The Euclidean distance to the nearest row of a bank, by differences: that of a row to itself is 0, where `2 - 2 cos` would
//! leave the root of its rounding.

use super::simd::{Kernel, Simd};
use super::{Bank, Cpu};
use crate::backend::{Search, need};
use crate::error::Result;

const OP: &str = "nearest_distance";
/// Cells of a task.
const CELLS: usize = 16;
/// Elements between two looks at whether a row can still be the nearest.
const PIECE: usize = 64;
/// Squared distances below this, where the rounding of cosines could take another row for the nearest, are looked for among all
/// rows by differences. At its root an error of 4e-7 in a cosine is one of 6e-6 in the distance.
const NEAR: f32 = 1e-3;

impl Cpu {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn run_nearest_distance(
        &mut self,
        queries: &[f32],
        at: &Search,
        bank: &Bank,
        found: &mut [f32],
        scale: f32,
        valid: Option<&[f32]>,
        map: &mut [f32],
    ) -> Result<()> {
        let tensor = bank.rows(OP, at.tensor)?;
        let [layers, rows, width] = tensor.shape;
        need(OP, "queries", queries.len(), at.query_len(layers) * width)?;
        need(OP, "found", found.len(), at.out_len(layers))?;
        if let Some(valid) = valid {
            need(OP, "valid", valid.len(), at.first_out + at.queries.len())?;
        }
        need(OP, "map", map.len(), at.first_out + at.queries.len())?;
        self.nearest_rows(queries, at, tensor, found)?;
        let isa = self.isa;
        let (valid, map) = (valid.map(|valid| &valid[at.first_out..]), &mut map[at.first_out..][..at.queries.len()]);
        let row = |layer: usize, i: usize| &queries[(layer * at.query_pitch + at.queries.start + i) * width..][..width];
        let bank = |layer: usize| &tensor.values[layer * rows * width..][..rows * width];
        // Where the screen was too coarse, another row than it found.
        for layer in 0..layers {
            let found = &mut found[layer * at.out_pitch + at.first_out..][..at.queries.len()];
            self.pool.run_chunks(found, CELLS, |chunk, found, _| {
                for (i, found) in found.iter_mut().enumerate() {
                    let (query, all) = (row(layer, chunk * CELLS + i), bank(layer));
                    let near = &all[found.to_bits() as usize * width..][..width];
                    if isa.run(Squares { a: query, b: near, most: f32::INFINITY }) < NEAR {
                        *found = f32::from_bits(isa.run(Nearest { query, rows: all }));
                    }
                }
            });
        }
        let found = &*found;
        self.pool.run_chunks(map, CELLS, |chunk, map, _| {
            for (i, cell) in map.iter_mut().enumerate() {
                let i = chunk * CELLS + i;
                let distance = |layer: usize| {
                    let place = found[layer * at.out_pitch + at.first_out + i].to_bits() as usize;
                    let near = &bank(layer)[place * width..][..width];
                    scale * isa.run(Squares { a: row(layer, i), b: near, most: f32::INFINITY }).sqrt()
                };
                let sum: f32 = (0..layers).map(distance).sum();
                // A product, not a branch: what is not finite stays so, and is found.
                *cell = valid.map_or(1.0, |valid| valid[i]) * (sum / layers as f32);
            }
        });
        Ok(())
    }
}

/// `Σ (a - b)²`, or what exceeds `most` of it.
pub(super) struct Squares<'a> {
    pub a: &'a [f32],
    pub b: &'a [f32],
    pub most: f32,
}

impl Kernel for Squares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sum = 0.0;
        for (a, b) in self.a.chunks(PIECE).zip(self.b.chunks(PIECE)) {
            let mut lanes = simd.splat(0.0);
            let (a, b) = (a.chunks_exact(S::LANES), b.chunks_exact(S::LANES));
            let tail: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
            for (a, b) in a.zip(b) {
                let d = simd.sub(simd.load(a), simd.load(b));
                lanes = simd.fma(d, d, lanes);
            }
            sum += simd.sum_lanes(lanes) + tail;
            if sum > self.most {
                break;
            }
        }
        sum
    }
}

/// The first row that is nearest by differences.
struct Nearest<'a> {
    query: &'a [f32],
    rows: &'a [f32],
}

impl Kernel for Nearest<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u32 {
        let mut best = (f32::INFINITY, 0);
        for (place, row) in self.rows.chunks_exact(self.query.len()).enumerate() {
            let squares = Squares { a: self.query, b: row, most: best.0 }.run(simd);
            if squares < best.0 {
                best = (squares, place as u32);
            }
        }
        best.1
    }
}
