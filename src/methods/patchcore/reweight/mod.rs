//! The weight of an image's distance (section 3.3 of the paper, as anomalib has it): small where the row that its patch is nearest
//! to lies close to others.

use crate::backend::{Backend, Search, need};
use crate::error::Result;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

/// Rows around the nearest one that the weight looks at, itself included.
pub const AROUND: usize = 9;

/// Which images [`ReweightOps::reweight`] weighs, and by which tensors.
#[derive(Clone, Debug)]
pub struct Reweighted {
    /// The search that found the nearest rows: whole images of [`Reweighted::cells`] patches.
    pub search: Search,
    /// Patches of an image, N.
    pub cells: usize,
    /// Place of the bank's `neighbours`.
    pub neighbours: usize,
    /// What a distance of rows is multiplied by.
    pub scale: f32,
    /// Numbers of an image in the output, and which of them is written.
    pub out_pitch: usize,
    /// See there.
    pub column: usize,
}

impl Reweighted {
    /// Images.
    pub fn images(&self) -> usize {
        self.search.queries.len() / self.cells.max(1)
    }

    /// The first image's place in maps and output.
    pub fn first(&self) -> usize {
        self.search.first_out / self.cells.max(1)
    }

    /// An error where a buffer is too short.
    fn check(&self, map: usize, out: usize) -> Result<()> {
        need("patchcore_reweight", "map", map, self.search.first_out + self.search.queries.len())?;
        need("patchcore_reweight", "out_pitch", self.out_pitch, self.column + 1)?;
        need("patchcore_reweight", "out", out, (self.first() + self.images()) * self.out_pitch)
    }
}

/// A device that weighs the distances of images.
pub trait ReweightOps: Backend {
    /// What the device needs for it.
    type Reweight: Send + Sync + 'static;

    /// Looks up what the device needs.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] if it is not there.
    fn reweight_ops(&mut self) -> Result<Self::Reweight>;

    /// `out[image, column] = s (1 - softmax(|q - b_j| over j)[0])`, where `s` is the largest cell of the image's map, the first of
    /// equals, `q` the patch there, and `b_j` the neighbours of the row that was found for it, itself the first: up to [`AROUND`],
    /// negative where there are fewer; 0 where there is one row. `found` is what [`Backend::nearest_distance`] left, `map` `[images, N]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] for buffers that are too short.
    #[expect(clippy::too_many_arguments, reason = "where from, by what, and where to")]
    fn reweight(
        &mut self,
        with: &Self::Reweight,
        queries: &Self::Buffer,
        at: &Reweighted,
        bank: &Self::Bank,
        found: &Self::Buffer,
        map: &Self::Buffer,
        out: &mut Self::Buffer,
    ) -> Result<()>;
}
