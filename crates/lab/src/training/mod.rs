//! Trains InCTRL's heads on an auxiliary data set: the adapter ψ, the image head η and the holistic head φ. CLIP is not
//! trained.
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
//! (equation 7), over ψ, η and φ. α comes from the configuration, or is given for the loss only, and is not trained.
//! Text prototypes and patch features do not change. The gradient of L_h reaches η and ψ through s_i in the holistic
//! map, as in the published code. Unlike in that code, a sample's residual map does not depend on the other samples of
//! its batch. Only batch normalisation uses the others, as in any training.
//!
//! # Why without an automatic-differentiation library
//! Three small perceptrons need five backward functions, each tested against finite differences. candle, the
//! best-maintained such crate, takes minutes to build and guarantees no order of its sums. Here everything after the
//! features is f64, on one thread, in a fixed order. A run gives the same bytes when repeated, with any number of
//! threads, and after an interruption. On the CPU features do not depend on threads either. `exp` and `ln` are the
//! system's: another system may differ in the last bit.
//!
//! # Invariants
//! - Draws depend only on seed, epoch and step.
//! - The file of the heads appears when training is done. Until then everything is in the cache and the state.
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

/// What a run reports while it works.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The number of images to read, to find copies.
    Checking(usize),
    /// One more is.
    Checked,
    /// The number of images to encode or look up.
    Images(usize),
    /// One more is.
    Encoded,
    /// The number of image pairs to compare for the epoch.
    Pairs(usize),
    /// One more is.
    Compared,
    /// An epoch, counted from 0, begins.
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
    /// The error.
    pub error: String,
}
