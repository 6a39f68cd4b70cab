//! Every operation of a device against a loop in f64 that reads like its formula: one suite for all devices.
//!
//! A test is a function over the backends of one kind and precision. The program that includes this folder stamps it by
//! `on_every_device!`: `tests/it` for the CPU in f32, bf16 and int8, with every instruction set of the machine, `tests/cuda`
//! for a GPU in f32 and f16, with every schedule of the emulator. What is missing has a reason: a device without a
//! precision refuses it ([`missing_precisions`]), and a case that a GPU does not take is named by [`cases`].
//!
//! The formula is written once over [`Real`]: in f64 it is the reference, in f32 it shows the error of rounding, and an
//! operation may err twice as much ([`accurate`]), and by the roundings to the type in which its result is stored.
//! Inputs are numbers of the type in which a buffer's role is stored, so that they enter exactly ([`numbers`]). Buffers
//! are longer than the operation needs, inputs with NaN and outputs with a mark after the end ([`input`], [`output`],
//! [`finish`]).

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, Div, Mul, Sub};

use inctrl::Precision;
use inctrl::backend::{Backend, Role};
use inctrl::tensor::DType;

pub use crate::common::numbers::{Stored, random};

mod attention;
mod convolve;
mod embed;
mod enlarge;
mod foreground;
mod gelu;
mod inctrl_heads;
mod join_layers;
mod layer_norm;
mod levels;
mod linear;
mod max_pool;
mod mean_cells;
mod mean_of_largest;
mod nearest_distance;
mod nearest_euclidean;
mod patch_nn;
mod patchcore_reweight;
mod plain_patches;
mod pool_columns;
mod pool_neighbours;
mod pool_rows;
mod preprocess;
mod resample;
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

/// The type in which these backends store a role.
pub fn stored<B: Backend>(backends: &[B], role: Role) -> DType {
    backends.first().map_or(DType::F32, |backend| backend.precision().stores(role))
}

/// `x` as a buffer of this role holds it.
pub fn rounded<B: Backend>(backends: &[B], role: Role, x: Vec<f32>) -> Vec<f32> {
    Stored::new(&[x.len()], stored(backends, role), &x).values()
}

/// [`random`] numbers that a buffer of this role holds exactly.
pub fn numbers<B: Backend>(backends: &[B], role: Role, seed: u64, len: usize, scale: f32) -> Vec<f32> {
    rounded(backends, role, random(seed, len, scale))
}

/// The largest relative error of a rounding to the type in which a role's results are stored; 0 for f32, whose
/// roundings the budgets have, and on the CPU, whose buffers are f32.
pub fn coarseness<B: Backend>(backends: &[B], role: Role) -> f64 {
    if B::IN_HOST_MEMORY { 0.0 } else { unit(stored(backends, role)) }
}

/// The largest relative error of a rounding to a type that is narrower than f32.
pub fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 0.0,
        DType::F16 => 1.0 / 2048.0,
        DType::Bf16 => 1.0 / 256.0,
    }
}

/// The cases that devices of this kind run: all on the CPU, on a GPU those against which there is nothing. What is left
/// out is printed with its reason, and something must be left.
pub fn cases<B: Backend, C: Copy + Debug>(
    backends: &[B],
    all: &[C],
    against: impl Fn(&C) -> Option<&'static str>,
) -> Vec<C> {
    let runs = |case: &&C| match against(case).filter(|_| !B::IN_HOST_MEMORY) {
        Some(reason) => {
            println!("missing on {}: {case:?}: {reason}", backends[0].describe());
            false
        }
        None => true,
    };
    let left: Vec<C> = all.iter().filter(runs).copied().collect();
    assert!(!left.is_empty(), "no case is left");
    left
}

/// Why a GPU does not run a case whose rows are not multiples of `multiple`, or which does `work` multiplications.
pub fn unless(width: usize, multiple: usize, work: usize) -> Option<&'static str> {
    if !width.is_multiple_of(multiple) {
        return Some("kernels read rows of whole vectors");
    }
    (work > crate::MOST_WORK).then_some("too much work for an emulated GPU")
}

/// That a device refuses every precision but its own, and says which these are.
pub fn missing_precisions(own: &[Precision], open: impl Fn(Precision) -> inctrl::Result<()>) {
    for precision in Precision::ALL {
        match open(precision) {
            Ok(()) => assert!(own.contains(&precision), "{precision}: the suite does not stamp it"),
            Err(error) => {
                let text = error.to_string();
                assert!(!own.contains(&precision), "{text}");
                assert!(
                    own.iter().any(|own| text.contains(own.name())),
                    "{precision} is missing without a reason: {text}"
                );
            }
        }
    }
}

/// A buffer with `host` and NaN after it: an operation that reads on makes its result NaN.
pub fn input<B: Backend>(backend: &mut B, role: Role, host: &[f32]) -> B::Buffer {
    guarded(backend, role, host, 0)
}

/// A buffer of `host` alone: a checker of memory sees what reads on.
pub fn exactly<B: Backend>(backend: &mut B, role: Role, host: &[f32]) -> B::Buffer {
    let mut buffer = backend.buffer(role, host.len()).unwrap();
    backend.upload(host, &mut buffer).unwrap();
    buffer
}

/// A buffer of `len` marked elements and a marked guard.
pub fn output<B: Backend>(backend: &mut B, role: Role, len: usize) -> B::Buffer {
    guarded(backend, role, &[], len)
}

/// `host`, then `marked` marked elements, then a marked guard.
fn guarded<B: Backend>(backend: &mut B, role: Role, host: &[f32], marked: usize) -> B::Buffer {
    let mut all = host.to_vec();
    all.resize(host.len() + marked + GUARD, f32::from_bits(MARK));
    let mut buffer = backend.buffer(role, all.len()).unwrap();
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

/// Whether an element of [`output`] was left as it was, as far as f16 tells.
pub fn is_marked(x: f32) -> bool {
    x.to_bits() >> 13 == MARK >> 13
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
    let error = naive.iter().zip(exact).fold(0.0, |m: f64, (&n, e)| m.max((f64::from(n) - e).abs()));
    assert!(error.is_finite(), "a test must stay in the range of f32");
    2.0 * error + 2.0 * ULP * largest(exact)
}

/// The largest absolute value.
pub fn largest(exact: &[f64]) -> f64 {
    let largest = exact.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(largest.is_finite(), "a test must stay in the range of f32");
    largest
}

/// `max|found - exact|` within [`rounding`] and a rounding of relative error `coarseness`.
#[track_caller]
pub fn accurate(what: &str, found: &[f32], exact: &[f64], naive: &[f32], coarseness: f64) {
    let budget = rounding(naive, exact) + coarseness * largest(exact);
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
