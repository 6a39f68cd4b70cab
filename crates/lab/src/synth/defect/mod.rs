//! Defects of the surface: they change height, colour and finish where they are.
//!
//! Missing and misplaced parts are the business of the families, which know what their parts are.
//!
//! Adding a kind: a function of a relief, a size and a stream in a file here, a variant of [`Defect`] with its lines
//! below, and its name in the lists of the families that can have it.

mod colour;
mod foreign;
mod hollow;
mod line;
mod place;
mod tone;

use std::str::FromStr;

use super::random::Stream;
use super::relief::Relief;
use super::split::Split;
use inctrl::{Error, ErrorKind, Result};

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
    /// A part, or a piece of one, that is not there.
    MissingPart,
    /// A part in the wrong place.
    MisplacedPart,
    /// A change of colour with soft edges.
    Discolouration,
    /// A ragged hole through the surface.
    Hole,
    /// A chip, scrap or fibre that lies on the product.
    ForeignObject,
    /// A charred place with a scorched halo.
    Burn,
    /// A round spot much darker or brighter than its surroundings.
    Spot,
    /// A swarm of specks.
    Contamination,
    /// A region, or the whole product, much darker or brighter than it should be.
    WrongTone,
}

/// How large a fault is, within the range that its kind has.
///
/// A missing or misplaced part has the size of the part, whatever the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// About half the usual length.
    Small,
    /// The usual length.
    Medium,
    /// Half as long again and more.
    Large,
}

impl Severity {
    /// From small to large.
    pub const ALL: [Severity; 3] = [Severity::Small, Severity::Medium, Severity::Large];

    /// The identifier that files use.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Small => "small",
            Severity::Medium => "medium",
            Severity::Large => "large",
        }
    }

    /// A factor on the lengths of a defect.
    fn size(self, stream: &mut Stream) -> f32 {
        match self {
            Severity::Small => stream.between(0.50, 0.70),
            Severity::Medium => stream.between(0.85, 1.15),
            Severity::Large => stream.between(1.40, 1.80),
        }
    }
}

/// What is wrong with a specimen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Its kind.
    pub defect: Defect,
    /// Its size.
    pub severity: Severity,
}

impl FromStr for Severity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Severity::ALL.into_iter().find(|severity| severity.name() == text).ok_or_else(|| {
            let names = Severity::ALL.map(Severity::name).join(", ");
            Error::new(ErrorKind::Argument, format!("{text:?} is not a size of a defect: use {names}"))
        })
    }
}

impl FromStr for Defect {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Defect::ALL.iter().copied().find(|defect| defect.name() == text).ok_or_else(|| {
            let names = Defect::ALL.iter().map(|defect| defect.name()).collect::<Vec<_>>().join(", ");
            Error::new(ErrorKind::Argument, format!("{text:?} is not a defect: use {names}"))
        })
    }
}

impl From<Defect> for Fault {
    /// A fault of the usual size.
    fn from(defect: Defect) -> Self {
        Fault { defect, severity: Severity::Medium }
    }
}

impl Defect {
    /// Every kind.
    pub const ALL: &[Defect] = &[
        Defect::Scratch,
        Defect::Crack,
        Defect::Stain,
        Defect::Dent,
        Defect::MissingPart,
        Defect::MisplacedPart,
        Defect::Discolouration,
        Defect::Hole,
        Defect::ForeignObject,
        Defect::Burn,
        Defect::Spot,
        Defect::Contamination,
        Defect::WrongTone,
    ];

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
            Defect::Hole => "hole",
            Defect::ForeignObject => "foreign_object",
            Defect::Burn => "burn",
            Defect::Spot => "spot",
            Defect::Contamination => "contamination",
            Defect::WrongTone => "wrong_tone",
        }
    }

    /// Whether the kind may be learnt from, or is kept for judging what was learnt.
    pub fn split(self) -> Split {
        match self {
            Defect::Hole | Defect::ForeignObject => Split::HeldOut,
            _ => Split::Train,
        }
    }

    /// The share of the picture that it covers at most, in parts of 10,000.
    pub(super) fn most_area(self) -> usize {
        match self {
            Defect::WrongTone => 10_000,
            _ => 4000,
        }
    }
}

impl Fault {
    /// Damages the product on `relief`; a missing or misplaced part is already drawn and changes nothing here.
    pub(super) fn apply(self, relief: &mut Relief, stream: &mut Stream) {
        let size = self.severity.size(stream);
        match self.defect {
            Defect::Scratch => line::scratch(relief, size, stream),
            Defect::Crack => line::crack(relief, size, stream),
            Defect::Stain => colour::stain(relief, size, stream),
            Defect::Dent => hollow::dent(relief, size, stream),
            Defect::Discolouration => colour::discolouration(relief, size, stream),
            Defect::Hole => hollow::hole(relief, size, stream),
            Defect::ForeignObject => foreign::foreign_object(relief, size, stream),
            Defect::Burn => tone::burn(relief, size, stream),
            Defect::Spot => tone::spot(relief, size, stream),
            Defect::Contamination => foreign::contamination(relief, size, stream),
            Defect::WrongTone => tone::wrong_tone(relief, size, stream),
            Defect::MissingPart | Defect::MisplacedPart => {}
        }
    }
}
