//! The register tile: the innermost loop of every matrix product on the CPU.
//!
//! Each element is one chain of multiply-adds in the order of the inner dimension. Its bits depend on its own row and
//! column only, not on the tile that it falls into: this is what makes scores independent of the batch.
#![allow(unsafe_code)]

use super::simd::Simd;

/// Largest [`Simd::TILE_ROWS`].
pub(crate) const MAX_TILE_ROWS: usize = 12;

/// The left operand of a product: rows of `depth` elements, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    depth: usize,
}

impl<'a> Rows<'a> {
    /// `data[r * stride ..][..depth]` is row `r`.
    #[inline(always)]
    pub(crate) fn new(data: &'a [f32], stride: usize, depth: usize) -> Self {
        Rows { data, stride, depth }
    }

    /// The rows from `row` on, and of each the elements `from .. from + depth`.
    #[inline(always)]
    pub(crate) fn part(self, row: usize, from: usize, depth: usize) -> Self {
        assert!(from + depth <= self.depth);
        Rows { data: &self.data[row * self.stride + from..], stride: self.stride, depth }
    }
}

/// What a tile hands its results to: `sink(row, [left, right])`, once for each row.
pub(crate) trait Sink<S: Simd> {
    /// Start value of row `row`.
    fn start(&mut self, simd: S, row: usize) -> [S::V; 2];
    /// Final value of row `row`.
    fn finish(&mut self, simd: S, row: usize, sum: [S::V; 2]);
}

/// `sink.start + a · panel` for the first `rows` rows of `a`; `panel` is `[a.depth, 2 * LANES]`.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(simd: S, a: Rows<'_>, rows: usize, panel: &[f32], sink: &mut impl Sink<S>) {
    let mut row = 0;
    while row < rows {
        let count = (rows - row).min(S::TILE_ROWS);
        // One compiled tile for each height: a partial tile costs what it computes.
        match count {
            1 => tile::<S, 1>(simd, a, row, panel, sink),
            2 => tile::<S, 2>(simd, a, row, panel, sink),
            3 => tile::<S, 3>(simd, a, row, panel, sink),
            4 => tile::<S, 4>(simd, a, row, panel, sink),
            5 => tile::<S, 5>(simd, a, row, panel, sink),
            6 => tile::<S, 6>(simd, a, row, panel, sink),
            7 => tile::<S, 7>(simd, a, row, panel, sink),
            8 => tile::<S, 8>(simd, a, row, panel, sink),
            9 => tile::<S, 9>(simd, a, row, panel, sink),
            10 => tile::<S, 10>(simd, a, row, panel, sink),
            11 => tile::<S, 11>(simd, a, row, panel, sink),
            _ => tile::<S, MAX_TILE_ROWS>(simd, a, row, panel, sink),
        }
        row += count;
    }
}

#[inline(always)]
fn tile<S: Simd, const R: usize>(simd: S, a: Rows<'_>, first: usize, panel: &[f32], sink: &mut impl Sink<S>) {
    if R > S::TILE_ROWS {
        // Never reached; tells the compiler not to generate heights that this instruction set does not use.
        return;
    }
    let (depth, stride) = (a.depth, a.stride);
    let a = &a.data[first * stride..];
    assert!(panel.len() >= depth * 2 * S::LANES && a.len() >= (R - 1) * stride + depth);
    let mut sums: [[S::V; 2]; R] = std::array::from_fn(|r| sink.start(simd, first + r));
    let (mut b, a) = (panel.as_ptr(), a.as_ptr());
    for p in 0..depth {
        // SAFETY: p < depth, so both vectors lie in the panel and a[r * stride + p] in the rows, as asserted above.
        unsafe {
            let left = simd.load_at(b);
            let right = simd.load_at(b.add(S::LANES));
            for (r, sum) in sums.iter_mut().enumerate() {
                let x = simd.splat(*a.add(r * stride + p));
                *sum = [simd.fma(x, left, sum[0]), simd.fma(x, right, sum[1])];
            }
            b = b.add(2 * S::LANES);
        }
    }
    for (r, sum) in sums.into_iter().enumerate() {
        sink.finish(simd, first + r, sum);
    }
}
