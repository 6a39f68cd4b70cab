//! Regions of a frame against banks of their own on the device.

use inctrl::{Device, Engine, EngineOptions, Precision};

use crate::rois_cases::{check, check_many, check_masks, check_refused};
use crate::tiny::{MODELS, Model};
use crate::turn;

#[test]
fn cuda_regions_score_as_they_do_when_cut_out() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[1].1, 7);
    for precision in [Precision::F16, Precision::F32] {
        let mut options = EngineOptions::new(&model.path);
        options.device = Device::Cuda(0);
        options.precision = Some(precision);
        let engine = Engine::with(&options).unwrap();
        println!("{precision}");
        check(&engine);
        check_many(&engine);
        check_masks(&engine);
        check_refused(&engine);
    }
}
