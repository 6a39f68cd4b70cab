//! Sums over a slice, in an order that depends on its length only.

use super::simd::Simd;

/// `Σ x`.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut lanes = simd.splat(0.0);
    let chunks = x.chunks_exact(S::LANES);
    let tail: f32 = chunks.remainder().iter().sum();
    for x in chunks {
        lanes = simd.add(lanes, simd.load(x));
    }
    simd.sum_lanes(lanes) + tail
}

/// `Σ (x - centre)²`.
#[inline(always)]
pub(super) fn squares<S: Simd>(simd: S, x: &[f32], centre: f32) -> f32 {
    let mut lanes = simd.splat(0.0);
    let chunks = x.chunks_exact(S::LANES);
    let tail: f32 = chunks.remainder().iter().map(|x| (x - centre) * (x - centre)).sum();
    for x in chunks {
        let d = simd.sub(simd.load(x), simd.splat(centre));
        lanes = simd.fma(d, d, lanes);
    }
    simd.sum_lanes(lanes) + tail
}

/// `Σ a b`.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = simd.splat(0.0);
    let (a, b) = (a.chunks_exact(S::LANES), b.chunks_exact(S::LANES));
    let tail: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        lanes = simd.fma(simd.load(a), simd.load(b), lanes);
    }
    simd.sum_lanes(lanes) + tail
}
