//! Batches of views on the device.

use inctrl::{Device, Engine, EngineOptions, Precision};

use crate::tiny::{MODELS, Model};
use crate::turn;
use crate::views_cases::check;

#[test]
fn cuda_views_of_frames_with_banks_of_their_own_have_the_bits_of_their_parts() {
    let Some(turn) = turn() else { return };
    for (name, config) in &MODELS[..2] {
        let model = Model::new(config, 7);
        for precision in [Precision::F16, Precision::F32] {
            let mut options = EngineOptions::new(&model.path);
            options.device = Device::Cuda(0);
            options.precision = Some(precision);
            let engine = Engine::with(&options).unwrap();
            turn.each_schedule(|schedule| {
                println!("{name}, {precision}, {schedule}");
                check(&engine);
            });
        }
    }
}
