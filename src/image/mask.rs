//! Ignore masks: pixels that must not influence the result.
//!
//! Ignored pixels become neutral grey before the picture is resized, in both prompts and queries, so that no other
//! patch sees them.

use std::path::Path;

use super::depth::DepthDoubt;
use super::frame::{Frame, Roi};
use super::layout::{MAX_SIDE, argument};
use super::marks::Marks;
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
    /// [`ErrorKind::Argument`](crate::ErrorKind::Argument) for a picture that is not [`PixelFormat::Grey8`], longer than
    /// [`MAX_SIDE`], or made of a 16-bit file whose small values may have become 0 (read it with [`IgnoreMask::open`]);
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn from_frame(mask: Frame<'_>) -> Result<Self> {
        if mask.format() != PixelFormat::Grey8 {
            return Err(argument(format!(
                "the ignore mask is {:?}: it must be Grey8, 0 where pixels count",
                mask.format()
            )));
        }
        if let Some(DepthDoubt::Sliver { largest }) = mask.depth_doubt() {
            return Err(argument(format!(
                "the ignore mask is from a 16-bit file whose largest value is {largest}, and small values are 0 in 8 bits: \
                 read the file with IgnoreMask::open"
            )));
        }
        Self::of_rows(mask.width(), mask.height(), |y| mask.row(y), |value| *value != 0)
    }

    /// A mask from a picture file of the frames' size: pixels are ignored where any colour is over 0, at the file's own
    /// depth, and not wholly transparent.
    ///
    /// # Errors
    /// As [`Image::open`](super::Image::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of_marks(&Marks::open(path.as_ref())?)
    }

    /// As [`IgnoreMask::open`], from the content of a file.
    ///
    /// # Errors
    /// As [`Image::decode`](super::Image::decode).
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::of_marks(&Marks::decode(bytes)?)
    }

    fn of_marks(marks: &Marks) -> Result<Self> {
        let row = |y: usize| &marks.marked[y * marks.width..][..marks.width];
        Self::of_rows(marks.width, marks.height, row, |marked| *marked)
    }

    /// A mask of `height` rows of `width` pixels.
    fn of_rows<'a, T: 'a>(
        width: usize,
        height: usize,
        row: impl Fn(usize) -> &'a [T],
        ignored: impl Fn(&T) -> bool,
    ) -> Result<Self> {
        check_sides(width, height)?;
        let alike = |y| row(y).chunk_by(|a, b| ignored(a) == ignored(b));
        let count = (0..height).flat_map(alike).filter(|same| ignored(&same[0])).count();
        let mut runs = Vec::new();
        reserve(&format!("an ignore mask of {count} runs of pixels"), &mut runs, count)?;
        for y in 0..height {
            let mut x = 0;
            for same in alike(y) {
                if ignored(&same[0]) {
                    runs.push([y as u32, x as u32, (x + same.len()) as u32]);
                }
                x += same.len();
            }
        }
        Ok(IgnoreMask { width, height, runs })
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
    use crate::image::Image;

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

    /// Reduced to 8 bits such a mask would ignore nothing, without a word.
    #[test]
    fn a_sixteen_bit_file_of_zeros_and_ones_ignores_its_ones() {
        let mut file = b"P5 3 1 65535\n".to_vec();
        [0u16, 1, 0].iter().for_each(|value| file.extend(value.to_be_bytes()));
        assert_eq!(IgnoreMask::decode(&file).unwrap().runs(), [[0, 1, 2]]);
        let error = IgnoreMask::from_frame(Image::decode(&file).unwrap().frame()).unwrap_err();
        assert!(error.to_string().contains("largest value is 1"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.pgm");
        std::fs::write(&path, &file).unwrap();
        assert_eq!(IgnoreMask::open(&path).unwrap(), IgnoreMask::decode(&file).unwrap());
        std::fs::write(&path, &file[..15]).unwrap();
        assert!(IgnoreMask::open(&path).unwrap_err().chain().contains("mask.pgm"));
        // A colour is enough.
        assert_eq!(IgnoreMask::decode(b"P3 2 1 255 0 0 0 0 0 9").unwrap().runs(), [[0, 1, 2]]);
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
