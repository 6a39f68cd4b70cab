//! Pixels in memory: [`Frame`] borrows them with a row stride, as a camera or a file reader hands them over.

use super::layout::{Layout, argument};
use crate::error::Result;

/// How the bytes of one pixel lie in memory. Names are those of machine vision: `Mono8` of GenICam is `Grey8` here.
///
/// The model sees [`Grey8`](Self::Grey8) and [`Rgb8`](Self::Rgb8); the others are converted to one of them first, by
/// [`Frame::convert`].
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
    /// A colour filter array of one byte a pixel, whose first row begins red, green and second row green, blue.
    BayerRg8,
    /// As [`BayerRg8`](Self::BayerRg8), beginning green, red and blue, green.
    BayerGr8,
    /// As [`BayerRg8`](Self::BayerRg8), beginning green, blue and red, green.
    BayerGb8,
    /// As [`BayerRg8`](Self::BayerRg8), beginning blue, green and green, red.
    BayerBg8,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 10] = [
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
    ];

    /// Bytes of one pixel.
    pub fn bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => 4,
            PixelFormat::Grey16 => 2,
            _ => 1,
        }
    }

    /// Channels that the model is shown: 1 or 3.
    pub fn channels(self) -> usize {
        if self.converted() == PixelFormat::Grey8 { 1 } else { 3 }
    }

    /// What [`Frame::convert`] makes of it: `Grey8` or `Rgb8`.
    pub fn converted(self) -> PixelFormat {
        match self {
            PixelFormat::Grey8 | PixelFormat::Grey16 => PixelFormat::Grey8,
            _ => PixelFormat::Rgb8,
        }
    }

    /// Where the red pixel of a colour filter array lies in its first 2 x 2 pixels, as (column, row).
    pub(super) fn bayer_red(self) -> Option<(usize, usize)> {
        match self {
            PixelFormat::BayerRg8 => Some((0, 0)),
            PixelFormat::BayerGr8 => Some((1, 0)),
            PixelFormat::BayerGb8 => Some((0, 1)),
            PixelFormat::BayerBg8 => Some((1, 1)),
            _ => None,
        }
    }

    /// The format of the same colour filter array seen from a pixel `x` columns and `y` rows on.
    pub(super) fn shifted(self, x: usize, y: usize) -> PixelFormat {
        let Some(red) = self.bayer_red() else { return self };
        let red = ((red.0 + x) % 2, (red.1 + y) % 2);
        Self::ALL.into_iter().find(|format| format.bayer_red() == Some(red)).unwrap_or(self)
    }
}

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roi {
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A borrowed picture, row by row from the top, each row `stride` bytes after the one above.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    data: &'a [u8],
    layout: Layout,
}

impl<'a> Frame<'a> {
    /// A view of `data`: `height` rows of `width` pixels, row `y` starting at byte `y * stride_bytes`.
    ///
    /// The last row may stop at its last pixel, and bytes after the picture are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for an empty picture, a stride shorter than a row, or too little
    /// data.
    pub fn new(data: &'a [u8], width: usize, height: usize, stride_bytes: usize, format: PixelFormat) -> Result<Self> {
        let layout = Layout::new(width, height, stride_bytes, format)?;
        let needed = layout.bytes();
        if data.len() < needed {
            return Err(argument(format!(
                "the frame has {} bytes, but {width} x {height} {format:?} pixels with a stride of {stride_bytes} bytes \
                 take {needed}",
                data.len()
            )));
        }
        Ok(Frame { data: &data[..needed], layout })
    }

    /// A view of rows that follow one another without padding.
    ///
    /// # Errors
    /// As [`Frame::new`].
    pub fn packed(data: &'a [u8], width: usize, height: usize, format: PixelFormat) -> Result<Self> {
        // A saturated stride is refused by `new`, which names the sizes.
        Frame::new(data, width, height, width.saturating_mul(format.bytes()), format)
    }

    /// The part of the picture inside `roi`, without copying; nothing outside it is read, not even to interpolate colours.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for an empty region, or one that is not all inside the picture.
    pub fn region(&self, roi: Roi) -> Result<Self> {
        let (start, layout) = self.layout.region(roi)?;
        Ok(Frame { data: &self.data[start..start + layout.bytes()], layout })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// How a pixel is stored.
    pub fn format(&self) -> PixelFormat {
        self.layout.format
    }

    /// The `width * bytes` bytes of row `y`, without padding.
    ///
    /// # Panics
    /// If `y >= height`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.layout.stride;
        &self.data[start..start + self.layout.row_bytes()]
    }

    /// Identifies the picture by its content: a BLAKE3 hash over sizes, channels and converted pixels, whatever the stride
    /// and the order of the channels.
    ///
    /// A grey picture and its three-channel copy differ, although the model sees the same.
    pub fn content_hash(&self) -> [u8; 32] {
        if self.format() != self.format().converted() {
            return self.convert(&mut Vec::new()).content_hash();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"inctrl frame 1\0");
        for number in [self.width(), self.height(), self.format().channels()] {
            hasher.update(&(number as u64).to_le_bytes());
        }
        for y in 0..self.height() {
            hasher.update(self.row(y));
        }
        *hasher.finalize().as_bytes()
    }
}

impl std::fmt::Debug for Frame<'_> {
    /// The geometry alone: the pixels would bury any message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:?})", self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_may_lack_its_padding() {
        let data: Vec<u8> = (0..19).collect();
        let frame = Frame::new(&data, 3, 2, 10, PixelFormat::Rgb8).unwrap();
        assert_eq!(frame.row(0), &data[..9]);
        assert_eq!(frame.row(1), &data[10..19]);
        let error = Frame::new(&data[..18], 3, 2, 10, PixelFormat::Rgb8).unwrap_err();
        assert!(error.to_string().contains("18 bytes") && error.to_string().contains("19"), "{error}");
    }

    #[test]
    fn impossible_geometry_is_an_argument_error() {
        let data = [0; 64];
        for (width, height, stride) in
            [(0, 4, 8), (4, 0, 8), (4, 4, 11), (usize::MAX, 1, usize::MAX), (1, usize::MAX, 3), (4, 2, usize::MAX)]
        {
            let error = Frame::new(&data, width, height, stride, PixelFormat::Rgb8).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Argument, "{error}");
        }
        assert!(Frame::packed(&data, usize::MAX / 2, 2, PixelFormat::Rgb8).is_err());
        assert!(Frame::packed(&data, 8, 8, PixelFormat::Grey8).is_ok());
    }

    #[test]
    fn the_hash_sees_pixels_and_shape_but_not_the_stride() {
        let hash = |data: &[u8], width, height, stride, format| {
            Frame::new(data, width, height, stride, format).unwrap().content_hash()
        };
        let packed = hash(&[1, 2, 3, 4, 5, 6], 3, 2, 3, PixelFormat::Grey8);
        assert_eq!(packed, hash(&[1, 2, 3, 99, 98, 4, 5, 6], 3, 2, 5, PixelFormat::Grey8));
        let others = [
            hash(&[1, 2, 3, 4, 5, 7], 3, 2, 3, PixelFormat::Grey8),
            hash(&[1, 2, 3, 4, 5, 6], 2, 3, 2, PixelFormat::Grey8),
            hash(&[1, 2, 3, 4, 5, 6], 2, 1, 6, PixelFormat::Rgb8),
        ];
        assert!(others.iter().all(|other| *other != packed));
    }
}
