//! AnomalyDINO through the whole CUDA path, masked and not: grids in turn, recordings, banks that change, batches.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use inctrl::{BankSpec, Device, Engine, EngineOptions, ErrorKind, Frame, Precision, PromptBank, Score};

use crate::tiny::{frames, pictures};
use crate::{Turn, larger, turn};

/// DESIGN's bound on scores in half precision.
const HALF: f32 = 2e-3;
/// In f32 the two devices sum in another order: the CPU path's own bound.
const SINGLE: f32 = 1e-5;

const CONFIG: &str =
    r#"{"family": "dinov2", "image_size": 56, "patch_size": 14, "width": 128, "layers": 2, "registers": 4}"#;

struct Model {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        larger::write(&path, CONFIG, 3, 1.5);
        Model { _folder: folder, path }
    }

    fn engine(&self, device: Device, precision: Precision) -> Engine {
        let mut options = EngineOptions::new(&self.path);
        options.device = device;
        options.precision = Some(precision);
        options.threads = NonZeroUsize::new(2);
        Engine::with(&options).unwrap()
    }
}

fn bank(engine: &Engine, mask: &str, prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    let mut spec = BankSpec::default();
    spec.method = Some("anomaly-dino".to_owned());
    spec.options = ["size=84", "rotations=2", mask].map(str::to_owned).to_vec();
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    Arc::new(builder.finish().unwrap())
}

fn on_each_precision(test: impl Fn(&Turn, &str, &Engine, &Engine, &str, f32)) {
    let Some(turn) = turn() else { return };
    let model = Model::new();
    let cpu = model.engine(Device::Cpu, Precision::F32);
    for (precision, tolerance) in [(Precision::F16, HALF), (Precision::F32, SINGLE)] {
        let gpu = model.engine(Device::Cuda(0), precision);
        for mask in ["mask=off", "mask=on"] {
            test(&turn, &format!("{precision:?}, {mask}"), &gpu, &cpu, mask, tolerance);
        }
    }
}

fn bits(score: &Score) -> Vec<u32> {
    score.outputs().map(|(_, x)| x).chain(score.map.cells.iter().copied()).map(f32::to_bits).collect()
}

/// A cell whose component lies at the threshold may be on either side of it in half precision, with the cells around
/// it.
#[track_caller]
fn near(what: &str, found: &Score, expected: &Score, tolerance: f32) {
    let cells = || found.map.cells.iter().zip(&expected.map.cells);
    let turned = cells().filter(|(a, b)| (**a == 0.0) != (**b == 0.0)).count();
    let allowed = if tolerance == HALF { cells().count() / 8 } else { 0 };
    assert!(turned <= allowed, "{what}: {turned} cells are masked by one device only");
    for (at, (a, b)) in cells().enumerate().filter(|(_, (a, b))| (**a == 0.0) == (**b == 0.0)) {
        assert!((a - b).abs() <= tolerance, "{what}, cell {at}: {a} is not {b}");
    }
    for ((output, a), (_, b)) in found.outputs().zip(expected.outputs()) {
        assert!(turned > 0 || (a - b).abs() <= tolerance, "{what}, {}: {a} is not {b}", output.name);
    }
}

#[test]
fn cuda_anomaly_dino_is_the_cpu_s() {
    on_each_precision(|turn, what, gpu, cpu, mask, tolerance| {
        // Five shapes of pictures, so that grids take turns.
        let (prompts, queries) = (pictures(0..2), pictures(2..7));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        let on_cpu = bank(cpu, mask, &prompts);
        let mut scorer = cpu.scorer(Arc::clone(&on_cpu)).unwrap();
        let expected: Vec<Score> = queries.iter().map(|query| scorer.score(*query).unwrap().clone()).collect();
        assert!(expected.windows(2).any(|pair| pair[0].map.grid != pair[1].map.grid));
        let masked = expected.iter().flat_map(|score| &score.map.cells).filter(|x| **x == 0.0).count();
        assert_eq!(masked > 0, mask == "mask=on", "{what}: {masked} masked cells");
        turn.each_schedule(|schedule| {
            for bank in [Arc::clone(&on_cpu), bank(gpu, mask, &prompts)] {
                let mut scorer = gpu.scorer(bank).unwrap();
                // The first of a grid runs as it comes, later ones are a recording.
                let mut first: Vec<Option<Vec<u32>>> = vec![None; queries.len()];
                for turn in 0..3 {
                    for (i, (query, expected)) in queries.iter().zip(&expected).enumerate() {
                        let found = scorer.score(*query).unwrap();
                        near(&format!("{what}, query {i}, turn {turn}, {schedule}"), found, expected, tolerance);
                        let found = bits(found);
                        assert_eq!(*first[i].get_or_insert_with(|| found.clone()), found, "{what}, query {i}");
                    }
                }
            }
        });
    });
}

#[test]
fn cuda_anomaly_dino_batches_and_banks_change_no_bit() {
    on_each_precision(|_, what, gpu, _, mask, _| {
        // Pictures of one shape in a batch, and of others.
        let pictures = [3, 8, 13, 2, 18].map(crate::tiny::Picture::new);
        let frames = frames(&pictures);
        // Two banks of as many rows, one of more in the same class of rows, and one beyond it.
        let banks = [0..1, 1..2, 0..3, 0..5].map(|range| bank(gpu, mask, &frames[range]));
        let expected: Vec<Vec<Vec<u32>>> = banks
            .iter()
            .map(|bank| {
                let mut scorer = gpu.scorer(Arc::clone(bank)).unwrap();
                frames.iter().map(|frame| bits(scorer.score(*frame).unwrap())).collect()
            })
            .collect();
        assert!(expected[0] != expected[1] && expected[1] != expected[2]);
        let mut scorer = gpu.batch_scorer(Arc::clone(&banks[0]), NonZeroUsize::new(4).unwrap()).unwrap();
        for i in [0, 1, 2, 0, 3, 1, 3] {
            scorer.set_bank(Arc::clone(&banks[i])).unwrap();
            let found: Vec<Vec<u32>> = scorer.score_batch(&frames).unwrap().iter().map(bits).collect();
            assert_eq!(found, expected[i], "{what}, bank {i}");
        }
        let mut many = gpu.multi_bank_scorer(&banks).unwrap();
        for (frame, picture) in frames.iter().zip(0..) {
            for (bank, found) in many.score(*frame).unwrap().iter().enumerate() {
                assert_eq!(bits(found), expected[bank][picture], "{what}, many banks, bank {bank}, picture {picture}");
            }
        }
        // A bank with other options takes another scorer.
        let other = bank(gpu, if mask == "mask=on" { "mask=off" } else { "mask=on" }, &frames[..1]);
        let error = scorer.set_bank(other).unwrap_err();
        assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("mask="), "{error}");
    });
}
