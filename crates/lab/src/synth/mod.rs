//! Procedural inspection images with ground truth: products, their normal variation, and their defects.
//!
//! A sample is a `relief` (height, colour and finish of a surface) drawn by a `family`, dyed by a `livery`, perhaps
//! damaged by a `defect`, and photographed under a `lamp`. The seed chooses the product (layout, sizes, colours, side
//! of the lamp); the index chooses the specimen (pose, grain, lighting, sensor noise). A specimen is photographed
//! twice, without and with its defect, from the same random numbers: the mask is where the two photographs differ
//! visibly.
//!
//! A [`Split`] separates families and defects for training from those for testing; [`Recipe`] writes a data set of
//! either.
//!
//! Invariants: equal arguments give equal bytes, on every machine whose floating point is that of IEEE 754, because
//! only correctly rounded operations are used; a sample without a defect is the clean twin of every defective one with
//! the same seed and index; the mask is empty exactly when there is no defect.
//!
//! Refused: sides outside 32 to 4096 pixels, and defects that a family does not have.
//!
//! Adding a family: a file in `family/` with a function from an `Order` to a relief, a variant of
//! [`Family`], and its lines in `family/mod.rs`. The tests go through [`Family::ALL`].

mod dataset;
mod defect;
mod family;
mod lamp;
mod livery;
mod mask;
mod random;
mod relief;
mod shape;
mod split;
#[cfg(test)]
mod tests;

pub use dataset::Recipe;
pub use defect::{Defect, Fault, Severity};
pub use family::Family;
pub use split::Split;

use family::Order;
use inctrl::{Error, ErrorKind, Frame, PixelFormat, Result};
use lamp::Lamp;
use livery::Livery;
use random::Stream;

/// Supported sides of a picture, in pixels.
pub const SIDES: std::ops::RangeInclusive<usize> = 32..=4096;

/// The smallest share of the picture that a defect covers, in parts of 10,000. Smaller defects are drawn again.
const LEAST_AREA: usize = 5;

/// Draws of a defect before giving up.
const ATTEMPTS: u64 = 32;

/// An image with its ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The product.
    pub family: Family,
    /// Its defect, if it has one.
    pub fault: Option<Fault>,
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
        self.fault.is_some()
    }
}

/// Specimen number `index` of the product that `family` and `seed` make, `side` pixels a side, with `fault`.
///
/// A defect covers at least 0.05 % of the picture, and at most 40 % except for [`Defect::WrongTone`]. Memory is about
/// 60 bytes a pixel: 1 GB at the largest side.
///
/// # Errors
/// [`ErrorKind::Argument`] for a side outside 32 to 4096, or a defect that the family does not have.
pub fn sample(family: Family, fault: Option<Fault>, side: usize, seed: u64, index: u64) -> Result<Sample> {
    let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
    if !SIDES.contains(&side) {
        return fail(format!(
            "the side of a synthetic image is {side} pixels: use {} to {}",
            SIDES.start(),
            SIDES.end()
        ));
    }
    let order = Order {
        side,
        product: Stream::named(&[family.name(), "product"], &[seed]),
        specimen: Stream::named(&[family.name(), "specimen"], &[seed, index]),
        fault: None,
    };
    let livery = Livery::new(&mut Stream::named(&[family.name(), "livery"], &[seed]), family.is_dyed());
    let lamp = Lamp::new(&mut Stream::named(&[family.name(), "lamp"], &[seed, index]));
    let draw = |order: Order| {
        let mut relief = family.draw(order);
        livery.dye(&mut relief);
        relief
    };
    let relief = draw(order.clone());
    let clean = lamp.photograph(&relief);
    let Some(fault) = fault else {
        return Ok(Sample { family, fault, side, pixels: livery.laid::<3>(&clean, side), mask: vec![0; side * side] });
    };
    let defect = fault.defect;
    if !family.defects().contains(&defect) {
        let known: Vec<&str> = family.defects().iter().map(|defect| defect.name()).collect();
        return fail(format!("{} has no {}: use {}", family.name(), defect.name(), known.join(", ")));
    }
    for attempt in 0..ATTEMPTS {
        let words = [family.name(), defect.name(), fault.severity.name()];
        let mut stream = Stream::named(&words, &[seed, index, attempt]);
        let mut damaged = match defect {
            Defect::MissingPart | Defect::MisplacedPart => {
                draw(Order { fault: Some((defect, stream.clone())), ..order.clone() })
            }
            _ => relief.clone(),
        };
        fault.apply(&mut damaged, &mut stream);
        let pixels = lamp.photograph(&damaged);
        let mask = mask::difference(&clean, &pixels, side);
        let area = mask.iter().filter(|&&byte| byte != 0).count();
        if (LEAST_AREA * side * side..=defect.most_area() * side * side).contains(&(area * 10_000)) {
            let [pixels, mask] = [livery.laid::<3>(&pixels, side), livery.laid::<1>(&mask, side)];
            return Ok(Sample { family, fault: Some(fault), side, pixels, mask });
        }
    }
    let message = format!("no visible {} of {} in {ATTEMPTS} draws", defect.name(), family.name());
    Err(Error::new(ErrorKind::Internal, message))
}
