//! `softmax(Q Kᵀ / sqrt(d)) V`, one head of one sequence at a time: keys and values are packed once, then strips of
//! queries pass through scores, softmax and values without leaving the cache.
#![allow(unsafe_code)]

use super::bf16::{self, attention::Bf16Head};
use super::packed::{self, MAX_PANEL};
use super::pool::Disjoint;
use super::simd::{Isa, Kernel, Simd};
use super::tile::{Lines, Product, Rows, Stored, multiply};
use super::{Cpu, math};
use crate::backend::{AttentionShape, Sequences, need};
use crate::error::Result;

/// Queries of a strip: a multiple of every tile height.
pub(super) const STRIP: usize = 12;

/// The three operands of attention over all sequences and heads, as strided views.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    /// Queries: row `r` at `q[r * q_stride ..]`.
    pub q: &'a [f32],
    pub q_stride: usize,
    /// Keys: row `t` at `k[t * kv_stride ..]`.
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub kv_stride: usize,
}

/// Which queries a sequence has and what they see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Queries {
    /// Every token, seeing every token.
    All,
    /// Every token, seeing none that follows it.
    Causal,
    /// One row a sequence, seeing every token.
    One,
}

impl Cpu {
    pub(super) fn run_attention(
        &mut self,
        operands: Operands<'_>,
        sequences: Sequences<'_>,
        shape: AttentionShape,
        queries: Queries,
        out: &mut [f32],
    ) -> Result<()> {
        sequences.check("attention")?;
        let rows = if queries == Queries::One { sequences.count() } else { sequences.rows() };
        need("attention", "out", out.len(), rows * shape.width())?;
        let (isa, bf16) = (self.isa, self.bf16);
        let longest = (0..sequences.count()).map(|s| sequences.range(s).len()).max().unwrap_or(0);
        match bf16 {
            None => self.reserve(scratch_len(isa, longest, shape.size))?,
            Some(isa) => self.reserve_words(bf16::attention::scratch_len(isa, longest, shape.size))?,
        }
        let out = Disjoint::new(out);
        self.pool.run(sequences.count() * shape.heads, |task, scratch| {
            let (sequence, head) = (task / shape.heads, task % shape.heads);
            let tokens = sequences.range(sequence);
            let queries_at = if queries == Queries::One { sequence..sequence + 1 } else { tokens.clone() };
            let column = head * shape.size;
            let head = Head {
                q: &operands.q[queries_at.start * operands.q_stride + column..],
                k: &operands.k[tokens.start * operands.kv_stride + column..],
                v: &operands.v[tokens.start * operands.kv_stride + column..],
                operands,
                size: shape.size,
                queries: queries_at.len(),
                tokens: tokens.len(),
                causal: queries == Queries::Causal,
                target: Target { out, first_row: queries_at.start, stride: shape.width(), column },
            };
            let (tokens, size) = (tokens.len(), shape.size);
            match bf16 {
                None => isa.run(F32Head { head, scratch: scratch.take(scratch_len(isa, tokens, size)) }),
                Some(isa) => {
                    let scratch = scratch.take_words(bf16::attention::scratch_len(isa, tokens, size));
                    isa.run(Bf16Head { head, scratch });
                }
            }
        });
        Ok(())
    }
}

/// Floats of a thread's scratch for heads of `size` numbers.
pub(super) fn scratch_len(isa: Isa, tokens: usize, size: usize) -> usize {
    packed::packed_len(isa, size, tokens)
        + packed::packed_len(isa, tokens, size)
        + STRIP * tokens.next_multiple_of(isa.panel_width())
}

/// Where the outputs of a head go.
pub(super) struct Target<'a> {
    out: Disjoint<'a, f32>,
    first_row: usize,
    stride: usize,
    column: usize,
}

impl Target<'_> {
    /// `columns` elements of a query's row, from `column` of this head on.
    fn row(&mut self, query: usize, column: usize, columns: usize) -> &mut [f32] {
        let at = (self.first_row + query) * self.stride + self.column + column;
        // SAFETY: tasks differ in sequence or head, that is in rows or columns of `out`, as the ends of sequences rise
        // (checked in `run_attention`), and a task writes each of its elements once.
        unsafe { self.out.slice(at, columns) }
    }

    /// Writes `columns` elements of a query's row, `sums` times `scale`; `sums` is a whole number of vectors.
    #[inline(always)]
    pub(super) fn scaled<S: Simd>(
        &mut self,
        simd: S,
        query: usize,
        column: usize,
        columns: usize,
        sums: &mut [f32],
        scale: f32,
    ) {
        let (scale, out) = (simd.splat(scale), self.row(query, column, columns));
        if columns == sums.len() {
            for (half, out) in sums.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
                simd.store(simd.mul(simd.load(half), scale), out);
            }
        } else {
            for half in sums.chunks_exact_mut(S::LANES) {
                simd.store(simd.mul(simd.load(half), scale), half);
            }
            out.copy_from_slice(&sums[..columns]);
        }
    }
}

