//! Pixels in memory: [`Frame`] borrows them with a row stride, as a camera or a file reader hands them over.

use super::depth::{Depth, DepthDoubt, Scale, WhiteLevel, largest};
use super::layout::{Layout, argument, packed_stride};
use super::pixel_format::PixelFormat;
use crate::error::Result;

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
    /// As [`Frame::new`], and for packed formats where a row ends in the middle of a byte.
    pub fn packed(data: &'a [u8], width: usize, height: usize, format: PixelFormat) -> Result<Self> {
        Frame::new(data, width, height, packed_stride(width, height, format)?, format)
    }

    /// The same picture with a declared white level: the value at which pixels are white, for values that use less than their
    /// format has. Larger values are white, too. [`WhiteLevel::FULL`] says that 16-bit values are right as they are.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a level that the format has no bits for, and for any but 255 with
    /// formats of 8 bits.
    pub fn with_white_level(self, level: WhiteLevel) -> Result<Self> {
        Ok(Frame { layout: self.layout.white(level)?, ..self })
    }

    /// The declared white level, where there is one.
    pub fn white_level(&self) -> Option<WhiteLevel> {
        match self.layout.depth {
            Depth::White(level) => Some(level),
            _ => None,
        }
    }

    /// Why the range of the values is in doubt: they are 16-bit, nobody declared a white level, and they use a sliver of their
    /// range. Looks at pixels until one leaves no doubt.
    pub fn depth_doubt(&self) -> Option<DepthDoubt> {
        match self.settled().layout.depth {
            Depth::Seen(largest) => DepthDoubt::of(largest),
            _ => None,
        }
    }

    /// An error where [`Frame::depth_doubt`] has a doubt: for pictures that others are judged by.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument), which says how to declare the range.
    pub fn check_depth(&self) -> Result<()> {
        self.depth_doubt().map_or(Ok(()), |doubt| Err(doubt.refuse()))
    }

    /// [`Frame::depth_doubt`], also where the other pictures have a declared white level and this one has none.
    pub(crate) fn depth_doubt_beside(&self, others: Option<WhiteLevel>) -> Option<DepthDoubt> {
        let others = others.filter(|level| *level != WhiteLevel::FULL && self.is_undeclared());
        self.depth_doubt().or(others.map(|prompts| DepthDoubt::Undeclared { prompts }))
    }

    /// Whether it was 16-bit and nobody declared a white level.
    pub(crate) fn is_undeclared(&self) -> bool {
        match self.layout.depth {
            Depth::Format => self.format().depth() == 16,
            Depth::White(_) => false,
            Depth::Seen(_) => true,
        }
    }

    /// The same picture, whose values were looked at as a whole if they need it: its regions are not looked at again.
    pub(crate) fn settled(self) -> Self {
        if self.layout.depth != Depth::Format || self.format().depth() != 16 {
            return self;
        }
        let values = (0..self.height()).flat_map(|y| self.row(y).as_chunks::<2>().0);
        self.with_depth(Depth::Seen(largest(values.map(|value| u16::from_le_bytes(*value)))))
    }

    pub(super) fn with_depth(self, depth: Depth) -> Self {
        Frame { layout: Layout { depth, ..self.layout }, ..self }
    }

    pub(super) fn depth(&self) -> Depth {
        self.layout.depth
    }

    /// How values become bytes.
    pub(super) fn scale(&self) -> Scale {
        Scale::new(self.format().depth(), self.white_level())
    }

    /// Pixels in [`Frame::row`] before the first one of the picture.
    pub(super) fn skip(&self) -> usize {
        self.layout.skip
    }

    pub(super) fn with_layout(data: &'a [u8], layout: Layout) -> Result<Self> {
        let needed = layout.bytes();
        match data.get(..needed) {
            Some(data) => Ok(Frame { data, layout }),
            None => Err(argument(format!("the frame has {} bytes, but ({layout:?}) takes {needed}", data.len()))),
        }
    }

    /// The part of the picture inside `roi`, without copying; nothing outside it is read, not even to interpolate colours. Its
    /// white level is that of the picture.
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

    /// The bytes of row `y`, without padding. In packed formats, a region may begin in the middle of a group of pixels, and
    /// these bytes with the group.
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
