//! Matrices in the order in which the product kernel reads them.
//!
//! The right operand of `a · b` is cut into panels of [`Isa::panel_width`] columns; within a panel the columns of one row
//! of `b` lie side by side, so that the kernel streams it. Columns beyond the edge are zero.

use super::simd::Isa;

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

/// Packs rows of `bᵀ` as one panel: `rows[c]` becomes column `c` of the panel, and missing columns zero.
/// `panel` is `[depth, width]`.
pub(crate) fn pack_transposed<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize, panel: &mut [f32]) {
    // Short pieces of every row in turn: a whole row at a time would touch each cache line of the panel once a column.
    const PIECE: usize = 16;
    let mut packed = 0;
    for (c, row) in rows.enumerate() {
        for (piece, out) in row.chunks(PIECE).zip(panel.chunks_mut(PIECE * width)) {
            for (x, out) in piece.iter().zip(out.chunks_exact_mut(width)) {
                out[c] = *x;
            }
        }
        packed = c + 1;
    }
    if packed < width {
        panel.chunks_exact_mut(width).for_each(|out| out[packed..].fill(0.0));
    }
}

/// Packs rows of `b` as one panel: `rows[p]`, `width` columns or fewer, becomes row `p` of the panel.
pub(crate) fn pack<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize, panel: &mut [f32]) {
    for (row, out) in rows.zip(panel.chunks_exact_mut(width)) {
        let (head, tail) = out.split_at_mut(row.len());
        head.copy_from_slice(row);
        tail.fill(0.0);
    }
}
