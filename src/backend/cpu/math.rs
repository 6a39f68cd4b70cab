//! Elementary functions on vectors: each a short polynomial with its error stated.

use super::simd::Simd;
use crate::backend::Gelu;

/// `e^x` within 2 ulp for x in [-87, 88]; x is clamped to that range, so that minus infinity gives 1e-38 and not zero;
/// NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Where an operand is NaN it returns the second: NaN goes through.
    let x = s.max(s.splat(-87.0), s.min(s.splat(88.0), x));
    let shifted = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND + BIAS));
    let n = s.sub(shifted, s.splat(ROUND + BIAS));
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

/// Adding it rounds to an integer that then stands in the low mantissa bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;
/// The bias of an exponent.
const BIAS: f32 = 127.0;

/// `2^x` within 2 ulp for x in [-125, 127]: fewer steps than [`exp`], as what is left of x is exact. Below that it
/// gives 1e-38 and not zero, also for minus infinity; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(s: S, x: S::V) -> S::V {
    power(s, s.max(s.splat(-126.0), x), BIAS)
}

/// `2^(x + bias - 127)`, of which neither leaves the range of f32.
#[inline(always)]
fn power<S: Simd>(s: S, x: S::V, bias: f32) -> S::V {
    let shifted = s.add(x, s.splat(ROUND + bias));
    let r = s.sub(x, s.sub(shifted, s.splat(ROUND + bias)));
    // 2^r = 1 + r p(r) on |r| <= 1/2, a minimax fit with relative error 1.1e-7.
    let mut p = s.splat(1.330_056_7e-3);
    for c in [9.669_742e-3, 5.550_558_5e-2, 0.240_222_81, std::f32::consts::LN_2] {
        p = s.fma(p, r, s.splat(c));
    }
    s.mul(s.fma(p, r, s.splat(1.0)), s.exponent_bits(shifted))
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
    // Φ(v) = 2^(v p(v) - 1) on -6 <= v <= 0, where v p(v) is a minimax fit of the exponent with error 4.6e-8.
    // The lower tail keeps its relative accuracy; beyond -6 it stays at 1e-9.
    const P: [f32; 11] = [
        -2.081_464_1e-9,
        -8.049_584_5e-8,
        -1.378_349_1e-6,
        -1.362_995e-5,
        -8.335_923_5e-5,
        -2.852_834e-4,
        1.390_748_9e-5,
        6.986_451_3e-3,
        5.247_930_8e-2,
        -0.459_205_78,
        1.151_106,
    ];
    let v = s.max(s.min(x, s.sub(s.splat(0.0), x)), s.splat(-6.0));
    let mut p = s.splat(P[0]);
    for &c in &P[1..] {
        p = s.fma(p, v, s.splat(c));
    }
    let tail = power(s, s.mul(v, p), BIAS - 1.0);
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
    struct Exp2;
    impl VectorFn for Exp2 {
        #[inline(always)]
        fn call<S: Simd>(&self, s: S, x: S::V) -> S::V {
            exp2(s, x)
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

    #[test]
    fn exp2_is_within_two_ulp() {
        for range in [between(-125.0, 127.0), between(-1.5, 1.5)] {
            on_every_isa(Exp2, &range, |x, y| {
                let exact = (x as f64).exp2();
                (y as f64 - exact).abs() <= exact * 2.0 * f32::EPSILON as f64
            });
        }
        on_every_isa(Exp2, &[0.0; 16], |_, y| y == 1.0);
        on_every_isa(Exp2, &[f32::NEG_INFINITY; 16], |_, y| y > 0.0 && y < 2e-38);
        on_every_isa(Exp2, &[f32::NAN; 16], |_, y| y.is_nan());
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
