//! Launches `kernels/foreground.cu`: the first principal component of patch tokens, and maps cut out by it.

use super::{CutOut, ForegroundOps, Middle, Tokens};
use crate::backend::cuda::launch::{Grid, int, launch};
use crate::backend::cuda::{Buffer, Cuda, MethodKernel, Storage};
use crate::error::{Error, ErrorKind, Result};

const THREADS: u32 = 256;
/// Rows and columns of a product that a block computes.
const TILE: usize = 64;
/// Rows of both operands, and the means, as the kernel lays them out.
const PRODUCT_SHARED: usize = 9216;
/// Patches of a block.
const PATCHES: usize = 8;

impl Cuda {
    /// The blocks of products `[images, width, width]`.
    fn products(op: &'static str, images: usize, width: usize) -> Result<Grid> {
        if !width.is_multiple_of(TILE) {
            let message = format!("{op}: a width of {width}, expected a multiple of {TILE}");
            return Err(Error::new(ErrorKind::Internal, message).in_operation(op));
        }
        Ok(Grid { blocks: [width / TILE, width / TILE, images], threads: THREADS, shared: PRODUCT_SHARED })
    }
}

impl Tokens<'_, Cuda> {
    fn pointer(&self, op: &'static str) -> Result<u64> {
        self.values.pointer(op, "tokens", Storage::F32, self.images * self.each.count() * self.width)
    }
}

/// The kernels of `kernels/foreground.cu`.
pub struct Kernels {
    covariance: MethodKernel,
    squared: MethodKernel,
    component: MethodKernel,
    cut_out: MethodKernel,
}

impl ForegroundOps for Cuda {
    type ForegroundKernels = Kernels;

    fn foreground_kernels(&self) -> Result<Kernels> {
        Ok(Kernels {
            covariance: self.method_kernel("foreground_covariance")?,
            squared: self.method_kernel("foreground_squared")?,
            component: self.method_kernel("foreground_component")?,
            cut_out: self.method_kernel("foreground_cut_out")?,
        })
    }

    fn covariance(&mut self, kernels: &Kernels, tokens: &Tokens<'_, Cuda>, out: &mut Buffer) -> Result<()> {
        const OP: &str = "foreground_covariance";
        let Tokens { images, each, width, .. } = *tokens;
        self.bind()?;
        launch!(
            self,
            kernels.covariance.function(),
            Self::products(OP, images, width)?,
            tokens.pointer(OP)?,
            int(each.prefix)?,
            int(each.patches)?,
            int(width)?,
            out.pointer(OP, "out", Storage::F32, images * width * width)?,
        )
    }

    fn squared(&mut self, kernels: &Kernels, c: &Buffer, images: usize, width: usize, out: &mut Buffer) -> Result<()> {
        const OP: &str = "foreground_squared";
        let len = images * width * width;
        self.bind()?;
        launch!(
            self,
            kernels.squared.function(),
            Self::products(OP, images, width)?,
            c.pointer(OP, "c", Storage::F32, len)?,
            int(width)?,
            out.pointer(OP, "out", Storage::F32, len)?,
        )
    }

    fn component(&mut self, kernels: &Kernels, tokens: &Tokens<'_, Cuda>, c: &Buffer, out: &mut Buffer) -> Result<()> {
        const OP: &str = "foreground_component";
        let Tokens { images, each, width, .. } = *tokens;
        let blocks = [each.patches.div_ceil(PATCHES), images, 1];
        self.bind()?;
        launch!(
            self,
            kernels.component.function(),
            Grid { blocks, threads: THREADS, shared: 2 * PATCHES * 4 },
            tokens.pointer(OP)?,
            c.pointer(OP, "c", Storage::F32, images * width * width)?,
            int(each.prefix)?,
            int(each.patches)?,
            int(width)?,
            out.pointer(OP, "out", Storage::F32, images * each.patches)?,
        )
    }

    fn cut_out(&mut self, kernels: &Kernels, at: &CutOut<'_, Cuda>, maps: &mut Buffer) -> Result<()> {
        const OP: &str = "foreground_cut_out";
        let (cells, middle) = (at.grid.cells(), Middle::of(at.grid));
        let slots = at.first_slot + at.images.len();
        let shared = (THREADS as usize / 32 + 2 * cells.div_ceil(32)) * 4;
        let first = |row: usize| (row * cells * 4) as u64;
        let mirror = maps.mirror();
        self.bind()?;
        launch!(
            self,
            kernels.cut_out.function(),
            Grid { blocks: [at.images.len(), 1, 1], threads: THREADS, shared },
            at.components.pointer(OP, "components", Storage::F32, at.images.end * cells)? + first(at.images.start),
            at.valid.pointer(OP, "valid", Storage::F32, slots * cells)? + first(at.first_slot),
            int(at.grid.rows)?,
            int(at.grid.cols)?,
            int(middle.rows.start)?,
            int(middle.rows.end)?,
            int(middle.cols.start)?,
            int(middle.cols.end)?,
            int(middle.few)?,
            maps.pointer(OP, "maps", Storage::F32, slots * cells)? + first(at.first_slot),
            if mirror == 0 { 0 } else { mirror + first(at.first_slot) },
        )
    }
}
