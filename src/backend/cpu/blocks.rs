//! A product in blocks: a task owns a block of rows and a few panels of columns.
//!
//! It walks the inner dimension in pieces, so that a piece of a panel stays in the first cache and the rows' piece in
//! the second; partial sums wait in the thread's scratch memory. Storing and reloading an f32 changes no bit, so the
//! result is one chain of multiply-adds whatever the blocking.

use std::ops::Range;

use super::packed::MAX_PANEL;
use super::tile::{AfterTile, Arithmetic, Lines, Product, Rows, multiply};

/// Rows of a task: a multiple of every tile height, and few enough for their piece to stay in the second cache.
pub(super) const BLOCK_ROWS: usize = 240;
/// Upper bound of the inner dimension's pieces: a panel's piece takes at most 32 KiB, the size of a first cache.
pub(super) const BLOCK_DEPTH: usize = 256;
/// Upper bound of the panels that are walked together.
pub(super) const BLOCK_PANELS: usize = 4;

const PARTIAL: usize = BLOCK_ROWS * BLOCK_PANELS * MAX_PANEL;
/// Words of scratch that [`walk`] needs, at the widest instruction set.
pub(super) const SCRATCH: usize = PARTIAL + BLOCK_DEPTH * MAX_PANEL;

/// The right operand of a product, and what becomes of the sums.
pub(super) trait Panels<A: Arithmetic> {
    /// The elements `from .. from + length` of the inner dimension of a panel, packed: `[length, 2 * LANES]`. They may
    /// be packed into `room`.
    fn piece<'a>(
        &'a self,
        arithmetic: A,
        panel: usize,
        from: usize,
        length: usize,
        room: &'a mut [A::Word],
    ) -> &'a [A::Word];
    /// The memory that [`Panels::piece`] reads.
    fn lines(&self, arithmetic: A, panel: usize, from: usize, length: usize) -> Lines<'_, A::Word>;
    /// Takes the sums of a panel in the rows of one tile, `[rows, 2 * LANES]`, the first of which is `first`. What it
    /// writes goes to memory while the next tile multiplies: writing a whole panel at once makes the product wait.
    #[inline(always)]
    fn finish_rows(&self, _: A, _panel: usize, _first: usize, _sums: &[A::Word]) {}
    /// Takes the sums of a whole panel, `[rows, 2 * LANES]`.
    #[inline(always)]
    fn finish(&mut self, _: A, _panel: usize, _sums: &[A::Word]) {}
}

/// The product of the first `rows` rows of `x`, at most [`BLOCK_ROWS`], and at most [`BLOCK_PANELS`] panels. `scratch`
/// is [`SCRATCH`] uninitialised words.
#[inline(always)]
pub(super) fn walk<A: Arithmetic>(
    arithmetic: A,
    x: Rows<'_, A::Word>,
    rows: usize,
    panels: Range<usize>,
    scratch: &mut [A::Word],
    operand: &mut impl Panels<A>,
) {
    let (partial, room) = scratch.split_at_mut(PARTIAL);
    let (width, depth) = (2 * A::LANES, x.depth());
    let pieces = depth.div_ceil(BLOCK_DEPTH).max(1);
    let piece = depth.div_ceil(pieces).max(1);
    for from in (0..depth.max(1)).step_by(piece) {
        let length = piece.min(depth - from);
        let to = from + length;
        for panel in panels.clone() {
            let slot = (panel - panels.start) * BLOCK_ROWS * width;
            let sums = &mut partial[slot..slot + rows * width];
            let packed = operand.piece(arithmetic, panel, from, length, room);
            let next = if panel + 1 < panels.end {
                operand.lines(arithmetic, panel + 1, from, length)
            } else if to < depth {
                operand.lines(arithmetic, panels.start, to, piece.min(depth - to))
            } else {
                Lines::NONE
            };
            multiply(
                arithmetic,
                Product { a: x.part(0, from, length), rows, panel: packed, next },
                sums,
                width,
                from > 0,
                FinishRows { operand: &*operand, panel, whole: to == depth },
            );
            if to == depth {
                operand.finish(arithmetic, panel, sums);
            }
        }
    }
}

/// Hands the rows of tiles over, if their sums are whole.
struct FinishRows<'a, P> {
    operand: &'a P,
    panel: usize,
    whole: bool,
}

impl<A: Arithmetic, P: Panels<A>> AfterTile<A> for FinishRows<'_, P> {
    #[inline(always)]
    fn tile(&self, arithmetic: A, first: usize, sums: &[A::Word]) {
        if self.whole {
            self.operand.finish_rows(arithmetic, self.panel, first, sums);
        }
    }
}

/// How a product is shared out: blocks of rows by groups of [`BLOCK_PANELS`] panels, and at the end single panels, so
/// that threads that were interrupted or began late finish together. No sum depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    panels: usize,
    /// Groups of a row block; those of the last one leave the single panels out.
    groups: usize,
    last_groups: usize,
    row_blocks: usize,
    singles: usize,
}

impl Shares {
    /// For `panels` by `row_blocks`, on `threads` threads.
    pub(super) fn new(panels: usize, row_blocks: usize, threads: usize) -> Self {
        let singles = if threads == 1 { 0 } else { panels.min(BLOCK_PANELS * threads) };
        let groups = panels.div_ceil(BLOCK_PANELS);
        Shares { panels, groups, last_groups: (panels - singles).div_ceil(BLOCK_PANELS), row_blocks, singles }
    }

    /// Number of tasks.
    pub(super) fn tasks(&self) -> usize {
        match self.row_blocks {
            0 => 0,
            n => (n - 1) * self.groups + self.last_groups + self.singles,
        }
    }

    /// The row block and the panels of a task.
    pub(super) fn of(&self, task: usize) -> (usize, Range<usize>) {
        let block = (task / self.groups).min(self.row_blocks - 1);
        let (group, last) = (task - block * self.groups, block + 1 == self.row_blocks);
        let end = if last { self.panels - self.singles } else { self.panels };
        if last && group >= self.last_groups {
            let panel = end + group - self.last_groups;
            return (block, panel..panel + 1);
        }
        (block, group * BLOCK_PANELS..end.min((group + 1) * BLOCK_PANELS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_of_every_block_is_walked_once() {
        for threads in [1, 2, 3, 64] {
            for panels in [1, 2, 4, 7, 28, 85] {
                for row_blocks in [0, 1, 2, 8] {
                    let shares = Shares::new(panels, row_blocks, threads);
                    let mut walked = vec![0; row_blocks * panels];
                    for (block, range) in (0..shares.tasks()).map(|task| shares.of(task)) {
                        assert!(!range.is_empty() && range.len() <= BLOCK_PANELS, "{shares:?}");
                        range.for_each(|panel| walked[block * panels + panel] += 1);
                    }
                    assert!(walked.iter().all(|&times| times == 1), "{shares:?}: {walked:?}");
                }
            }
        }
    }
}
