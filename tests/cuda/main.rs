//! The whole CUDA backend. On a machine without a GPU, its kernels, launches, graphs and matrix products run on the
//! CPU, through an emulator of NVIDIA's libraries (`tests/emulator`). With `INCTRL_GPU=1` the same tests run on the
//! first GPU.
//!
//! The reference is the CPU backend, which other tests compare with PyTorch. A GPU's operands are in half precision:
//! the inputs of a test are exact in it, so that a tolerance covers only the roundings of the operation itself.

use inctrl::backend::{Backend, Role};

mod anomaly_dino;
#[path = "../common/mod.rs"]
mod common;
mod device_frames;
mod dinov2;
#[path = "../common/dinov2.rs"]
mod dinov2_cases;
#[path = "../emulator/mod.rs"]
mod emulator;
mod faults;
#[path = "../common/foreground.rs"]
mod foreground_cases;
#[path = "../common/larger.rs"]
mod larger;
mod methods;
mod ops;
mod scores;
#[path = "../emulator/selftest.rs"]
mod selftest;
mod turn;

use common::{compare, tiny};
use turn::{Turn, turn};

/// A buffer that holds exactly `host`, rounded as its role is stored.
pub fn filled<B: Backend>(backend: &mut B, role: Role, host: &[f32]) -> B::Buffer {
    let mut buffer = backend.buffer(role, host.len()).unwrap();
    backend.upload(host, &mut buffer).unwrap();
    buffer
}

/// The first `len` elements of a buffer.
pub fn read<B: Backend>(backend: &mut B, buffer: &B::Buffer, len: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    backend.download(buffer, &mut out).unwrap();
    out
}

/// `random` numbers that half precision represents.
pub fn halves(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    common::numbers::random(seed, len, scale).into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect()
}

/// The tolerance of an operation whose result passes through `roundings` to halves, relative to the largest element.
///
/// The rest is f32 rounding: sums of at most a few thousand products in another order than the reference's.
pub fn tolerance(half: bool, roundings: f32) -> f32 {
    const HALF_ULP: f32 = 1.0 / 2048.0;
    1e-5 + if half { roundings * HALF_ULP } else { 0.0 }
}
