//! The part before its background, from a picture's own tokens: where their first principal component is large (AnomalyDINO,
//! section 3.2 and the official code).
//!
//! The component comes by power iteration of a fixed count, so that a recording can hold it: the covariance of the tokens is
//! squared [`SQUARINGS`] times, which is `2^SQUARINGS` steps of the iteration on every start at once. What is left of the second
//! component is `(λ_2 / λ_1)^(2^SQUARINGS)`: nothing that a threshold sees where the eigenvalues differ by three thousandths.
//!
//! The rules, of which the first two are the official code's and the third its library's (scikit-learn's sign):
//! - a cell is the part's where the component is above [`THRESHOLD`]; where no more than [`SHARE`] of the cells of the middle
//!   are, the other sign is tried;
//! - the mask is dilated and then closed by 3 x 3 cells, of which those beyond the edge do not count;
//! - the component's largest absolute value is positive.
//!
//! The mask is of a query: a bank holds all patches of its prompts, as in the official code.

use std::ops::Range;

use crate::backend::{Backend, ImageTokens, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::view::Grid;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// How often the covariance is squared.
const SQUARINGS: usize = 12;
/// Above this a component is the part's.
const THRESHOLD: f32 = 10.0;
/// As many cells of the middle must be the part's, or the sign is the wrong one.
const SHARE: f64 = 0.35;
/// What of each side of the picture is not its middle.
const MARGIN: f64 = 0.2;

/// Tokens as the encoder leaves them: `[images, prefix + patches, W]`.
pub struct Tokens<'a, B: Backend> {
    /// After the final norm, not of unit length.
    pub values: &'a B::Buffer,
    /// Images in the batch.
    pub images: usize,
    /// Tokens of an image.
    pub each: ImageTokens,
    /// Width of a token, W.
    pub width: usize,
}

/// Which maps are cut out, and by which components.
pub struct CutOut<'a, B: Backend> {
    /// Of [`ForegroundOps::component`], `[images, N]`.
    pub components: &'a B::Buffer,
    /// Images, one for each map.
    pub images: Range<usize>,
    /// The first map; the others follow.
    pub first_slot: usize,
    /// How the cells of a map lie, N of them.
    pub grid: Grid,
    /// 1, or 0 where a cell is ignored, `[slots, N]`.
    pub valid: &'a B::Buffer,
}

/// A device that tells a part from its background.
pub trait ForegroundOps: Backend {
    /// What the operations launch.
    type ForegroundKernels: Send + Sync + 'static;

    /// The kernels, looked up before anything is scored.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has none of them.
    fn foreground_kernels(&self) -> Result<Self::ForegroundKernels>;

    /// `C = Σ (x - mean)(x - mean)ᵀ` over the patches of each image, `[images, W, W]`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for buffers that are too short, here and below.
    fn covariance(
        &mut self,
        kernels: &Self::ForegroundKernels,
        tokens: &Tokens<'_, Self>,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `(C / trace C)²` of each symmetric `C` of `[images, W, W]`; zero where the trace is zero.
    fn squared(
        &mut self,
        kernels: &Self::ForegroundKernels,
        c: &Self::Buffer,
        images: usize,
        width: usize,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// `x · v` of each patch, `[images, N]`, where `v` is the column of `C` with the largest element of the diagonal, the first of
    /// several, to unit length; zero where that column is zero.
    fn component(
        &mut self,
        kernels: &Self::ForegroundKernels,
        tokens: &Tokens<'_, Self>,
        c: &Self::Buffer,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// Maps times their masks, in place: `[slots, N]`. Of a map of which the mask leaves no valid cell all cells are
    /// infinite. A map keeps its NaN, and is NaN where the components are.
    fn cut_out(
        &mut self,
        kernels: &Self::ForegroundKernels,
        at: &CutOut<'_, Self>,
        maps: &mut Self::Buffer,
    ) -> Result<()>;
}

/// One scorer's memory for masks.
pub struct Foreground<B: ForegroundOps> {
    kernels: B::ForegroundKernels,
    /// A covariance and its square in turn, `[images, W, W]`.
    matrices: [B::Buffer; 2],
    /// `[images, N]`.
    components: B::Buffer,
}

impl<B: ForegroundOps> Foreground<B> {
    /// Memory for `images` images of up to `cells` patches of `width`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has no memory.
    pub fn new(backend: &B, images: usize, cells: usize, width: usize) -> Result<Self> {
        let matrix = || backend.buffer(Role::Stream, images * width * width);
        Ok(Foreground {
            kernels: backend.foreground_kernels()?,
            matrices: [matrix()?, matrix()?],
            components: backend.buffer(Role::Stream, images * cells)?,
        })
    }

    /// The first principal component of each image's patches, up to a constant of the image, `[images, N]`, and the kernels.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device fails.
    pub fn components(
        &mut self,
        backend: &mut B,
        tokens: &Tokens<'_, B>,
    ) -> Result<(&B::Buffer, &B::ForegroundKernels)> {
        let Foreground { kernels, matrices: [c, square], components } = self;
        backend.covariance(kernels, tokens, c)?;
        for _ in 0..SQUARINGS / 2 {
            backend.squared(kernels, c, tokens.images, tokens.width, square)?;
            backend.squared(kernels, square, tokens.images, tokens.width, c)?;
        }
        backend.component(kernels, tokens, c, components)?;
        Ok((components, kernels))
    }
}

/// The middle of a grid, and how many of its cells may be the part's where the sign is still the wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Middle {
    rows: Range<usize>,
    cols: Range<usize>,
    few: usize,
}

impl Middle {
    fn of(grid: Grid) -> Self {
        let part = |extent: usize| {
            let extent = extent as f64;
            (extent * MARGIN) as usize..(extent * (1.0 - MARGIN)) as usize
        };
        let (rows, cols) = (part(grid.rows), part(grid.cols));
        let few = ((rows.len() * cols.len()) as f64 * SHARE) as usize;
        Middle { rows, cols, few }
    }
}

/// The error of a picture of which a mask leaves nothing, by the score that [`ForegroundOps::cut_out`] makes of it.
pub fn nothing_left(score: f32) -> Option<Error> {
    (score == f32::INFINITY).then(|| {
        let message = "mask=on finds no part before a background in this picture, so that nothing is left to score: use a bank \
                       with mask=off, or an ignore mask";
        Error::new(ErrorKind::Argument, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's `int(rows * 0.2):int(rows * (1 - 0.2))` and `m.size * 0.35`.
    #[test]
    fn the_middle_is_that_of_the_official_code() {
        for (grid, rows, cols, few) in [
            (Grid { rows: 32, cols: 32 }, 6..25, 6..25, 126),
            (Grid { rows: 9, cols: 14 }, 1..7, 2..11, 18),
            (Grid { rows: 10, cols: 9 }, 2..8, 1..7, 12),
            (Grid { rows: 1, cols: 5 }, 0..0, 1..4, 0),
            (Grid { rows: 5, cols: 25 }, 1..4, 5..20, 15),
        ] {
            assert_eq!(Middle::of(grid), Middle { rows, cols, few }, "{grid}");
        }
    }
}
