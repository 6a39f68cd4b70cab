//! Matrices in the order in which the product kernel reads them.
//!
//! The right operand of `a · b` is cut into panels of [`Isa::panel_width`] columns; within a panel the columns of one row
//! of `b` lie side by side, so that the kernel streams it. Columns beyond the edge are zero.

use super::simd::{Isa, Simd};
use super::tile::Rows;
use crate::error::Result;
use crate::memory::zeros;

/// Largest [`Isa::panel_width`].
pub(crate) const MAX_PANEL: usize = 32;

/// Memory whose first element begins a cache line: a vector load that crosses lines costs twice.
pub(crate) struct Aligned<T = f32> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: bytemuck::Zeroable> Aligned<T> {
    /// `len` zeros; `what` needs them, in words.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(crate) fn zeros(what: &str, len: usize) -> Result<Self> {
        const LINE: usize = 64;
        let data: Vec<T> = zeros(what, len.saturating_add(LINE / size_of::<T>()))?;
        let start = data.as_ptr().align_offset(LINE);
        Ok(Aligned { data, start, len })
    }

    /// The elements.
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }

    /// The elements.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }
}

/// Elements of the packed form of `depth` rows by `columns` columns.
pub(crate) fn packed_len(isa: Isa, depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(isa.panel_width()) * depth
}

/// Packs the first `count` rows of `bᵀ`, at most the panel's width, as one panel: row `c` becomes column `c`, and missing
/// columns zero. `panel` is `[rows.depth(), 2 * LANES]`.
#[inline(always)]
pub(crate) fn pack_transposed<S: Simd>(simd: S, rows: Rows<'_>, count: usize, panel: &mut [f32]) {
    let (lanes, width, depth) = (S::LANES, 2 * S::LANES, rows.depth());
    let panel = &mut panel[..depth * width];
    let whole = depth / lanes * lanes;
    for first in [0, lanes] {
        let last = count.clamp(first, first + lanes);
        if last == first + lanes {
            // Squares of lanes by lanes, in registers.
            for p in (0..whole).step_by(lanes) {
                simd.transpose(rows.part(first, p, lanes), &mut panel[p * width + first..], width);
            }
        }
        let transposed = if last == first + lanes { whole } else { 0 };
        for c in first..last {
            let columns = panel[transposed * width..].chunks_exact_mut(width);
            for (x, out) in rows.row(c)[transposed..].iter().zip(columns) {
                out[c] = *x;
            }
        }
        if last < first + lanes {
            panel.chunks_exact_mut(width).for_each(|out| out[last..first + lanes].fill(0.0));
        }
    }
}

/// Packs rows of `b` as one panel: `rows[p]`, the panel's width or less, becomes row `p` of the panel.
#[inline(always)]
pub(crate) fn pack<'a, S: Simd>(simd: S, rows: impl Iterator<Item = &'a [f32]>, panel: &mut [f32]) {
    for (row, out) in rows.zip(panel.chunks_exact_mut(2 * S::LANES)) {
        if row.len() == out.len() {
            // Two vectors; a call of memmove takes longer.
            for (x, out) in row.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
                simd.store(simd.load(x), out);
            }
        } else {
            let (head, tail) = out.split_at_mut(row.len());
            head.copy_from_slice(row);
            tail.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::simd::Kernel;

    struct Pack<'a>(Rows<'a>, usize, &'a mut [f32]);

    impl Kernel for Pack<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            pack_transposed(simd, self.0, self.1, self.2);
        }
    }

    #[test]
    fn rows_become_columns_and_missing_columns_zero() {
        for isa in Isa::available() {
            let width = isa.panel_width();
            // Whole squares, what is left of them on both sides, and single elements.
            for depth in [1, 15, 16, 17, 32, 45] {
                for count in [0, 1, width / 2 - 1, width / 2, width / 2 + 1, width] {
                    let stride = depth + 3;
                    let rows: Vec<f32> = (0..width * stride).map(|x| x as f32 + 1.0).collect();
                    let mut panel = vec![f32::NAN; depth * width];
                    isa.run(Pack(Rows::new(&rows, stride, depth), count, &mut panel));
                    for (at, x) in panel.iter().enumerate() {
                        let (p, c) = (at / width, at % width);
                        let expected = if c < count { rows[c * stride + p] } else { 0.0 };
                        assert_eq!(*x, expected, "{}: depth {depth}, {count} rows, [{p}, {c}]", isa.name());
                    }
                }
            }
        }
    }
}
