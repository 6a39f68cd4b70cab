//! The device under test, for the programs that share the emulator or a GPU.
#![allow(dead_code, reason = "each program uses its own part")]

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use inctrl::Precision;
use inctrl::backend::cuda::{Cuda, CudaOptions};

use crate::emulator;

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
        options.precision = Some(if half { Precision::F16 } else { Precision::F32 });
        Cuda::new(0, options).unwrap()
    }
}
