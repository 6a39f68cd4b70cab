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

use super::defect::Defect;
use super::random::Stream;
use super::relief::{Material, Relief, rgb};

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

/// A conveyor belt of fine-grained rubber; the product chooses its colour.
fn belt(side: usize, product: &mut Stream, specimen: &mut Stream) -> Relief {
    let colour = product.pick(&[rgb(70, 76, 84), rgb(56, 84, 88), rgb(96, 94, 90), rgb(62, 70, 94)]);
    let (grain, dirt) = (specimen.noise(), specimen.noise());
    Relief::ground(side, |[x, y]| {
        let fine = grain.at(x * 90.0, y * 90.0);
        let tone = 1.0 + 0.10 * fine + 0.10 * dirt.at(x * 3.0, y * 3.0);
        (0.0006 * fine, Material::matt(colour).shaded(tone))
    })
}

/// The bare metal of a machined product.
fn steel(product: &mut Stream) -> Material {
    let colour = product.pick(&[rgb(206, 208, 212), rgb(196, 200, 208), rgb(214, 184, 122), rgb(210, 204, 196)]);
    Material::metal(colour, 0.55)
}
