//! The cosines of candidates, by the same chain of multiply-adds as in the full product.

use super::screen::Candidate;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::tile::Rows;

/// Chains that run beside each other: a multiply-add takes four cycles.
const CHAINS: usize = 8;

/// The largest cosine of each query patch among its candidates.
pub(super) struct Judge<'a, C> {
    pub query: Rows<'a>,
    pub prompts: Rows<'a>,
    pub candidates: C,
    /// The result, one for each query patch of the block; minus infinity where it has no candidate.
    pub best: &'a mut [f32],
}

impl<C: Iterator<Item = Candidate>> Kernel for Judge<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.best.fill(f32::NEG_INFINITY);
        let mut group = [Candidate::default(); CHAINS];
        loop {
            let mut count = 0;
            for (slot, candidate) in group.iter_mut().zip(&mut self.candidates) {
                *slot = candidate;
                count += 1;
            }
            if count == 0 {
                return;
            }
            let cosines = chains(
                simd,
                group.map(|c| self.query.row(c.row as usize)),
                group.map(|c| self.prompts.row(c.prompt as usize)),
            );
            for (candidate, cosine) in group[..count].iter().zip(cosines) {
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
