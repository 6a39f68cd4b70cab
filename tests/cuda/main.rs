//! The whole CUDA backend. On a machine without a GPU, its kernels, launches, graphs and matrix products run on the
//! CPU, through an emulator of NVIDIA's libraries (`tests/emulator`). With `INCTRL_GPU=1` the same tests run on the
//! first GPU.
//!
//! Operations are compared with their formulas (`tests/ops`), whole scores with the CPU's, which other tests compare with
//! PyTorch's.

/// Stamps tests of operations for the device of this program, in each of its precisions.
macro_rules! on_every_device {
    ($($test:ident),+ $(,)?) => {
        $(
            #[allow(clippy::module_inception, reason = "an operation's main test has its name")]
            mod $test {
                #[test]
                fn cuda_f32() {
                    crate::on_the_gpu(inctrl::Precision::F32, |backends| super::$test(backends));
                }

                #[test]
                fn cuda_f16() {
                    crate::on_the_gpu(inctrl::Precision::F16, |backends| super::$test(backends));
                }
            }
        )+
    };
}

use inctrl::Precision;
use inctrl::backend::cuda::{Cuda, CudaOptions};
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
#[path = "../common/larger.rs"]
mod larger;
mod methods;
#[path = "../ops/mod.rs"]
mod ops;
mod queues;
mod rois;
#[path = "../common/rois.rs"]
mod rois_cases;
mod scores;
#[path = "../emulator/selftest.rs"]
mod selftest;
mod tiles;
#[path = "../common/tiles.rs"]
mod tiles_cases;
mod together;
#[path = "../common/together.rs"]
mod together_cases;
mod turn;
mod views;
#[path = "../common/views.rs"]
mod views_cases;
mod winclip;

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

/// Multiplications of the largest case of an operation: as many as the emulator does in a blink.
const MOST_WORK: usize = 2_000_000;

/// Runs a test of an operation under every schedule of the emulator, or on the GPU.
fn on_the_gpu(precision: Precision, mut test: impl FnMut(&mut [Cuda])) {
    let Some(turn) = turn() else { return };
    turn.each_schedule(|schedule| {
        println!("{schedule}");
        test(&mut [turn.cuda(precision == Precision::F16)]);
    });
}

#[test]
fn every_precision_of_the_gpu_is_stamped() {
    let Some(_turn) = turn() else { return };
    ops::missing_precisions(&[Precision::F32, Precision::F16], |precision| {
        let mut options = CudaOptions::default();
        options.precision = Some(precision);
        Cuda::new(0, options).map(drop)
    });
}
