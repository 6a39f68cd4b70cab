//! Scores through the whole CUDA path: upload, preprocessing, encoder, nearest neighbour, heads, recordings, banks.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::{Device, Engine, EngineOptions, Fit, Precision, PromptBank, Score};

use crate::tiny::{MODELS, Model, Picture, alone, bank, five, frames, pictures, same, score};
use crate::{Turn, turn};

/// DESIGN's bound on scores in half precision.
const HALF: f32 = 2e-3;
/// In f32 the two devices sum in another order: the CPU path's own bound.
const SINGLE: f32 = 1e-5;

/// The models that a GPU runs: the third has heads of another size.
fn models() -> impl Iterator<Item = (&'static str, Model)> {
    MODELS[..2].iter().map(|(name, config)| (*name, Model::new(config, 7)))
}

fn engine(model: &Model, precision: Precision) -> Engine {
    let mut options = EngineOptions::new(&model.path);
    options.device = Device::Cuda(0);
    options.precision = Some(precision);
    options.threads = NonZeroUsize::new(2);
    Engine::with(&options).unwrap()
}

#[track_caller]
fn near(what: &str, found: &Score, expected: &Score, tolerance: f32) {
    let parts = five;
    for (found, expected) in
        parts(found).iter().zip(parts(expected)).chain(found.map.cells.iter().zip(expected.map.cells.clone()))
    {
        let diff = (found - expected).abs();
        assert!(diff <= tolerance, "{what}: {found} and {expected} differ by {diff:e} > {tolerance:e}");
    }
    assert_eq!(
        (found.width, found.height, found.map.placement),
        (expected.width, expected.height, expected.map.placement)
    );
}

fn on_each_precision(test: impl Fn(&Turn, &str, &Model, &Engine, f32)) {
    let Some(turn) = turn() else { return };
    for (name, model) in models() {
        for (precision, tolerance) in [(Precision::F16, HALF), (Precision::F32, SINGLE)] {
            test(&turn, &format!("{name}, {precision:?}"), &model, &engine(&model, precision), tolerance);
        }
    }
}

#[test]
fn cuda_scores_are_the_cpu_s() {
    on_each_precision(|turn, name, model, gpu, tolerance| {
        let cpu = model.engine(2);
        let (prompts, queries) = (pictures(0..3), pictures(3..6));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        let on_cpu = bank(&cpu, &prompts);
        let expected = alone(&cpu, &on_cpu, &queries);
        turn.each_schedule(|schedule| {
            // A bank built by the processor and one built by the GPU, each by first, second and later scores: the first
            // runs as it comes, the others are a recording.
            for bank in [Arc::clone(&on_cpu), bank(gpu, &prompts)] {
                let mut scorer = gpu.scorer(bank).unwrap();
                for turn in 0..2 {
                    for (i, (query, expected)) in queries.iter().zip(&expected).enumerate() {
                        let found = score(&mut scorer, *query);
                        near(&format!("{name}, query {i}, turn {turn}, {schedule}"), &found, expected, tolerance);
                    }
                }
            }
        });
    });
}

#[test]
fn cuda_schedules_batches_and_positions_change_no_bit() {
    on_each_precision(|turn, name, _, gpu, _| {
        let (prompts, queries) = (pictures(0..2), pictures(2..7));
        let (bank, queries) = (bank(gpu, &frames(&prompts)), frames(&queries));
        let expected = alone(gpu, &bank, &queries);
        assert!(expected.windows(2).all(|pair| pair[0].score != pair[1].score), "pictures score differently");
        turn.each_schedule(|schedule| {
            for batch in [1, 2, 5] {
                let mut scorer = gpu.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(batch).unwrap()).unwrap();
                for first in [0, 3] {
                    let order: Vec<usize> = (0..queries.len()).map(|i| (i + first) % queries.len()).collect();
                    let batch_of: Vec<_> = order.iter().map(|&i| queries[i]).collect();
                    for (found, &i) in scorer.score_batch(&batch_of).unwrap().iter().zip(&order) {
                        same(&format!("{name}, picture {i} in batches of {batch}, {schedule}"), found, &expected[i]);
                    }
                }
            }
        });
    });
}

