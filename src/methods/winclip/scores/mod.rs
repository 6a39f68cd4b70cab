//! WinCLIP's own operations: how anomalous the texts make an image or a window, and what the windows that cover a patch
//! make of it.

use std::ops::Range;

use super::SIDES;
use crate::backend::{Backend, need};
use crate::error::Result;
use crate::view::Grid;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// The factor of a cosine in the softmax over two texts: the value in the published code.
const SCALE: f32 = 100.0;

/// Which embeddings [`WinclipOps::text_scores`] scores, by which texts, and where it writes.
#[derive(Clone, Debug)]
pub struct TextScores {
    /// Rows of the embeddings.
    pub rows: Range<usize>,
    /// First row of the output. There are as many rows as embeddings.
    pub first_out: usize,
    /// Index of the prototypes, `[2, E]`, among the bank's tensors: unit rows, normal first, then anomalous.
    pub text: usize,
    /// Width of an embedding, E.
    pub embedding: usize,
    /// Numbers of a row in the output.
    pub out_pitch: usize,
    /// The one of them that is written.
    pub column: usize,
    /// Also writes the mean of the score and of another column: that column, and where the mean goes.
    pub mean: Option<[usize; 2]>,
}

impl TextScores {
    /// Rows of the output up to the last that is written.
    fn out_rows(&self) -> usize {
        self.first_out + self.rows.len()
    }

    /// An error where a buffer is too short. Devices that check lengths themselves give none.
    fn check(&self, embeddings: usize, out: usize) -> Result<()> {
        let column = self.mean.iter().flatten().fold(self.column, |most, column| most.max(*column));
        need("winclip_text", "embeddings", embeddings, self.rows.end.saturating_mul(self.embedding))?;
        need("winclip_text", "out_pitch", self.out_pitch, column + 1)?;
        need("winclip_text", "out", out, self.out_rows().saturating_mul(self.out_pitch))
    }
}

/// What [`WinclipOps::cover`] makes a map of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Euclidean distances of unit vectors: of windows, and of patches in the third buffer, `[maps, N]`. A distance d of
    /// the method is a quarter of their square, `0.5 (1 - cosine)`.
    Distances,
    /// Text scores: of windows, and of the image in the third buffer.
    Scores {
        /// Numbers of an image in the third buffer.
        pitch: usize,
        /// The one of them that is its score.
        column: usize,
    },
}

/// The values that [`WinclipOps::cover`] joins.
pub struct Cover<'a, B: Backend> {
    /// Number of maps.
    pub maps: usize,
    /// The grid of a map, with windows of every side.
    pub grid: Grid,
    /// Values of windows, [`SIDES`] in turn, each `[maps, windows]`.
    pub windows: [&'a B::Buffer; SIDES.len()],
    /// The third value.
    pub third: &'a B::Buffer,
    /// What all of them are.
    pub parts: Parts,
    /// 0 where a cell is ignored, else 1, `[maps, N]`.
    pub valid: &'a B::Buffer,
}

impl<B: Backend> Cover<'_, B> {
    /// Values of all windows of each side.
    fn windows_len(&self) -> [usize; SIDES.len()] {
        SIDES.map(|side| self.maps * self.grid.windows(side).cells())
    }

    /// Values of the third buffer.
    fn third_len(&self) -> usize {
        match self.parts {
            Parts::Distances => self.cells(),
            Parts::Scores { pitch, .. } => self.maps * pitch,
        }
    }

    /// Cells of all maps.
    fn cells(&self) -> usize {
        self.maps * self.grid.cells()
    }
}

/// A device that runs the method's operations.
pub trait WinclipOps: Backend {
    /// What the device needs for them.
    type Kernels: Send + Sync + 'static;

    /// Looks up what the device needs, for embeddings of `embedding` numbers.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] if it is not there, [`crate::ErrorKind::Config`] for a width that the device does not
    /// support.
    fn winclip_ops(&mut self, embedding: usize) -> Result<Self::Kernels>;

    /// `out[row, column] = softmax(100 x / |x| · text)[anomalous]` for embeddings x, `[rows, E]`; where a mean is asked
    /// for, also `out[row, into] = (out[row, with] + out[row, column]) / 2`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] for buffers that are too short, here and below.
    fn text_scores(
        &mut self,
        kernels: &Self::Kernels,
        embeddings: &Self::Buffer,
        at: &TextScores,
        bank: &Self::Bank,
        out: &mut Self::Buffer,
    ) -> Result<()>;

    /// The map `[maps, N]`. `H_S` is the harmonic mean of the values of all windows of side S that cover the cell, and
    /// of which no cell is ignored; a value of 0 makes it 0, and a side without such windows is left out. Distances give
    /// the arithmetic mean of `H_2`, `H_3` and the patch's own, scores the harmonic mean of `H_2`, `H_3` and the image's.
    fn cover(&mut self, kernels: &Self::Kernels, of: &Cover<'_, Self>, map: &mut Self::Buffer) -> Result<()>;
}
