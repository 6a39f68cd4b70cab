//! Ignore masks: pixels that must not influence the result.
//!
//! Ignored pixels become neutral grey before the picture is resized, in both prompts and queries, so that no other
//! patch sees them.

use super::frame::{Frame, Roi};
use super::layout::{MAX_SIDE, argument};
use super::pixel_format::PixelFormat;
use crate::error::Result;
use crate::memory::{reserve, zeros};

/// The grey value of areas without content: the ends of a letterbox, ignored pixels. It is CLIP's mean colour as
/// luminance.
pub const PADDING: u8 = 117;

/// Pixels to ignore, for frames of one size: serial numbers, clamps, moving background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreMask {
    width: usize,
    height: usize,
    /// Row, first column and end column of each run of ignored pixels, ascending and not adjacent.
    runs: Vec<[u32; 3]>,
}

impl IgnoreMask {
    /// A mask from a grey picture of the frames' size: pixels other than 0 are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a picture that is not [`PixelFormat::Grey8`] or longer
    /// than [`MAX_SIDE`]; [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn from_frame(mask: Frame<'_>) -> Result<Self> {
        if mask.format() != PixelFormat::Grey8 {
            return Err(argument(format!(
                "the ignore mask is {:?}: it must be Grey8, 0 where pixels count",
                mask.format()
            )));
        }
        check_sides(mask.width(), mask.height())?;
        let alike = |y| mask.row(y).chunk_by(|a, b| (*a == 0) == (*b == 0));
        let count = (0..mask.height()).flat_map(alike).filter(|same| same[0] != 0).count();
        let mut runs = Vec::new();
        reserve(&format!("an ignore mask of {count} runs of pixels"), &mut runs, count)?;
        for y in 0..mask.height() {
            let mut x = 0;
            for same in alike(y) {
                if same[0] != 0 {
                    runs.push([y as u32, x as u32, (x + same.len()) as u32]);
                }
                x += same.len();
            }
        }
        Ok(IgnoreMask { width: mask.width(), height: mask.height(), runs })
    }

    /// A mask for frames of `width` x `height` pixels that ignores rectangles.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a rectangle that is not entirely inside, or a side that
    /// is zero or over [`MAX_SIDE`]; [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn from_rectangles(width: usize, height: usize, rectangles: &[Roi]) -> Result<Self> {
        check_sides(width, height)?;
        let mut pixels = zeros::<u8>(&format!("an ignore mask of {width} x {height} pixels"), width * height)?;
        for rectangle in rectangles {
            // Refuses a region that is not inside, with its numbers.
            Frame::packed(&pixels, width, height, PixelFormat::Grey8)?.region(*rectangle)?;
            for row in pixels.chunks_exact_mut(width).skip(rectangle.y).take(rectangle.height) {
                row[rectangle.x..rectangle.x + rectangle.width].fill(1);
            }
        }
        Self::from_frame(Frame::packed(&pixels, width, height, PixelFormat::Grey8)?)
    }

    /// A mask from the runs of [`IgnoreMask::runs`].
    pub(crate) fn from_runs(width: usize, height: usize, runs: Vec<[u32; 3]>) -> Result<Self> {
        check_sides(width, height)?;
        let mut before = None;
        for &[row, start, end] in &runs {
            let apart =
                before.is_none_or(|(last_row, last_end)| row > last_row || (row == last_row && start > last_end));
            if row as usize >= height || start >= end || end as usize > width || !apart {
                return Err(argument(format!(
                    "the run of ignored pixels {start}..{end} of row {row} does not fit a mask of {width} x \
                    {height}, or overlaps earlier runs"
                )));
            }
            before = Some((row, end));
        }
        Ok(IgnoreMask { width, height, runs })
    }

    /// Row, first column and end column of each run of ignored pixels.
    pub(crate) fn runs(&self) -> &[[u32; 3]] {
        &self.runs
    }

    /// Whether the pixel is ignored.
    pub(crate) fn covers(&self, x: usize, y: usize) -> bool {
        // The last run that begins at the pixel or before.
        let behind = self.runs.partition_point(|&[row, start, _]| (row as usize, start as usize) <= (y, x));
        behind.checked_sub(1).is_some_and(|at| {
            let [row, _, end] = self.runs[at];
            row as usize == y && x < end as usize
        })
    }

    /// Width of the frames that it is for.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the frames that it is for.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of ignored pixels.
    pub fn ignored(&self) -> usize {
        self.runs.iter().map(|[_, start, end]| (end - start) as usize).sum()
    }

    /// Refuses frames of another size.
    pub(crate) fn check(&self, width: usize, height: usize) -> Result<()> {
        if (width, height) == (self.width, self.height) {
            return Ok(());
        }
        Err(argument(format!(
            "the frame is {width} x {height} pixels, but the bank's ignore mask is for {} x {}: prompts and queries must have \
             the size of the mask",
            self.width, self.height
        ))
        .with_shapes(&[self.height, self.width], &[height, width]))
    }

    /// A converted copy of `frame` in `memory`, as by [`Frame::convert`], with ignored pixels in neutral grey.
    pub(crate) fn apply<'m>(&self, frame: &Frame<'_>, memory: &'m mut Vec<u8>) -> Result<Frame<'m>> {
        self.check(frame.width(), frame.height())?;
        let converted = frame.convert(memory)?;
        let (format, channels, depth) = (converted.format(), converted.format().channels(), converted.depth());
        let stride = self.width * channels;
        for &[row, start, end] in &self.runs {
            let row = row as usize * stride;
            memory[row + start as usize * channels..row + end as usize * channels].fill(PADDING);
        }
        Ok(Frame::packed(memory, self.width, self.height, format)?.with_depth(depth))
    }
}

