//! Launches `kernels/patch_nn.cu`: the nearest prompt patch of every query patch at every tap.
#![allow(unsafe_code)]

use cudarc::driver::result;

use super::buffer::{Buffer, Storage};
use super::error::driver;
use super::launch::{Grid, int, launch};
use super::{Bank, Cuda};
use crate::error::Result;

/// Threads, query rows and bank rows of a block's tile.
const THREADS: u32 = 128;
const QUERIES: usize = 64;
const BANK_ROWS: usize = 128;
/// Shared memory of a block: three stages of both tiles, 64 columns each, rows padded by 16 bytes.
const SHARED_HALF: usize = 3 * (QUERIES + BANK_ROWS) * (64 + 8) * 2;
const SHARED_SINGLE: usize = (QUERIES + BANK_ROWS) * (32 + 4) * 4;

impl Cuda {
    pub(super) fn nearest(&mut self, taps: &Buffer, images: usize, bank: &Bank, out: &mut Buffer) -> Result<()> {
        let [layers, prompts, patches, width] = bank.shape();
        let queries = images * patches;
        let input = taps.pointer("patch_nn", "taps", self.operand(), layers * queries * width)?;
        let keys = out.pointer("patch_nn", "out", Storage::Key, layers * queries)?;
        self.select(bank)?;
        // Zero is below the key of every cosine.
        // SAFETY: `out` holds that many keys of eight bytes, checked above.
        let cleared = unsafe {
            result::memset_d8_async(keys, 0, layers * queries * Storage::Key.size(), self.stream.cu_stream())
        };
        driver("cuMemsetD8Async", cleared)?;
        let blocks = queries.div_ceil(QUERIES);
        let splits = splits(blocks * layers, (prompts * patches).div_ceil(BANK_ROWS), self.shared.processors);
        let kernels = &self.shared.kernels;
        let grid =
            Grid { blocks: [blocks, splits, layers], threads: THREADS, shared: self.pick(SHARED_HALF, SHARED_SINGLE) };
        launch!(
            self,
            self.pick(kernels.patch_nn_f16, kernels.patch_nn_f32),
            grid,
            input,
            int(queries)?,
            self.slot.pointer(),
            int(patches)?,
            int(width)?,
            keys,
        )
    }
}

/// Blocks that share the bank's tiles, so that two blocks a processor run at a time; a maximum has no order, so that this
/// changes no bit.
fn splits(blocks: usize, tiles: usize, processors: usize) -> usize {
    (2 * processors).div_ceil(blocks.max(1)).clamp(1, tiles.max(1))
}
