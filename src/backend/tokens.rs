//! The layout of token rows in a matrix: sequences, the tokens of an image, the token that represents the whole, heads.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

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
