//! The CUDA backend, whole: on a machine without a GPU its kernels, launches, recordings and products run on the processor,
//! through a stand-in for NVIDIA's libraries (`tests/emulator`); with `INCTRL_GPU=1` the same tests run on the first GPU.
//!
//! The reference is the CPU backend, which is held against PyTorch elsewhere. Operands of a GPU are halves: what a test
//! feeds in is representable in half precision, so that a tolerance counts only the roundings of the operation itself.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use inctrl::backend::cuda::{Cuda, CudaOptions};
use inctrl::backend::{Backend, Role};

#[cfg(feature = "cli")]
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod device_frames;
#[path = "../emulator/mod.rs"]
mod emulator;
mod faults;
#[cfg(feature = "cli")]
mod libraries;
mod ops;
mod scores;
#[path = "../emulator/selftest.rs"]
mod selftest;
#[cfg(feature = "cli")]
mod training;

#[cfg(feature = "cli")]
use common::program;
use common::{compare, tiny};

/// The device under test, to one test at a time: schedules and faults of the emulator are the process's.
pub struct Turn {
    _guard: MutexGuard<'static, ()>,
    emulated: bool,
}

/// Waits for the device. `None`, said aloud, where neither a GPU was asked for nor the emulator can be built;
/// `INCTRL_REQUIRE_GPU=1` makes that a failure.
pub fn turn() -> Option<Turn> {
    static LOADED: OnceLock<Result<bool, String>> = OnceLock::new();
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = LOADED.get_or_init(|| if gpu_asked_for() { Ok(false) } else { emulator::load().map(|()| true) });
    match loaded {
        Ok(emulated) => {
            if *emulated {
                // As at first, whatever a test that failed has left.
                emulator::configure(emulator::Emulation::default());
                emulator::fail("", 0, 0);
                emulator::set_memory(8 << 30);
            }
            Some(Turn { _guard: guard, emulated: *emulated })
        }
        Err(reason) => {
            assert!(std::env::var_os("INCTRL_REQUIRE_GPU").is_none(), "no device to test: {reason}");
            println!("SKIP: no CUDA device and no emulator: {reason}");
            None
        }
    }
}

fn gpu_asked_for() -> bool {
    std::env::var_os("INCTRL_GPU").is_some_and(|value| value != "0")
}

impl Turn {
    /// Runs `test` under every way in which the emulator can order what a GPU leaves open; once on a GPU.
    pub fn each_schedule(&self, mut test: impl FnMut(&str)) {
        if !self.emulated {
            return test("the GPU");
        }
        for emulation in emulator::Emulation::ALL {
            emulator::configure(emulation);
            test(&format!("{emulation:?}"));
        }
    }

    /// Whether the device is the emulator.
    pub fn is_emulated(&self) -> bool {
        self.emulated
    }

    /// A backend of its own on the device.
    pub fn cuda(&self, half: bool) -> Cuda {
        let mut options = CudaOptions::default();
        options.half = half;
        Cuda::new(0, options).unwrap()
    }
}

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
