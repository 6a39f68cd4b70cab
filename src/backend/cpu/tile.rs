//! The register tile: the innermost loop of every matrix product on the CPU.
//!
//! Each element is one chain of multiply-adds in the order of the inner dimension. Its bits depend on its own row and
//! column only, not on the tile that it falls into: this is what makes scores independent of the batch.
#![allow(unsafe_code)]

use super::simd::Simd;

/// Largest [`Simd::TILE_ROWS`].
pub(crate) const MAX_TILE_ROWS: usize = 12;

/// Steps of the inner dimension in one round of the innermost loop.
const UNROLL: usize = 4;

/// Steps of the inner dimension between two requests for what comes next.
const SEGMENT: usize = 64;

/// Floats of a cache line.
const LINE: usize = 16;

/// The left operand of a product: rows of `depth` elements, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    depth: usize,
}

impl<'a> Rows<'a> {
    /// Elements of a row.
    #[inline(always)]
    pub(crate) fn depth(self) -> usize {
        self.depth
    }

    /// `data[r * stride ..][..depth]` is row `r`.
    #[inline(always)]
    pub(crate) fn new(data: &'a [f32], stride: usize, depth: usize) -> Self {
        Rows { data, stride, depth }
    }

    /// Distance between the first elements of two rows.
    #[inline(always)]
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    /// Row `row`.
    #[inline(always)]
    pub(crate) fn row(self, row: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..self.depth]
    }

    /// The rows from `row` on, and of each the elements `from .. from + depth`.
    #[inline(always)]
    pub(crate) fn part(self, row: usize, from: usize, depth: usize) -> Self {
        assert!(from + depth <= self.depth);
        Rows { data: &self.data[row * self.stride + from..], stride: self.stride, depth }
    }
}

/// `a · panel` for the first `rows` rows of `a`.
pub(crate) struct Product<'a> {
    pub a: Rows<'a>,
    pub rows: usize,
    /// `[a.depth, 2 * LANES]`.
    pub panel: &'a [f32],
    /// What is read soon after: brought into the first cache meanwhile, as weights come from far away.
    pub next: Lines<'a>,
}

/// The cache lines of some rows, one after the other.
pub(crate) struct Lines<'a> {
    rows: Rows<'a>,
    count: usize,
    row: usize,
    column: usize,
}

impl<'a> Lines<'a> {
    /// No line.
    pub(crate) const NONE: Lines<'static> =
        Lines { rows: Rows { data: &[], stride: 0, depth: 0 }, count: 0, row: 0, column: 0 };

    /// Those of the first `count` of `rows`.
    #[inline(always)]
    pub(crate) fn new(rows: Rows<'a>, count: usize) -> Self {
        Lines { rows, count, row: 0, column: 0 }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.count * self.rows.depth.div_ceil(LINE)
    }

    /// An element of the next line.
    #[inline(always)]
    fn next(&mut self) -> Option<&'a f32> {
        if self.row >= self.count {
            return None;
        }
        let line = self.rows.data.get(self.row * self.rows.stride + self.column);
        self.column += LINE;
        if self.column >= self.rows.depth {
            (self.row, self.column) = (self.row + 1, 0);
        }
        line
    }
}

