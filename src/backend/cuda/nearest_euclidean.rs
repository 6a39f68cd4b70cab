//! Launches `kernels/nearest_euclidean.cu`: the nearest bank row of rows of any length, by differences, and how far it
//! is.

use super::bank::row_class;
use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::patch_nn::{BANK_ROWS, QUERIES, splits};
use super::{Bank, Cuda};
use crate::backend::{Search, need};
use crate::error::Result;

const OP: &str = "nearest_euclidean";
const SEARCH_THREADS: u32 = 128;
const MAP_THREADS: u32 = 256;
/// Shared memory of a block: both tiles, 32 columns each, rows padded by one number.
const SHARED: usize = (QUERIES + BANK_ROWS) * (32 + 1) * 4;

impl Cuda {
    pub(super) fn launch_nearest_euclidean(
        &mut self,
        queries: &Buffer,
        at: &Search,
        bank: &Bank,
        found: &mut Buffer,
        valid: Option<&Buffer>,
        map: &mut Buffer,
    ) -> Result<()> {
        let shape @ [layers, rows, width] = bank.numbers(OP, at.tensor)?;
        need(OP, "layers", 1, layers)?;
        need(OP, "rows", rows.min(width), 1)?;
        let (count, end) = (at.queries.len(), at.out_len(1));
        self.shared.bind()?;
        let from = queries.pointer(OP, "queries", Storage::F32, at.query_len(1) * width)?;
        let keys = found.pointer(OP, "found", Storage::Key, end)?;
        let to = map.pointer(OP, "map", Storage::F32, end)? + (at.first_out * 4) as u64;
        let valid = match valid {
            Some(valid) => valid.pointer(OP, "valid", Storage::F32, end)? + (at.first_out * 4) as u64,
            None => 0,
        };
        let entry = self.bank_entry(bank, OP, at.tensor, shape)?;
        self.clear_keys(keys, 1, at)?;
        let keys = keys + (at.first_out * Storage::Key.size()) as u64;
        let blocks = count.div_ceil(QUERIES);
        let splits = splits(blocks, row_class(rows).div_ceil(BANK_ROWS), self.shared.processors);
        launch!(
            self,
            self.shared.kernels.nearest_euclidean,
            Grid { blocks: [blocks, splits, 1], threads: SEARCH_THREADS, shared: SHARED },
            from + (at.queries.start * width * 4) as u64,
            int(count)?,
            entry,
            int(width)?,
            keys,
        )?;
        let mirror = map.mirror();
        launch!(
            self,
            self.shared.kernels.euclidean_map,
            Grid::over(count, MAP_THREADS as usize, MAP_THREADS),
            keys,
            valid,
            int(count)?,
            to,
            if mirror == 0 { 0 } else { mirror + (at.first_out * 4) as u64 },
        )
    }
}
