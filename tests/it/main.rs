//! Integration tests: the engine from outside.

/// Stamps tests of operations for the device of this program, in each of its precisions.
macro_rules! on_every_device {
    ($($test:ident),+ $(,)?) => {
        $(
            #[allow(clippy::module_inception, reason = "an operation's main test has its name")]
            mod $test {
                #[test]
                fn cpu_f32() {
                    crate::on_the_cpu(inctrl::Precision::F32, |backends| super::$test(backends));
                }

                #[test]
                fn cpu_bf16() {
                    crate::on_the_cpu(inctrl::Precision::Bf16, |backends| super::$test(backends));
                }

                #[test]
                fn cpu_int8() {
                    crate::on_the_cpu(inctrl::Precision::Int8, |backends| super::$test(backends));
                }
            }
        )+
    };
}

mod anomaly_dino;
mod appending;
mod bank_files;
mod changed_weights;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod converted_scores;
mod dinov2;
#[path = "../common/dinov2.rs"]
mod dinov2_cases;
mod external;
mod ffi;
mod fuzz;
mod goldens;
mod good_images;
mod grids;
mod invariance;
#[path = "../common/larger.rs"]
mod larger;
mod memory_methods;
#[path = "../ops/mod.rs"]
mod ops;
mod outliers;
mod precision;
mod preprocessing;
mod resnet;
mod rois;
#[path = "../common/rois.rs"]
mod rois_cases;
mod rooms;
mod sameness;
mod tiles;
#[path = "../common/tiles.rs"]
mod tiles_cases;
mod together;
#[path = "../common/together.rs"]
mod together_cases;
mod verdicts;
mod views;
#[path = "../common/views.rs"]
mod views_cases;
mod winclip;

use common::{compare, tiny};
use inctrl::Precision;
use inctrl::backend::cpu::Cpu;

/// Multiplications of the largest case of an operation: all run on the CPU.
const MOST_WORK: usize = 1 << 40;

/// Runs a test of an operation with every instruction set of the machine that computes in `precision`.
fn on_the_cpu(precision: Precision, test: impl FnOnce(&mut [Cpu])) {
    let mut backends = Cpu::of_each_instruction_set(2, precision).unwrap();
    assert!(!backends.is_empty(), "{precision}");
    test(&mut backends);
}

#[test]
fn every_precision_of_the_cpu_is_stamped() {
    ops::missing_precisions(&[Precision::F32, Precision::Bf16, Precision::Int8], |precision| {
        // Plain Rust computes in each of them, if the machine's instructions do not.
        match Cpu::of_each_instruction_set(1, precision)?.is_empty() {
            true => Cpu::with_precision(1, Some(precision)).map(drop),
            false => Ok(()),
        }
    });
}