/// One head of one sequence, from the first column of the head on.
pub(super) struct Head<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub operands: Operands<'a>,
    pub size: usize,
    pub queries: usize,
    pub tokens: usize,
    pub causal: bool,
    pub target: Target<'a>,
}

/// A head whose products are of f32.
struct F32Head<'a> {
    head: Head<'a>,
    /// [`scratch_len`] uninitialised floats.
    scratch: &'a mut [f32],
}

impl Kernel for F32Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Head { q, k, v, operands, size, queries, tokens, causal, mut target } = self.head;
        let (width, stride) = (2 * S::LANES, operands.kv_stride);
        let padded = tokens.next_multiple_of(width);
        let (keys, rest) = self.scratch.split_at_mut(padded * size);
        let (values, scores) = rest.split_at_mut(size.next_multiple_of(width) * tokens);
        for (panel, first) in keys.chunks_exact_mut(width * size).zip((0..tokens).step_by(width)) {
            let rows = Rows::new(&k[first * stride..], stride, size);
            packed::pack_transposed(simd, rows, width.min(tokens - first), panel);
        }
        for (panel, first) in values.chunks_exact_mut(width * tokens).zip((0..size).step_by(width)) {
            let columns = first..size.min(first + width);
            packed::pack(simd, (0..tokens).map(|t| &v[t * stride..][columns.clone()]), panel);
        }

        let q = Rows::new(q, operands.q_stride, size);
        let scale = 1.0 / (size as f32).sqrt();
        for first in (0..queries).step_by(STRIP) {
            let rows = STRIP.min(queries - first);
            for (i, panel) in keys.chunks_exact(width * size).enumerate() {
                let product = Product { a: q.part(first, 0, size), rows, panel, next: Lines::NONE };
                multiply(simd, product, &mut scores[i * width..], padded, false, Stored);
            }
            let mut inverse = [0.0; STRIP];
            for (r, row) in scores.chunks_exact_mut(padded).take(rows).enumerate() {
                let seen = if causal { first + r + 1 } else { tokens };
                row[seen..].fill(f32::NEG_INFINITY);
                inverse[r] = 1.0 / exp_and_sum(simd, row, scale);
            }
            let weights = Rows::new(scores, padded, tokens);
            let mut sums = [0.0; STRIP * MAX_PANEL];
            for (i, panel) in values.chunks_exact(width * tokens).enumerate() {
                multiply(simd, Product { a: weights, rows, panel, next: Lines::NONE }, &mut sums, width, false, Stored);
                let columns = width.min(size - i * width);
                for (r, sum) in sums.chunks_exact_mut(width).take(rows).enumerate() {
                    target.scaled(simd, first + r, i * width, columns, sum, inverse[r]);
                }
            }
        }
    }
}

/// Replaces a row of products by `exp(scale (x - max))`, whose sum it returns; `scale` is positive.
#[inline(always)]
pub(super) fn exp_and_sum<S: Simd>(simd: S, row: &mut [f32], scale: f32) -> f32 {
    // Vectors that do not wait for each other.
    const AT_ONCE: usize = 4;
    let step = AT_ONCE * S::LANES;
    let mut most = [simd.splat(f32::NEG_INFINITY); AT_ONCE];
    for x in row.chunks(step) {
        for (most, x) in most.iter_mut().zip(x.chunks_exact(S::LANES)) {
            *most = simd.max(*most, simd.load(x));
        }
    }
    let [a, b, c, d] = most;
    let largest = simd.splat(simd.max_lanes(simd.max(simd.max(a, b), simd.max(c, d))));
    let scale = simd.splat(scale * std::f32::consts::LOG2_E);
    let mut sum = simd.splat(0.0);
    let mut whole = row.chunks_exact_mut(step);
    for x in &mut whole {
        let mut weights = most;
        for (weight, x) in weights.iter_mut().zip(x.chunks_exact(S::LANES)) {
            *weight = math::exp2(simd, simd.mul(scale, simd.sub(simd.load(x), largest)));
        }
        for (weight, x) in weights.into_iter().zip(x.chunks_exact_mut(S::LANES)) {
            sum = simd.add(sum, weight);
            simd.store(weight, x);
        }
    }
    for x in whole.into_remainder().chunks_exact_mut(S::LANES) {
        let weight = math::exp2(simd, simd.mul(scale, simd.sub(simd.load(x), largest)));
        sum = simd.add(sum, weight);
        simd.store(weight, x);
    }
    simd.sum_lanes(sum)
}
