//! Matrices in the order in which the product kernel reads them.
//!
//! The right operand of `a · b` is cut into panels of [`Isa::panel_width`] columns; within a panel the columns of one row
//! of `b` lie side by side, so that the kernel streams it. Columns beyond the edge are zero.

use super::simd::{Isa, Simd};
use super::tile::Rows;

/// Largest [`Isa::panel_width`].
pub(crate) const MAX_PANEL: usize = 32;

/// f32 memory whose first element begins a cache line: a vector load that crosses lines costs twice.
pub(crate) struct Aligned {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        const LINE: usize = 64;
        let data = vec![0.0; len + LINE / size_of::<f32>()];
        let start = data.as_ptr().align_offset(LINE);
        Aligned { data, start, len }
    }

    /// The elements.
    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }

    /// The elements.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
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

/// Packs rows of `b` as one panel: `rows[p]`, `width` columns or fewer, becomes row `p` of the panel.
#[inline(always)]
pub(crate) fn pack<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize, panel: &mut [f32]) {
    for (row, out) in rows.zip(panel.chunks_exact_mut(width)) {
        let (head, tail) = out.split_at_mut(row.len());
        head.copy_from_slice(row);
        tail.fill(0.0);
    }
}
