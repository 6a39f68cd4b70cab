//! Scaling of 10, 12 or 16 bits to the model's 8, and doubts about values of undeclared range.
//!
//! A value `v` of a declared range `0..=w` becomes `min(255, floor(256 v / (w + 1)))`. With `w = 2^n - 1` this is `v >>
//! (n - 8)`, as in a camera that sends 8 bits instead of n. An 8-bit value is restored exactly from both `v << (n - 8)`
//! and the full-range `round(v w / 255)`, so a bank of 8-bit pictures serves an n-bit camera. Values above `w` become
//! 255. Full-range 16-bit values are rounded as in 16-bit files: `round(255 v / 65535)`.

use std::fmt;
use std::str::FromStr;

use super::layout::argument;
use crate::error::{Error, Result};

/// The value of white, for formats of more than 8 bits that do not use their full range: 4095 for 12 bits in a 16-bit
/// picture.
///
/// It declares the range for all pictures of a camera. It is not the largest value of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WhiteLevel(u16);

impl WhiteLevel {
    /// The full 16 bits: declares that values already have the right scale.
    pub const FULL: WhiteLevel = WhiteLevel(u16::MAX);

    /// A white level of 255 to 65535.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for other values.
    pub fn new(level: u32) -> Result<Self> {
        match u16::try_from(level) {
            Ok(level) if level >= 255 => Ok(WhiteLevel(level)),
            _ => Err(argument(format!(
                "the white level is {level}: it must be the largest value that the camera sends, from 255 to 65535, \
                such as 1023 for 10 bits, 4095 for 12 and 16383 for 14"
            ))),
        }
    }

    /// The level.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for WhiteLevel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let level = text.parse().map_err(|_| argument(format!("{text:?} is not a white level: use 255 to 65535")))?;
        WhiteLevel::new(level)
    }
}

impl fmt::Display for WhiteLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known about the range of a frame's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Depth {
    /// The format's range. For 16 bits this is not certain.
    #[default]
    Format,
    /// A declared white level.
    White(WhiteLevel),
    /// 16 bits without a declared white level, with the largest value seen.
    Seen(u16),
}

/// Why the range of a frame's values is in doubt: the model may see it many times too dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DepthDoubt {
    /// 16-bit values without a white level that use less than a sixteenth of their range.
    Sliver {
        /// The largest value, from 1 to 4095.
        largest: u16,
    },
    /// 16-bit values without a white level, where the bank's normal images have one.
    Undeclared {
        /// The white level of the normal images.
        prompts: WhiteLevel,
    },
}

impl DepthDoubt {
    /// The doubt about undeclared 16-bit values, given the largest one. A picture of zeros is black and raises no
    /// doubt.
    pub(super) fn of(largest: u16) -> Option<Self> {
        (1..=u16::MAX / 16).contains(&largest).then_some(DepthDoubt::Sliver { largest })
    }

    /// The likely white level.
    pub fn likely(self) -> WhiteLevel {
        match self {
            DepthDoubt::Sliver { largest } => {
                let bits = 8.max(u16::BITS - largest.leading_zeros());
                // Cameras have 8, 10 and 12 bits.
                WhiteLevel((1 << bits.next_multiple_of(2)) - 1)
            }
            DepthDoubt::Undeclared { prompts } => prompts,
        }
    }

    /// The error where no doubt is allowed, as in a bank.
    pub(crate) fn refuse(self) -> Error {
        argument(format!(
            "{self}. If the values already have the right scale, declare the white level {}",
            WhiteLevel::FULL
        ))
    }
}

impl fmt::Display for DepthDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let likely = self.likely();
        match self {
            DepthDoubt::Sliver { largest } => {
                let bits = u16::BITS - likely.0.leading_zeros();
                write!(
                    f,
                    "the values are 16-bit, but the largest is {largest}, less than a sixteenth of the range: they look like \
                     {bits}-bit values, which the model would see nearly black. Declare the white level {likely}"
                )?;
            }
            DepthDoubt::Undeclared { .. } => write!(
                f,
                "the values are 16-bit without a white level, but the bank's normal images have the white level \
                {likely}. Declare the white level here, too"
            )?,
        }
        f.write_str(" (--white-level, Frame::with_white_level, or white_level of inctrl_frame)")
    }
}

/// How values become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// The full 16 bits.
    Full,
    /// `2^n - 1` and larger values are white.
    Shift(u32),
    /// Another white level: 2^40 divided by the level plus one, rounded up.
    Reciprocal(u64),
}

