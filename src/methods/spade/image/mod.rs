//! How far an image as a whole is from the normal ones.

use std::ops::Range;

use crate::backend::{Backend, need};
use crate::error::Result;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// Which images [`SpadeOps::image_distance`] measures, and from what.
#[derive(Clone, Debug)]
pub struct ImageDistance {
    /// Rows of the class embeddings.
    pub views: Range<usize>,
    /// First row of the output; as many rows as there are views.
    pub first_slot: usize,
    /// Place of the bank's `classes`, `[K, E]`, K at most [`super::MOST`].
    pub images: usize,
    /// Width of an embedding, E.
    pub embedding: usize,
    /// Whether embeddings are scaled to unit length first.
    pub unit: bool,
    /// Numbers of an image in the output.
    pub out_pitch: usize,
    /// Which of them is written.
    pub column: usize,
}

impl ImageDistance {
    /// An error where a buffer is too short.
    fn check(&self, class: usize, out: usize) -> Result<()> {
        need("spade_image", "class", class, self.views.end * self.embedding)?;
        need("spade_image", "out_pitch", self.out_pitch, self.column + 1)?;
        need("spade_image", "out", out, (self.first_slot + self.views.len()) * self.out_pitch)
    }
}

/// A device that measures whole images.
pub trait SpadeOps: Backend {
    /// What the device needs for it.
    type Images: Send + Sync + 'static;

    /// Looks up what the device needs.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] if it is not there.
    fn image_ops(&mut self) -> Result<Self::Images>;

    /// `out[slot, column] = mean over K of |class / |class| - row|`, with `class` `[B, E]` and the unit rows of the
    /// bank; or `|class - row|` of embeddings as they are.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] for buffers that are too short.
    fn image_distance(
        &mut self,
        with: &Self::Images,
        class: &Self::Buffer,
        at: &ImageDistance,
        bank: &Self::Bank,
        out: &mut Self::Buffer,
    ) -> Result<()>;
}