/// `sums = product`, or `sums += product` if `accumulate`; row `r` of the result is `sums[r * stride ..][..2 * LANES]`.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(simd: S, product: Product<'_>, sums: &mut [f32], stride: usize, accumulate: bool) {
    let Product { a, rows, panel, mut next } = product;
    let segments = rows.div_ceil(S::TILE_ROWS) * a.depth.div_ceil(SEGMENT);
    let lines = next.len().div_ceil(segments.max(1));
    let mut row = 0;
    while row < rows {
        let ahead = (&mut next, lines);
        let count = (rows - row).min(S::TILE_ROWS);
        let (a, sums) = (a.part(row, 0, a.depth), &mut sums[row * stride..]);
        // One compiled tile for each height: a partial tile costs what it computes.
        match count {
            1 => tile::<S, 1>(simd, a, panel, ahead, sums, stride, accumulate),
            2 => tile::<S, 2>(simd, a, panel, ahead, sums, stride, accumulate),
            3 => tile::<S, 3>(simd, a, panel, ahead, sums, stride, accumulate),
            4 => tile::<S, 4>(simd, a, panel, ahead, sums, stride, accumulate),
            5 => tile::<S, 5>(simd, a, panel, ahead, sums, stride, accumulate),
            6 => tile::<S, 6>(simd, a, panel, ahead, sums, stride, accumulate),
            7 => tile::<S, 7>(simd, a, panel, ahead, sums, stride, accumulate),
            8 => tile::<S, 8>(simd, a, panel, ahead, sums, stride, accumulate),
            9 => tile::<S, 9>(simd, a, panel, ahead, sums, stride, accumulate),
            10 => tile::<S, 10>(simd, a, panel, ahead, sums, stride, accumulate),
            11 => tile::<S, 11>(simd, a, panel, ahead, sums, stride, accumulate),
            _ => tile::<S, MAX_TILE_ROWS>(simd, a, panel, ahead, sums, stride, accumulate),
        }
        row += count;
    }
}

/// `R` rows at once, their sums in registers; asks for `lines` of the next lines in each segment.
#[inline(always)]
fn tile<S: Simd, const R: usize>(
    simd: S,
    a: Rows<'_>,
    panel: &[f32],
    (next, lines): (&mut Lines<'_>, usize),
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    if R > S::TILE_ROWS {
        // Never reached; tells the compiler not to generate heights that this instruction set does not use.
        return;
    }
    let depth = a.depth;
    assert!(panel.len() >= depth * 2 * S::LANES && a.data.len() >= (R - 1) * a.stride + depth);
    assert!(out.len() >= (R - 1) * stride + 2 * S::LANES);
    let (rows, panel, out) = (a.data.as_ptr(), panel.as_ptr(), out.as_mut_ptr());
    let mut sums = [[simd.splat(0.0); 2]; R];
    if accumulate {
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: r < R, so both vectors lie in `out`, as asserted above.
            *sum = unsafe { [simd.load_at(out.add(r * stride)), simd.load_at(out.add(r * stride + S::LANES))] };
        }
    }
    for from in (0..depth).step_by(SEGMENT) {
        // A few lines at a time: many at once would fill the queue that the loop's own loads need.
        for line in (0..lines).map_while(|_| next.next()) {
            simd.prefetch(line);
        }
        let to = depth.min(from + SEGMENT);
        // Unrolled, so that counting and addressing stay behind the multiply-adds.
        let whole = from + (to - from) / UNROLL * UNROLL;
        for p in (from..whole).step_by(UNROLL) {
            for q in 0..UNROLL {
                // SAFETY: p + q < depth, so both vectors lie in the panel and the element in every row, as asserted above.
                unsafe { step(simd, rows, a.stride, panel, p + q, &mut sums) };
            }
        }
        for p in whole..to {
            // SAFETY: p < depth, as above.
            unsafe { step(simd, rows, a.stride, panel, p, &mut sums) };
        }
    }
    for (r, sum) in sums.into_iter().enumerate() {
        // SAFETY: r < R, so both vectors lie in `out`, as asserted above.
        unsafe {
            simd.store_at(sum[0], out.add(r * stride));
            simd.store_at(sum[1], out.add(r * stride + S::LANES));
        }
    }
}

/// `sums[r] += a[r, p] · panel[p]`.
///
/// # Safety
/// `rows[r * stride + p]` is readable for every `r < R`, and `2 * LANES` floats at `panel[p * 2 * LANES]`.
#[inline(always)]
unsafe fn step<S: Simd, const R: usize>(
    simd: S,
    rows: *const f32,
    stride: usize,
    panel: *const f32,
    p: usize,
    sums: &mut [[S::V; 2]; R],
) {
    // SAFETY: the caller vouches for the panel.
    let (left, right) =
        unsafe { (simd.load_at(panel.add(p * 2 * S::LANES)), simd.load_at(panel.add((p * 2 + 1) * S::LANES))) };
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the rows.
        let x = simd.splat(unsafe { *rows.add(r * stride + p) });
        *sum = [simd.fma(x, left, sum[0]), simd.fma(x, right, sum[1])];
    }
}
