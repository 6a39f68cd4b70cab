//! Tiles on the device.

use inctrl::{Device, Engine, EngineOptions, Precision};

use crate::tiles_cases::{CASES, check};
use crate::tiny::{MODELS, Model};
use crate::turn;

#[test]
fn cuda_tiles_score_as_the_regions_that_they_show() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    for precision in [Precision::F16, Precision::F32] {
        let mut options = EngineOptions::new(&model.path);
        options.device = Device::Cuda(0);
        options.precision = Some(precision);
        println!("{precision}");
        // A shared bank, and one for each position.
        check(&Engine::with(&options).unwrap(), &CASES[..2]);
    }
}
