//! Features, comparisons and text priors of a training on the GPU.

use std::num::NonZeroUsize;

use inctrl::{Device, EngineOptions, Precision};
use inctrl_lab::datasets::Dataset;
use inctrl_lab::training::{self, Base, Options, Paths};

use super::turn;
use crate::folder::Folder;
use crate::tiny::{MODELS, Model};

#[test]
fn the_first_loss_on_a_gpu_is_the_cpu_s() {
    let Some(_turn) = turn() else { return };
    let bench = Folder::empty();
    for i in 0..3 {
        bench.picture(&format!("set/nut/train/good/{i}.png"), 60, 48, i);
        bench.picture(&format!("set/nut/test/bent/{i}.png"), 48, 60, 10 + i);
    }
    let set = Dataset::open(bench.path("set"), None, 0).unwrap();
    let model = Model::new(MODELS[0].1, 7);
    let options = Options { epochs: 1, steps: 1, batch: 6, shots: 2, ..Options::default() };
    let loss = |device, precision, cache: &str| {
        let mut engine = EngineOptions::new(&model.path);
        engine.device = device;
        engine.precision = Some(precision);
        engine.threads = NonZeroUsize::new(2);
        let output = bench.path(format!("{cache}-{precision:?}.heads"));
        let paths = Paths { output, merged: None, cache: bench.path(cache) };
        let trained = training::train(&Base::open(&engine).unwrap(), &set, &options, &paths, |_| ()).unwrap();
        trained.epochs[0].loss
    };
    let expected = loss(Device::Cpu, Precision::F32, "cpu");
    // Ten times the bounds on scores: normalisation over six samples magnifies what the devices differ by.
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::F16, 2e-2)] {
        let found = loss(Device::Cuda(0), precision, "gpu");
        assert!((found - expected).abs() <= tolerance, "{precision:?}: {found}, the processor has {expected}");
    }
    // A cache for each arithmetic.
    assert_eq!((bench.names("cpu").len(), bench.names("gpu").len()), (1, 2));
}
