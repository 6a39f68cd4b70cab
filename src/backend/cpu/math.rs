//! Elementary functions on vectors: each a short polynomial with its error stated.

use super::simd::Simd;
use crate::backend::Gelu;

/// `e^x` within 2 ulp for x in [-87, 88]; x is clamped to that range, so that minus infinity gives 1e-38 and not zero;
/// NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Where an operand is NaN it returns the second: NaN goes through.
    exp_below(s, s.min(s.splat(88.0), x))
}

/// [`exp`] for x up to 88.
#[inline(always)]
pub(crate) fn exp_below<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-87.0), x);
    // Adding 1.5 * 2^23 rounds to an integer that then stands in the low mantissa bits; 127 more is the exponent's bias.
    let magic = s.splat(12_582_912.0 + 127.0);
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), magic);
    let n = s.sub(shifted, magic);
    // ln 2 in two parts, the first short enough that n times it is exact.
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    // e^r = 1 + r + r² p(r) on |r| <= ln(2)/2, a minimax fit with relative error 7.5e-9.
    let mut p = s.splat(0.001_394_111_8);
    for c in [0.008_363_18, 0.041_666_374, 0.166_665_76, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let e = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    s.mul(e, s.exponent_bits(shifted))
}

/// The activation `kind`.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, kind: Gelu, x: S::V) -> S::V {
    match kind {
        Gelu::Exact => s.mul(x, normal_cdf(s, x)),
        Gelu::Quick => s.div(x, s.add(s.splat(1.0), exp(s, s.mul(x, s.splat(-1.702))))),
    }
}

/// `x σ(x)`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(s.splat(0.0), x))))
}

/// Φ(x), the normal distribution function, within 1.2e-7.
#[inline(always)]
fn normal_cdf<S: Simd>(s: S, x: S::V) -> S::V {
    // Φ(-u) = exp(-u p(u)) / 2 on 0 <= u <= 6, where u p(u) is a minimax fit of -ln erfc(u / √2) with error 4.6e-8.
    // The lower tail keeps its relative accuracy; beyond 6 it stays at 1e-9.
    const P: [f32; 11] = [
        -1.442_761e-9,
        5.579_547e-8,
        -9.553_988e-7,
        9.447_561e-6,
        -5.778_021_7e-5,
        1.977_433_9e-4,
        9.639_937e-6,
        -4.842_639e-3,
        3.637_588_4e-2,
        3.182_971_8e-1,
        7.978_859e-1,
    ];
    let negated = s.sub(s.splat(0.0), x);
    let u = s.min(s.max(x, negated), s.splat(6.0));
    let mut p = s.splat(P[0]);
    for &c in &P[1..] {
        p = s.fma(p, u, s.splat(c));
    }
    let tail = s.mul(s.splat(0.5), exp(s, s.sub(s.splat(0.0), s.mul(u, p))));
    s.where_negative(x, tail, s.sub(s.splat(1.0), tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::simd::{Isa, Kernel};

    struct Map<'a, F>(&'a [f32], &'a mut [f32], F);

    trait VectorFn {
        fn call<S: Simd>(&self, s: S, x: S::V) -> S::V;
    }

    impl<F: VectorFn> Kernel for Map<'_, F> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for (x, y) in self.0.chunks_exact(S::LANES).zip(self.1.chunks_exact_mut(S::LANES)) {
                s.store(self.2.call(s, s.load(x)), y);
            }
        }
    }

    #[derive(Clone, Copy)]
    struct Exp;
    impl VectorFn for Exp {
        #[inline(always)]
        fn call<S: Simd>(&self, s: S, x: S::V) -> S::V {
            exp(s, x)
        }
    }

    #[derive(Clone, Copy)]
    struct Cdf;
    impl VectorFn for Cdf {
        #[inline(always)]
        fn call<S: Simd>(&self, s: S, x: S::V) -> S::V {
            normal_cdf(s, x)
        }
    }

    /// Compares `f` with `check` at each of `x`, a multiple of 16 numbers.
    fn on_every_isa(f: impl VectorFn + Copy, x: &[f32], check: impl Fn(f32, f32) -> bool) {
        assert!(x.len().is_multiple_of(16));
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            isa.run(Map(x, &mut y, f));
            for (x, y) in x.iter().zip(&y) {
                assert!(check(*x, *y), "{}: f({x}) = {y}", isa.name());
            }
        }
    }

    /// 65536 numbers from `from` to `to`.
    fn between(from: f32, to: f32) -> Vec<f32> {
        let last = (1 << 16) - 1;
        (0..=last).map(|i| from + (to - from) * i as f32 / last as f32).collect()
    }

    #[test]
    fn exp_is_within_two_ulp() {
        on_every_isa(Exp, &between(-86.9, 87.9), |x, y| {
            let exact = (x as f64).exp();
            (y as f64 - exact).abs() <= exact * 2.0 * f32::EPSILON as f64
        });
        on_every_isa(Exp, &[f32::NEG_INFINITY; 16], |_, y| y > 0.0 && y < 2e-38);
        on_every_isa(Exp, &[f32::NAN; 16], |_, y| y.is_nan());
    }

    /// Φ by its series, `1/2 + φ(x) (x + x³/3 + x⁵/15 + …)`: positive terms only, exact enough in f64 for |x| <= 6.
    fn cdf(x: f64) -> f64 {
        let (mut term, mut sum, mut k) = (x.abs(), 0.0, 1.0);
        while term > 1e-18 {
            sum += term;
            k += 2.0;
            term *= x * x / k;
        }
        let upper = 0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if x < 0.0 { 1.0 - upper } else { upper }
    }

    #[test]
    fn normal_cdf_is_within_its_bound() {
        on_every_isa(Cdf, &between(-6.0, 6.0), |x, y| (y as f64 - cdf(x as f64)).abs() <= 1.2e-7);
        let far: Vec<f32> = between(0.8, 30.0).into_iter().map(|exponent| 10f32.powf(exponent)).collect();
        on_every_isa(Cdf, &far, |_, y| (y - 1.0).abs() <= 1.2e-7);
        let far: Vec<f32> = far.into_iter().map(|x| -x).collect();
        on_every_isa(Cdf, &far, |_, y| (0.0..=2e-9).contains(&y));
    }
}
