//! Methods that share encodings, on the device.

use inctrl::{Device, Engine, EngineOptions, Precision};

use crate::tiny::Model;
use crate::together_cases::check;
use crate::turn;

/// An embedding as wide as WinCLIP's squares have to be on a GPU; the last block serves the class token for one method and
/// all tokens for others.
const CONFIG: &str = r#"{"embed_dim": 64, "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1]}}"#;

#[test]
fn cuda_methods_that_share_an_encoding_have_the_bits_that_they_have_alone() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(CONFIG, 7);
    let mut options = EngineOptions::new(&model.path);
    (options.device, options.precision) = (Device::Cuda(0), Some(Precision::F16));
    check(&Engine::with(&options).unwrap(), 3, 1);
}
