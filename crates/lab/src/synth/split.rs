//! The split of the generator into training and test.

use std::str::FromStr;

use super::defect::Defect;
use super::family::Family;
use super::random::Stream;
use inctrl::{Error, ErrorKind, Result};

/// One of the two halves of the generator. They share no family, and so no product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Families and defects for training.
    Train,
    /// Families for testing, with every defect that they can have.
    HeldOut,
}

impl Split {
    /// Both.
    pub const ALL: [Split; 2] = [Split::Train, Split::HeldOut];

    /// The identifier that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::HeldOut => "held-out",
        }
    }

    /// Its families.
    pub fn families(self) -> Vec<Family> {
        Family::ALL.iter().copied().filter(|family| family.split() == self).collect()
    }

    /// The defects of `family` in this split: only those for training, or all for testing.
    pub fn defects(self, family: Family) -> Vec<Defect> {
        let all = family.defects().iter().copied();
        all.filter(|defect| self == Split::HeldOut || defect.split() == Split::Train).collect()
    }

    /// The seed of product number `product` in the data of `seed`: even for training, odd for testing, so that the
    /// splits never share a seed.
    pub fn product_seed(self, seed: u64, product: u64) -> u64 {
        let bits = Stream::named(&[self.name()], &[seed, product]).bits();
        bits & !1 | u64::from(self == Split::HeldOut)
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Split::ALL.into_iter().find(|split| split.name() == text).ok_or_else(|| {
            let names = Split::ALL.map(Split::name).join(" or ");
            Error::new(ErrorKind::Argument, format!("{text:?} is not a split: use {names}"))
        })
    }
}
