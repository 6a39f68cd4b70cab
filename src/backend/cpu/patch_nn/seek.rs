//! The first look at a large bank: of the few rows that stand for all, the one that seems nearest to a query row. A
//! search that knows it rules most other rows out from the beginning.

use super::integers::ROWS;
use crate::backend::cpu::bytes::{ByteKernel, Bytes, Columns};
use crate::backend::cpu::packed::MAX_PANEL;
use crate::backend::cpu::tile::{Lines, Product, Rows, Stored, multiply};

/// Words of working memory of [`Seek`].
pub(super) const WORDS: usize = ROWS * MAX_PANEL;

/// Finds for some query rows the bank row of the largest estimate, by bytes along the axes.
pub(super) struct Seek<'a> {
    /// `[panels, words, 2 * LANES]`.
    pub panels: &'a [i32],
    /// `[panels, 3, 2 * LANES]`.
    pub columns: &'a [f32],
    /// The query rows, at most [`ROWS`].
    pub words: Rows<'a, i32>,
    /// One for each of them.
    pub scales: &'a [f32],
    /// [`WORDS`] uninitialised words.
    pub sums: &'a mut [i32],
    /// The result, one for each of them; where nothing is larger than minus infinity it stays.
    pub nearest: &'a mut [u32],
}

impl ByteKernel for Seek<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let Seek { panels, columns, words, scales, sums, nearest } = self;
        let (width, rows) = (2 * B::LANES, nearest.len());
        let mut floors = [f32::NEG_INFINITY; ROWS];
        let floors = &mut floors[..rows];
        let each = panels.chunks_exact(words.depth() * width).zip(columns.chunks_exact(3 * width));
        for (index, (panel, columns)) in each.enumerate() {
            multiply(bytes, Product { a: words, rows, panel, next: Lines::NONE }, sums, width, false, Stored);
            let (scale, rest) = columns.split_at(width);
            let (slope, offset) = rest.split_at(width);
            let columns = Columns { scale, slope, offset };
            let mut row = 0;
            while let Some((ahead, mut above)) =
                bytes.above(&sums[row * width..rows * width], columns, &scales[row..], &floors[row..])
            {
                row += ahead;
                while above != 0 {
                    let column = above.trailing_zeros() as usize;
                    above &= above - 1;
                    let sum = sums[row * width + column] as f32;
                    let estimate = sum * scale[column] + offset[column] + slope[column] * scales[row];
                    if estimate > floors[row] {
                        (floors[row], nearest[row]) = (estimate, (index * width + column) as u32);
                    }
                }
                row += 1;
            }
        }
    }
}
