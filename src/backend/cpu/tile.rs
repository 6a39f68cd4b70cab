//! The register tile: the innermost loop of every matrix product on the CPU.
//!
//! Each element is one chain of multiply-adds in the order of the inner dimension. Its bits depend on its own row and
//! column only, not on the tile that it falls into: this is what makes scores independent of the batch.
#![allow(unsafe_code)]

/// The vectors of a register tile and their multiply-add.
pub(crate) trait Arithmetic: Copy + Send + Sync {
    /// Lanes of a vector.
    const LANES: usize;
    /// Rows of the register tile that a matrix product keeps: with two vectors a row it fills the register file.
    const TILE_ROWS: usize;
    /// What a lane holds: an element of an operand, or a sum.
    type Word: Copy + Send + Sync;
    /// A vector.
    type V: Copy;

    /// All lanes zero.
    fn zero(self) -> Self::V;
    /// All lanes `x`.
    fn splat(self, x: Self::Word) -> Self::V;
    /// Lanes from memory.
    ///
    /// # Safety
    /// `LANES` words are readable at `p`.
    unsafe fn load_at(self, p: *const Self::Word) -> Self::V;
    /// Lanes to memory.
    ///
    /// # Safety
    /// `LANES` words are writable at `p`.
    unsafe fn store_at(self, v: Self::V, p: *mut Self::Word);
    /// `a * b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The first `LANES` elements of a slice.
    #[inline(always)]
    fn load(self, s: &[Self::Word]) -> Self::V {
        assert!(s.len() >= Self::LANES);
        // SAFETY: the slice holds LANES words, checked above.
        unsafe { self.load_at(s.as_ptr()) }
    }

    /// Writes the first `LANES` elements of a slice.
    #[inline(always)]
    fn store(self, v: Self::V, s: &mut [Self::Word]) {
        assert!(s.len() >= Self::LANES);
        // SAFETY: the slice holds LANES words, checked above.
        unsafe { self.store_at(v, s.as_mut_ptr()) }
    }

    /// Asks for the cache line of `p`; changes nothing that can be observed.
    #[inline(always)]
    fn prefetch<T>(self, p: &T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint, which faults on no address, and SSE is part of x86-64.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(p).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
}

/// Largest [`Arithmetic::TILE_ROWS`].
pub(crate) const MAX_TILE_ROWS: usize = 12;

/// Steps of the inner dimension in one round of the innermost loop.
const UNROLL: usize = 4;

/// Steps of the inner dimension between two requests for what comes next.
const SEGMENT: usize = 64;

/// Words of a cache line.
const LINE: usize = 16;

/// The left operand of a product: rows of `depth` elements, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T = f32> {
    data: &'a [T],
    stride: usize,
    depth: usize,
}

impl<'a, T: Copy> Rows<'a, T> {
    /// Elements of a row.
    #[inline(always)]
    pub(crate) fn depth(self) -> usize {
        self.depth
    }

    /// `data[r * stride ..][..depth]` is row `r`.
    #[inline(always)]
    pub(crate) fn new(data: &'a [T], stride: usize, depth: usize) -> Self {
        Rows { data, stride, depth }
    }

    /// Distance between the first elements of two rows.
    #[inline(always)]
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    /// Row `row`.
    #[inline(always)]
    pub(crate) fn row(self, row: usize) -> &'a [T] {
        &self.data[row * self.stride..][..self.depth]
    }

    /// Row `row` and what stands behind it, `stride` elements.
    #[inline(always)]
    pub(crate) fn whole(self, row: usize) -> &'a [T] {
        &self.data[row * self.stride..][..self.stride]
    }

    /// The rows from `row` on, and of each the elements `from .. from + depth`.
    #[inline(always)]
    pub(crate) fn part(self, row: usize, from: usize, depth: usize) -> Self {
        assert!(from + depth <= self.depth);
        Rows { data: &self.data[row * self.stride + from..], stride: self.stride, depth }
    }
}

/// `a · panel` for the first `rows` rows of `a`.
pub(crate) struct Product<'a, T> {
    pub a: Rows<'a, T>,
    pub rows: usize,
    /// `[a.depth, 2 * LANES]`.
    pub panel: &'a [T],
    /// What is read soon after: brought into the first cache meanwhile, as weights come from far away.
    pub next: Lines<'a, T>,
}

/// The cache lines of some rows, one after the other.
pub(crate) struct Lines<'a, T = f32> {
    rows: Rows<'a, T>,
    count: usize,
    row: usize,
    column: usize,
}

impl<'a, T: Copy> Lines<'a, T> {
    /// No line.
    pub(crate) const NONE: Self = Lines { rows: Rows { data: &[], stride: 0, depth: 0 }, count: 0, row: 0, column: 0 };

    /// Those of the first `count` of `rows`.
    #[inline(always)]
    pub(crate) fn new(rows: Rows<'a, T>, count: usize) -> Self {
        Lines { rows, count, row: 0, column: 0 }
    }

    /// Those of a slice.
    #[inline(always)]
    pub(crate) fn of(strip: &'a [T]) -> Self {
        Lines::new(Rows::new(strip, strip.len(), strip.len()), 1)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.count * self.rows.depth.div_ceil(LINE)
    }

