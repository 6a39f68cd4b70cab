//! Launches `kernels/spade_image.cu`.

use super::super::MOST;
use super::{ImageDistance, SpadeOps};
use crate::backend::cuda::launch::{Grid, int, launch};
use crate::backend::cuda::{Bank, Buffer, Cuda, MethodKernel, Storage};
use crate::backend::need;
use crate::error::Result;

const OP: &str = "spade_image";
const THREADS: u32 = 256;

/// The kernel.
pub struct Kernel(MethodKernel);

impl SpadeOps for Cuda {
    type Images = Kernel;

    fn image_ops(&mut self) -> Result<Kernel> {
        self.method_kernel("spade_image").map(Kernel)
    }

    fn image_distance(
        &mut self,
        Kernel(kernel): &Kernel,
        class: &Buffer,
        at: &ImageDistance,
        bank: &Bank,
        out: &mut Buffer,
    ) -> Result<()> {
        let shape @ [_, count, width] = bank.numbers(OP, at.images)?;
        need(OP, "images", width, at.embedding)?;
        need(OP, "neighbours", MOST, count)?;
        at.check(usize::MAX, usize::MAX)?;
        let entry = self.bank_entry(bank, OP, at.images, shape)?;
        let first = (at.first_slot * at.out_pitch * 4) as u64;
        let mirror = out.mirror();
        self.bind()?;
        launch!(
            self,
            kernel.function(),
            Grid {
                blocks: [at.views.len(), 1, 1],
                threads: THREADS,
                shared: (width + MOST + THREADS as usize / 32) * 4
            },
            class.pointer(OP, "class", Storage::F32, at.views.end * width)? + (at.views.start * width * 4) as u64,
            int(width)?,
            entry,
            i32::from(at.unit),
            int(at.out_pitch)?,
            int(at.column)?,
            out.pointer(OP, "out", Storage::F32, (at.first_slot + at.views.len()) * at.out_pitch)? + first,
            if mirror == 0 { 0 } else { mirror + first },
        )
    }
}
