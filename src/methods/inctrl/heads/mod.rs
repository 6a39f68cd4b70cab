//! The adapter and the heads as device operations. Both backends fuse equations 3 to 7 into one operation: they are
//! only a few thousand multiply-adds, which a GPU runs in one launch.

use std::ops::Range;

use crate::backend::Backend;
use crate::error::Result;
use crate::tensor::Dense;

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

#[cfg(feature = "cuda")]
pub use cuda::Heads as CudaHeads;

/// Numbers per image in the output of [`HeadOps::heads`]: score, s_h, s_p, s_i, s_a.
pub const OUTPUTS: usize = 5;

/// The two small heads and the adapter in host memory, batch normalisation already folded into the layers.
#[derive(Clone, Debug)]
pub struct HeadLayers {
    /// ψ of equation 3: `[E/4, E]` then `[E, E/4]`, no biases, ReLU after both.
    pub adapter: [Dense; 2],
    /// η of equation 5 on the image residual: `[128, E]`, `[64, 128]`, `[1, 64]`, ReLU between them, sigmoid after.
    pub image: [Dense; 3],
    /// φ of equation 7 on the holistic map: `[128, N]`, `[64, 128]`, `[1, 64]`, ReLU between them, sigmoid after.
    pub holistic: [Dense; 3],
    /// Weight of the patch maximum in the final score, α of equation 7.
    pub alpha: f32,
}

impl HeadLayers {
    /// Width of the joint embedding, E.
    pub fn embedding(&self) -> usize {
        self.image[0].cols
    }

    /// Cells of a map, N.
    pub fn cells(&self) -> usize {
        self.holistic[0].cols
    }
}

/// Which images [`HeadOps::heads`] scores, and with which tensors of the bank.
#[derive(Clone, Debug)]
pub struct HeadInputs {
    /// Rows of the class embeddings.
    pub views: Range<usize>,
    /// First row of the maps and of the output. There are as many rows as views.
    pub first_slot: usize,
    /// Index of I_p, `[E]`, among the bank's tensors.
    pub cls_mean: usize,
    /// Index of F_n and F_a, `[2, E]`: unit rows, normal first, then anomaly.
    pub text_prototypes: usize,
}

impl HeadInputs {
    /// Rows of the maps and of the output.
    pub fn slots(&self) -> Range<usize> {
        self.first_slot..self.first_slot + self.views.len()
    }
}

/// A device that runs InCTRL's heads.
pub trait HeadOps: Backend {
    /// The adapter and the heads on the device.
    type Heads: Send + Sync + 'static;

    /// Uploads the adapter and the heads.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has not enough memory.
    fn head_weights(&mut self, layers: &HeadLayers) -> Result<Self::Heads>;

    /// ψ of equation 3 on class embeddings: `[rows, E]` to `[rows, E]`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] for buffers that are too short. The same holds for [`HeadOps::heads`].
    fn adapter(&mut self, class: &Self::Buffer, rows: usize, heads: &Self::Heads, out: &mut Self::Buffer)
    -> Result<()>;

    /// Equations 3 to 7 on each image. `class` is `[views, E]` and `map` is `[slots, N]`; the output is score, s_h,
    /// s_p, s_i and s_a, `[slots, 5]`:
    ///
    /// - `s_i = sigmoid(η(I_p - ψ(f_v(x))))`
    /// - `s_a = softmax(100 f_v(x)/‖f_v(x)‖ · [F_n, F_a])[1]`
    /// - `s_p = max M_x`
    /// - `s_h = sigmoid(φ(M_x + s_i + s_a))`
    /// - `score = (s_h + α s_p) / (1 + α)`
    fn heads(
        &mut self,
        class: &Self::Buffer,
        map: &Self::Buffer,
        at: HeadInputs,
        heads: &Self::Heads,
        bank: &Self::Bank,
        out: &mut Self::Buffer,
    ) -> Result<()>;
}