    /// An element of the next line.
    #[inline(always)]
    fn next(&mut self) -> Option<&'a T> {
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

/// What is done with the sums of a tile while the next tile multiplies. This is a trait because closures are not
/// compiled for the instruction set.
pub(crate) trait AfterTile<A: Arithmetic> {
    /// Takes the tile's first row and its sums, rows of `2 * LANES`, as far apart as in the result.
    fn tile(&self, arithmetic: A, first: usize, sums: &[A::Word]);
}

/// Nothing happens.
pub(crate) struct Stored;

impl<A: Arithmetic> AfterTile<A> for Stored {
    #[inline(always)]
    fn tile(&self, _: A, _: usize, _: &[A::Word]) {}
}

/// `sums = product`, or `sums += product` if `accumulate`; row `r` of the result is `sums[r * stride ..][..2 * LANES]`.
#[inline(always)]
pub(crate) fn multiply<A: Arithmetic>(
    arithmetic: A,
    product: Product<'_, A::Word>,
    sums: &mut [A::Word],
    stride: usize,
    accumulate: bool,
    after: impl AfterTile<A>,
) {
    let Product { a, rows, panel, mut next } = product;
    let segments = rows.div_ceil(A::TILE_ROWS) * a.depth.div_ceil(SEGMENT);
    let lines = next.len().div_ceil(segments.max(1));
    let mut row = 0;
    while row < rows {
        let ahead = (&mut next, lines);
        let count = (rows - row).min(A::TILE_ROWS);
        let (a, sums) = (a.part(row, 0, a.depth), &mut sums[row * stride..]);
        // One compiled tile for each height: a partial tile costs what it computes.
        match count {
            1 => tile::<A, 1>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            2 => tile::<A, 2>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            3 => tile::<A, 3>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            4 => tile::<A, 4>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            5 => tile::<A, 5>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            6 => tile::<A, 6>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            7 => tile::<A, 7>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            8 => tile::<A, 8>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            9 => tile::<A, 9>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            10 => tile::<A, 10>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            11 => tile::<A, 11>(arithmetic, a, panel, ahead, sums, stride, accumulate),
            _ => tile::<A, MAX_TILE_ROWS>(arithmetic, a, panel, ahead, sums, stride, accumulate),
        }
        after.tile(arithmetic, row, &sums[..(count - 1) * stride + 2 * A::LANES]);
        row += count;
    }
}

/// `R` rows at once, their sums in registers; asks for `lines` of the next lines in each segment.
#[inline(always)]
fn tile<A: Arithmetic, const R: usize>(
    arithmetic: A,
    a: Rows<'_, A::Word>,
    panel: &[A::Word],
    (next, lines): (&mut Lines<'_, A::Word>, usize),
    out: &mut [A::Word],
    stride: usize,
    accumulate: bool,
) {
    if R > A::TILE_ROWS {
        // Never reached; tells the compiler not to generate heights that this instruction set does not use.
        return;
    }
    let depth = a.depth;
    assert!(panel.len() >= depth * 2 * A::LANES && a.data.len() >= (R - 1) * a.stride + depth);
    assert!(out.len() >= (R - 1) * stride + 2 * A::LANES);
    let (rows, panel, out) = (a.data.as_ptr(), panel.as_ptr(), out.as_mut_ptr());
    let mut sums = [[arithmetic.zero(); 2]; R];
    if accumulate {
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: r < R, so both vectors lie in `out`, as asserted above.
            *sum = unsafe {
                [arithmetic.load_at(out.add(r * stride)), arithmetic.load_at(out.add(r * stride + A::LANES))]
            };
        }
    }
    for from in (0..depth).step_by(SEGMENT) {
        // A few lines at a time: many at once would fill the queue that the loop's own loads need.
        for line in (0..lines).map_while(|_| next.next()) {
            arithmetic.prefetch(line);
        }
        let to = depth.min(from + SEGMENT);
        // Unrolled, so that counting and addressing stay behind the multiply-adds.
        let whole = from + (to - from) / UNROLL * UNROLL;
        for p in (from..whole).step_by(UNROLL) {
            for q in 0..UNROLL {
                // SAFETY: p + q < depth, so both vectors lie in the panel and the element in every row, as asserted
                // above.
                unsafe { step(arithmetic, rows, a.stride, panel, p + q, &mut sums) };
            }
        }
        for p in whole..to {
            // SAFETY: p < depth, as above.
            unsafe { step(arithmetic, rows, a.stride, panel, p, &mut sums) };
        }
    }
    for (r, sum) in sums.into_iter().enumerate() {
        // SAFETY: r < R, so both vectors lie in `out`, as asserted above.
        unsafe {
            arithmetic.store_at(sum[0], out.add(r * stride));
            arithmetic.store_at(sum[1], out.add(r * stride + A::LANES));
        }
    }
}

/// `sums[r] += a[r, p] · panel[p]`.
///
/// # Safety
/// `rows[r * stride + p]` is readable for every `r < R`, and `2 * LANES` words at `panel[p * 2 * LANES]`.
#[inline(always)]
unsafe fn step<A: Arithmetic, const R: usize>(
    arithmetic: A,
    rows: *const A::Word,
    stride: usize,
    panel: *const A::Word,
    p: usize,
    sums: &mut [[A::V; 2]; R],
) {
    // SAFETY: the caller vouches for the panel.
    let (left, right) = unsafe {
        (arithmetic.load_at(panel.add(p * 2 * A::LANES)), arithmetic.load_at(panel.add((p * 2 + 1) * A::LANES)))
    };
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the rows.
        let x = arithmetic.splat(unsafe { *rows.add(r * stride + p) });
        *sum = [arithmetic.fma(x, left, sum[0]), arithmetic.fma(x, right, sum[1])];
    }
}
