//! Attention whose two products are of bf16: queries, keys, values and the weights of values are rounded, scores,
//! softmax and sums are f32.

use super::{Bf16, Bf16Isa, Bf16Kernel, as_floats, as_floats_mut, round_row, words};
use crate::backend::cpu::attention::{Head, STRIP, exp_and_sum};
use crate::backend::cpu::packed::{MAX_PANEL, pack_transposed};
use crate::backend::cpu::tile::{Arithmetic, Lines, Product, Rows, Stored, multiply};

/// One head of one sequence, with [`scratch_len`] words.
pub(in crate::backend::cpu) struct Bf16Head<'a> {
    pub head: Head<'a>,
    pub scratch: &'a mut [i32],
}

/// Words of scratch for a sequence of `tokens` and heads of `size`.
pub(in crate::backend::cpu) fn scratch_len(isa: Bf16Isa, tokens: usize, size: usize) -> usize {
    let width = isa.panel_width();
    let (padded, columns) = (tokens.next_multiple_of(width), size.next_multiple_of(width));
    // Keys, and a panel of them before they are turned; values; queries, scores and weights of a strip.
    padded * words(size)
        + width * words(size)
        + words(tokens) * columns
        + STRIP * (words(size) + padded + words(tokens))
}

impl Bf16Kernel for Bf16Head<'_> {
    #[inline(always)]
    fn run<H: Bf16>(self, bf16: H) {
        let Head { q, k, v, operands, size, queries, tokens, causal, mut target } = self.head;
        let (simd, width, stride) = (bf16.floats(), 2 * H::LANES, operands.kv_stride);
        let padded = tokens.next_multiple_of(width);
        let (depth, pairs) = (words(size), words(tokens));
        let (keys, rest) = self.scratch.split_at_mut(padded * depth);
        let (rounded, rest) = rest.split_at_mut(width * depth);
        let (values, rest) = rest.split_at_mut(size.next_multiple_of(width) * pairs);
        let (strip, rest) = rest.split_at_mut(STRIP * depth);
        let (scores, weights) = rest.split_at_mut(STRIP * padded);

        for (panel, first) in keys.chunks_exact_mut(width * depth).zip((0..tokens).step_by(width)) {
            let count = width.min(tokens - first);
            for (t, row) in rounded.chunks_exact_mut(depth).enumerate().take(count) {
                round_row(bf16, &k[(first + t) * stride..][..size], row);
            }
            // Words move as f32 do: nothing is computed with them.
            pack_transposed(simd, Rows::new(as_floats(rounded), depth, depth), count, as_floats_mut(panel));
        }
        for (panel, first) in values.chunks_exact_mut(width * pairs).zip((0..size).step_by(width)) {
            let columns = first..size.min(first + width);
            for (pair, out) in panel.chunks_exact_mut(width).enumerate() {
                let row = |t: usize| if t < tokens { &v[t * stride..][columns.clone()] } else { &[] };
                round_pair(bf16, row(2 * pair), row(2 * pair + 1), out);
            }
        }

        let scale = 1.0 / (size as f32).sqrt();
        for first in (0..queries).step_by(STRIP) {
            let rows = STRIP.min(queries - first);
            for (r, row) in strip.chunks_exact_mut(depth).enumerate().take(rows) {
                round_row(bf16, &q[(first + r) * operands.q_stride..][..size], row);
            }
            for (i, panel) in keys.chunks_exact(width * depth).enumerate() {
                let product = Product { a: Rows::new(strip, depth, depth), rows, panel, next: Lines::NONE };
                multiply(bf16, product, &mut scores[i * width..], padded, false, Stored);
            }
            let mut inverse = [0.0; STRIP];
            let rows_of_both = scores.chunks_exact_mut(padded).zip(weights.chunks_exact_mut(pairs));
            for (r, (row, weights)) in rows_of_both.take(rows).enumerate() {
                let seen = if causal { first + r + 1 } else { tokens };
                let row = as_floats_mut(row);
                row[seen..].fill(f32::NEG_INFINITY);
                inverse[r] = 1.0 / exp_and_sum(simd, row, scale);
                round_row(bf16, &row[..tokens], weights);
            }
            let mut sums = [0; STRIP * MAX_PANEL];
            for (i, panel) in values.chunks_exact(width * pairs).enumerate() {
                let product = Product { a: Rows::new(weights, pairs, pairs), rows, panel, next: Lines::NONE };
                multiply(bf16, product, &mut sums, width, false, Stored);
                let columns = width.min(size - i * width);
                for (r, sum) in as_floats_mut(&mut sums).chunks_exact_mut(width).take(rows).enumerate() {
                    target.scaled(simd, first + r, i * width, columns, sum, inverse[r]);
                }
            }
        }
    }
}

/// Rounds two rows of values, of which the second may be missing, into the words of a panel's row.
#[inline(always)]
fn round_pair<H: Bf16>(bf16: H, first: &[f32], second: &[f32], out: &mut [i32]) {
    let (simd, lanes) = (bf16.floats(), H::LANES);
    if first.len() == out.len() && second.len() == out.len() {
        let rows = first.chunks_exact(lanes).zip(second.chunks_exact(lanes));
        for ((a, b), out) in rows.zip(out.chunks_exact_mut(lanes)) {
            bf16.store(bf16.round_rows(simd.load(a), simd.load(b)), out);
        }
        return;
    }
    let mut padded = [[0.0; MAX_PANEL]; 2];
    padded[0][..first.len()].copy_from_slice(first);
    padded[1][..second.len()].copy_from_slice(second);
    for (i, out) in out.chunks_exact_mut(lanes).enumerate() {
        bf16.store(bf16.round_rows(simd.load(&padded[0][i * lanes..]), simd.load(&padded[1][i * lanes..])), out);
    }
}
