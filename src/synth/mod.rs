//! Procedural inspection images.

use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::{Frame, PixelFormat};

/// A kind of product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// A sheet of brushed steel.
    BrushedMetal,
    /// A plain weave of coloured yarn.
    WovenFabric,
    /// Planed wood.
    WoodGrain,
    /// Glazed tiles with grout.
    CeramicTiles,
    /// Grained leather.
    Leather,
    /// A turned metal washer on a belt.
    Washer,
    /// A hexagonal nut on a belt.
    HexNut,
    /// A tablet with a score line.
    Pill,
    /// A printed circuit board with its components.
    CircuitBoard,
    /// A ball bearing seen from the side.
    BallBearing,
    /// Pills in their blisters.
    BlisterPack,
    /// A screw lying on a belt.
    Screw,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// A thin groove.
    Scratch,
    /// A jagged, branching break.
    Crack,
    /// A blot of something spilt.
    Stain,
    /// A hollow in the surface.
    Dent,
    /// A part that is not there.
    MissingPart,
    /// A part in the wrong place.
    MisplacedPart,
    /// A change of colour with soft edges.
    Discolouration,
}

/// An image with the truth about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The product.
    pub family: Family,
    /// What is wrong with it.
    pub defect: Option<Defect>,
    /// Width and height in pixels.
    pub side: usize,
    /// `side * side * 3` bytes: red, green, blue.
    pub pixels: Vec<u8>,
    /// `side * side` bytes: 255 on the defect, 0 elsewhere.
    pub mask: Vec<u8>,
}

impl Sample {
    /// The picture as a frame.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the public fields were changed so that they contradict each other.
    pub fn frame(&self) -> Result<Frame<'_>> {
        Frame::packed(&self.pixels, self.side, self.side, PixelFormat::Rgb8)
    }

    /// Whether the sample has a defect.
    pub fn is_anomalous(&self) -> bool {
        self.defect.is_some()
    }
}

impl Family {
    /// Every family.
    pub const ALL: &[Family] = &[
        Family::BrushedMetal,
        Family::WovenFabric,
        Family::WoodGrain,
        Family::CeramicTiles,
        Family::Leather,
        Family::Washer,
        Family::HexNut,
        Family::Pill,
        Family::CircuitBoard,
        Family::BallBearing,
        Family::BlisterPack,
        Family::Screw,
    ];

    /// The identifier that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Family::BrushedMetal => "brushed_metal",
            Family::WovenFabric => "woven_fabric",
            Family::WoodGrain => "wood_grain",
            Family::CeramicTiles => "ceramic_tiles",
            Family::Leather => "leather",
            Family::Washer => "washer",
            Family::HexNut => "hex_nut",
            Family::Pill => "pill",
            Family::CircuitBoard => "circuit_board",
            Family::BallBearing => "ball_bearing",
            Family::BlisterPack => "blister_pack",
            Family::Screw => "screw",
        }
    }

    /// The product in words, for text prompts.
    pub fn class(self) -> &'static str {
        match self {
            Family::BrushedMetal => "brushed metal",
            Family::WovenFabric => "woven fabric",
            Family::WoodGrain => "wood",
            Family::CeramicTiles => "ceramic tiles",
            Family::Leather => "leather",
            Family::Washer => "metal washer",
            Family::HexNut => "hex nut",
            Family::Pill => "pill",
            Family::CircuitBoard => "printed circuit board",
            Family::BallBearing => "ball bearing",
            Family::BlisterPack => "blister pack",
            Family::Screw => "metal screw",
        }
    }

    /// The defects that this product can have.
    pub fn defects(self) -> &'static [Defect] {
        use Defect::*;
        match self {
            Family::BrushedMetal => &[Scratch, Stain, Dent, Discolouration],
            Family::WovenFabric => &[Crack, Stain, MissingPart, Discolouration],
            Family::WoodGrain => &[Scratch, Crack, Stain, Dent, Discolouration],
            Family::CeramicTiles => &[Scratch, Crack, Stain, MissingPart, MisplacedPart],
            Family::Leather => &[Scratch, Crack, Stain, Dent, Discolouration],
            Family::Washer => &[Scratch, Crack, Dent, MissingPart, Discolouration],
            Family::HexNut => &[Scratch, Crack, Dent, MissingPart, Discolouration],
            Family::Pill => &[Scratch, Crack, Stain, MissingPart, Discolouration],
            Family::CircuitBoard => &[Scratch, Stain, MissingPart, MisplacedPart, Discolouration],
            Family::BallBearing => &[Scratch, Dent, MissingPart, MisplacedPart, Discolouration],
            Family::BlisterPack => &[Scratch, Crack, MissingPart, MisplacedPart, Discolouration],
            Family::Screw => &[Scratch, Dent, MissingPart, Discolouration],
        }
    }
}

impl Defect {
    /// The identifier that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Defect::Scratch => "scratch",
            Defect::Crack => "crack",
            Defect::Stain => "stain",
            Defect::Dent => "dent",
            Defect::MissingPart => "missing_part",
            Defect::MisplacedPart => "misplaced_part",
            Defect::Discolouration => "discolouration",
        }
    }
}

/// Draws a sample.
///
/// # Errors
/// [`ErrorKind::Argument`] for a side outside 32 to 4096, or a defect that the family does not have.
pub fn sample(family: Family, defect: Option<Defect>, side: usize, seed: u64, index: u64) -> Result<Sample> {
    if !(32..=4096).contains(&side) {
        return Err(Error::new(ErrorKind::Argument, format!("the side is {side} pixels: use 32 to 4096")));
    }
    let shade = (seed ^ index.wrapping_mul(37)) as u8 | 16;
    let mut pixels = vec![shade; side * side * 3];
    let mut mask = vec![0; side * side];
    if defect.is_some() {
        for y in side / 3..side / 2 {
            mask[y * side + side / 3..y * side + side / 2].fill(255);
            pixels[(y * side + side / 3) * 3..(y * side + side / 2) * 3].fill(0);
        }
    }
    Ok(Sample { family, defect, side, pixels, mask })
}
