//! Pillow's antialiased bicubic and bilinear resampling of 8-bit pixels (`Resample.c`), one axis at a time.
//!
//! The result is bit-exact: weights are computed and normalised in f64, rounded to 22-bit fixed point, and every sum is
//! an exact integer. No order of evaluation, thread count or vector width can change it.
//!
//! Each pass rounds to 8 bits, so their order matters. It is horizontal, then vertical, as in every version of Pillow
//! that can have produced the published scores. Pillow 13 begins with the vertical pass for some pictures, among them
//! shrunk pictures more than twice as tall as wide. These differ by rounding, and by more where an overshoot at an edge
//! is clipped.

use std::ops::Range;

use super::fit::Span;
use super::preprocessing::Filter;

/// Fractional bits of a weight: 32 less 8 for the pixel and 2 for the sign and the overshoot of the filter.
const PRECISION: u32 = 22;
/// A weighted sum starts here, so that dropping the fractional bits rounds to nearest.
const HALF: i32 = 1 << (PRECISION - 1);
/// Output samples summed at once by the vertical pass: the sums stay in the first-level cache.
const STRIP: usize = 256;

/// The weights of one axis: each output index is a weighted sum of consecutive source indices.
///
/// Output `i` is `clip((2^21 + sum over t < count[i] of weight[i * row_len + t] * source[first[i] + t]) >> 22)`, where
/// `clip` limits to 0..=255. Unused elements of a weight row are zero.
#[derive(Clone, Debug)]
pub struct FilterWeights {
    first: Vec<u32>,
    count: Vec<u32>,
    weights: Vec<i32>,
    row_len: usize,
}

impl FilterWeights {
    /// Weights for only the kept outputs of `span`: Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`.
    ///
    /// Pillow skips an axis whose size does not change; here that is one tap of weight 1, which copies exactly.
    pub(super) fn new(span: &Span, filter: Filter) -> Self {
        let outputs = span.kept.len();
        if span.source == span.resized {
            let first = span.kept.clone().map(|i| i as u32).collect();
            return FilterWeights {
                first,
                count: vec![1; outputs],
                weights: vec![1 << PRECISION; outputs],
                row_len: 1,
            };
        }
        let scale = span.source as f64 / span.resized as f64;
        let filter_scale = scale.max(1.0);
        let (kernel, radius): (fn(f64) -> f64, f64) = match filter {
            Filter::Bicubic => (bicubic, 2.0),
            Filter::Bilinear => (bilinear, 1.0),
        };
        let support = radius * filter_scale;
        let windows: Vec<Range<usize>> = span
            .kept
            .clone()
            .map(|i| {
                let centre = (i as f64 + 0.5) * scale;
                // A float-to-integer cast truncates and saturates at zero: Pillow's cast followed by its clamp.
                (centre - support + 0.5) as usize..((centre + support + 0.5) as usize).min(span.source)
            })
            .collect();
        let row_len = windows.iter().map(Range::len).max().unwrap_or(0);
        let mut weights = vec![0; outputs * row_len];
        let mut exact = Vec::with_capacity(row_len);
        for ((i, window), row) in span.kept.clone().zip(&windows).zip(weights.chunks_exact_mut(row_len)) {
            let centre = (i as f64 + 0.5) * scale;
            // Multiplying by the reciprocal, as Pillow does, is not the same as dividing.
            let inverse = 1.0 / filter_scale;
            exact.clear();
            exact.extend(window.clone().map(|s| kernel((s as f64 - centre + 0.5) * inverse)));
            let total: f64 = exact.iter().sum();
            for (weight, value) in row.iter_mut().zip(&exact) {
                let normalised = if total == 0.0 { *value } else { value / total };
                *weight = (normalised * f64::from(1 << PRECISION) + 0.5f64.copysign(normalised)) as i32;
            }
        }
        FilterWeights {
            first: windows.iter().map(|window| window.start as u32).collect(),
            count: windows.iter().map(|window| window.len() as u32).collect(),
            weights,
            row_len,
        }
    }

    /// First source index of each output.
    pub fn first(&self) -> &[u32] {
        &self.first
    }

    /// Number of source indices of each output, at most [`FilterWeights::row_len`].
    pub fn count(&self) -> &[u32] {
        &self.count
    }

    /// Weights, `[outputs, row_len]`, in units of 2^-22.
    pub fn weights(&self) -> &[i32] {
        &self.weights
    }

    /// Length of a row of [`FilterWeights::weights`].
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// The source indices that any output reads.
    pub(super) fn source(&self) -> Range<usize> {
        let ends = self.first.iter().zip(&self.count).map(|(&first, &count)| (first + count) as usize);
        let start = self.first.iter().min().map_or(0, |&first| first as usize);
        start..ends.max().unwrap_or(start)
    }

    /// First source index and weights of output `i`.
    fn row(&self, i: usize) -> (usize, &[i32]) {
        (self.first[i] as usize, &self.weights[i * self.row_len..][..self.count[i] as usize])
    }

    /// Resamples one row: `source` holds pixels of `C` bytes, `out` one such pixel per output.
    pub(super) fn across<const C: usize>(&self, source: &[u8], out: &mut [u8]) {
        let source = source.as_chunks::<C>().0;
        for (i, out) in out.as_chunks_mut::<C>().0.iter_mut().enumerate() {
            let (first, weights) = self.row(i);
            let mut sum = [HALF; C];
            for (pixel, &weight) in source[first..first + weights.len()].iter().zip(weights) {
                for c in 0..C {
                    sum[c] += i32::from(pixel[c]) * weight;
                }
            }
            *out = sum.map(clip);
        }
    }

    /// Computes row `i` of the output: `source` holds whole rows of `out.len()` bytes, the first of them row `origin`.
    pub(super) fn down(&self, i: usize, source: &[u8], origin: usize, out: &mut [u8]) {
        let (first, weights) = self.row(i);
        let stride = out.len();
        let rows = &source[(first - origin) * stride..][..weights.len() * stride];
        for (n, out) in out.chunks_mut(STRIP).enumerate() {
            let mut sums = [HALF; STRIP];
            for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(&row[n * STRIP..][..out.len()]) {
                    *sum += i32::from(sample) * weight;
                }
            }
            for (out, &sum) in out.iter_mut().zip(&sums) {
                *out = clip(sum);
            }
        }
    }
}

/// Keys' cubic convolution kernel with a = -0.5, in Pillow's order of operations.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// A triangle.
fn bilinear(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

/// The integer part of a sum, limited to a byte.
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
