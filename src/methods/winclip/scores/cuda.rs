//! Launches `kernels/winclip.cu`.

use super::{Cover, Parts, SCALE, TextScores, WinclipOps};
use crate::backend::cuda::launch::{Grid, int, launch};
use crate::backend::cuda::{Bank, Buffer, Cuda, MethodKernel, Storage};
use crate::error::{Error, ErrorKind, Result};

const THREADS: u32 = 256;
/// Embeddings of a block, one for each warp.
const ROWS: usize = 8;
/// The encoder's kernels take rows of a multiple of this, and up to this many numbers.
const WIDTH: usize = 64;
const MOST: usize = 2048;

/// The kernels.
pub struct Kernels {
    text: MethodKernel,
    map: MethodKernel,
}

impl WinclipOps for Cuda {
    type Kernels = Kernels;

    fn winclip_ops(&mut self, embedding: usize) -> Result<Kernels> {
        if !embedding.is_multiple_of(WIDTH) || embedding > MOST {
            let message = format!(
                "the method `winclip` compares embeddings, and the model's have {embedding} numbers; on a GPU they have a multiple of \
                 {WIDTH}, at most {MOST}: use the device `cpu`"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Kernels { text: self.method_kernel("winclip_text")?, map: self.method_kernel("winclip_map")? })
    }

    fn text_scores(
        &mut self,
        kernels: &Kernels,
        embeddings: &Buffer,
        at: &TextScores,
        bank: &Bank,
        out: &mut Buffer,
    ) -> Result<()> {
        const OP: &str = "winclip_text";
        let (width, count) = (at.embedding, at.rows.len());
        at.check(usize::MAX, usize::MAX)?;
        let entry = self.bank_entry(bank, OP, at.text, [1, 2, width])?;
        let first = (at.first_out * at.out_pitch * 4) as u64;
        let mirror = out.mirror();
        let column = |column: Option<usize>| column.map_or(Ok(-1), int);
        self.bind()?;
        launch!(
            self,
            kernels.text.function(),
            Grid::over(count, ROWS, THREADS),
            embeddings.pointer(OP, "embeddings", Storage::F32, at.rows.end * width)?
                + (at.rows.start * width * 4) as u64,
            int(count)?,
            int(width)?,
            entry,
            SCALE,
            int(at.out_pitch)?,
            int(at.column)?,
            column(at.mean.map(|[with, _]| with))?,
            column(at.mean.map(|[_, into]| into))?,
            out.pointer(OP, "out", Storage::F32, at.out_rows() * at.out_pitch)? + first,
            if mirror == 0 { 0 } else { mirror + first },
        )
    }

    fn cover(&mut self, kernels: &Kernels, of: &Cover<'_, Cuda>, map: &mut Buffer) -> Result<()> {
        const OP: &str = "winclip_map";
        let (cells, [small, large]) = (of.cells(), of.windows_len());
        let (distances, pitch, column) = match of.parts {
            Parts::Distances => (1, 0, 0),
            Parts::Scores { pitch, column } => (0, int(pitch)?, int(column)?),
        };
        let mirror = map.mirror();
        self.bind()?;
        launch!(
            self,
            kernels.map.function(),
            Grid::over(cells, THREADS as usize, THREADS),
            of.windows[0].pointer(OP, "windows", Storage::F32, small)?,
            of.windows[1].pointer(OP, "windows", Storage::F32, large)?,
            of.third.pointer(OP, "third", Storage::F32, of.third_len())?,
            distances,
            pitch,
            column,
            of.valid.pointer(OP, "valid", Storage::F32, cells)?,
            int(of.maps)?,
            int(of.grid.rows)?,
            int(of.grid.cols)?,
            map.pointer(OP, "map", Storage::F32, cells)?,
            mirror,
        )
    }
}
