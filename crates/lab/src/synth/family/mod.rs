//! The products. One file a family, each a function from an [`Order`] to a relief.

mod ball_bearing;
mod biscuit;
mod blister_pack;
mod bottle_mouth;
mod brushed_metal;
mod cable;
mod carpet;
mod ceramic_tiles;
mod circuit_board;
mod gear;
mod hex_nut;
mod keypad;
mod leather;
mod o_ring;
mod perforated_sheet;
mod pill;
mod printed_fabric;
mod printed_label;
mod screw;
mod solar_cell;
mod spring;
mod terrazzo;
mod washer;
mod wood_grain;
mod woven_fabric;
mod zipper;

use std::str::FromStr;

use super::defect::Defect;
use super::random::{Stream, wave};
use super::relief::{Material, Relief, rgb};
use super::split::Split;
use inctrl::{Error, ErrorKind, Result};

/// A drawing to make.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Pixels of a side.
    pub side: usize,
    /// Chooses the common properties of all specimens.
    pub product: Stream,
    /// Chooses the differences between specimens.
    pub specimen: Stream,
    /// A missing or misplaced part, and the numbers that choose it. Nothing else may depend on it.
    pub fault: Option<(Defect, Stream)>,
}

impl Order {
    /// The numbers that choose the missing or misplaced part, if `defect` is ordered.
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
    /// Polished stone chips in a ground of another colour.
    Terrazzo,
    /// Tufted carpet.
    Carpet,
    /// Sheet metal with rows of punched holes.
    PerforatedSheet,
    /// Cotton with a printed motif.
    PrintedFabric,
    /// A paper label with text and a bar code.
    PrintedLabel,
    /// A cable with several cores, cut across.
    Cable,
    /// A glass bottle seen from above.
    BottleMouth,
    /// A rubber sealing ring.
    ORing,
    /// A spur gear on a belt.
    Gear,
    /// A coil spring on a belt.
    Spring,
    /// A baked biscuit.
    Biscuit,
    /// A closed zip fastener.
    Zipper,
    /// A housing with rows of keys.
    Keypad,
    /// A photovoltaic cell with fingers and busbars.
    SolarCell,
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
        Family::Terrazzo,
        Family::Carpet,
        Family::PerforatedSheet,
        Family::PrintedFabric,
        Family::PrintedLabel,
        Family::Cable,
        Family::BottleMouth,
        Family::ORing,
        Family::Gear,
        Family::Spring,
        Family::Biscuit,
        Family::Zipper,
        Family::Keypad,
        Family::SolarCell,
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
            Family::Terrazzo => "terrazzo",
            Family::Carpet => "carpet",
            Family::PerforatedSheet => "perforated_sheet",
            Family::PrintedFabric => "printed_fabric",
            Family::PrintedLabel => "printed_label",
            Family::Cable => "cable",
            Family::BottleMouth => "bottle_mouth",
            Family::ORing => "o_ring",
            Family::Gear => "gear",
            Family::Spring => "spring",
            Family::Biscuit => "biscuit",
            Family::Zipper => "zipper",
            Family::Keypad => "keypad",
            Family::SolarCell => "solar_cell",
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
            Family::Terrazzo => "terrazzo floor",
            Family::Carpet => "carpet",
            Family::PerforatedSheet => "perforated metal sheet",
            Family::PrintedFabric => "printed fabric",
            Family::PrintedLabel => "printed label",
            Family::Cable => "cable cross section",
            Family::BottleMouth => "glass bottle",
            Family::ORing => "rubber seal",
            Family::Gear => "gear",
            Family::Spring => "coil spring",
            Family::Biscuit => "biscuit",
            Family::Zipper => "zipper",
            Family::Keypad => "keypad",
            Family::SolarCell => "solar cell",
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
            Family::Terrazzo => and_common![Scratch, Crack, Discolouration],
            Family::Carpet => and_common![Stain, MissingPart, Discolouration],
            Family::PerforatedSheet => and_common![Scratch, Dent, MissingPart, MisplacedPart, Discolouration],
            Family::PrintedFabric => and_common![Stain, MissingPart, MisplacedPart, Discolouration],
            Family::PrintedLabel => and_common![Scratch, Stain, MissingPart, MisplacedPart, Discolouration],
            Family::Cable => and_common![Scratch, MissingPart, MisplacedPart, Discolouration],
            Family::BottleMouth => and_common![Crack, MissingPart, Discolouration],
            Family::ORing => and_common![Crack, MissingPart, Discolouration],
            Family::Gear => and_common![Scratch, Crack, Dent, MissingPart, Discolouration],
            Family::Spring => and_common![MissingPart, MisplacedPart, Discolouration],
            Family::Biscuit => and_common![Crack, Stain, MissingPart, Discolouration],
            Family::Zipper => and_common![Stain, MissingPart, MisplacedPart, Discolouration],
            Family::Keypad => and_common![Scratch, MissingPart, MisplacedPart, Discolouration],
            Family::SolarCell => and_common![Scratch, Crack, Stain, MissingPart, Discolouration],
        }
    }

    /// Whether its products may be learnt from, or are kept for judging what was learnt.
    pub fn split(self) -> Split {
        match self {
            Family::WoodGrain
            | Family::HexNut
            | Family::BallBearing
            | Family::BlisterPack
            | Family::PerforatedSheet
            | Family::PrintedFabric
            | Family::Cable
            | Family::Gear
            | Family::SolarCell => Split::HeldOut,
            _ => Split::Train,
        }
    }

    /// Whether its products come in every colour.
    pub(super) fn is_dyed(self) -> bool {
        !matches!(self, Family::WoodGrain | Family::Biscuit | Family::SolarCell | Family::Terrazzo)
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
            Family::Terrazzo => terrazzo::draw(order),
            Family::Carpet => carpet::draw(order),
            Family::PerforatedSheet => perforated_sheet::draw(order),
            Family::PrintedFabric => printed_fabric::draw(order),
            Family::PrintedLabel => printed_label::draw(order),
            Family::Cable => cable::draw(order),
            Family::BottleMouth => bottle_mouth::draw(order),
            Family::ORing => o_ring::draw(order),
            Family::Gear => gear::draw(order),
            Family::Spring => spring::draw(order),
            Family::Biscuit => biscuit::draw(order),
            Family::Zipper => zipper::draw(order),
            Family::Keypad => keypad::draw(order),
            Family::SolarCell => solar_cell::draw(order),
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