#[test]
fn cuda_banks_change_between_frames() {
    on_each_precision(|_, name, _, gpu, _| {
        // Two banks of one shape, which share a recording, and one of another.
        let pictures = pictures(0..5);
        let frames = frames(&pictures);
        let banks: Vec<Arc<PromptBank>> =
            [0..2, 2..4, 0..3].map(|range| bank(gpu, &frames[range])).into_iter().collect();
        let expected: Vec<Score> =
            banks.iter().map(|bank| score(&mut gpu.scorer(Arc::clone(bank)).unwrap(), frames[4])).collect();
        assert!(expected[0].score != expected[1].score && expected[1].score != expected[2].score);
        let mut scorer = gpu.scorer(Arc::clone(&banks[0])).unwrap();
        for i in [0, 1, 1, 0, 2, 1, 2, 0] {
            scorer.set_bank(Arc::clone(&banks[i])).unwrap();
            same(&format!("{name}, bank {i}"), &score(&mut scorer, frames[4]), &expected[i]);
        }
    });
}

#[test]
fn cuda_a_prompt_has_no_residual_against_itself() {
    on_each_precision(|_, name, _, gpu, tolerance| {
        let pictures = pictures(0..3);
        let frames = frames(&pictures);
        let mut scorer = gpu.scorer(bank(gpu, &frames)).unwrap();
        let limit = if tolerance == HALF { 1e-4 } else { 1e-6 };
        for frame in frames {
            let found = score(&mut scorer, frame);
            assert!(found.map.largest() < limit, "{name}: {}", found.map.largest());
        }
    });
}

#[test]
fn cuda_frames_of_all_sizes_take_turns() {
    on_each_precision(|_, name, _, gpu, _| {
        let pictures = pictures(0..10);
        let frames = frames(&pictures);
        let bank = bank(gpu, &frames[..1]);
        let expected = alone(gpu, &bank, &frames);
        let mut scorer = gpu.batch_scorer(bank, NonZeroUsize::new(3).unwrap()).unwrap();
        for i in [4, 1, 0, 9, 3, 3, 8, 2] {
            let batch = [frames[i], frames[(i + 5) % 10], frames[(i + 2) % 10]];
            for (found, j) in scorer.score_batch(&batch).unwrap().iter().zip([i, (i + 5) % 10, (i + 2) % 10]) {
                same(&format!("{name}, picture {j}"), found, &expected[j]);
            }
        }
    });
}

#[test]
fn cuda_frames_come_in_batches_of_changing_size() {
    on_each_precision(|_, name, _, gpu, _| {
        let pictures = pictures(0..6);
        let frames = frames(&pictures);
        let bank = bank(gpu, &frames[..1]);
        let expected = alone(gpu, &bank, &frames);
        let mut scorer = gpu.batch_scorer(bank, NonZeroUsize::new(3).unwrap()).unwrap();
        // One first: its recording, taken for that of three, would leave the others without a result.
        for range in [3..4, 0..3, 4..6, 1..4, 5..6, 3..6] {
            let found = scorer.score_batch(&frames[range.clone()]).unwrap();
            assert_eq!(found.len(), range.len());
            for (found, i) in found.iter().zip(range) {
                same(&format!("{name}, picture {i}"), found, &expected[i]);
            }
        }
    });
}

#[test]
fn cuda_several_scorers_at_once() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let gpu = engine(&model, Precision::F16);
    let pictures = pictures(0..4);
    let all = frames(&pictures);
    let bank = bank(&gpu, &all[..2]);
    let expected = alone(&gpu, &bank, &all);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut scorer = gpu.scorer(Arc::clone(&bank)).unwrap();
                for i in [0, 1, 2, 3, 2, 0] {
                    same(&format!("picture {i}"), &score(&mut scorer, all[i]), &expected[i]);
                }
            });
        }
    });
}

