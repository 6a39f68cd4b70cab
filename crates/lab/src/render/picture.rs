//! A finished picture, and the few strokes that the others are made of.

use inctrl::{Frame, PixelFormat, Result};

/// An RGB picture, 8 bits a channel, rows packed from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `width * height * 3` bytes: red, green, blue.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// One colour everywhere.
    pub(super) fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Picture { width, height, pixels: colour.repeat(width * height) }
    }

    /// The pixels of `frame`, grey made RGB.
    ///
    /// # Errors
    /// As [`Frame::convert`].
    pub(super) fn of(frame: Frame<'_>) -> Result<Self> {
        let mut pixels = Vec::with_capacity(frame.width() * frame.height() * 3);
        let mut memory = Vec::new();
        let frame = frame.converted_in(&mut memory)?;
        for y in 0..frame.height() {
            match frame.format() {
                PixelFormat::Rgb8 => pixels.extend_from_slice(frame.row(y)),
                _ => pixels.extend(frame.row(y).iter().flat_map(|&grey| [grey; 3])),
            }
        }
        Ok(Picture { width: frame.width(), height: frame.height(), pixels })
    }

    /// Mixes `colour` into pixel (x, y), `alpha` 0 to 1; outside the picture nothing happens.
    pub(super) fn mix(&mut self, x: usize, y: usize, colour: [u8; 3], alpha: f32) {
        if x < self.width && y < self.height {
            let at = (y * self.width + x) * 3;
            blend(&mut self.pixels[at..at + 3], colour, alpha);
        }
    }

    /// Fills the rectangle, as far as it lies inside.
    pub(super) fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
        for y in y..(y + height).min(self.height) {
            for x in x..(x + width).min(self.width) {
                self.mix(x, y, colour, 1.0);
            }
        }
    }

    /// Copies `picture` with its top left corner at (x, y), as far as it lies inside.
    pub(super) fn paste(&mut self, picture: &Picture, x: usize, y: usize) {
        let columns = picture.width.min(self.width.saturating_sub(x));
        for row in 0..picture.height.min(self.height.saturating_sub(y)) {
            let (to, from) = (((y + row) * self.width + x) * 3, row * picture.width * 3);
            self.pixels[to..to + columns * 3].copy_from_slice(&picture.pixels[from..from + columns * 3]);
        }
    }
}

/// Mixes `colour` into `pixel`, `alpha` 0 to 1.
pub(super) fn blend(pixel: &mut [u8], colour: [u8; 3], alpha: f32) {
    for (old, new) in pixel.iter_mut().zip(colour) {
        *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * alpha).round() as u8;
    }
}
