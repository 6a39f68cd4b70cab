//! [`PixelFormat`]: how the pixels of cameras are stored.

use std::str::FromStr;

use super::layout::argument;
use crate::error::{Error, Result};

/// How pixels are stored in memory. `Mono8` of GenICam is `Grey8` here, and so on.
///
/// The model sees [`Grey8`](Self::Grey8) and [`Rgb8`](Self::Rgb8); the others are converted to one of them first, by
/// [`Frame::convert`](super::Frame::convert).
///
/// In formats of 10 and 12 bits white is 1023 and 4095. A 16-bit format may hold fewer bits and then needs a
/// [`WhiteLevel`](super::WhiteLevel). The packed formats are those of the GenICam Pixel Format Naming Convention; each
/// row begins at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// One byte of luminance.
    Grey8,
    /// Red, green, blue, one byte each.
    Rgb8,
    /// Two bytes of luminance, the less significant first; rounded to 8 bits over the full range, as 16-bit files are.
    Grey16,
    /// Blue, green, red, one byte each.
    Bgr8,
    /// Red, green, blue, alpha, one byte each; alpha is dropped, not composited.
    Rgba8,
    /// Blue, green, red, alpha, one byte each; alpha is dropped, not composited.
    Bgra8,
    /// A colour filter array of one byte per pixel. Its first row begins red, green, its second row green, blue.
    BayerRg8,
    /// As [`BayerRg8`](Self::BayerRg8), beginning green, red and blue, green.
    BayerGr8,
    /// As [`BayerRg8`](Self::BayerRg8), beginning green, blue and red, green.
    BayerGb8,
    /// As [`BayerRg8`](Self::BayerRg8), beginning blue, green and green, red.
    BayerBg8,
    /// `Mono10`: as [`Grey16`](Self::Grey16), but 10 bits, the others 0.
    Grey10,
    /// `Mono12`: as [`Grey16`](Self::Grey16), but 12 bits, the others 0.
    Grey12,
    /// `Mono10p`: 10 bits per pixel, four pixels in five bytes, from the least significant bit of the first byte on.
    Grey10p,
    /// `Mono12p`: 12 bits per pixel, two pixels in three bytes, from the least significant bit of the first byte on.
    Grey12p,
    /// `Mono12Packed` of GigE Vision: two pixels in three bytes. The first byte holds the upper eight bits of the first
    /// pixel, the last byte those of the second. The middle byte holds the lower four bits of both, the first pixel's
    /// in its lower half.
    Grey12Packed,
    /// As [`BayerRg8`](Self::BayerRg8), pixels as those of [`Grey10`](Self::Grey10).
    BayerRg10,
    /// As [`BayerGr8`](Self::BayerGr8), pixels as those of [`Grey10`](Self::Grey10).
    BayerGr10,
    /// As [`BayerGb8`](Self::BayerGb8), pixels as those of [`Grey10`](Self::Grey10).
    BayerGb10,
    /// As [`BayerBg8`](Self::BayerBg8), pixels as those of [`Grey10`](Self::Grey10).
    BayerBg10,
    /// As [`BayerRg8`](Self::BayerRg8), pixels as those of [`Grey12`](Self::Grey12).
    BayerRg12,
    /// As [`BayerGr8`](Self::BayerGr8), pixels as those of [`Grey12`](Self::Grey12).
    BayerGr12,
    /// As [`BayerGb8`](Self::BayerGb8), pixels as those of [`Grey12`](Self::Grey12).
    BayerGb12,
    /// As [`BayerBg8`](Self::BayerBg8), pixels as those of [`Grey12`](Self::Grey12).
    BayerBg12,
    /// As [`BayerRg8`](Self::BayerRg8), pixels as those of [`Grey16`](Self::Grey16).
    BayerRg16,
    /// As [`BayerGr8`](Self::BayerGr8), pixels as those of [`Grey16`](Self::Grey16).
    BayerGr16,
    /// As [`BayerGb8`](Self::BayerGb8), pixels as those of [`Grey16`](Self::Grey16).
    BayerGb16,
    /// As [`BayerBg8`](Self::BayerBg8), pixels as those of [`Grey16`](Self::Grey16).
    BayerBg16,
}

