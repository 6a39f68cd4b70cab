//! Launches `kernels/patchcore_reweight.cu`.

use super::{AROUND, ReweightOps, Reweighted};
use crate::backend::Role;
use crate::backend::cuda::launch::{Grid, int, launch};
use crate::backend::cuda::{Bank, Buffer, Cuda, MethodKernel, Storage};
use crate::error::Result;

const OP: &str = "patchcore_reweight";
const THREADS: u32 = 256;
/// The largest cell of each warp with its place, and the distances.
const SHARED: usize = THREADS as usize / 32 * 8 + AROUND * 4;

/// The kernels for unit rows in the device's type, and for rows of numbers.
pub struct Kernels {
    unit: MethodKernel,
    plain: MethodKernel,
}

impl ReweightOps for Cuda {
    type Reweight = Kernels;

    fn reweight_ops(&mut self) -> Result<Kernels> {
        let plain = self.method_kernel("patchcore_reweight_f32")?;
        let half = self.stored(Role::UnitRows) == Storage::F16;
        Ok(Kernels { unit: if half { self.method_kernel("patchcore_reweight_f16")? } else { plain }, plain })
    }

    fn reweight(
        &mut self,
        with: &Kernels,
        queries: &Buffer,
        at: &Reweighted,
        bank: &Bank,
        found: &Buffer,
        map: &Buffer,
        out: &mut Buffer,
    ) -> Result<()> {
        let (kernel, stored, rows) = match bank.numbers(OP, at.search.tensor) {
            Ok(rows) => (with.plain, Storage::F32, rows),
            Err(_) => (with.unit, self.stored(Role::UnitRows), bank.rows(OP, at.search.tensor)?),
        };
        let around = bank.numbers(OP, at.neighbours)?;
        let width = rows[2];
        let tensor = self.bank_entry(bank, OP, at.search.tensor, rows)?;
        let neighbours = self.bank_entry(bank, OP, at.neighbours, around)?;
        let images = at.images();
        at.check(usize::MAX, usize::MAX)?;
        let cells = at.search.first_out + at.search.queries.len();
        let first = (at.first() * at.out_pitch * 4) as u64;
        let mirror = out.mirror();
        self.bind()?;
        launch!(
            self,
            kernel.function(),
            Grid { blocks: [images, 1, 1], threads: THREADS, shared: SHARED },
            queries.pointer(OP, "queries", stored, at.search.query_len(1) * width)?
                + (at.search.queries.start * width * stored.size()) as u64,
            int(width)?,
            tensor,
            neighbours,
            int(around[2])?,
            found.pointer(OP, "found", Storage::Key, at.search.out_len(1))?
                + (at.search.first_out * Storage::Key.size()) as u64,
            map.pointer(OP, "map", Storage::F32, cells)? + (at.search.first_out * 4) as u64,
            int(at.cells)?,
            at.scale,
            int(at.out_pitch)?,
            int(at.column)?,
            out.pointer(OP, "out", Storage::F32, (at.first() + images) * at.out_pitch)? + first,
            if mirror == 0 { 0 } else { mirror + first },
        )
    }
}
