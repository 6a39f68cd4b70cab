//! Launches `kernels/patch_nn.cu`: the nearest bank row of every query row in every layer.
#![allow(unsafe_code)]

use cudarc::driver::result;

use super::bank::row_class;
use super::buffer::{Buffer, Storage};
use super::error::driver;
use super::launch::{Grid, int, launch};
use super::{Bank, Cuda};
use crate::backend::{Role, Search};
use crate::error::Result;

/// Threads, query rows and bank rows of a block's tile.
const THREADS: u32 = 128;
pub(super) const QUERIES: usize = 64;
pub(super) const BANK_ROWS: usize = 128;
/// Shared memory of a block: three stages of both tiles, 64 columns each, rows padded by 16 bytes.
const SHARED_HALF: usize = 3 * (QUERIES + BANK_ROWS) * (64 + 8) * 2;
const SHARED_SINGLE: usize = (QUERIES + BANK_ROWS) * (32 + 4) * 4;

impl Cuda {
    pub(super) fn launch_patch_nn(
        &mut self,
        queries: &Buffer,
        at: &Search,
        bank: &Bank,
        out: &mut Buffer,
    ) -> Result<()> {
        let shape @ [layers, rows, width] = bank.rows("patch_nn", at.tensor)?;
        let storage = self.stored(Role::UnitRows);
        let input = queries.pointer("patch_nn", "queries", storage, at.query_len(layers) * width)?;
        let keys = out.pointer("patch_nn", "out", Storage::Key, at.out_len(layers))?;
        let entry = self.bank_entry(bank, "patch_nn", at.tensor, shape)?;
        self.clear_keys(keys, layers, at)?;
        let count = at.queries.len();
        let blocks = count.div_ceil(QUERIES);
        let splits = splits(blocks * layers, row_class(rows).div_ceil(BANK_ROWS), self.shared.processors);
        let kernels = &self.shared.kernels;
        let shared = if storage == Storage::F16 { SHARED_HALF } else { SHARED_SINGLE };
        let grid = Grid { blocks: [blocks, splits, layers], threads: THREADS, shared };
        launch!(
            self,
            kernels.patch_nn.of(storage)?,
            grid,
            input + (at.queries.start * width * storage.size()) as u64,
            int(at.query_pitch)?,
            int(count)?,
            entry,
            int(width)?,
            keys + (at.first_out * Storage::Key.size()) as u64,
            int(at.out_pitch)?,
        )
    }

    /// Zero is below every key.
    pub(super) fn clear_keys(&self, keys: u64, layers: usize, at: &Search) -> Result<()> {
        let (stream, size, count) = (self.stream.cu_stream(), Storage::Key.size(), at.queries.len());
        let clear = |first: usize, count: usize| {
            // SAFETY: `out` holds the keys of eight bytes up to `Search::out_len`, which the caller has checked.
            let cleared = unsafe { result::memset_d8_async(keys + (first * size) as u64, 0, count * size, stream) };
            driver("cuMemsetD8Async", cleared)
        };
        if at.out_pitch == count {
            return clear(0, layers * count);
        }
        (0..layers).try_for_each(|layer| clear(layer * at.out_pitch + at.first_out, count))
    }
}

/// Blocks that share the bank's tiles, so that two blocks a processor run at a time; a maximum has no order, so that
/// this changes no bit.
pub(super) fn splits(blocks: usize, tiles: usize, processors: usize) -> usize {
    (2 * processors).div_ceil(blocks.max(1)).clamp(1, tiles.max(1))
}
