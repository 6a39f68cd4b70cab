//! Equations 1 to 7 of the paper with the scales of the published code, written once for every number type: f32 on the
//! CPU, f64 in training and tests.
//!
//! Equations 1 and 7 are scaled as in the published code, because the published heads were trained that way: a residual
//! is `0.5 (1 - cosine)`, and the final score is divided by `1 + α`.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A floating-point number.
pub trait Real:
    Copy
    + PartialOrd
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The nearest number of this type.
    fn of(x: f64) -> Self;
    /// `e^self`
    fn exp(self) -> Self;
    /// The larger of the two; if one is NaN, the other.
    fn max(self, other: Self) -> Self;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn exp(self) -> Self {
        f32::exp(self)
    }
    fn max(self, other: Self) -> Self {
        f32::max(self, other)
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn max(self, other: Self) -> Self {
        f64::max(self, other)
    }
}

/// CLIP's logit scale in equation 6, at the published code's fixed value.
pub const LOGIT_SCALE: f64 = 100.0;

/// The learned parts: the adapter ψ and the two heads, for one image.
pub trait Heads<T: Real> {
    /// `ψ(class)` of equation 3 into `out`; both are `[E]`.
    fn adapt(&mut self, class: &[T], out: &mut [T]);
    /// The logit of η of equation 5 for an image residual `[E]`.
    fn image_logit(&mut self, residual: &[T]) -> T;
    /// The logit of φ of equation 7 for a holistic map `[N]`.
    fn holistic_logit(&mut self, map: &[T]) -> T;
}

/// The inputs of the heads for one image.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a, T> {
    /// M_x of equation 2, `[N]`.
    pub map: &'a [T],
    /// f_v(x), the class embedding without normalisation, `[E]`.
    pub class: &'a [T],
    /// I_p of equation 3, `[E]`.
    pub cls_mean: &'a [T],
    /// s_a of equation 6.
    pub text_prior: T,
    /// α: weight of the patch maximum in the final score.
    pub alpha: T,
}

/// The parts of one image's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts<T> {
    /// s(x), equation 7.
    pub score: T,
    /// s_h, the holistic head on M_x + s_i + s_a.
    pub holistic: T,
    /// s_p, the maximum of M_x.
    pub patch_max: T,
    /// s_i, equation 5.
    pub image_residual: T,
    /// s_a, equation 6.
    pub text_prior: T,
}

/// Equation 1 for one patch at one tap: half the cosine distance to the nearest prompt patch.
pub fn residual<T: Real>(cosine: T) -> T {
    T::of(0.5) * (T::of(1.0) - cosine)
}

/// s_a of equation 6, from the cosines between the class embedding and the two prototypes. A softmax over two values is
/// the sigmoid of their difference.
pub fn text_prior<T: Real>(anomaly: T, normal: T) -> T {
    sigmoid(T::of(LOGIT_SCALE) * anomaly - T::of(LOGIT_SCALE) * normal)
}

/// s_p: the largest value of a map; NaN is ignored.
pub fn largest<T: Real>(map: &[T]) -> T {
    map.iter().copied().fold(T::of(f64::NEG_INFINITY), Real::max)
}

/// Equation 7: `(s_h + α s_p) / (1 + α)`.
pub fn combine<T: Real>(holistic: T, patch_max: T, alpha: T) -> T {
    (holistic + alpha * patch_max) / (T::of(1.0) + alpha)
}

/// Equations 4, 5 and 7. `room` is scratch memory of `max(E, N)` elements for an image residual or a holistic map.
pub fn score<T: Real>(heads: &mut impl Heads<T>, given: Given<'_, T>, room: &mut [T]) -> Parts<T> {
    // F_x = I_p - ψ(f_v(x))
    let residual = &mut room[..given.class.len()];
    heads.adapt(given.class, residual);
    residual.iter_mut().zip(given.cls_mean).for_each(|(r, mean)| *r = *mean - *r);
    let image_residual = sigmoid(heads.image_logit(residual));

    let patch_max = largest(given.map);
    // M⁺ = M_x + s_i + s_a
    let map = &mut room[..given.map.len()];
    map.iter_mut().zip(given.map).for_each(|(h, m)| *h = *m + image_residual + given.text_prior);
    let holistic = sigmoid(heads.holistic_logit(map));
    let score = combine(holistic, patch_max, given.alpha);
    Parts { score, holistic, patch_max, image_residual, text_prior: given.text_prior }
}

/// `1 / (1 + e^-x)`
pub fn sigmoid<T: Real>(x: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-x).exp())
}
