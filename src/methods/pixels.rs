//! Scores of maps at the size of the image, for methods that score blurred pixels.

use std::sync::Arc;

use super::{Batch, Outputs};
use crate::backend::{Backend, Enlarge, Largest, Role};
use crate::error::Result;
use crate::tensor::{DType, TensorView};

/// The standard deviation of the blur, in pixels.
const SIGMA: f64 = 4.0;

/// Converts a map to pixels on a device; shared by all scorers.
pub(crate) struct Blur<B: Backend> {
    weights: B::Constant,
    mirrored: bool,
}

impl<B: Backend> Blur<B> {
    /// Weights `exp(-i² / 2σ²)` over `|i| <= radius` that sum to 1; `mirrored` as in [`Enlarge`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has no memory.
    pub fn new(backend: &mut B, radius: i32, mirrored: bool) -> Result<Self> {
        let weights: Vec<f64> = (-radius..=radius).map(|i| (-f64::from(i * i) / (2.0 * SIGMA * SIGMA)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let bytes: Vec<u8> = weights.iter().flat_map(|weight| ((weight / sum) as f32).to_le_bytes()).collect();
        let shape = [weights.len()];
        let weights =
            backend.constant(&TensorView { name: "blur", dtype: DType::F32, shape: &shape, bytes: (&bytes).into() })?;
        Ok(Blur { weights, mirrored })
    }
}

/// Bytes of [`Pixels`] for maps of `cells` cells.
pub(crate) fn bytes(cells: usize, patch: usize) -> usize {
    cells.saturating_mul(4 * patch * (2 * patch + 1))
}

/// One scorer's memory: one image at a time, for any batch.
pub(crate) struct Pixels<B: Backend> {
    blur: Arc<Blur<B>>,
    /// Pixels of a cell.
    patch: usize,
    columns: B::Buffer,
    pixels: B::Buffer,
    valid: B::Buffer,
}

impl<B: Backend> Pixels<B> {
    /// Memory for maps of up to `cells` cells of `patch` pixels.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has no memory.
    pub fn new(backend: &B, blur: Arc<Blur<B>>, patch: usize, cells: usize) -> Result<Self> {
        let pixels = cells * patch * patch;
        Ok(Pixels {
            columns: backend.buffer(Role::Stream, cells * patch)?,
            pixels: backend.buffer(Role::Stream, pixels)?,
            valid: backend.buffer(Role::Stream, pixels)?,
            blur,
            patch,
        })
    }

    /// The mean of the largest pixels of each map, one in `one_in` (none: the largest alone), to `column` of `outputs`
    /// numbers.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device fails.
    pub fn mean_of_largest(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        one_in: Option<usize>,
        out: &mut Outputs<B>,
        [outputs, column]: [usize; 2],
    ) -> Result<()> {
        let (slots, grid) = (batch.slots(), batch.features.grid);
        let Pixels { blur, patch, columns, pixels, valid } = self;
        for slot in 0..slots {
            let at = Enlarge { map: slot, rows: grid.rows, cols: grid.cols, patch: *patch, mirrored: blur.mirrored };
            backend.enlarge(&out.map, batch.valid, &at, &blur.weights, columns, pixels, valid)?;
            let largest = Largest {
                maps: 1,
                cells: at.pixels(),
                one_in: one_in.unwrap_or(at.pixels() + 1),
                out_pitch: slots * outputs,
                column: slot * outputs + column,
            };
            backend.mean_of_largest(pixels, valid, &largest, &mut out.values)?;
        }
        Ok(())
    }
}
