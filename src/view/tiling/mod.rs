//! [`Tiling`]: a frame is cut into tiles, at a scale at which small defects are visible.
//!
//! ```text
//! Tiling + frame size -> Layout   the lattice of cells over the whole frame, and the tiles on it
//!        + ignore mask -> Look    the views of the tiles that are not ignored entirely
//! maps of the tiles   -> Layout::stitch -> one map of the frame
//! ```
//!
//! The lattice has `round(side * scale / patch)` cells along a side, at least as many as a tile, and covers the frame
//! from edge to edge: no strip is left out. Tiles begin at cells of the lattice, and their regions at the pixels
//! nearest to these cells, so maps of all tiles fit together cell by cell. Cells and scale of an axis differ from the
//! nominal ones by less than a cell over the whole side.
//!
//! Tiles follow each other at `tile - overlap`; the last is pulled back to the edge. Each cell of the frame's map comes
//! from the tile in which it is most central: along each axis from the tile whose centre is nearest, the earlier of two
//! that are equally near. This is the stitching of SuperADD (anomalib 2.7.0).
//!
//! Squares ([`Tiling::squares`]) are the tiles of mala-lab/WinCLIP: squares of the frame's shorter side along the
//! longer one. They begin at pixels of their own, so a cell of the map shows the cell of a square that lies there, which
//! can be off by half a cell.

mod axis;
mod layout;
mod look;
mod options;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

pub use layout::Layout;
pub(crate) use look::{Look, Tiled};
pub(crate) use options::TilingOptions;
pub use options::{TILING, TilingOption};

/// The smallest and the largest scale: pixels that the encoder sees for each pixel of the frame along an axis.
const SCALES: [f64; 2] = [0.001, 16.0];

/// The largest side of a tile, in pixels as the encoder sees it.
const LARGEST_TILE: usize = 65_536;

/// Which tiles share a bank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BankPer {
    /// All tiles of a frame: for textures, and for parts that lie anywhere.
    #[default]
    Frame,
    /// Each position has its own: for parts that always lie in the same place. All frames have one layout.
    Tile,
}

impl BankPer {
    /// The lower-case name that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            BankPer::Frame => "frame",
            BankPer::Tile => "tile",
        }
    }
}

/// How frames are cut into tiles. It is part of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiling {
    /// Side of a tile as the encoder sees it, in pixels: a multiple of its patch.
    pub tile: usize,
    /// Overlap of neighbouring tiles at the same scale, in pixels: a multiple of the patch, less than `tile`. The last
    /// tile of a row or column may overlap more.
    pub overlap: usize,
    /// Size of the picture that is tiled, relative to the frame: 0.5 halves both sides. Six decimals count.
    pub scale: f64,
    /// Which tiles share a bank.
    pub bank_per: BankPer,
    /// The width of the smallest defect that matters, in pixels of the frame; `None` if scale and overlap do not follow
    /// from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defect: Option<usize>,
    /// Whether frames are cut into squares of their shorter side, whatever their size, each resized to `tile`. Overlap and
    /// scale then mean nothing: squares follow each other at 0.8 of their side. Outputs are means over the squares.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub squares: bool,
}

impl Tiling {
    /// Checks the numbers against each other and against the side of a patch.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] with the number, what it must be, and an example.
    pub fn check(&self, patch: usize) -> Result<()> {
        let Tiling { tile, overlap, scale, .. } = *self;
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        for (name, value) in [("tile", tile), ("overlap", overlap)] {
            let article = if name == "overlap" { "an" } else { "a" };
            if value > LARGEST_TILE {
                return fail(format!("{article} {name} of {value} pixels: at most {LARGEST_TILE} are supported"));
            }
            if !value.is_multiple_of(patch) {
                let below = value / patch * patch;
                return fail(format!(
                    "{article} {name} of {value} pixels: it must be a multiple of the encoder's patch of {patch}, such as {}",
                    if below == 0 { patch } else { below }
                ));
            }
        }
        if tile == 0 {
            return fail(format!(
                "a tile of 0 pixels: use a multiple of the encoder's patch of {patch}, such as {}",
                16 * patch
            ));
        }
        if overlap >= tile {
            return fail(format!(
                "tiles of {tile} pixels that overlap by {overlap} never reach the end of a frame: the overlap must be smaller than the \
                 tile, such as {}",
                usual_overlap(tile, patch)
            ));
        }
        check_scale(scale)?;
        if (scale * 1e6).round() / 1e6 != scale {
            return fail(format!("a scale of {scale}: six decimals count, such as {}", rounded(scale)));
        }
        Ok(())
    }

    /// Pixels of the frame that a tile shows along an axis, about.
    pub fn in_frame(&self) -> f64 {
        self.tile as f64 / self.scale
    }

    /// How scale and overlap follow from the size of a defect, in words; `None` if none was given.
    pub fn reason(&self, patch: usize) -> Option<String> {
        let Tiling { tile, overlap, scale, defect, .. } = *self;
        let defect = defect?;
        let patches = defect as f64 * scale / patch as f64;
        let usual = rounded((patch as f64 / defect as f64).min(1.0));
        let scale_is = if scale != usual {
            format!("at the given scale of {scale} they are {patches:.2} patches wide")
        } else if scale == 1.0 {
            format!("at scale 1 they are {patches:.2} patches wide, and enlarging adds no detail")
        } else {
            format!("at scale {scale} they are as wide as a patch of {patch} pixels")
        };
        Some(format!(
            "defects of {defect} pixels: {scale_is}; tiles of {tile} pixels show {:.0} pixels of the image and overlap by {overlap} \
             ({} patches), so that a defect on a seam {}",
            self.in_frame(),
            overlap / patch,
            if overlap as f64 >= patches.ceil() * patch as f64 { "lies whole in one of them" } else { "may be cut" }
        ))
    }
}

impl std::fmt::Display for Tiling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tiling { tile, overlap, scale, bank_per, squares, .. } = self;
        if *squares {
            return write!(f, "squares=on bank-per={}", bank_per.name());
        }
        write!(f, "tile={tile} overlap={overlap} scale={scale} bank-per={}", bank_per.name())
    }
}

/// Refuses a scale that is not supported.
fn check_scale(scale: f64) -> Result<()> {
    if (SCALES[0]..=SCALES[1]).contains(&scale) {
        return Ok(());
    }
    let message = format!("a scale of {scale}: it must be from {} to {}, such as 0.5", SCALES[0], SCALES[1]);
    Err(Error::new(ErrorKind::Argument, message))
}

/// A scale to the six decimals that a file stores exactly.
fn rounded(scale: f64) -> f64 {
    (scale * 1e6).round() / 1e6
}

/// An eighth of a tile, in whole patches, at least one where the tile has several.
fn usual_overlap(tile: usize, patch: usize) -> usize {
    let patches = tile / patch;
    (patches / 8).max(1).min(patches.saturating_sub(1)) * patch
}
