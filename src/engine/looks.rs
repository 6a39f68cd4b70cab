//! [`Looks`]: what methods have in common that can share an encoding.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::methods::Setup;
use crate::view::Fit;
use crate::weights::VisionArch;

/// How a method with its options looks at images: two that are equal see the same pixels in the same cells, so that one
/// encoding serves both. See [`crate::Engine::looks`].
#[derive(Clone, Debug, PartialEq)]
pub struct Looks {
    /// Side of a cell in pixels.
    cell: usize,
    /// The size that a view is resized to.
    size: usize,
    fit: Fit,
    /// Side, overlap and scale of tiles, and whether they are squares instead.
    tiles: Option<(usize, usize, f64, bool)>,
}

impl Looks {
    pub(super) fn new(setup: &Setup, fit: Fit, vision: &VisionArch) -> Result<Self> {
        let tiles = setup.tiling().map(|tiling| (tiling.tile, tiling.overlap, tiling.scale, tiling.squares));
        Ok(Looks { cell: setup.cell(vision), size: setup.size(vision)?, fit, tiles })
    }

    /// Refuses methods that look at images in different ways.
    pub(super) fn check_alike(all: &[Looks]) -> Result<()> {
        let Some(first) = all.first() else { return Ok(()) };
        let Some(other) = all.iter().find(|other| *other != first) else { return Ok(()) };
        let message = format!(
            "one method looks at images of {first} and another of {other}: they cannot share an encoding, so give each \
             a scorer of its own"
        );
        Err(Error::new(ErrorKind::Argument, message))
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Looks { cell, size, fit, tiles } = self;
        match tiles {
            Some((tile, _, _, true)) => write!(f, "squares, each resized to {tile} pixels, cells of {cell}"),
            Some((tile, overlap, scale, false)) => {
                write!(f, "tiles of {tile} pixels, overlap {overlap}, scale {scale}, cells of {cell}")
            }
            None => write!(f, "{size} pixels, fit {fit}, cells of {cell}"),
        }
    }
}
