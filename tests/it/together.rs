//! Methods that share encodings, on the CPU.

use inctrl::{Device, Engine, EngineOptions, Precision};

use crate::tiny::{MODELS, Model, on_every_model};
use crate::together_cases::check;

#[test]
fn methods_that_share_an_encoding_have_the_bits_that_they_have_alone() {
    on_every_model(|engine| check(engine, 3, 2));
}

#[test]
fn they_do_so_in_every_precision() {
    let (_, config) = MODELS[0];
    let model = Model::new(config, 7);
    for precision in [Precision::Bf16, Precision::Int8] {
        let mut options = EngineOptions::new(&model.path);
        (options.device, options.precision) = (Device::Cpu, Some(precision));
        // A machine may lack the instructions.
        if let Ok(engine) = Engine::with(&options) {
            check(&engine, 3, 1);
        }
    }
}
