//! Pixels in memory: [`Frame`] borrows them with a row stride, as cameras and file readers deliver them.

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

/// A borrowed picture, row by row from the top. Each row starts `stride` bytes after the one above.
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
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for an empty picture, a stride shorter than a row, or too
    /// little data.
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

    /// A view of rows without padding.
    ///
    /// # Errors
    /// As [`Frame::new`], and for packed formats where a row ends in the middle of a byte.
    pub fn packed(data: &'a [u8], width: usize, height: usize, format: PixelFormat) -> Result<Self> {
        Frame::new(data, width, height, packed_stride(width, height, format)?, format)
    }

    /// The same picture with a declared white level, for values that do not use the full range of their format. Larger
    /// values are white, too. [`WhiteLevel::FULL`] declares that 16-bit values already have the right scale.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a level beyond the format's range, and for any level but
    /// 255 with 8-bit formats.
    pub fn with_white_level(self, level: WhiteLevel) -> Result<Self> {
        Ok(Frame { layout: self.layout.white(level)?, ..self })
    }

    /// The declared white level, if there is one.
    pub fn white_level(&self) -> Option<WhiteLevel> {
        match self.layout.depth {
            Depth::White(level) => Some(level),
            _ => None,
        }
    }

    /// Why the range of the values is in doubt: they are 16-bit, have no declared white level, and use only a sliver of
    /// their range. Reads pixels until one rules the doubt out.
    pub fn depth_doubt(&self) -> Option<DepthDoubt> {
        match self.settled().layout.depth {
            Depth::Seen(largest) => DepthDoubt::of(largest),
            _ => None,
        }
    }

    /// Refuses a frame with a [`Frame::depth_doubt`], for pictures that serve as references.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument), The message says how to declare the range.
    pub fn check_depth(&self) -> Result<()> {
        self.depth_doubt().map_or(Ok(()), |doubt| Err(doubt.refuse()))
    }

    /// [`Frame::depth_doubt`], and a doubt where the other pictures have a declared white level and this one has none.
    pub(crate) fn depth_doubt_beside(&self, others: Option<WhiteLevel>) -> Option<DepthDoubt> {
        let others = others.filter(|level| *level != WhiteLevel::FULL && self.is_undeclared());
        self.depth_doubt().or(others.map(|prompts| DepthDoubt::Undeclared { prompts }))
    }

    /// Whether it is 16-bit without a declared white level.
    pub(crate) fn is_undeclared(&self) -> bool {
        match self.layout.depth {
            Depth::Format => self.format().depth() == 16,
            Depth::White(_) => false,
            Depth::Seen(_) => true,
        }
    }

    /// The same picture, with the range of all its values examined if necessary, so that its regions are not examined
    /// again.
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

    /// Number of pixels in [`Frame::row`] before the picture's first pixel.
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

    /// The part of the picture inside `roi`, without copying. Nothing outside is read, not even to interpolate colours.
    /// It keeps the picture's white level.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for an empty region, or one that is not entirely inside the
    /// picture.
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

    /// The bytes of row `y`, without padding. In packed formats a region may begin in the middle of a group of pixels;
    /// the bytes then begin with the group.
    ///
    /// # Panics
    /// If `y >= height`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.layout.stride;
        &self.data[start..start + self.layout.row_bytes()]
    }

    /// Identifies the picture by its content: a BLAKE3 hash over size, channels and converted pixels. It does not
    /// depend on the stride or the order of the channels.
    ///
    /// A grey picture and its three-channel copy have different hashes, although the model sees the same.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub fn content_hash(&self) -> Result<[u8; 32]> {
        let mut memory = Vec::new();
        let frame = self.converted_in(&mut memory)?;
        let mut hash = ContentHash::new(frame.width(), frame.height(), frame.format());
        (0..frame.height()).for_each(|y| hash.update(frame.row(y)));
        Ok(hash.finish())
    }

    /// The frame itself where it is of its [converted](Frame::convert) format, else that form of it, in `memory`.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub fn converted_in<'m>(&self, memory: &'m mut Vec<u8>) -> Result<Frame<'m>>
    where
        'a: 'm,
    {
        if self.format() == self.format().converted() { Ok(*self) } else { self.convert(memory) }
    }
}

/// [`Frame::content_hash`] of a picture that comes row by row.
pub(crate) struct ContentHash(blake3::Hasher);

impl ContentHash {
    /// For rows of `format`, which is Grey8 or Rgb8.
    pub fn new(width: usize, height: usize, format: PixelFormat) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"inctrl frame 1\0");
        for number in [width, height, format.channels()] {
            hasher.update(&(number as u64).to_le_bytes());
        }
        ContentHash(hasher)
    }

    /// Takes packed pixels, as many as there are.
    pub fn update(&mut self, pixels: &[u8]) {
        self.0.update(pixels);
    }

    pub fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

impl std::fmt::Debug for Frame<'_> {
    /// Only the geometry: the pixels would flood any message.
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
            Frame::new(data, width, height, stride, format).unwrap().content_hash().unwrap()
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
