//! Rotation of 8-bit pictures about their centre on a canvas of the same size, for methods that rotate their prompts.
//!
//! Bit-identical to `warpAffine` of OpenCV 5 (bilinear, `BORDER_REFLECT_101`) with the matrix of
//! `getRotationMatrix2D((width / 2, height / 2), degrees, 1)` on an x86 CPU with AVX2: coordinates and weights are f32
//! with fused multiply-adds, and the last columns of a row, fewer than sixteen, use another order of additions. OpenCV
//! 4 rounds coordinates to 1/32 of a pixel and differs by up to 6 levels.

use crate::error::{Error, ErrorKind, Result};
use crate::image::{Frame, IgnoreMask, PixelFormat};
use crate::memory::{grow, zeros};

/// A rotation about the centre, on a canvas of the same size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Counter-clockwise.
    pub degrees: f64,
    /// What fills the corners.
    pub corners: Corners,
}

/// What fills the canvas outside the rotated picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corners {
    /// The picture reflected at its edges, with bilinear interpolation.
    Reflected,
    /// Black, with the nearest pixel.
    Black,
}

/// Columns that OpenCV computes at a time.
const TOGETHER: usize = 16;

/// `frame` rotated by `by`, in `memory`, which grows if necessary.
///
/// # Errors
/// [`ErrorKind::Argument`] for a frame that is not yet [converted](Frame::convert), [`ErrorKind::Device`] where there is
/// not enough memory for a copy.
pub(crate) fn rotate<'a>(frame: &Frame<'_>, by: Turn, memory: &'a mut Vec<u8>) -> Result<Frame<'a>> {
    let (width, height, format) = (frame.width(), frame.height(), frame.format());
    if format != format.converted() {
        let message = format!("{frame:?} was to be rotated before it was converted to Grey8 or Rgb8: convert it first");
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let row = width * format.channels();
    grow(&format!("turning {frame:?}"), memory, row * height)?;
    let rows = memory[..row * height].chunks_exact_mut(row).enumerate();
    match (by.corners, format.channels()) {
        (Corners::Reflected, 1) => {
            let places = Places::about_centre(width, height, by.degrees);
            rows.for_each(|(y, out)| places.row::<1>(frame, y, out));
        }
        (Corners::Reflected, _) => {
            let places = Places::about_centre(width, height, by.degrees);
            rows.for_each(|(y, out)| places.row::<3>(frame, y, out));
        }
        (Corners::Black, channels) => {
            let pixels = Pixels::about_centre(width, height, by.degrees);
            rows.for_each(|(y, out)| pixels.row(frame, channels, y, out));
        }
    }
    Frame::packed(&memory[..row * height], width, height, format)
}

/// `mask` rotated as by [`rotate`]: a pixel is ignored if at least half of what it shows is ignored.
///
/// # Errors
/// As [`rotate`].
pub(crate) fn rotate_mask(mask: &IgnoreMask, by: Turn) -> Result<IgnoreMask> {
    let (width, height) = (mask.width(), mask.height());
    let mut pixels = zeros::<u8>(&format!("turning an ignore mask of {width} x {height} pixels"), width * height)?;
    for &[row, start, end] in mask.runs() {
        pixels[row as usize * width..][start as usize..end as usize].fill(255);
    }
    let mut turned = Vec::new();
    rotate(&Frame::packed(&pixels, width, height, PixelFormat::Grey8)?, by, &mut turned)?;
    turned.iter_mut().for_each(|pixel| *pixel = u8::from(*pixel >= 128));
    IgnoreMask::from_frame(Frame::packed(&turned, width, height, PixelFormat::Grey8)?)
}

/// Maps coordinates of the rotated picture to the original: `(m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5])`.
struct Places([f32; 6]);

impl Places {
    /// The inverse of OpenCV's matrix, in OpenCV's order of operations, which determines the last bits.
    fn about_centre(width: usize, height: usize, degrees: f64) -> Self {
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        let radians = degrees * (std::f64::consts::PI / 180.0);
        let (cosine, sine) = (radians.cos(), radians.sin());
        let offset = [(1.0 - cosine) * x - sine * y, sine * x + (1.0 - cosine) * y];
        let scale = 1.0 / (cosine * cosine - sine * -sine);
        let [a, b, c, d] = [cosine * scale, sine * -scale, -sine * -scale, cosine * scale];
        let shift = [-a * offset[0] - b * offset[1], -c * offset[0] - d * offset[1]];
        Places([a, b, shift[0], c, d, shift[1]].map(|x| x as f32))
    }

    /// Row `y` of the rotated picture.
    fn row<const C: usize>(&self, frame: &Frame<'_>, y: usize, out: &mut [u8]) {
        let Places([a, b, e, c, d, f]) = *self;
        let (width, height, y) = (frame.width() as i64, frame.height() as i64, y as f32);
        let together = frame.width() / TOGETHER * TOGETHER;
        for (x, out) in out.as_chunks_mut::<C>().0.iter_mut().enumerate() {
            let at = x as f32;
            let (u, v) = if x < together {
                (multiply_add(at, a, b * y + e), multiply_add(at, c, d * y + f))
            } else {
                (multiply_add(at, a, b * y) + e, multiply_add(at, c, d * y) + f)
            };
            let (left, top) = (u.floor(), v.floor());
            let (right_share, bottom_share) = (u - left, v - top);
            let columns = [left as i64, left as i64 + 1].map(|x| reflect(x, width) * C);
            let [above, below] = [top as i64, top as i64 + 1].map(|y| frame.row(reflect(y, height)));
            for (channel, out) in out.iter_mut().enumerate() {
                let across = |row: &[u8]| {
                    let [left, right] = columns.map(|column| f32::from(row[column + channel]));
                    multiply_add(right_share, right - left, left)
                };
                let (above, below) = (across(above), across(below));
                *out = multiply_add(bottom_share, below - above, above).round_ties_even() as u8;
            }
        }
    }
}

/// Maps pixels of the rotated picture to the nearest of the original, in 1/65536 of a pixel: `(m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5])`.
struct Pixels {
    step: [i64; 6],
    width: i64,
    height: i64,
}

impl Pixels {
    /// Pillow's matrix, in Pillow's order of operations.
    fn about_centre(width: usize, height: usize, degrees: f64) -> Self {
        let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
        let radians = -degrees.rem_euclid(360.0).to_radians();
        // Pillow rounds to 15 decimals, so that quarter turns are exact.
        let decimals = |x: f64| (x * 1e15).round_ties_even() / 1e15;
        let [a, b, c, d] = [radians.cos(), radians.sin(), -radians.sin(), radians.cos()].map(decimals);
        let (e, f) = (a * -x + b * -y + x, c * -x + d * -y + y);
        let fixed = |x: f64| (x * 65536.0 + 0.5).floor() as i64;
        Pixels {
            step: [fixed(a), fixed(b), fixed(e + a * 0.5 + b * 0.5), fixed(c), fixed(d), fixed(f + c * 0.5 + d * 0.5)],
            width: width as i64,
            height: height as i64,
        }
    }

    /// Row `y` of the rotated picture.
    fn row(&self, frame: &Frame<'_>, channels: usize, y: usize, out: &mut [u8]) {
        let [a, b, e, c, d, f] = self.step;
        let (mut u, mut v) = (e + b * y as i64, f + d * y as i64);
        for out in out.chunks_exact_mut(channels) {
            let (x, y) = (u >> 16, v >> 16);
            if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
                out.copy_from_slice(&frame.row(y as usize)[x as usize * channels..][..channels]);
            } else {
                out.fill(0);
            }
            (u, v) = (u + a, v + c);
        }
    }
}

