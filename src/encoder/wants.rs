//! [`Wants`]: the features that a method wants from the encoder.

use crate::weights::Arch;

/// The wanted parts of the forward pass. Other parts are not computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Blocks whose patch tokens are compared: counted from 1, ascending, without repeats.
    pub taps: Vec<usize>,
    /// Whether the tower's final norm is applied to the tokens first. Otherwise they come from the residual stream.
    pub norm: bool,
    /// Whether the class embedding is wanted.
    pub class: bool,
    /// Whether tokens and windows are scaled to unit length; otherwise they come as they are, in f32.
    pub unit: bool,
    /// Whether the tokens of the last block after the final norm are wanted as they are, those of the prefix among them.
    pub tokens: bool,
    /// The sides, in patches, of the windows whose embeddings are wanted: each window is encoded by itself.
    pub windows: Vec<usize>,
}

impl Wants {
    /// The taps of an architecture without the final norm, and the class embedding.
    pub fn of(arch: &Arch) -> Self {
        Wants { taps: arch.taps.clone(), norm: false, class: true, unit: true, ..Wants::default() }
    }

    /// How many of a tower's `layers` blocks must run.
    pub(super) fn blocks(&self, layers: usize) -> usize {
        if self.class || self.tokens { layers } else { self.taps.last().map_or(0, |&last| last.min(layers)) }
    }

    /// Whether the last of a tower's `layers` blocks serves only the class token, because nothing else of it is wanted.
    pub(super) fn pools_last(&self, layers: usize) -> bool {
        self.class && !self.tokens && !self.taps.contains(&layers)
    }
}