/// How the sample of a grey pixel or of a colour filter array is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// One byte per sample.
    Byte,
    /// Two bytes, the less significant first.
    Word,
    /// Packed bits, from the least significant bit of the first byte on.
    Bits,
    /// Two pixels of 12 bits in three bytes.
    Pair,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 27] = [
        PixelFormat::Grey8,
        PixelFormat::Rgb8,
        PixelFormat::Grey16,
        PixelFormat::Bgr8,
        PixelFormat::Rgba8,
        PixelFormat::Bgra8,
        PixelFormat::BayerRg8,
        PixelFormat::BayerGr8,
        PixelFormat::BayerGb8,
        PixelFormat::BayerBg8,
        PixelFormat::Grey10,
        PixelFormat::Grey12,
        PixelFormat::Grey10p,
        PixelFormat::Grey12p,
        PixelFormat::Grey12Packed,
        PixelFormat::BayerRg10,
        PixelFormat::BayerGr10,
        PixelFormat::BayerGb10,
        PixelFormat::BayerBg10,
        PixelFormat::BayerRg12,
        PixelFormat::BayerGr12,
        PixelFormat::BayerGb12,
        PixelFormat::BayerBg12,
        PixelFormat::BayerRg16,
        PixelFormat::BayerGr16,
        PixelFormat::BayerGb16,
        PixelFormat::BayerBg16,
    ];

    /// The lower-case name that Python uses, such as `bayer_rg8`.
    pub fn name(self) -> &'static str {
        match self {
            PixelFormat::Grey8 => "grey8",
            PixelFormat::Rgb8 => "rgb8",
            PixelFormat::Grey16 => "grey16",
            PixelFormat::Bgr8 => "bgr8",
            PixelFormat::Rgba8 => "rgba8",
            PixelFormat::Bgra8 => "bgra8",
            PixelFormat::BayerRg8 => "bayer_rg8",
            PixelFormat::BayerGr8 => "bayer_gr8",
            PixelFormat::BayerGb8 => "bayer_gb8",
            PixelFormat::BayerBg8 => "bayer_bg8",
            PixelFormat::Grey10 => "grey10",
            PixelFormat::Grey12 => "grey12",
            PixelFormat::Grey10p => "grey10p",
            PixelFormat::Grey12p => "grey12p",
            PixelFormat::Grey12Packed => "grey12_packed",
            PixelFormat::BayerRg10 => "bayer_rg10",
            PixelFormat::BayerGr10 => "bayer_gr10",
            PixelFormat::BayerGb10 => "bayer_gb10",
            PixelFormat::BayerBg10 => "bayer_bg10",
            PixelFormat::BayerRg12 => "bayer_rg12",
            PixelFormat::BayerGr12 => "bayer_gr12",
            PixelFormat::BayerGb12 => "bayer_gb12",
            PixelFormat::BayerBg12 => "bayer_bg12",
            PixelFormat::BayerRg16 => "bayer_rg16",
            PixelFormat::BayerGr16 => "bayer_gr16",
            PixelFormat::BayerGb16 => "bayer_gb16",
            PixelFormat::BayerBg16 => "bayer_bg16",
        }
    }

    /// Bits from one pixel of a row to the next.
    pub fn bits(self) -> usize {
        match (self, self.sample()) {
            (PixelFormat::Rgb8 | PixelFormat::Bgr8, _) => 24,
            (PixelFormat::Rgba8 | PixelFormat::Bgra8, _) => 32,
            (_, Sample::Byte) => 8,
            (_, Sample::Word) => 16,
            (_, Sample::Bits | Sample::Pair) => self.depth() as usize,
        }
    }

    /// Bytes of a row of `width` pixels. A last byte of which only some bits belong to the row counts. `None` if the
    /// result exceeds a `usize`.
    pub fn row_bytes(self, width: usize) -> Option<usize> {
        // Eight pixels of every format fill whole bytes.
        let rest = (width % 8 * self.bits()).div_ceil(8);
        (width / 8).checked_mul(self.bits())?.checked_add(rest)
    }

    /// Bits of a sample that carry its value: the largest value is `2^depth - 1`.
    pub fn depth(self) -> u32 {
        use PixelFormat as P;
        match self {
            P::Grey10 | P::Grey10p | P::BayerRg10 | P::BayerGr10 | P::BayerGb10 | P::BayerBg10 => 10,
            P::Grey12 | P::Grey12p | P::Grey12Packed => 12,
            P::BayerRg12 | P::BayerGr12 | P::BayerGb12 | P::BayerBg12 => 12,
            P::Grey16 | P::BayerRg16 | P::BayerGr16 | P::BayerGb16 | P::BayerBg16 => 16,
            _ => 8,
        }
    }

    /// Channels that the model sees: 1 or 3.
    pub fn channels(self) -> usize {
        if self.converted() == PixelFormat::Grey8 { 1 } else { 3 }
    }

    /// The format after [`Frame::convert`](super::Frame::convert): `Grey8` or `Rgb8`.
    pub fn converted(self) -> PixelFormat {
        use PixelFormat as P;
        match self {
            P::Grey8 | P::Grey10 | P::Grey12 | P::Grey16 | P::Grey10p | P::Grey12p | P::Grey12Packed => P::Grey8,
            _ => P::Rgb8,
        }
    }

    pub(super) fn sample(self) -> Sample {
        match self {
            PixelFormat::Grey10p | PixelFormat::Grey12p => Sample::Bits,
            PixelFormat::Grey12Packed => Sample::Pair,
            _ if self.depth() > 8 => Sample::Word,
            _ => Sample::Byte,
        }
    }

    /// Number of pixels after which a row is at the start of a byte, and of a pair, again.
    pub(super) fn group(self) -> usize {
        match self.sample() {
            Sample::Byte | Sample::Word => 1,
            Sample::Pair => 2,
            Sample::Bits => 8 >> self.bits().trailing_zeros().min(3),
        }
    }

    /// The (column, row) of the red pixel among the first 2 x 2 pixels of a colour filter array.
    pub(super) fn bayer_red(self) -> Option<(usize, usize)> {
        use PixelFormat as P;
        match self {
            P::BayerRg8 | P::BayerRg10 | P::BayerRg12 | P::BayerRg16 => Some((0, 0)),
            P::BayerGr8 | P::BayerGr10 | P::BayerGr12 | P::BayerGr16 => Some((1, 0)),
            P::BayerGb8 | P::BayerGb10 | P::BayerGb12 | P::BayerGb16 => Some((0, 1)),
            P::BayerBg8 | P::BayerBg10 | P::BayerBg12 | P::BayerBg16 => Some((1, 1)),
            _ => None,
        }
    }

    /// The format of the same colour filter array, starting `x` columns and `y` rows later.
    pub(super) fn shifted(self, x: usize, y: usize) -> PixelFormat {
        let Some(red) = self.bayer_red() else { return self };
        let red = ((red.0 + x) % 2, (red.1 + y) % 2);
        let same = |format: &PixelFormat| format.depth() == self.depth() && format.bayer_red() == Some(red);
        Self::ALL.into_iter().find(same).unwrap_or(self)
    }

    /// A byte that fills a frame with about mid-grey.
    pub(crate) fn grey_byte(self) -> u8 {
        match (self.sample(), self.depth()) {
            (Sample::Word, 10) => 0x02,
            (Sample::Word, 12) => 0x08,
            _ => 0x80,
        }
    }
}

