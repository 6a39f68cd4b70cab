//! WinCLIP through the whole CUDA path: scores are the CPU's, bits depend on the image alone, and a recording meets other banks.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::{BankSpec, Device, Engine, EngineOptions, Fit, Frame, Precision, PromptBank, Score};

use crate::tiny::{Model, Picture, frames, pictures};
use crate::turn;

/// The GPU's embeddings have a multiple of 64 numbers.
const MODEL: &str = r#"{"embed_dim": 64,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 128, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1]}}"#;

fn engine(model: &Model, precision: Precision) -> Engine {
    let mut options = EngineOptions::new(&model.path);
    (options.device, options.precision) = (Device::Cuda(0), Some(precision));
    options.threads = NonZeroUsize::new(2);
    Engine::with(&options).unwrap()
}

fn bank(engine: &Engine, fit: Fit, prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    let mut spec = BankSpec::default();
    spec.method = Some(if prompts.is_empty() { "winclip-zero" } else { "winclip" }.to_owned());
    (spec.class, spec.fit) = (Some("metal nut".to_owned()), Some(fit));
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
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(&expected).fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs()));
    println!("{what}: {worst:.1e} of {tolerance:.0e}");
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what} [{i}]: {a} is not {b}");
    }
}

/// How far a score may move where operands and weights are halves.
///
/// A rounding changes a number by at most `e = 2^-11` of it, and an operand of many such numbers by `e / sqrt(3)` of its
/// length, each in a direction of its own. An embedding is behind 24 of them: operand and weight of the patch rows, of five
/// products in each of the two blocks, and of the projection. Three deviations of their sum turn it by `sqrt(3 * 24) e`. A text
/// score is the logistic function, whose slope is at most 1/4, of 100 times the difference of its cosines to two texts, which turns
/// into at most `|t1 - t0|` times that. A cell's distance, half of one less a cosine, moves less.
fn of_halves(bank: &PromptBank) -> f32 {
    let (texts, _) = bank.tensor("text_prototypes").unwrap();
    let (normal, anomalous) = texts.split_at(texts.len() / 2);
    let apart = normal.iter().zip(anomalous).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    let turned = (3.0f32 * 24.0).sqrt() / 2048.0;
    (25.0 * apart * turned).max(turned)
}

#[test]
fn cuda_winclip_scores_as_the_cpu_does() {
    let Some(turn) = turn() else { return };
    let (prompts, queries) = (pictures(0..3), pictures(3..6));
    let (prompts, queries) = (frames(&prompts), frames(&queries));
    let model = Model::new(MODEL, 7);
    let cpu = model.engine(2);
    // Pictures of one grid, and of their own.
    for (fit, shots) in [(Fit::Crop, 0), (Fit::Crop, 3), (Fit::Trim, 0), (Fit::Trim, 2)] {
        let on_cpu = bank(&cpu, fit, &prompts[..shots]);
        let other = bank(&cpu, fit, &prompts[..shots.min(1)]);
        let of = |bank: &Arc<PromptBank>| -> Vec<Score> {
            let mut scorer = cpu.scorer(Arc::clone(bank)).unwrap();
            queries.iter().map(|query| scorer.score(*query).unwrap().clone()).collect()
        };
        let (expected, expected_of_other) = (of(&on_cpu), of(&other));
        for (precision, tolerance) in [(Precision::F16, of_halves(&on_cpu)), (Precision::F32, 3e-5)] {
            let gpu = engine(&model, precision);
            let what = format!("{fit}, {shots} prompts, {precision:?}");
            turn.each_schedule(|schedule| {
                let what = format!("{what}, {schedule}");
                let mut scorer = gpu.scorer(Arc::clone(&on_cpu)).unwrap();
                let first: Vec<Score> = queries.iter().map(|query| scorer.score(*query).unwrap().clone()).collect();
                first.iter().zip(&expected).for_each(|(found, expected)| near(&what, found, expected, tolerance));
                // Another bank, of another size, for the same recordings; and the first again.
                for (bank, expected) in [(&other, &expected_of_other), (&on_cpu, &expected)] {
                    scorer.set_bank(Arc::clone(bank)).unwrap();
                    for (query, expected) in queries.iter().zip(expected) {
                        near(&format!("{what}, exchanged"), scorer.score(*query).unwrap(), expected, tolerance);
                    }
                }
                let mut several = gpu.multi_bank_scorer(&[Arc::clone(&other), Arc::clone(&on_cpu)]).unwrap();
                assert_eq!(
                    numbers(&several.score(queries[0]).unwrap()[1]),
                    numbers(&first[0]),
                    "{what}: several banks"
                );
            });
            // A bank that the GPU built.
            let own = bank(&gpu, fit, &prompts[..shots]);
            near(&what, gpu.scorer(own).unwrap().score(queries[1]).unwrap(), &expected[1], tolerance);
        }
    }
}

/// Batches so large that windows are encoded in several parts, whose sizes differ from those of a single image.
#[test]
fn cuda_winclip_bits_do_not_depend_on_the_batch() {
    let Some(turn) = turn() else { return };
    let pictures: Vec<Picture> = (0..24).map(|seed| Picture::new(5 * seed)).collect();
    let frames = frames(&pictures);
    let model = Model::new(MODEL, 7);
    let gpu = engine(&model, Precision::F16);
    turn.each_schedule(|schedule| {
        for shots in [0, 2] {
            let bank = bank(&gpu, Fit::Crop, &frames[..shots]);
            let mut alone = gpu.scorer(Arc::clone(&bank)).unwrap();
            let mut together = gpu.batch_scorer(bank, NonZeroUsize::new(24).unwrap()).unwrap();
            let found = together.score_batch(&frames).unwrap();
            for i in [0, 11, 22, 23] {
                let what = format!("{schedule}, {shots} prompts, picture {i}");
                assert_eq!(numbers(&found[i]), numbers(alone.score(frames[i]).unwrap()), "{what}");
            }
        }
    });
}
