//! The products. One file a family, each a function from an [`Order`] to a relief.

mod ball_bearing;
mod blister_pack;
mod brushed_metal;
mod ceramic_tiles;
mod circuit_board;
mod hex_nut;
mod leather;
mod pill;
mod screw;
mod washer;
mod wood_grain;
mod woven_fabric;

use std::str::FromStr;

use super::defect::Defect;
use super::random::{Stream, wave};
use super::relief::{Material, Relief, rgb};
use super::split::Split;
use crate::error::{Error, ErrorKind, Result};

/// What to draw.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Pixels of a side.
    pub side: usize,
    /// Chooses what all specimens have in common.
    pub product: Stream,
    /// Chooses what differs between specimens.
    pub specimen: Stream,
    /// A missing or misplaced part, and what chooses it. Nothing else may depend on it.
    pub fault: Option<(Defect, Stream)>,
}

impl Order {
    /// What chooses the missing or misplaced part, if `defect` is ordered.
    fn fault(&self, defect: Defect) -> Option<Stream> {
        self.fault.as_ref().filter(|fault| fault.0 == defect).map(|fault| fault.1.clone())
    }
}

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
    /// A ball bearing seen along its axis.
    BallBearing,
    /// Pills in their blisters.
    BlisterPack,
    /// A screw lying on a belt.
    Screw,
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
        /// What can happen to anything, after what can happen to some.
        macro_rules! and_common {
            ($($own:ident),*) => {
                &[$($own,)* Hole, ForeignObject, Burn, Spot, Contamination, WrongTone]
            };
        }
        match self {
            Family::BrushedMetal => and_common![Scratch, Stain, Dent, Discolouration],
            Family::WovenFabric => and_common![Crack, Stain, MissingPart, Discolouration],
            Family::WoodGrain => and_common![Scratch, Crack, Stain, Dent, Discolouration],
            Family::CeramicTiles => and_common![Scratch, Crack, Stain, MissingPart, MisplacedPart],
            Family::Leather => and_common![Scratch, Crack, Stain, Dent, Discolouration],
            Family::Washer => and_common![Scratch, Crack, Dent, MissingPart, Discolouration],
            Family::HexNut => and_common![Scratch, Crack, Dent, MissingPart, Discolouration],
            Family::Pill => and_common![Scratch, Crack, Stain, MissingPart, Discolouration],
            Family::CircuitBoard => and_common![Scratch, Stain, MissingPart, MisplacedPart, Discolouration],
            Family::BallBearing => and_common![Scratch, Dent, MissingPart, MisplacedPart, Discolouration],
            Family::BlisterPack => and_common![Scratch, Crack, MissingPart, MisplacedPart, Discolouration],
            Family::Screw => and_common![Scratch, Dent, MissingPart, Discolouration],
        }
    }

    /// Whether its products may be learnt from, or are kept for judging what was learnt.
    pub fn split(self) -> Split {
        match self {
            Family::WoodGrain | Family::HexNut | Family::BallBearing | Family::BlisterPack => Split::HeldOut,
            _ => Split::Train,
        }
    }

    /// Whether its products come in every colour.
    pub(super) fn is_dyed(self) -> bool {
        !matches!(self, Family::WoodGrain)
    }

    /// The surface of a specimen.
    pub(super) fn draw(self, order: Order) -> Relief {
        match self {
            Family::BrushedMetal => brushed_metal::draw(order),
            Family::WovenFabric => woven_fabric::draw(order),
            Family::WoodGrain => wood_grain::draw(order),
            Family::CeramicTiles => ceramic_tiles::draw(order),
            Family::Leather => leather::draw(order),
            Family::Washer => washer::draw(order),
            Family::HexNut => hex_nut::draw(order),
            Family::Pill => pill::draw(order),
            Family::CircuitBoard => circuit_board::draw(order),
            Family::BallBearing => ball_bearing::draw(order),
            Family::BlisterPack => blister_pack::draw(order),
            Family::Screw => screw::draw(order),
        }
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Family::ALL.iter().copied().find(|family| family.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
            Error::new(ErrorKind::Argument, format!("{text:?} is not a family: use {}", names.join(", ")))
        })
    }
}

/// What the product lies on: a belt of rubber or cloth, or a worn board; the product chooses which.
fn belt(side: usize, product: &mut Stream, specimen: &mut Stream) -> Relief {
    let colours = [
        rgb(70, 76, 84),
        rgb(56, 84, 88),
        rgb(96, 94, 90),
        rgb(62, 70, 94),
        rgb(38, 38, 40),
        rgb(150, 146, 138),
        rgb(128, 104, 82),
        rgb(84, 120, 96),
    ];
    let colour = product.pick(&colours);
    let (scale, stretch) = (product.between(50.0, 110.0), product.pick(&[1.0, 1.0, 0.25]));
    let (ribbed, ribs) = (product.below(4) == 0, product.between(18.0, 36.0));
    let (grain, dirt) = (specimen.noise(), specimen.noise());
    let shift = specimen.unit();
    Relief::ground(side, |[x, y]| {
        let fine = grain.at(x * scale, y * scale * stretch);
        let rib = if ribbed { wave(x * ribs + shift) } else { 0.0 };
        let tone = 1.0 + 0.10 * fine + 0.10 * dirt.at(x * 3.0, y * 3.0) + 0.08 * rib;
        (0.0006 * fine + 0.0012 * rib, Material::matt(colour).shaded(tone))
    })
}

/// The bare metal of a machined product: steel, brass, copper, or blackened.
fn steel(product: &mut Stream) -> Material {
    let colours = [
        rgb(206, 208, 212),
        rgb(196, 200, 208),
        rgb(214, 184, 122),
        rgb(210, 204, 196),
        rgb(204, 142, 104),
        rgb(132, 134, 140),
        rgb(226, 208, 150),
    ];
    Material::metal(product.pick(&colours), product.between(0.35, 0.7))
}
