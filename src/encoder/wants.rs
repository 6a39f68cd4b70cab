//! [`Wants`]: what a method reads of the encoder.

use crate::weights::Arch;

/// What of the forward pass is wanted: what is not, is not computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Blocks whose patch tokens are compared, counted from 1, ascending, each once. The tokens come scaled to unit length.
    pub taps: Vec<usize>,
    /// Whether the tower's final norm is applied to them before that; otherwise they are the residual stream.
    pub norm: bool,
    /// Whether the class embedding is wanted.
    pub class: bool,
}

impl Wants {
    /// The taps of an architecture as they are, and the class embedding.
    pub fn of(arch: &Arch) -> Self {
        Wants { taps: arch.taps.clone(), norm: false, class: true }
    }

    /// How many of a tower's `layers` blocks have to run.
    pub(super) fn blocks(&self, layers: usize) -> usize {
        if self.class { layers } else { self.taps.last().map_or(0, |&last| last.min(layers)) }
    }

    /// Whether the last of a tower's `layers` blocks serves the class token only: nothing else of it is wanted.
    pub(super) fn pools_last(&self, layers: usize) -> bool {
        self.class && !self.taps.contains(&layers)
    }
}