/// `a b + c`. The product of two f32 is exact in f64, and the sum is rounded to f32 from there: as the processor's instruction,
/// and as fast on processors without one.
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// `x` reflected into `0..length` at the centres of the first and last pixel.
fn reflect(x: i64, length: i64) -> usize {
    if (0..length).contains(&x) {
        return x as usize;
    }
    let period = (2 * (length - 1)).max(1);
    let x = x.rem_euclid(period);
    x.min(period - x) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Roi;

    fn reflected(degrees: f64) -> Turn {
        Turn { degrees, corners: Corners::Reflected }
    }

    #[test]
    fn places_outside_are_reflected() {
        let reflected = |length| (-5..8).map(|x| reflect(x, length)).collect::<Vec<_>>();
        assert_eq!(reflected(4), [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(reflected(2), [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(reflected(1), [0; 13]);
    }

    #[test]
    fn a_picture_that_is_not_turned_stays_and_a_camera_format_is_refused() {
        let pixels: Vec<u8> = (0..7 * 5 * 3).map(|i| (i * 29 % 256) as u8).collect();
        let frame = Frame::packed(&pixels, 7, 5, PixelFormat::Rgb8).unwrap();
        let mut memory = Vec::new();
        let same = rotate(&frame, reflected(0.0), &mut memory).unwrap();
        assert!((0..5).all(|y| same.row(y) == frame.row(y)));
        let bayer = Frame::packed(&pixels[..32], 8, 4, PixelFormat::BayerRg8).unwrap();
        assert_eq!(rotate(&bayer, reflected(45.0), &mut memory).unwrap_err().kind(), ErrorKind::Argument);
    }

    #[test]
    fn a_mask_turns_with_the_picture() {
        let corner = |x, y| IgnoreMask::from_rectangles(9, 9, &[Roi { x, y, width: 2, height: 3 }]).unwrap();
        // The centre of the canvas is the corner of four pixels: a quarter turn moves everything one pixel off.
        let turned = rotate_mask(&corner(5, 1), reflected(90.0)).unwrap();
        let expected = IgnoreMask::from_rectangles(9, 9, &[Roi { x: 1, y: 3, width: 3, height: 2 }]).unwrap();
        assert_eq!(turned, expected);
        assert_eq!(rotate_mask(&corner(2, 4), reflected(0.0)).unwrap(), corner(2, 4));
    }
}
