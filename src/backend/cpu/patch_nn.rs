//! Fused patch-cosine nearest neighbour: the product of query patches and prompt patches, of which only the running
//! maximum is kept. The cost is that of the product; the memory does not grow with the number of prompts.

use std::ops::Range;

use super::blocks::{self, BLOCK_PANELS, BLOCK_ROWS, Panels, walk};
use super::packed::{MAX_PANEL, pack_transposed};
use super::pool::Disjoint;
use super::simd::{Kernel, Simd};
use super::tile::{Lines, Rows};
use super::{Bank, Cpu};
use crate::backend::need;
use crate::error::Result;

/// Shares of the prompts for each thread: enough that threads which began late finish together.
const SHARES: usize = 8;

/// Floats of scratch that a task needs, at the widest instruction set.
const SCRATCH: usize = blocks::SCRATCH + BLOCK_ROWS * MAX_PANEL;

impl Cpu {
    /// `out[l, b, i] = max_j taps[l, b, i] · bank[l, j]`.
    pub(super) fn nearest(&mut self, taps: &[f32], images: usize, bank: &Bank, out: &mut [f32]) -> Result<()> {
        let (width, layers) = (bank.width, bank.layers);
        let (rows, prompt_rows) = (images * bank.patches, bank.prompts * bank.patches);
        need("patch_nn", "taps", taps.len(), layers * rows * width)?;
        need("patch_nn", "out", out.len(), layers * rows)?;
        let isa = self.isa;
        let panels = prompt_rows.div_ceil(isa.panel_width());
        let shares = panels.min(SHARES * self.pool.threads());
        let blocks = rows.div_ceil(BLOCK_ROWS);
        self.reserve(SCRATCH);
        // The largest cosines of each share, `[shares, layers, rows]`.
        let len = shares * layers * rows;
        if self.nearest.len() < len {
            self.nearest.resize(len, 0.0);
        }
        let found = Disjoint::new(&mut self.nearest[..len]);
        self.pool.run(layers * blocks * shares, |task, scratch| {
            let (share, block, layer) = (task % shares, task / shares % blocks, task / shares / blocks);
            let first = block * BLOCK_ROWS;
            let count = BLOCK_ROWS.min(rows - first);
            let (walked, largest) = scratch.take(SCRATCH).split_at_mut(blocks::SCRATCH);
            let prompts = &bank.taps[layer * prompt_rows * width..][..prompt_rows * width];
            // SAFETY: each share, layer and block names its own elements, and is run once.
            #[allow(unsafe_code)]
            let best = unsafe { found.slice((share * layers + layer) * rows + first, count) };
            isa.run(Nearest {
                query: Rows::new(&taps[(layer * rows + first) * width..], width, width),
                panels: share * panels / shares..(share + 1) * panels / shares,
                scratch: walked,
                prompts: Prompts { rows: Rows::new(prompts, width, width), count: prompt_rows, largest },
                best,
            });
        });
        let out = &mut out[..layers * rows];
        out.fill(f32::NEG_INFINITY);
        for share in self.nearest[..len].chunks_exact(out.len().max(1)) {
            out.iter_mut().zip(share).for_each(|(out, x)| *out = out.max(*x));
        }
        Ok(())
    }
}

/// One task: a block of query patches and a share of the prompts.
struct Nearest<'a> {
    query: Rows<'a>,
    panels: Range<usize>,
    scratch: &'a mut [f32],
    prompts: Prompts<'a>,
    /// The result, one for each query patch of the block.
    best: &'a mut [f32],
}

impl Kernel for Nearest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let width = 2 * S::LANES;
        let rows = self.best.len();
        self.prompts.largest[..rows * width].fill(f32::NEG_INFINITY);
        let mut first = self.panels.start;
        while first < self.panels.end {
            let last = self.panels.end.min(first + BLOCK_PANELS);
            walk(simd, self.query, rows, first..last, self.scratch, &mut self.prompts);
            first = last;
        }
        for (best, row) in self.best.iter_mut().zip(self.prompts.largest.chunks_exact(width)) {
            *best = simd.max_lanes(simd.max(simd.load(row), simd.load(&row[S::LANES..])));
        }
    }
}

/// Prompt patches, packed as they are needed: a bank is then swapped without work, and held once for all lanes.
struct Prompts<'a> {
    /// `[count, W]`.
    rows: Rows<'a>,
    count: usize,
    /// The largest cosines so far, one for each lane of a panel, `[rows, 2 * LANES]`.
    largest: &'a mut [f32],
}

impl Panels for Prompts<'_> {
    #[inline(always)]
    fn piece<'a, S: Simd>(
        &'a self,
        simd: S,
        panel: usize,
        from: usize,
        length: usize,
        room: &'a mut [f32],
    ) -> &'a [f32] {
        let first = panel * 2 * S::LANES;
        pack_transposed(simd, self.rows.part(first, from, length), (self.count - first).min(2 * S::LANES), room);
        &room[..length * 2 * S::LANES]
    }

    #[inline(always)]
    fn lines<S: Simd>(&self, _: S, panel: usize, from: usize, length: usize) -> Lines<'_> {
        let first = panel * 2 * S::LANES;
        Lines::new(self.rows.part(first, from, length), (self.count - first).min(2 * S::LANES))
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S, panel: usize, sums: &[f32]) {
        let width = 2 * S::LANES;
        let columns = width.min(self.count - panel * width);
        for (sums, largest) in sums.chunks_exact(width).zip(self.largest.chunks_exact_mut(width)) {
            if columns == width {
                for (sums, largest) in sums.chunks_exact(S::LANES).zip(largest.chunks_exact_mut(S::LANES)) {
                    simd.store(simd.max(simd.load(sums), simd.load(largest)), largest);
                }
            } else {
                // The columns beyond the last prompt patch are zero, which a cosine can lie below.
                sums[..columns].iter().zip(largest).for_each(|(x, largest)| *largest = largest.max(*x));
            }
        }
    }
}
