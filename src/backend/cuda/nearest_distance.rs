//! Launches `kernels/nearest_distance.cu` after the search: the distance to the nearest bank row, by differences.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::{Bank, Cuda};
use crate::backend::{Role, Search};
use crate::error::Result;

const OP: &str = "nearest_distance";
const THREADS: u32 = 256;
/// Query rows of a block.
const ROWS: usize = 8;

impl Cuda {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn launch_nearest_distance(
        &mut self,
        queries: &Buffer,
        at: &Search,
        bank: &Bank,
        found: &mut Buffer,
        scale: f32,
        valid: Option<&Buffer>,
        map: &mut Buffer,
    ) -> Result<()> {
        self.launch_patch_nn(queries, at, bank, found)?;
        let shape @ [layers, _, width] = bank.rows(OP, at.tensor)?;
        let entry = self.bank_entry(bank, OP, at.tensor, shape)?;
        let (count, rows) = (at.queries.len(), self.stored(Role::UnitRows));
        let first = |size: usize| (at.first_out * size) as u64;
        let cells = at.first_out + count;
        let mirror = map.mirror();
        let valid = match valid {
            Some(valid) => valid.pointer(OP, "valid", Storage::F32, cells)? + first(4),
            None => 0,
        };
        let kernels = &self.shared.kernels;
        launch!(
            self,
            kernels.nearest_distance.of(rows)?,
            Grid::over(count, ROWS, THREADS),
            queries.pointer(OP, "queries", rows, at.query_len(layers) * width)?
                + (at.queries.start * width * rows.size()) as u64,
            int(at.query_pitch)?,
            int(count)?,
            entry,
            int(layers)?,
            int(width)?,
            found.pointer(OP, "found", Storage::Key, at.out_len(layers))? + first(Storage::Key.size()),
            int(at.out_pitch)?,
            scale,
            valid,
            map.pointer(OP, "map", Storage::F32, cells)? + first(4),
            if mirror == 0 { 0 } else { mirror + first(4) },
        )
    }
}
