//! The views of frames of each size, made once.

use std::sync::Arc;

use crate::bank::PromptBank;
use crate::error::{Error, ErrorKind, Result};
use crate::image::AnyFrame;
use crate::view::Look;
use crate::weights::VisionArch;

/// How many frame sizes have their views kept, such as the regions cut from one camera's frames.
const SIZES: usize = 32;

/// Views for the most recent frame sizes, for one fit and ignore mask.
pub(super) struct KeptViews {
    vision: VisionArch,
    /// Width, height, and the views of such frames; the most recently used one is last.
    kept: Vec<([usize; 2], Arc<Look>)>,
}

impl KeptViews {
    /// None yet, for frames that this encoder sees.
    pub fn new(vision: &VisionArch) -> Self {
        KeptViews { vision: vision.clone(), kept: Vec::with_capacity(SIZES) }
    }

    /// The encoder.
    pub fn vision(&self) -> &VisionArch {
        &self.vision
    }

    /// Side in pixels of a cell of the maps of `bank`.
    pub fn patch(&self, bank: &PromptBank) -> usize {
        bank.setup().cell(&self.vision)
    }

    /// Forgets all, as a bank with another fit or mask needs others.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// The views of `frame`. Makes missing ones and evicts the least recently used.
    ///
    /// # Errors
    /// As [`PromptBank::look`].
    pub fn of(&mut self, frame: &AnyFrame<'_>, bank: &PromptBank) -> Result<&Arc<Look>> {
        let size = [frame.width(), frame.height()];
        match self.kept.iter().rposition(|(kept, _)| *kept == size) {
            Some(at) => self.kept[at..].rotate_left(1),
            None => {
                let look = Arc::new(bank.look(&self.vision, size[0], size[1])?);
                if self.kept.len() == SIZES {
                    self.kept.remove(0);
                }
                self.kept.push((size, look));
            }
        }
        let kept = self.kept.last().map(|(_, look)| look);
        kept.ok_or_else(|| Error::new(ErrorKind::Internal, "no views are kept of a frame"))
    }
}

/// Whether two banks look at frames alike: with one fit, ignore mask and grid, and in the same tiles.
pub(super) fn look_alike(a: &PromptBank, b: &PromptBank) -> bool {
    a.fit() == b.fit()
        && a.mask() == b.mask()
        && a.bound_grid() == b.bound_grid()
        && a.frame_positions() == b.frame_positions()
}
