//! The Euclidean distance to the nearest row of a bank whose rows have any length: every pair by its differences, in
//! which nothing cancels.

use super::nearest_distance::Squares;
use super::simd::{Kernel, Simd};
use super::{Bank, Cpu};
use crate::backend::{Search, need};
use crate::error::Result;

const OP: &str = "nearest_euclidean";
/// Queries of a task: they stay in the second cache while the bank passes by.
const CELLS: usize = 64;
/// Queries and rows of a tile, whose sums stay in registers.
const QUERIES: usize = 4;
const ROWS: usize = 2;

impl Cpu {
    pub(super) fn run_nearest_euclidean(
        &mut self,
        queries: &[f32],
        at: &Search,
        bank: &Bank,
        found: &mut [f32],
        valid: Option<&[f32]>,
        map: &mut [f32],
    ) -> Result<()> {
        let (bank, [layers, rows, width]) = bank.any_numbers(OP, at.tensor)?;
        let bank = &bank[..layers * rows * width];
        need(OP, "layers", 1, layers)?;
        need(OP, "rows", rows.min(width), 1)?;
        need(OP, "queries", queries.len(), at.query_len(1) * width)?;
        need(OP, "found", found.len(), at.out_len(1))?;
        need(OP, "map", map.len(), at.out_len(1))?;
        if let Some(valid) = valid {
            need(OP, "valid", valid.len(), at.out_len(1))?;
        }
        let isa = self.isa;
        let queries = &queries[at.queries.start * width..at.queries.end * width];
        let found = &mut found[at.first_out..][..at.queries.len()];
        let map = &mut map[at.first_out..][..at.queries.len()];
        self.pool.run_chunks(found, CELLS, |chunk, found, _| {
            let queries = &queries[chunk * CELLS * width..][..found.len() * width];
            isa.run(Nearest { queries, bank, width, found });
        });
        let (found, valid) = (&*found, valid.map(|valid| &valid[at.first_out..]));
        self.pool.run_chunks(map, CELLS, |chunk, map, _| {
            for (i, cell) in map.iter_mut().enumerate() {
                let i = chunk * CELLS + i;
                let a = &queries[i * width..][..width];
                let b = &bank[found[i].to_bits() as usize * width..][..width];
                // A product, not a branch: infinity and NaN remain, so that they are found later.
                *cell = valid.map_or(1.0, |valid| valid[i]) * isa.run(Squares { a, b, most: f32::INFINITY }).sqrt();
            }
        });
        Ok(())
    }
}

/// The place of the nearest row for each query, as bits.
struct Nearest<'a> {
    queries: &'a [f32],
    bank: &'a [f32],
    width: usize,
    found: &'a mut [f32],
}

impl Kernel for Nearest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Nearest { queries, bank, width, found } = self;
        let mut best = [f32::INFINITY; CELLS];
        found.fill(f32::from_bits(0));
        let count = found.len();
        for (pair, rows) in bank.chunks(ROWS * width).enumerate() {
            // The last row stands for one that is not there; it is no nearer than itself.
            let of_row = |r: usize| &rows[(r * width).min(rows.len() - width)..][..width];
            let rows = [of_row(0), of_row(1)];
            for first in (0..count).step_by(QUERIES) {
                let query = |q: usize| &queries[(first + q).min(count - 1) * width..][..width];
                let sums = squares(simd, [query(0), query(1), query(2), query(3)], rows);
                for (q, sums) in sums.iter().enumerate().take(count - first) {
                    for (r, &sum) in sums.iter().enumerate() {
                        if sum < best[first + q] {
                            best[first + q] = sum;
                            found[first + q] = f32::from_bits((pair * ROWS + r) as u32);
                        }
                    }
                }
            }
        }
    }
}

/// `Σ (query - row)²` of each pair: one chain a lane, then the lanes in order, then what is left of the width.
#[inline(always)]
fn squares<S: Simd>(simd: S, queries: [&[f32]; QUERIES], rows: [&[f32]; ROWS]) -> [[f32; ROWS]; QUERIES] {
    let width = rows[0].len();
    let whole = width / S::LANES * S::LANES;
    let mut lanes = [[simd.splat(0.0); ROWS]; QUERIES];
    for at in (0..whole).step_by(S::LANES) {
        let row = [simd.load(&rows[0][at..]), simd.load(&rows[1][at..])];
        for (lanes, query) in lanes.iter_mut().zip(queries) {
            let query = simd.load(&query[at..]);
            for (lane, row) in lanes.iter_mut().zip(row) {
                let d = simd.sub(query, row);
                *lane = simd.fma(d, d, *lane);
            }
        }
    }
    let mut sums = [[0.0; ROWS]; QUERIES];
    for ((sums, lanes), query) in sums.iter_mut().zip(lanes).zip(queries) {
        for ((sum, lane), row) in sums.iter_mut().zip(lanes).zip(rows) {
            let rest = query[whole..].iter().zip(&row[whole..]).map(|(a, b)| (a - b) * (a - b));
            *sum = simd.sum_lanes(lane) + rest.sum::<f32>();
        }
    }
    sums
}
