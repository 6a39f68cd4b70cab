//! [`Layout`]: how the pixels of a picture lie in memory, relative to its first byte.

use super::depth::{Depth, WhiteLevel};
use super::frame::Roi;
use super::pixel_format::PixelFormat;
use crate::error::{Error, ErrorKind, Result};

/// The longest side, in pixels, of a picture and of the model input.
pub const MAX_SIDE: usize = 65_535;

/// Rows of pixels, each `stride` bytes after the one above. No side is 0, no row is longer than the stride, and
/// [`Layout::bytes`] does not overflow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub stride: usize,
    pub format: PixelFormat,
    /// Pixels of a packed group before the first one: a region may begin in the middle of a group.
    pub skip: usize,
    pub depth: Depth,
}

impl Layout {
    pub fn new(width: usize, height: usize, stride: usize, format: PixelFormat) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(argument(format!("the frame is {width} x {height} pixels: both sides must be at least 1")));
        }
        let row = format.row_bytes(width);
        let bytes = row.and_then(|row| (height - 1).checked_mul(stride)?.checked_add(row));
        let (Some(row), Some(_)) = (row, bytes) else {
            return Err(argument(format!(
                "a frame of {width} x {height} {format:?} pixels with a stride of {stride} bytes exceeds the address \
                 space: check the order and the units of the arguments"
            )));
        };
        if stride < row {
            return Err(argument(format!(
                "the stride is {stride} bytes, but a row of {width} {format:?} pixels takes {row}: the stride is in \
                bytes and includes the padding"
            )));
        }
        Ok(Layout { width, height, stride, format, skip: 0, depth: Depth::Format })
    }

    /// Bytes of a row without padding, from the start of its first group of pixels.
    pub fn row_bytes(&self) -> usize {
        // Not longer than a row of the original frame, which did not overflow.
        self.format.row_bytes(self.skip + self.width).unwrap_or(self.stride)
    }

    /// Bytes from the first pixel to the last one.
    pub fn bytes(&self) -> usize {
        (self.height - 1) * self.stride + self.row_bytes()
    }

    /// The offset of the first byte of the part inside `roi`, and its layout.
    pub fn region(&self, roi: Roi) -> Result<(usize, Self)> {
        let inside = |start: usize, extent: usize, side: usize| {
            extent > 0 && start.checked_add(extent).is_some_and(|end| end <= side)
        };
        if !inside(roi.x, roi.width, self.width) || !inside(roi.y, roi.height, self.height) {
            return Err(argument(format!(
                "the region of {} x {} pixels at ({}, {}) is empty or not entirely inside the frame of {} x {}",
                roi.width, roi.height, roi.x, roi.y, self.width, self.height
            )));
        }
        let format = self.format.shifted(roi.x, roi.y);
        let (x, group) = (self.skip + roi.x, format.group());
        let start = roi.y * self.stride + x / group * group * format.bits() / 8;
        let Roi { width, height, .. } = roi;
        Ok((start, Layout { width, height, stride: self.stride, format, skip: x % group, depth: self.depth }))
    }

    /// The same layout with a declared white level.
    pub fn white(self, level: WhiteLevel) -> Result<Self> {
        let (format, own) = (self.format, u32::MAX >> (32 - self.format.depth()));
        if u32::from(level.get()) > own || (format.depth() == 8 && u32::from(level.get()) != own) {
            return Err(argument(format!(
                "the white level is {level}, but {format:?} pixels have {} bits and are white at {own}: a white \
                level is for values that do not use the format's full range",
                format.depth()
            )));
        }
        // 8-bit formats have only this level.
        let depth = if format.depth() == 8 { self.depth } else { Depth::White(level) };
        Ok(Layout { depth, ..self })
    }
}

/// Bytes from row to row without padding.
///
/// # Errors
/// [`ErrorKind::Argument`] for a picture that exceeds the address space, and for rows that end in the middle of a byte:
/// only a stride can say whether the next row begins there or at the next byte.
pub(crate) fn packed_stride(width: usize, height: usize, format: PixelFormat) -> Result<usize> {
    let Some(row) = format.row_bytes(width) else {
        return Err(argument(format!(
            "a frame of {width} x {height} {format:?} pixels without padding exceeds the address space: check the order of the \
             arguments"
        )));
    };
    if !(width % 8 * format.bits()).is_multiple_of(8) && height > 1 {
        return Err(argument(format!(
            "a row of {width} {format:?} pixels ends in the middle of a byte: give the stride, which is {row} bytes \
            if each row begins at the next byte; rows that begin in the middle of a byte are not supported"
        )));
    }
    Ok(row)
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} {:?}, stride {}", self.width, self.height, self.format, self.stride)?;
        match self.depth {
            Depth::White(level) => write!(f, ", white level {level}"),
            _ => Ok(()),
        }
    }
}

pub(super) fn argument(message: String) -> Error {
    Error::new(ErrorKind::Argument, message)
}
