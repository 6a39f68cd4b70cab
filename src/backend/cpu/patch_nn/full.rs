//! The search by floats alone: the product of query patches and bank rows, of which only the running maximum is kept.

use std::ops::Range;

use crate::backend::cpu::blocks::{self, BLOCK_DEPTH, BLOCK_PANELS, BLOCK_ROWS, Panels, walk};
use crate::backend::cpu::packed::{MAX_PANEL, pack_transposed};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::tile::{Lines, Rows};

/// Floats of scratch that [`Full`] needs, at the widest instruction set.
pub(super) const SCRATCH: usize = blocks::SCRATCH + BLOCK_ROWS * MAX_PANEL;

/// One part: a block of query patches and some panels of the bank.
pub(super) struct Full<'a> {
    pub query: Rows<'a>,
    /// `[count, W]`.
    pub bank_rows: Rows<'a>,
    pub count: usize,
    /// What the panels hold, where that is not the rows as they stand.
    pub order: Option<&'a [u32]>,
    pub panels: Range<usize>,
    /// [`SCRATCH`] uninitialised floats.
    pub scratch: &'a mut [f32],
    /// The result, one for each query patch of the block.
    pub best: &'a mut [f32],
}

impl Kernel for Full<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = 2 * S::LANES;
        let rows = self.best.len();
        let (scratch, largest) = self.scratch.split_at_mut(blocks::SCRATCH);
        let largest = &mut largest[..rows * width];
        largest.fill(f32::NEG_INFINITY);
        let mut bank_rows = BankRows { rows: self.bank_rows, count: self.count, order: self.order, largest };
        let mut first = self.panels.start;
        while first < self.panels.end {
            let last = self.panels.end.min(first + BLOCK_PANELS);
            walk(simd, self.query, rows, first..last, scratch, &mut bank_rows);
            first = last;
        }
        for (best, row) in self.best.iter_mut().zip(bank_rows.largest.chunks_exact(width)) {
            *best = simd.max_lanes(simd.max(simd.load(row), simd.load(&row[S::LANES..])));
        }
    }
}

/// Prompt patches, packed as they are needed.
pub(super) struct BankRows<'a> {
    /// `[count, W]`.
    pub rows: Rows<'a>,
    pub count: usize,
    pub order: Option<&'a [u32]>,
    /// The largest cosines so far, one for each lane of a panel, `[rows, 2 * LANES]`.
    pub largest: &'a mut [f32],
}

impl<S: Simd> Panels<S> for BankRows<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, simd: S, panel: usize, from: usize, length: usize, room: &'a mut [f32]) -> &'a [f32] {
        let first = panel * 2 * S::LANES;
        let count = (self.count - first).min(2 * S::LANES);
        match self.order {
            None => pack_transposed(simd, self.rows.part(first, from, length), count, room),
            Some(order) => {
                let mut gathered = [0.0; BLOCK_DEPTH * MAX_PANEL];
                for (row, out) in order[first..][..count].iter().zip(gathered.chunks_exact_mut(length.max(1))) {
                    out.copy_from_slice(&self.rows.row(*row as usize)[from..][..length]);
                }
                pack_transposed(simd, Rows::new(&gathered, length, length), count, room);
            }
        }
        &room[..length * 2 * S::LANES]
    }

    #[inline(always)]
    fn lines(&self, _: S, panel: usize, from: usize, length: usize) -> Lines<'_> {
        if self.order.is_some() {
            return Lines::NONE;
        }
        let first = panel * 2 * S::LANES;
        Lines::new(self.rows.part(first, from, length), (self.count - first).min(2 * S::LANES))
    }

    #[inline(always)]
    fn finish(&mut self, simd: S, panel: usize, sums: &[f32]) {
        let width = 2 * S::LANES;
        let columns = width.min(self.count - panel * width);
        for (sums, largest) in sums.chunks_exact(width).zip(self.largest.chunks_exact_mut(width)) {
            if columns == width {
                for (sums, largest) in sums.chunks_exact(S::LANES).zip(largest.chunks_exact_mut(S::LANES)) {
                    simd.store(simd.max(simd.load(sums), simd.load(largest)), largest);
                }
            } else {
                // The columns beyond the last bank row are zero, which a cosine can lie below.
                sums[..columns].iter().zip(largest).for_each(|(x, largest)| *largest = largest.max(*x));
            }
        }
    }
}
