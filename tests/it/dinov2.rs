//! DINOv2 on the processor against PyTorch in f64: with and without registers, with SwiGLU, on grids that are not square or not
//! the stored one, and of 1,025 and 2,305 tokens.

use inctrl::backend::cpu::Cpu;

use crate::common::dinov2::{check, check_stream};

/// The bound of the CPU path: per tensor `max|a - b| <= 2e-5 max|b|`.
const TENSOR: f32 = 2e-5;

#[test]
fn dinov2_is_the_official_model() {
    for name in ["plain", "wide", "registers", "swiglu", "gated"] {
        let mut cpu = Cpu::new(2).unwrap();
        check_stream(&mut cpu, name, TENSOR);
        check(&mut cpu, name, TENSOR);
    }
}

#[test]
fn dinov2_of_many_tokens() {
    for name in ["large", "larger"] {
        let mut cpu = Cpu::new(2).unwrap();
        check_stream(&mut cpu, name, TENSOR);
        check(&mut cpu, name, TENSOR);
    }
}