impl FromStr for PixelFormat {
    type Err = Error;

    /// A name as [`PixelFormat::name`] has it.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(PixelFormat::name).join(", ");
            argument(format!("{text:?} is not a pixel format: use one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_their_bits_rounded_up() {
        for format in PixelFormat::ALL {
            for width in 0..50 {
                assert_eq!(format.row_bytes(width), Some((width * format.bits()).div_ceil(8)), "{format:?} {width}");
            }
        }
        assert_eq!(PixelFormat::Grey10p.row_bytes(5), Some(7));
        assert_eq!(PixelFormat::Grey12p.row_bytes(usize::MAX), None);
        assert_eq!(PixelFormat::Grey8.row_bytes(usize::MAX), Some(usize::MAX));
    }

    #[test]
    fn names_are_read_back() {
        for format in PixelFormat::ALL {
            assert_eq!(format.name().parse::<PixelFormat>().unwrap(), format);
        }
        let error = "rgb".parse::<PixelFormat>().unwrap_err();
        assert!(error.to_string().contains("rgb8, grey16"), "{error}");
    }

    #[test]
    fn groups_begin_at_bytes() {
        for (format, group) in [
            (PixelFormat::Grey8, 1),
            (PixelFormat::BayerGb12, 1),
            (PixelFormat::Grey10p, 4),
            (PixelFormat::Grey12p, 2),
            (PixelFormat::Grey12Packed, 2),
        ] {
            assert_eq!(format.group(), group);
            assert_eq!(group * format.bits() % 8, 0);
        }
    }

    #[test]
    fn every_array_has_its_four_orders() {
        for format in PixelFormat::ALL.into_iter().filter(|format| format.bayer_red().is_some()) {
            let all = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| format.shifted(x, y));
            assert_eq!(all[0], format);
            for (i, a) in all.iter().enumerate() {
                assert_eq!((a.depth(), a.bits()), (format.depth(), format.bits()));
                assert!(all[..i].iter().all(|b| a != b), "{all:?}");
            }
        }
    }
}
