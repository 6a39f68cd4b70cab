//! Trainings that go on.

use std::num::NonZeroUsize;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{Device, EngineOptions};
use inctrl_lab::datasets::Dataset;
use inctrl_lab::training::{self, Base, Options, Paths};

use crate::common::folder::Folder;
use crate::common::root;

#[test]
fn a_longer_training_goes_on_from_a_shorter_ones_state() {
    let folder = Folder::empty();
    let config = std::fs::read_to_string(root().join("tests/fixtures/model/quick_gelu.json")).unwrap();
    random::write(folder.path("w.safetensors"), &Arch::from_json(&config).unwrap(), 1, DType::F32).unwrap();
    folder.training_set();
    let mut model = EngineOptions::new(folder.path("w.safetensors"));
    model.device = Device::Cpu;
    model.threads = NonZeroUsize::new(1);
    let base = Base::open(&model).unwrap();
    let set = Dataset::open(folder.path("set"), None, 0).unwrap();
    let options = |epochs| Options { epochs, steps: 3, batch: 4, shots: 2, ..Options::default() };
    let paths = |output: &str| Paths { output: folder.path(output), merged: None, cache: folder.path("cache") };
    let whole = training::train(&base, &set, &options(4), &paths("whole"), |_| ()).unwrap();
    // The state is there until the caller has all results.
    training::train(&base, &set, &options(3), &paths("parts"), |_| ()).unwrap();
    let rest = training::train(&base, &set, &options(4), &paths("parts"), |_| ()).unwrap();
    assert_eq!((rest.resumed, rest.epochs), (3, whole.epochs));
    assert!(folder.read("whole") == folder.read("parts"));
    training::finish(&folder.path("parts")).unwrap();
    training::finish(&folder.path("parts")).unwrap();
    assert!(!folder.path("parts.state").exists());
}
