//! The methods beside InCTRL through the whole CUDA path: scores are the CPU's, bits depend on the image alone, and a
//! recording meets banks of other sizes.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::{BankSpec, Device, Engine, EngineOptions, Frame, Precision, PromptBank, Score};

use crate::tiny::{MODELS, Model, frames, pictures};
use crate::turn;

const METHODS: [(&str, &[&str]); 5] = [
    ("patchcore", &["coreset=0.3"]),
    ("patchcore", &["taps=1,2", "coreset=0.3", "reweight=on"]),
    ("subspace", &["taps=1,2", "rotations=1", "variance=0.9"]),
    ("padim", &["taps=1,2", "dims=50"]),
    ("spade", &["taps=1,2"]),
];

/// Widths that are a multiple of four, and of nothing.
const RESNETS: [&str; 2] = [
    r#"{"family": "resnet", "image_size": 32, "blocks": [1, 2, 1, 1], "stem": 8, "widths": [8, 12, 16, 20]}"#,
    r#"{"family": "resnet", "image_size": 32, "blocks": [2, 1, 1, 1], "bottleneck": true, "stem": 5,
        "inner": [3, 4, 5, 6], "widths": [9, 10, 12, 7]}"#,
];

const ON_RESNETS: [(&str, &[&str]); 4] = [
    ("patchcore", &["level-dims=40", "dims=37", "coreset=0.3", "reweight=on"]),
    ("patchcore", &["taps=1,3", "level-dims=20", "dims=24", "coreset=0.3"]),
    ("padim", &["dims=20"]),
    ("spade", &[]),
];

fn engine(model: &Model, precision: Precision) -> Engine {
    let mut options = EngineOptions::new(&model.path);
    options.device = Device::Cuda(0);
    options.precision = Some(precision);
    options.threads = NonZeroUsize::new(2);
    Engine::with(&options).unwrap()
}

fn bank(engine: &Engine, method: &str, options: &[&str], prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    let mut spec = BankSpec::default();
    spec.method = Some(method.to_owned());
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    Arc::new(builder.finish().unwrap())
}

fn numbers(score: &Score) -> Vec<f32> {
    score.outputs().map(|(_, x)| x).chain(score.map.cells.iter().copied()).collect()
}

#[track_caller]
fn near(what: &str, found: &Score, expected: &Score, tolerance: f32) {
    let (found, expected) = (numbers(found), numbers(expected));
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let mut worst = 0.0f32;
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what} [{i}]: {a} is not {b}");
        worst = worst.max((a - b).abs() / largest);
    }
    println!("{what}: {worst:.1e} of the largest");
}

/// Single frames, exchanged banks, a batch and many banks against the CPU's scores, in every precision and schedule.
fn score_as_the_cpu_does(name: &str, config: &str, methods: &[(&str, &[&str])]) {
    let Some(turn) = turn() else { return };
    let (prompts, queries) = (pictures(0..3), pictures(3..7));
    let (prompts, queries) = (frames(&prompts), frames(&queries));
    let model = Model::new(config, 7);
    let cpu = model.engine(2);
    for (method, options) in methods {
        let on_cpu = bank(&cpu, method, options, &prompts);
        let fewer = bank(&cpu, method, options, &prompts[..2]);
        let of = |bank: &Arc<PromptBank>| -> Vec<Score> {
            let mut scorer = cpu.scorer(Arc::clone(bank)).unwrap();
            queries.iter().map(|query| scorer.score(*query).unwrap().clone()).collect()
        };
        let (expected, expected_of_fewer) = (of(&on_cpu), of(&fewer));
        // Halves of features; squared residuals err twice as much as distances do.
        for (precision, tolerance) in [(Precision::F16, 1e-2), (Precision::F32, 2e-5)] {
            let gpu = engine(&model, precision);
            let what = format!("{name}, {method} {options:?}, {precision:?}");
            turn.each_schedule(|schedule| {
                let what = format!("{what}, {schedule}");
                let mut scorer = gpu.scorer(Arc::clone(&on_cpu)).unwrap();
                let first: Vec<Score> = queries.iter().map(|query| scorer.score(*query).unwrap().clone()).collect();
                for (found, expected) in first.iter().zip(&expected) {
                    near(&what, found, expected, tolerance);
                }
                // Another bank, of another size, for the same recordings; and the first again.
                for (bank, expected) in [(&fewer, &expected_of_fewer), (&on_cpu, &expected)] {
                    scorer.set_bank(Arc::clone(bank)).unwrap();
                    for (query, expected) in queries.iter().zip(expected) {
                        near(&format!("{what}, exchanged"), scorer.score(*query).unwrap(), expected, tolerance);
                    }
                }
                // A batch, and many banks.
                let mut together = gpu.batch_scorer(Arc::clone(&on_cpu), NonZeroUsize::new(4).unwrap()).unwrap();
                for (found, alone) in together.score_batch(&queries).unwrap().iter().zip(&first) {
                    assert_eq!(numbers(found), numbers(alone), "{what}: in a batch");
                }
                let mut many = gpu.multi_bank_scorer(&[Arc::clone(&fewer), Arc::clone(&on_cpu)]).unwrap();
                assert_eq!(numbers(&many.score(queries[0]).unwrap()[1]), numbers(&first[0]), "{what}: many banks");
            });
            // A bank that the GPU built.
            let own = bank(&gpu, method, options, &prompts);
            let found = gpu.scorer(own).unwrap().score(queries[1]).unwrap().clone();
            // Another row may be chosen where features differ in their last bits.
            if precision == Precision::F32 && *method != "patchcore" {
                near(&format!("{what}, its own bank"), &found, &expected[1], 1e-3);
            } else {
                assert!(numbers(&found).iter().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn cuda_methods_score_as_the_cpu_does() {
    for (name, config) in &MODELS[..2] {
        score_as_the_cpu_does(name, config, &METHODS);
    }
}

#[test]
fn cuda_resnets_score_as_the_cpu_does() {
    let [plain, bottleneck] = RESNETS;
    score_as_the_cpu_does("plain", plain, &ON_RESNETS);
    score_as_the_cpu_does("bottleneck", bottleneck, &ON_RESNETS[..1]);
}
