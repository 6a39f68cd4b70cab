//! Fused patch-cosine nearest neighbour: the product of query patches and prompt patches, of which only the running
//! maximum is kept. The cost is that of the product; the memory does not depend on the number of prompts.

use super::packed::{self, MAX_PANEL};
use super::simd::{Kernel, Simd};
use super::tile::{Product, Rows, multiply};
use super::{Bank, Cpu};
use crate::backend::need;
use crate::error::Result;

/// Panels of query patches of a task: a strip of prompt patches is used this often while it is in the first cache.
const PANELS: usize = 3;
/// Prompt patches that pass over all panels of a task before the next: a multiple of every tile height.
const STRIP: usize = 12;

impl Cpu {
    /// `out[l, b, i] = max_j taps[l, b, i] · bank[l, j]`.
    pub(super) fn nearest(&mut self, taps: &[f32], images: usize, bank: &Bank, out: &mut [f32]) -> Result<()> {
        let (width, patches, layers) = (bank.width, bank.patches, bank.layers);
        let prompt_rows = bank.prompts * patches;
        need("patch_nn", "taps", taps.len(), layers * images * patches * width)?;
        need("patch_nn", "out", out.len(), layers * images * patches)?;
        let isa = self.isa;
        let columns = PANELS * isa.panel_width();
        let groups = patches.div_ceil(columns);
        let scratch_len = packed::packed_len(isa, width, columns);
        self.reserve(scratch_len);
        let out = super::pool::Disjoint::new(out);
        self.pool.run(layers * images * groups, |task, scratch| {
            let (pair, group) = (task / groups, task % groups);
            let first = group * columns;
            let count = columns.min(patches - first);
            let query = &taps[(pair * patches + first) * width..][..count * width];
            let prompts = &bank.taps[pair / images * prompt_rows * width..][..prompt_rows * width];
            // SAFETY: each (pair, group) names its own elements of `out` and is run once.
            #[allow(unsafe_code)]
            let best = unsafe { out.slice(pair * patches + first, count) };
            let packed = scratch.take(scratch_len);
            isa.run(Nearest { query, prompts: Rows::new(prompts, width, width), prompt_rows, width, packed, best });
        });
        Ok(())
    }
}

struct Nearest<'a> {
    /// `[count, width]`.
    query: &'a [f32],
    /// `[prompt_rows, width]`.
    prompts: Rows<'a>,
    prompt_rows: usize,
    width: usize,
    packed: &'a mut [f32],
    /// `[count]`.
    best: &'a mut [f32],
}

impl Kernel for Nearest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let columns = 2 * S::LANES;
        let panels = self.packed.chunks_exact_mut(columns * self.width);
        for (panel, rows) in panels.zip(self.query.chunks(columns * self.width)) {
            packed::pack_transposed(rows.chunks_exact(self.width), columns, panel);
        }
        let mut running = [[simd.splat(f32::NEG_INFINITY); 2]; PANELS];
        let used = self.best.len().div_ceil(columns);
        let mut cosines = [0.0; STRIP * MAX_PANEL];
        for first in (0..self.prompt_rows).step_by(STRIP) {
            let rows = STRIP.min(self.prompt_rows - first);
            let prompts = self.prompts.part(first, 0, self.width);
            for (panel, largest) in self.packed.chunks_exact(columns * self.width).zip(&mut running).take(used) {
                multiply(simd, Product { a: prompts, rows, panel, next: &[] }, &mut cosines, columns, false);
                for row in cosines.chunks_exact(columns).take(rows) {
                    largest[0] = simd.max(simd.load(row), largest[0]);
                    largest[1] = simd.max(simd.load(&row[S::LANES..]), largest[1]);
                }
            }
        }
        for (best, largest) in self.best.chunks_mut(columns).zip(running) {
            let mut lanes = [0.0; MAX_PANEL];
            simd.store(largest[0], &mut lanes);
            simd.store(largest[1], &mut lanes[S::LANES..]);
            best.copy_from_slice(&lanes[..best.len()]);
        }
    }
}
