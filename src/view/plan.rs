//! [`Plan`]: everything about resizing that depends only on sizes, and the two passes that use it.

use std::ops::Range;
use std::sync::Arc;

use super::fit::{Fit, Placement, Span};
use super::grid::Grid;
use super::patches::ValueTable;
use super::preprocessing::Preprocessing;
use super::resize::FilterWeights;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Frame, MAX_SIDE, PADDING};

/// Geometry and weights that fit pictures of one size to the model's input of [`Plan::width`] x [`Plan::height`]
/// pixels.
///
/// Build it once per camera or picture size; using it allocates nothing. Work is split by rows in two steps: all needed
/// rows of the intermediate image ([`Plan::horizontal`]), then all rows of the output ([`Plan::vertical`]). Every split
/// gives the same bytes.
#[derive(Clone, Debug)]
pub struct Plan {
    size: usize,
    fit: Fit,
    x: Span,
    y: Span,
    horizontal: FilterWeights,
    vertical: FilterWeights,
    source_rows: Range<usize>,
    preprocessing: Preprocessing,
    values: Arc<ValueTable>,
}

impl Plan {
    /// A plan for pictures of `width` x `height` pixels and an encoder with CLIP's preprocessing.
    ///
    /// # Errors
    /// As [`Plan::with`].
    pub fn new(width: usize, height: usize, size: usize, fit: Fit) -> Result<Self> {
        Plan::with(width, height, size, fit, &Preprocessing::CLIP)
    }