fn check_sides(width: usize, height: usize) -> Result<()> {
    if [width, height].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return Ok(());
    }
    Err(argument(format!("the ignore mask has {width} x {height} pixels: both sides must be from 1 to {MAX_SIDE}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_the_picture() {
        let pixels = [0, 1, 255, 0, 9, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7];
        let mask = IgnoreMask::from_frame(Frame::packed(&pixels, 5, 3, PixelFormat::Grey8).unwrap()).unwrap();
        assert_eq!(mask.runs(), [[0, 1, 3], [0, 4, 5], [2, 0, 5]]);
        assert_eq!(mask.ignored(), 8);
        for (i, pixel) in pixels.iter().enumerate() {
            assert_eq!(mask.covers(i % 5, i / 5), *pixel != 0, "pixel {i}");
        }
        assert_eq!(IgnoreMask::from_runs(5, 3, mask.runs().to_vec()).unwrap(), mask);
        let boxes = [Roi { x: 1, y: 0, width: 2, height: 1 }, Roi { x: 0, y: 2, width: 5, height: 1 }];
        assert_eq!(IgnoreMask::from_rectangles(5, 3, &boxes).unwrap().runs(), [[0, 1, 3], [2, 0, 5]]);
        assert!(IgnoreMask::from_rectangles(5, 3, &[Roi { x: 1, y: 0, width: 5, height: 1 }]).is_err());
        for runs in
            [vec![[3, 0, 1]], vec![[0, 2, 2]], vec![[0, 0, 6]], vec![[1, 0, 1], [0, 0, 1]], vec![[0, 0, 2], [0, 2, 3]]]
        {
            assert_eq!(IgnoreMask::from_runs(5, 3, runs).unwrap_err().kind(), crate::ErrorKind::Argument);
        }
    }

    #[test]
    fn ignored_pixels_are_grey_whatever_they_were() {
        let mask = IgnoreMask::from_rectangles(4, 2, &[Roi { x: 1, y: 1, width: 2, height: 1 }]).unwrap();
        let data: Vec<u8> = (1..=24).collect();
        let mut memory = vec![3; 100];
        let frame = mask.apply(&Frame::packed(&data, 4, 2, PixelFormat::Bgr8).unwrap(), &mut memory).unwrap();
        assert_eq!(frame.row(0), [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);
        let p = PADDING;
        assert_eq!(frame.row(1), [15, 14, 13, p, p, p, p, p, p, 24, 23, 22]);
        let error = mask.apply(&Frame::packed(&data, 2, 4, PixelFormat::Bgr8).unwrap(), &mut memory).unwrap_err();
        assert!(error.to_string().contains("2 x 4") && error.to_string().contains("4 x 2"), "{error}");
    }
}
