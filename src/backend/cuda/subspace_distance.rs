//! Launches `kernels/subspace_distance.cu`: how far tokens lie from a mean, along a few directions and outside them.

use super::buffer::{Buffer, Storage};
use super::launch::{Grid, int, launch};
use super::{Bank, Cuda};
use crate::backend::{Search, Subspace};
use crate::error::{Error, ErrorKind, Result};

const OP: &str = "subspace_distance";
const THREADS: u32 = 256;
/// Most rows of a block.
const TOGETHER: usize = 4;
/// Shared memory that every GPU has for a block.
const SHARED: usize = 96 << 10;

impl Cuda {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn launch_subspace_distance(
        &mut self,
        tokens: &Buffer,
        [layers, cells, width]: [usize; 3],
        at: &Search,
        by: &Subspace,
        bank: &Bank,
        valid: &Buffer,
        map: &mut Buffer,
    ) -> Result<()> {
        let (mean, directions) = (bank.numbers(OP, by.mean)?, bank.numbers(OP, at.tensor)?);
        let (places, depth) = (mean[0] * mean[1], mean[2]);
        by.check(OP, cells, [places, directions[1], depth], directions.iter().product())?;
        let entry = |cuda: &mut Self, place: usize, shape| cuda.bank_entry(bank, OP, place, shape);
        let mean = entry(self, by.mean, mean)?;
        let axes = entry(self, at.tensor, directions)?;
        let mut optional = |place: Option<usize>| match place {
            Some(place) => entry(self, place, bank.numbers(OP, place)?),
            None => Ok(0),
        };
        let (weights, channels) = (optional(by.weights)?, optional(by.channels)?);
        let together = if places == 1 { TOGETHER } else { 1 };
        // A recording serves other banks with as many directions as its mean has numbers.
        let most = depth.max(directions[1]);
        let shared = (together * (depth + most) + THREADS as usize / 32) * 4;
        if shared > SHARED {
            let message = format!(
                "tokens of {depth} numbers are more than a GPU's kernel holds at once: name fewer blocks or channels, or use the \
                 device `cpu`"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let count = at.queries.len();
        let (first, end) = ((at.first_out * 4) as u64, at.first_out + count);
        let mirror = map.mirror();
        launch!(
            self,
            self.shared.kernels.subspace_distance,
            Grid { blocks: [count.div_ceil(together), 1, 1], threads: THREADS, shared },
            tokens.pointer(OP, "tokens", Storage::F32, at.query_len(layers) * width)?
                + (at.queries.start * width * 4) as u64,
            int(at.query_pitch)?,
            int(count)?,
            int(layers)?,
            int(width)?,
            int(cells)?,
            int(places)?,
            int(depth)?,
            mean,
            axes,
            weights,
            channels,
            int(together)?,
            int(most)?,
            by.outside,
            i32::from(by.root),
            valid.pointer(OP, "valid", Storage::F32, end)? + first,
            map.pointer(OP, "map", Storage::F32, end)? + first,
            if mirror == 0 { 0 } else { mirror + first },
        )
    }
}
