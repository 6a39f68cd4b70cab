//! The layout of token rows in a matrix: sequences, the tokens of an image, the token that represents the whole, heads.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::view::Grid;

/// Consecutive sequences in one matrix of token rows: `ends[s]` is the row after the last token of sequence `s`.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// Strictly increasing row indices.
    pub ends: &'a [usize],
}

impl Sequences<'_> {
    /// Number of sequences.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Number of token rows of all sequences together.
    pub fn rows(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The error for sequences that share rows or have none: a bug above the backend.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        if self.ends.first() != Some(&0) && self.ends.is_sorted_by(|a, b| a < b) {
            return Ok(());
        }
        let message = format!("{op}: the ends of the sequences must be positive and strictly increasing");
        Err(Error::new(ErrorKind::Internal, message).in_operation(op))
    }

    /// Token rows of sequence `s`.
    pub fn range(&self, s: usize) -> Range<usize> {
        let start = if s == 0 { 0 } else { self.ends[s - 1] };
        start..self.ends[s]
    }
}

/// The tokens of an image: prefix tokens (a class token, registers), then its patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageTokens {
    /// Tokens before the patches, P.
    pub prefix: usize,
    /// Patches, N.
    pub patches: usize,
}

impl ImageTokens {
    /// All tokens of an image.
    pub fn count(self) -> usize {
        self.prefix + self.patches
    }
}

/// Square windows of patches at every place of the images of a batch, as sequences of their own: the windows of an image
/// row by row, the images one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Images of the batch, B.
    pub images: usize,
    /// Prefix tokens of an image, and of each of its windows, P.
    pub prefix: usize,
    /// The patches of an image, N.
    pub grid: Grid,
    /// Patches along a side of a window, S.
    pub side: usize,
    /// The first window.
    pub first: usize,
    /// Windows from there on. Numbers beyond the last window stand for the last.
    pub count: usize,
}

impl Windows {
    /// The number of windows of all images.
    pub fn all(&self) -> usize {
        self.images * self.grid.windows(self.side).cells()
    }

    /// Tokens of a window.
    pub fn tokens(&self) -> usize {
        self.prefix + self.side * self.side
    }

    /// The row of token `token` of window `window`, counted from the first, among the token rows of all images.
    pub(crate) fn row(&self, window: usize, token: usize) -> usize {
        let places = self.grid.windows(self.side);
        let window = (self.first + window).min(self.all().saturating_sub(1));
        let (image, window) = (window / places.cells(), window % places.cells());
        let begin = image * (self.prefix + self.grid.cells());
        let Some(patch) = token.checked_sub(self.prefix) else { return begin + token };
        let (row, col) = (window / places.cols + patch / self.side, window % places.cols + patch % self.side);
        begin + self.prefix + row * self.grid.cols + col
    }

    /// The error for windows that are not there: a bug above the backend.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        if self.side > 0 && self.all() > 0 {
            return Ok(());
        }
        let Windows { images, grid, side, .. } = *self;
        let message = format!("{op}: windows of {side} x {side} in {images} images of {grid} patches");
        Err(Error::new(ErrorKind::Internal, message).in_operation(op))
    }
}

/// The token that represents a whole sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolToken {
    /// The class token of an image, row 0.
    First,
    /// The end-of-text token of a text, the last row.
    Last,
}

impl PoolToken {
    /// The pooled row of the sequence that occupies `rows`.
    pub fn row(self, rows: Range<usize>) -> usize {
        match self {
            PoolToken::First => rows.start,
            PoolToken::Last => rows.end - 1,
        }
    }
}

/// The division of attention's width into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of heads.
    pub heads: usize,
    /// Width of one head; `heads * size` is the width of the tower.
    pub size: usize,
}

impl AttentionShape {
    /// Width of all heads together.
    pub fn width(self) -> usize {
        self.heads * self.size
    }
}