#[test]
fn cuda_describes_itself_and_auto_takes_it() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let engine = Engine::with(&EngineOptions::new(&model.path)).unwrap();
    let device = engine.device();
    assert!(device.starts_with("CUDA device 0") && device.contains("f16") && device.contains("table"), "{device}");
    assert!(engine.device_reason().contains("CUDA device"), "{}", engine.device_reason());
}

#[test]
fn cuda_models_with_other_heads_run_on_the_processor() {
    let Some(_turn) = turn() else { return };
    let model = Model::new(MODELS[2].1, 7);
    let mut options = EngineOptions::new(&model.path);
    let auto = Engine::with(&options).unwrap();
    assert!(auto.device().starts_with("CPU"), "{}", auto.device());
    assert!(auto.device_reason().contains("heads of 13"), "{}", auto.device_reason());
    options.device = Device::Cuda(0);
    let error = Engine::with(&options).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("heads of 13") && error.to_string().contains("cpu"), "{error}");
}

#[test]
fn cuda_fits_are_seen_whole() {
    on_each_precision(|_, name, model, gpu, tolerance| {
        let cpu = model.engine(2);
        let (prompt, query) = (Picture::new(1), Picture::new(4));
        for fit in [Fit::Crop, Fit::Letterbox, Fit::Stretch] {
            let on = |engine: &Engine| {
                let bank = engine.build_bank("cat", fit, &[prompt.frame()]).unwrap();
                score(&mut engine.scorer(Arc::new(bank)).unwrap(), query.frame())
            };
            near(&format!("{name}, {fit}"), &on(gpu), &on(&cpu), tolerance);
        }
    });
}

#[test]
fn cuda_replays_give_the_same_bits() {
    let Some(turn) = turn() else { return };
    let replays = if turn.is_emulated() { 12 } else { 1000 };
    let model = Model::new(MODELS[0].1, 7);
    let gpu = engine(&model, Precision::F16);
    let pictures = pictures(0..2);
    let frames = frames(&pictures);
    let mut scorer = gpu.scorer(bank(&gpu, &frames[..1])).unwrap();
    let first = score(&mut scorer, frames[1]);
    for i in 0..replays {
        same(&format!("replay {i}"), &score(&mut scorer, frames[1]), &first);
    }
}

#[test]
fn cuda_a_model_of_real_size() {
    let Some(turn) = turn() else { return };
    if turn.is_emulated() {
        println!("SKIP: a model of real size takes a GPU");
        return;
    }
    const VIT_B_16_PLUS: &str = r#"{"embed_dim": 640,
        "vision_cfg": {"image_size": 240, "layers": 12, "width": 896, "patch_size": 16},
        "text_cfg": {"width": 64, "heads": 1, "layers": 1}, "inctrl": {"taps": [7, 9, 11]}}"#;
    let model = Model::new(VIT_B_16_PLUS, 1);
    let pictures = pictures(0..8);
    let frames = frames(&pictures);
    let cpu = model.engine(8);
    let on_cpu = bank(&cpu, &frames[..3]);
    for (precision, tolerance) in [(Precision::F16, HALF), (Precision::F32, 10.0 * SINGLE)] {
        let gpu = engine(&model, precision);
        let expected = alone(&gpu, &on_cpu, &frames);
        for (i, frame) in frames.iter().enumerate().skip(3).take(3) {
            let processor = score(&mut cpu.scorer(Arc::clone(&on_cpu)).unwrap(), *frame);
            near(&format!("picture {i}, {precision:?}"), &expected[i], &processor, tolerance);
        }
        for batch in [2, 8, 64] {
            let many: Vec<_> = frames.iter().copied().cycle().take(batch + 3).collect();
            let mut scorer = gpu.batch_scorer(Arc::clone(&on_cpu), NonZeroUsize::new(batch).unwrap()).unwrap();
            for (i, found) in scorer.score_batch(&many).unwrap().iter().enumerate() {
                same(&format!("place {i} of batches of {batch}, {precision:?}"), found, &expected[i % frames.len()]);
            }
        }
    }
}
