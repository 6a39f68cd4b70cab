//! The cosines of candidates, by the same chain of multiply-adds as in the full product.

use crate::backend::cpu::reduce;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::tile::Rows;

/// Chains that run beside each other: a multiply-add takes four cycles.
const CHAINS: usize = 8;

/// A bank row that may be the nearest of a query patch.
#[derive(Clone, Copy, Default)]
pub(in crate::backend::cpu) struct Candidate {
    /// Of the part's block of query patches.
    pub row: u32,
    pub bank_row: u32,
    /// Within [`chain_error`](super::quantised::chain_error) of the exact one.
    pub cosine: f32,
}

/// Vectors of a sum that do not wait for each other.
const SUMS: usize = 4;

/// A product of two vectors of a length, in the order that is quickest.
pub(super) struct Dot<'a>(pub &'a [f32], pub &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let step = SUMS * S::LANES;
        let (a, b) = (self.0.chunks_exact(step), self.1.chunks_exact(step));
        let rest = reduce::dot(simd, a.remainder(), b.remainder());
        let mut sums = [simd.zero(); SUMS];
        for (a, b) in a.zip(b) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = simd.fma(simd.load(&a[i * S::LANES..]), simd.load(&b[i * S::LANES..]), *sum);
            }
        }
        let [a, b, c, d] = sums;
        let lanes = simd.lanes(simd.add(simd.add(a, b), simd.add(c, d)));
        // Four chains of four, as a chain waits for itself.
        let mut quarters = [0.0; 4];
        for (i, sum) in quarters.iter_mut().enumerate() {
            *sum = (lanes[i] + lanes[4 + i]) + (lanes[8 + i] + lanes[12 + i]);
        }
        (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]) + rest
    }
}

/// Raises the largest cosine of each query patch to the largest among its candidates.
pub(super) struct Rescore<'a> {
    pub query: Rows<'a>,
    pub bank_rows: Rows<'a>,
    pub candidates: &'a [Candidate],
    /// One for each query patch of the block.
    pub best: &'a mut [f32],
}

impl Kernel for Rescore<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for candidates in self.candidates.chunks(CHAINS) {
            // The first once more where there are fewer.
            let candidate = |i: usize| candidates.get(i).unwrap_or(&candidates[0]);
            let cosines = chains(
                simd,
                std::array::from_fn(|i| self.query.row(candidate(i).row as usize)),
                std::array::from_fn(|i| self.bank_rows.row(candidate(i).bank_row as usize)),
            );
            for (candidate, cosine) in candidates.iter().zip(cosines) {
                let best = &mut self.best[candidate.row as usize];
                *best = best.max(cosine);
            }
        }
    }
}

/// `a[i] · b[i]`, each in the order of its elements.
#[inline(always)]
fn chains<S: Simd>(simd: S, a: [&[f32]; CHAINS], b: [&[f32]; CHAINS]) -> [f32; CHAINS] {
    let depth = a[0].len();
    let (a, b) = (a.map(|a| &a[..depth]), b.map(|b| &b[..depth]));
    let mut sums = [simd.zero(); CHAINS];
    for p in 0..depth {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(&b)) {
            *sum = simd.fma(simd.splat(a[p]), simd.splat(b[p]), *sum);
        }
    }
    sums.map(|sum| simd.lanes(sum)[0])
}
