//! Trains InCTRL's heads on an auxiliary data set: the adapter ψ, the image head η and the holistic head φ. CLIP stays
//! as it is.
//!
//! ```text
//! images -> features   each encoded once and kept in a file          cache, set
//! seed   -> samples    balanced steps, prompts afresh for each       draws
//!        -> maps       residual maps [N], each sample on its own     maps
//!        -> L_IRL + L_h -> AdamW                                     network, layers, loss, adamw
//!        -> heads      a safetensors file for --heads                files
//! ```
//!
//! The objective is the paper's: L_IRL, a binary loss of s_i (equation 5), plus the same loss of the final score s(x)
//! (equation 7), over ψ, η and φ. α is the configuration's, or given for the loss alone, and not trained; text prototypes and patch features do not change.
//! The gradient of L_h reaches η and ψ through s_i in the holistic map, as in the published code. Unlike that code, a sample's
//! residual map depends on no other sample of its batch; only batch normalisation sees the others, as in any training.
//!
//! # Why without an automatic-differentiation library
//! Three small perceptrons need five backward functions, each held against finite differences in a test. candle, the
//! best-kept such crate, takes minutes of cold build and promises no order of its sums. Here everything after the features is
//! f64, on one thread, in a fixed order: a run gives the same bytes when it is repeated, with any number of threads, and when
//! it was killed in between. On the processor features do not depend on threads either.
//! `exp` and `ln` are the system's: another system may differ in the last bit.
//!
//! # Invariants
//! - What is drawn is a function of seed, epoch and step alone.
//! - The file of the heads appears when training is done; until then everything is in the cache and in the state.
//!
//! Not done: augmentation of images, early stopping, heads as a starting point.

mod adamw;
mod cache;
mod draws;
mod files;
mod layers;
mod loss;
mod maps;
mod network;
mod options;
mod random;
mod run;
mod set;
#[cfg(test)]
mod tests;

pub use loss::{Loss, LossInput};
pub use options::Options;
pub use run::{Base, Epoch, Paths, Trained, finish, train};

use serde::Serialize;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// So many images are to be read, to find those that are there twice.
    Checking(usize),
    /// One more is.
    Checked,
    /// So many images are to be encoded, or looked up.
    Images(usize),
    /// One more is.
    Encoded,
    /// So many pairs of images are to be compared for the epoch.
    Pairs(usize),
    /// One more is.
    Compared,
    /// An epoch, counted from 0, begins its so many steps.
    Training {
        /// The epoch.
        epoch: usize,
        /// Its steps.
        steps: usize,
    },
    /// One more step is done.
    Stepped,
    /// An epoch is done, and its state is on disk.
    Epoch(Epoch),
}

/// An image that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The image's name in the data set.
    pub name: String,
    /// What is the matter.
    pub error: String,
}