impl Scale {
    /// The scale for values of `bits` bits with the declared white level, if any.
    pub fn new(bits: u32, white: Option<WhiteLevel>) -> Self {
        let range = white.map_or(1 << bits, |white| u32::from(white.0) + 1);
        match range {
            0x1_0000 => Scale::Full,
            _ if range.is_power_of_two() => Scale::Shift(range.trailing_zeros() - 8),
            _ => Scale::Reciprocal((1u64 << 40).div_ceil(u64::from(range))),
        }
    }

    /// Writes the bytes of `values`, as many as fit into `out`.
    pub fn bytes(self, values: impl Iterator<Item = u16>, out: &mut [u8]) {
        // One loop per kind, so that no pixel needs a branch.
        let pairs = out.iter_mut().zip(values);
        match self {
            Scale::Full => pairs.for_each(|(out, value)| *out = to_8_bits(value)),
            Scale::Shift(bits) => pairs.for_each(|(out, value)| *out = (value >> bits).min(255) as u8),
            // 256 v is below 2^24, and the factor exceeds 2^40 / range by less than 1. The quotient is too large by
            // less than 2^-16, less than one part of `range`, so it does not reach the next integer.
            Scale::Reciprocal(factor) => pairs.for_each(|(out, value)| {
                *out = ((u64::from(value) * 256 * factor) >> 40).min(255) as u8;
            }),
        }
    }
}

/// `round(value * 255 / 65535)`; the divisor is odd, so there are no ties.
pub(super) fn to_8_bits(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// The largest of some values, as far as it matters for a doubt: the search stops at a value that rules it out.
pub(super) fn largest(values: impl IntoIterator<Item = u16>) -> u16 {
    let mut largest = 0;
    for value in values {
        largest = largest.max(value);
        if largest > u16::MAX / 16 {
            break;
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(scale: Scale, value: u16) -> u8 {
        let mut out = [0];
        scale.bytes([value].into_iter(), &mut out);
        out[0]
    }

    #[test]
    fn bytes_are_those_of_the_definition() {
        for level in [255, 256, 500, 1000, 1023, 2047, 3000, 4095, 10_000, 16_383, 32_767, 65_534] {
            let scale = Scale::new(16, Some(WhiteLevel::new(level).unwrap()));
            for value in 0..=u16::MAX {
                let expected = (u64::from(value) * 256 / (u64::from(level) + 1)).min(255);
                assert_eq!(u64::from(byte(scale, value)), expected, "{value} of {level}");
            }
        }
        for value in 0..=u16::MAX {
            let expected = (f64::from(value) * 255.0 / 65535.0).round() as u8;
            assert_eq!(to_8_bits(value), expected, "{value}");
            assert_eq!(byte(Scale::new(16, None), value), expected);
            assert_eq!(byte(Scale::new(16, Some(WhiteLevel::FULL)), value), expected);
        }
    }

    #[test]
    fn an_eight_bit_value_comes_back_however_it_was_widened() {
        for bits in 8..16 {
            let (scale, white) = (Scale::new(bits, None), (1u32 << bits) - 1);
            assert_eq!(scale, Scale::new(16, WhiteLevel::new(white).ok()));
            for value in 0..=255u16 {
                assert_eq!(u16::from(byte(scale, value << (bits - 8))), value, "{bits} bits, shifted");
                let full = (f64::from(value) * f64::from(white) / 255.0).round() as u16;
                assert_eq!(u16::from(byte(scale, full)), value, "{bits} bits, full range");
            }
            assert_eq!(byte(scale, u16::MAX), 255, "what is above white is white");
        }
    }

    #[test]
    fn the_likely_depth_is_one_that_cameras_have() {
        let likely = |largest| DepthDoubt::of(largest).map(|doubt| doubt.likely().get());
        assert_eq!([1, 200, 255, 256, 1000, 1023].map(likely), [255, 255, 255, 1023, 1023, 1023].map(Some));
        assert_eq!([1024, 4095].map(likely), [4095, 4095].map(Some));
        assert_eq!([0, 4096, 65_535].map(likely), [None; 3]);
        let text = DepthDoubt::of(4000).unwrap().to_string();
        assert!(text.contains("4000") && text.contains("12-bit") && text.contains("white level 4095"), "{text}");
    }

    #[test]
    fn levels_that_make_no_sense_are_refused() {
        for text in ["0", "254", "65536", "-1", "12 bits", ""] {
            let error = text.parse::<WhiteLevel>().unwrap_err();
            assert!(error.to_string().contains("65535"), "{error}");
        }
        assert_eq!("4095".parse::<WhiteLevel>().unwrap().get(), 4095);
    }
}
