//! Every operation of [`Backend`] against a loop that reads like its formula.
//!
//! A test is a function over backends; [`on_every_backend!`] stamps it for each device, the CPU with every instruction
//! set of the machine. The formula is written once over [`Real`]: in f64 it is the reference, in f32 it shows the error
//! of rounding, and an operation may err twice as much ([`accurate`]). Buffers are longer than the operation needs,
//! inputs with NaN and outputs with a mark after the end ([`input`], [`output`], [`finish`]).

use std::iter::Sum;
use std::ops::{Add, Div, Mul, Sub};

use inctrl::backend::{Backend, Role};

pub use crate::common::numbers::{Stored, random};

/// Stamps `fn test<B: Backend>(backends: &mut [B])` for every device.
macro_rules! on_every_backend {
    ($($test:ident => $cpu:ident),+ $(,)?) => {
        $(
            #[test]
            fn $cpu() {
                $test(&mut inctrl::backend::cpu::Cpu::of_each_instruction_set(2, inctrl::Precision::F32).unwrap());
            }
        )+
    };
}

mod attention;
mod embed;
mod enlarge;
mod foreground;
mod gelu;
mod heads;
mod join_layers;
mod layer_norm;
mod linear;
mod mean_of_largest;
mod nearest_distance;
mod patch_nn;
mod patchcore_reweight;
mod plain_patches;
mod pool_rows;
mod preprocess;
mod residual_mean;
mod spade_image;
mod subspace_distance;
mod swiglu;
mod unit_patches;
mod winclip;
mod window_tokens;

/// The numbers that a formula is written over.
pub trait Real:
    Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Sum
{
    /// The number, rounded where it must be.
    fn of(x: f64) -> Self;
    fn exp(self) -> Self;
    fn sqrt(self) -> Self;

    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn exp(self) -> f64 {
        self.exp()
    }
    fn sqrt(self) -> f64 {
        self.sqrt()
    }
}

impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn exp(self) -> f32 {
        self.exp()
    }
    fn sqrt(self) -> f32 {
        self.sqrt()
    }
}

/// Host numbers in the type of a formula.
pub fn real<T: Real>(x: &[f32]) -> Vec<T> {
    x.iter().map(|&x| T::of(x.into())).collect()
}

/// `Σ a b`, one product after the other.
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::of(0.0), |sum, (&a, &b)| sum + a * b)
}

/// The distance from 1 to the next f32: twice the largest relative error of one rounding.
pub const ULP: f64 = f32::EPSILON as f64;

/// Elements of a buffer beyond those that the operation needs.
const GUARD: usize = 67;
/// A NaN that no operation makes.
const MARK: u32 = 0x7fc5_eed5;

/// A buffer with `host` and NaN after it: an operation that reads on makes its result NaN.
pub fn input<B: Backend>(backend: &mut B, host: &[f32]) -> B::Buffer {
    guarded(backend, host, 0)
}

/// A buffer of `len` marked elements and a marked guard.
pub fn output<B: Backend>(backend: &mut B, len: usize) -> B::Buffer {
    guarded(backend, &[], len)
}

/// `host`, then `marked` marked elements, then a marked guard.
fn guarded<B: Backend>(backend: &mut B, host: &[f32], marked: usize) -> B::Buffer {
    let mut all = host.to_vec();
    all.resize(host.len() + marked + GUARD, f32::from_bits(MARK));
    let mut buffer = backend.buffer(Role::Stream, all.len()).unwrap();
    backend.upload(&all, &mut buffer).unwrap();
    buffer
}

/// The first `len` elements of a buffer from [`output`] or [`input`]; fails where the guard after them was written.
#[track_caller]
pub fn finish<B: Backend>(backend: &mut B, buffer: &B::Buffer, len: usize) -> Vec<f32> {
    let mut all = vec![0.0; len + GUARD];
    backend.download(buffer, &mut all).unwrap();
    for (i, x) in all[len..].iter().enumerate() {
        assert!(is_marked(*x), "{}: element {i} after the end was written: {x}", backend.describe());
    }
    all.truncate(len);
    all
}

/// Whether an element of [`output`] was left as it was.
pub fn is_marked(x: f32) -> bool {
    x.to_bits() == MARK
}

/// Fails unless `|found - exact| <= budget(i)` at every element `i`, and where `found` is NaN. Prints the worst
/// element.
#[track_caller]
pub fn within(what: &str, found: &[f32], exact: &[f64], budget: impl Fn(usize) -> f64) {
    assert_eq!(found.len(), exact.len(), "{what}: number of elements");
    let mut worst = (0.0, 0);
    for (i, (&f, &e)) in found.iter().zip(exact).enumerate() {
        let (diff, budget) = ((f64::from(f) - e).abs(), budget(i));
        assert!(diff <= budget, "{what}[{i}]: found {f:e}, expected {e:e}, difference {diff:e} > {budget:e}");
        if diff > worst.0 * budget {
            worst = (diff / budget, i);
        }
    }
    let (share, i) = worst;
    if !found.is_empty() {
        println!(
            "{what}: {:.0} % of the budget at [{i}]: found {:e}, expected {:e}",
            100.0 * share,
            found[i],
            exact[i]
        );
    }
}

/// Twice the error of `naive`, the same formula in f32, and two units in the last place of the largest element.
pub fn rounding(naive: &[f32], exact: &[f64]) -> f64 {
    let largest = exact.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let error = naive.iter().zip(exact).fold(0.0, |m: f64, (&n, e)| m.max((f64::from(n) - e).abs()));
    assert!(error.is_finite() && largest.is_finite(), "a test must stay in the range of f32");
    2.0 * error + 2.0 * ULP * largest
}

/// `max|found - exact|` within [`rounding`].
#[track_caller]
pub fn accurate(what: &str, found: &[f32], exact: &[f64], naive: &[f32]) {
    let budget = rounding(naive, exact);
    within(what, found, exact, |_| budget);
}

/// Fails unless all bits are the same.
#[track_caller]
pub fn same_bits(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}: number of elements");
    if let Some(i) = (0..a.len()).find(|&i| a[i].to_bits() != b[i].to_bits()) {
        panic!("{what}[{i}]: {:e} and {:e} differ", a[i], b[i]);
    }
}
