//! [`Layout`]: where the pixels of a picture lie from its first byte on, wherever that is.

use super::frame::{PixelFormat, Roi};
use crate::error::{Error, ErrorKind, Result};

/// Rows of pixels, each `stride` bytes after the one above. No side is 0, no row longer than the stride, and
/// [`Layout::bytes`] does not overflow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub stride: usize,
    pub format: PixelFormat,
}

impl Layout {
    pub fn new(width: usize, height: usize, stride: usize, format: PixelFormat) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(argument(format!("the frame is {width} x {height} pixels: both sides must be at least 1")));
        }
        let row = width.checked_mul(format.bytes());
        let bytes = row.and_then(|row| (height - 1).checked_mul(stride)?.checked_add(row));
        let (Some(row), Some(_)) = (row, bytes) else {
            return Err(argument(format!(
                "a frame of {width} x {height} {format:?} pixels with a stride of {stride} bytes exceeds the address \
                 space: check the order and the units of the arguments"
            )));
        };
        if stride < row {
            return Err(argument(format!(
                "the stride is {stride} bytes, but a row of {width} {format:?} pixels takes {row}: the stride is \
                 counted in bytes and includes the padding"
            )));
        }
        Ok(Layout { width, height, stride, format })
    }

    /// Bytes of a row without its padding.
    pub fn row_bytes(&self) -> usize {
        self.width * self.format.bytes()
    }

    /// Bytes from the first pixel to the last one.
    pub fn bytes(&self) -> usize {
        (self.height - 1) * self.stride + self.row_bytes()
    }

    /// How the part inside `roi` lies, and the byte at which it begins.
    pub fn region(&self, roi: Roi) -> Result<(usize, Self)> {
        let inside = |start: usize, extent: usize, side: usize| {
            extent > 0 && start.checked_add(extent).is_some_and(|end| end <= side)
        };
        if !inside(roi.x, roi.width, self.width) || !inside(roi.y, roi.height, self.height) {
            return Err(argument(format!(
                "the region of {} x {} pixels at ({}, {}) is empty or not all inside the frame of {} x {}",
                roi.width, roi.height, roi.x, roi.y, self.width, self.height
            )));
        }
        let format = self.format.shifted(roi.x, roi.y);
        let start = roi.y * self.stride + roi.x * format.bytes();
        Ok((start, Layout { width: roi.width, height: roi.height, stride: self.stride, format }))
    }
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} {:?}, stride {}", self.width, self.height, self.format, self.stride)
    }
}

pub(super) fn argument(message: String) -> Error {
    Error::new(ErrorKind::Argument, message)
}
