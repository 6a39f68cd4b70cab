//! Rules out most panels of bank rows by bounds along a few axes, which cost a fraction of estimates of whole cosines.
//! Of the query rows that a panel is not ruled out for, the cosines are estimated whole.

use super::quantised;
use super::screen::{BankRows, Block};
use crate::backend::cpu::blocks::{BLOCK_ROWS, Panels};
use crate::backend::cpu::bytes::Bytes;
use crate::backend::cpu::packed::MAX_PANEL;
use crate::backend::cpu::tile::{Lines, MAX_TILE_ROWS, Product, Rows, Stored, multiply};

/// Panels of a row that may be kept before they are counted: the first ones raise the largest known cosine.
pub(super) const FIRST: usize = 4;
/// What estimates of single rows cost beside those of blocks, as a fraction.
pub(super) const DEARER: [usize; 2] = [6, 5];

/// Words that a thread works with beside the sums.
pub(super) fn words(width: usize) -> usize {
    MAX_TILE_ROWS * quantised::words(width)
}

/// Shortened bank rows of a layer, and what happens to those that are not ruled out.
pub(super) struct Sieve<'a, 'b> {
    pub table: Block<'a>,
    /// What bounds of nearer patches exceed.
    pub floors: &'a mut [f32],
    /// [`words`] uninitialised words.
    pub room: &'a mut [i32],
    pub bank_rows: &'a mut BankRows<'b>,
    /// Panels of rows that were not ruled out.
    pub kept: usize,
}

impl Sieve<'_, '_> {
    /// Estimates whole what is left: a panel for some rows, at most [`MAX_TILE_ROWS`].
    #[inline(always)]
    fn estimate<B: Bytes>(&mut self, bytes: B, panel: usize, rows: &[usize]) {
        let (width, whole) = (2 * B::LANES, self.bank_rows.table);
        let depth = whole.words.depth();
        let room = &mut self.room[..rows.len() * depth];
        for (row, words) in rows.iter().zip(room.chunks_exact_mut(depth)) {
            words.copy_from_slice(whole.words.row(*row));
        }
        let mut sums = [0; MAX_TILE_ROWS * MAX_PANEL];
        let sums = &mut sums[..rows.len() * width];
        let strip = whole.strip::<B>(panel, 0, depth);
        let product = Product { a: Rows::new(room, depth, depth), rows: rows.len(), panel: strip, next: Lines::NONE };
        multiply(bytes, product, sums, width, false, Stored);
        let columns = whole.columns::<B>(panel);
        let mut above = [0; MAX_TILE_ROWS];
        for ((row, sums), above) in rows.iter().zip(sums.chunks_exact(width)).zip(&mut above) {
            let floor = &self.bank_rows.floors[*row..=*row];
            if let Some((_, mask)) = bytes.above(sums, columns, &whole.scales[*row..=*row], floor) {
                *above = mask;
                self.bank_rows.ask(bytes, panel, mask);
            }
        }
        for ((row, sums), above) in rows.iter().zip(sums.chunks_exact(width)).zip(above) {
            if above != 0 {
                self.bank_rows.rescore::<B>(*row, panel, above, sums);
                self.floors[*row] = self.table.floor(*row, self.bank_rows.largest[*row]);
            }
        }
    }
}

impl<B: Bytes> Panels<B> for Sieve<'_, '_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: B, panel: usize, from: usize, length: usize, _: &'a mut [i32]) -> &'a [i32] {
        self.table.strip::<B>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: B, panel: usize, from: usize, length: usize) -> Lines<'_, i32> {
        Lines::of(self.table.strip::<B>(panel, from, length))
    }

    #[inline(always)]
    fn finish(&mut self, bytes: B, panel: usize, sums: &[i32]) {
        let width = 2 * B::LANES;
        let (table, columns) = (self.table, self.table.columns::<B>(panel));
        let (mut left, mut count, mut next) = ([0; BLOCK_ROWS], 0, 0);
        while let Some((ahead, _)) =
            bytes.above(&sums[next * width..], columns, &table.scales[next..], &self.floors[next..])
        {
            let row = next + ahead;
            (left[count], count, next) = (row, count + 1, row + 1);
        }
        for rows in left[..count].chunks(MAX_TILE_ROWS) {
            self.estimate(bytes, panel, rows);
        }
        self.kept += count;
    }
}