    /// A plan for pictures of `width` x `height` pixels and an encoder with this preprocessing;
    /// [`VisionArch::plan`](crate::weights::VisionArch::plan) takes that of a model.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where a side of the picture or of the input, or `size`, is zero or exceeds [`MAX_SIDE`].
    pub fn with(width: usize, height: usize, size: usize, fit: Fit, preprocessing: &Preprocessing) -> Result<Self> {
        for (name, value) in [("picture width", width), ("picture height", height), ("model input size", size)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(Error::new(
                    ErrorKind::Argument,
                    format!(
                        "the {name} is {value} pixels: it must be from 1 to {MAX_SIDE}; cut a larger picture into parts"
                    ),
                ));
            }
        }
        let [x, y] = fit.spans(width, height, size, preprocessing.resize.before_crop(size));
        if x.target.max(y.target) > MAX_SIDE {
            let message = format!(
                "a picture of {width} x {height} pixels whose shorter side becomes {size} is {} x {} pixels: the \
                longer side must be at most {MAX_SIDE}; cut the picture into parts, or use the fit crop, letterbox \
                or stretch",
                x.target, y.target
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let (horizontal, vertical) =
            (FilterWeights::new(&x, preprocessing.filter), FilterWeights::new(&y, preprocessing.filter));
        let source_rows = vertical.source();
        let values = Arc::new(preprocessing.value_table());
        Ok(Plan { size, fit, x, y, horizontal, vertical, source_rows, preprocessing: *preprocessing, values })
    }

    /// The size that the plan was made for. The fit defines its meaning for the input.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Columns of the model input, in pixels.
    pub fn width(&self) -> usize {
        self.x.target
    }

    /// Rows of the model input, in pixels.
    pub fn height(&self) -> usize {
        self.y.target
    }

    /// The whole patches of `patch` x `patch` pixels of the model input, from its top left corner on; pixels beyond
    /// them are ignored, as in a strided convolution. `patch` must not be 0.
    pub fn grid(&self, patch: usize) -> Grid {
        Grid::new(self.height() / patch, self.width() / patch)
    }

    /// The encoder's preprocessing. The plan may have a different fit.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The normalised number for each 8-bit value of a channel.
    pub fn values(&self) -> &ValueTable {
        &self.values
    }

    /// How the picture is fitted to the input.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// The rectangle of the original picture that the model input covers.
    pub fn placement(&self) -> Placement {
        let (x, width) = self.x.covered();
        let (y, height) = self.y.covered();
        Placement { x, y, width, height }
    }

    /// The part of [`Plan::placement`] that [`Plan::grid`], and so a map, covers.
    pub fn placement_of_grid(&self, patch: usize) -> Placement {
        let (input, grid) = (self.placement(), self.grid(patch));
        let share = |cells: usize, side: usize| (cells * patch) as f64 / side as f64;
        let (width, height) = (share(grid.cols, self.width()), share(grid.rows, self.height()));
        Placement { width: input.width * width, height: input.height * height, ..input }
    }

    /// Columns and rows of the pictures that the plan is for.
    pub fn source(&self) -> [usize; 2] {
        [self.x.source, self.y.source]
    }

    /// Whether the plan is for pictures of `width` x `height` pixels.
    pub fn matches(&self, width: usize, height: usize) -> bool {
        self.source() == [width, height]
    }

    /// Columns of the output that show the picture; the others are padding. Their number is the width of the
    /// intermediate image and the number of outputs of [`Plan::horizontal_weights`].
    pub fn columns(&self) -> Range<usize> {
        self.x.pad..self.x.pad + self.x.kept.len()
    }

    /// Rows of the output that show the picture; the others are padding. Their number is the number of outputs of
    /// [`Plan::vertical_weights`].
    pub fn rows(&self) -> Range<usize> {
        self.y.pad..self.y.pad + self.y.kept.len()
    }

    /// Weights from columns of the picture to columns of the intermediate image.
    pub fn horizontal_weights(&self) -> &FilterWeights {
        &self.horizontal
    }

    /// Weights from rows of the *picture* to rows of the output: row `r` of the picture is row `r -
    /// source_rows().start` of the intermediate image.
    pub fn vertical_weights(&self) -> &FilterWeights {
        &self.vertical
    }

    /// Rows of the picture that the vertical pass reads: row `i` of the intermediate image is row
    /// `source_rows().start + i` of the picture.
    pub fn source_rows(&self) -> Range<usize> {
        self.source_rows.clone()
    }

    /// Rows of the intermediate image.
    pub fn intermediate_rows(&self) -> usize {
        self.source_rows.len()
    }

    /// Bytes of the intermediate image, `[intermediate_rows, columns, channels]`.
    pub fn intermediate_len(&self, channels: usize) -> usize {
        self.intermediate_rows() * self.x.kept.len() * channels
    }

    /// First pass: `rows` of the intermediate image into `out`, which holds exactly those rows.
    ///
    /// # Panics
    /// If `frame` is not of the plan's size or not yet [converted](Frame::convert), `rows` exceeds the intermediate
    /// image, or `out` has the wrong length.
    pub fn horizontal(&self, frame: &Frame<'_>, rows: Range<usize>, out: &mut [u8]) {
        assert!(self.matches(frame.width(), frame.height()), "{frame:?} given to a plan for another size: {self:?}");
        assert_eq!(frame.format(), frame.format().converted(), "{frame:?} given to a plan before it was converted");
        let channels = frame.format().channels();
        let stride = self.x.kept.len() * channels;
        check_rows(&rows, self.intermediate_rows(), stride, out);
        for (row, out) in rows.zip(out.chunks_exact_mut(stride)) {
            let source = frame.row(self.source_rows.start + row);
            match channels {
                1 => self.horizontal.across::<1>(source, out),
                _ => self.horizontal.across::<3>(source, out),
            }
        }
    }

    /// Second pass: `rows` of the output, padding included, into `out`, which holds exactly those rows of
    /// `width * channels` bytes. `intermediate` is the whole intermediate image.
    ///
    /// # Panics
    /// If `channels` is neither 1 nor 3, `rows` exceeds the output, or a slice has the wrong length.
    pub fn vertical(&self, intermediate: &[u8], channels: usize, rows: Range<usize>, out: &mut [u8]) {
        assert_eq!(intermediate.len(), self.intermediate_len(channels), "bytes of the intermediate image");
        let stride = self.width() * channels;
        check_rows(&rows, self.height(), stride, out);
        let (filled_rows, filled) = (self.rows(), self.columns());
        for (row, out) in rows.zip(out.chunks_exact_mut(stride)) {
            if !filled_rows.contains(&row) {
                out.fill(PADDING);
                continue;
            }
            out[..filled.start * channels].fill(PADDING);
            out[filled.end * channels..].fill(PADDING);
            let middle = &mut out[filled.start * channels..filled.end * channels];
            self.vertical.down(row - filled_rows.start, intermediate, self.source_rows.start, middle);
        }
    }

    /// Both passes over all rows: the `[height, width, channels]` model input in 8 bits.
    ///
    /// # Panics
    /// If `frame` is not of the plan's size.
    pub fn run(&self, frame: &Frame<'_>) -> Vec<u8> {
        let channels = frame.format().channels();
        let mut intermediate = vec![0; self.intermediate_len(channels)];
        self.horizontal(frame, 0..self.intermediate_rows(), &mut intermediate);
        let mut out = vec![0; self.width() * self.height() * channels];
        self.vertical(&intermediate, channels, 0..self.height(), &mut out);
        out
    }
}

/// Checks a caller's `rows` against an image of `height` rows of `stride` bytes, and `out` against `rows`.
fn check_rows(rows: &Range<usize>, height: usize, stride: usize, out: &[u8]) {
    assert!(rows.start <= rows.end && rows.end <= height, "rows {rows:?} of an image of {height}");
    assert_eq!(out.len(), rows.len() * stride, "bytes for rows {rows:?} of {stride} bytes each");
}
