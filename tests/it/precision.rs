//! Engines in bf16 and int8 on the CPU: how far from f32, and what must not matter. Without the instructions there is
//! an error to see.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::calibration::{Calibration, GoodPart, Source};
use inctrl::pictures::PictureId;
use inctrl::{Device, Engine, EngineOptions, ErrorKind, Precision, PromptBank};

use crate::compare::close;
use crate::tiny::{MODELS, Model, alone, bank, frames, pictures, same};

/// A precision, how far its scores may lie from f32, and how far a cell: that is a mean of a few cosines alone, of rows
/// of 128 columns here, where a score averages over cells.
const PRECISIONS: [(Precision, f32, f32); 2] = [(Precision::Bf16, 2e-3, 1e-2), (Precision::Int8, 5e-3, 2e-2)];

fn open(model: &Model, precision: Precision, threads: usize) -> inctrl::Result<Engine> {
    let mut options = EngineOptions::new(&model.path);
    options.device = Device::Cpu;
    options.precision = Some(precision);
    options.threads = NonZeroUsize::new(threads);
    Engine::with(&options)
}

/// Runs a test on every model and precision, with an engine in f32 and one in the precision; where the CPU has none,
/// checks that it is said so.
fn on_every_model(test: impl Fn(&str, &Model, &Engine, &Engine, [f32; 2])) {
    for (name, config) in MODELS {
        let model = Model::new(config, 7);
        let single = open(&model, Precision::F32, 2).unwrap();
        for (precision, score, cell) in PRECISIONS {
            match open(&model, precision, 2) {
                Ok(engine) => test(&format!("{name}, {precision}"), &model, &single, &engine, [score, cell]),
                Err(error) => {
                    println!("SKIP: {error}");
                    assert_eq!(error.kind(), ErrorKind::Device);
                    let text = format!("does not compute in {precision}; it has f32");
                    assert!(error.to_string().contains(&text), "{error}");
                }
            }
        }
    }
}

#[test]
fn scores_are_near_those_in_f32() {
    on_every_model(|name, _, single, engine, [tolerance, of_cell]| {
        assert_eq!(single.precision(), Precision::F32);
        assert!(engine.device().contains(engine.precision().name()), "{}", engine.device());
        let (prompts, queries) = (pictures(0..2), pictures(2..8));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        let expected = alone(single, &bank(single, &prompts), &queries);
        let found = alone(engine, &bank(engine, &prompts), &queries);
        let mut differ = false;
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            close(&format!("{name}, picture {i}"), &[found.score], &[expected.score], tolerance, 1.0);
            close(&format!("{name}, map {i}"), &found.map.cells, &expected.map.cells, of_cell, 1.0);
            differ |= found.map.cells != expected.map.cells;
        }
        assert!(differ, "{name}: the engine computes in f32");
    });
}

#[test]
fn batches_and_threads_change_no_bit() {
    on_every_model(|name, model, _, engine, _| {
        let (prompts, queries) = (pictures(0..2), pictures(2..9));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        let own = bank(engine, &prompts);
        let expected = alone(engine, &own, &queries);
        for (threads, batch) in [(1, 1), (3, 2), (2, 7)] {
            let other = open(model, engine.precision(), threads).unwrap();
            let again = bank(&other, &prompts);
            assert_eq!(again.id(), own.id(), "{name}: the bank with {threads} threads");
            let mut scorer = other.batch_scorer(again, NonZeroUsize::new(batch).unwrap()).unwrap();
            let order: Vec<usize> = (0..queries.len()).rev().collect();
            let turned: Vec<_> = order.iter().map(|&i| queries[i]).collect();
            for (found, &i) in scorer.score_batch(&turned).unwrap().iter().zip(&order) {
                same(&format!("{name}, picture {i}, {threads} threads, batches of {batch}"), found, &expected[i]);
            }
        }
    });
}

/// Limits that come from scores in one precision are refused in the other, in a slot, in a swap and for many banks.
#[test]
fn limits_hold_in_the_precision_that_they_were_calibrated_in() {
    on_every_model(|_, _, single, engine, _| {
        let (prompts, queries) = (pictures(0..2), pictures(2..4));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        for (own, other) in [(single, engine), (engine, single)] {
            let plain = bank(own, &prompts);
            let scores = alone(own, &plain, &queries);
            let parts: Vec<GoodPart> = queries
                .iter()
                .zip(&scores)
                .map(|(frame, score)| GoodPart {
                    picture: PictureId::of(*frame).unwrap(),
                    score: score.score,
                    patch_max: score.map.largest(),
                })
                .collect();
            let calibration = Calibration::new(Source::HeldOut, 0.4, &parts).unwrap().computed_in(own.precision());
            let calibrated = plain.with_calibration(calibration).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bank");
            calibrated.save(&path).unwrap();
            let calibrated = Arc::new(PromptBank::open(&path).unwrap());
            assert!(own.scorer(Arc::clone(&calibrated)).is_ok());
            let slot = other.shared_bank(Arc::clone(&plain)).unwrap();
            let refusals = [
                other.scorer(Arc::clone(&calibrated)).map(drop),
                slot.swap(Arc::clone(&calibrated)).map(drop),
                other.multi_bank_scorer(&[Arc::clone(&calibrated)]).map(drop),
            ];
            for refusal in refusals {
                let error = refusal.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Bank);
                assert!(error.to_string().contains("calibrate the bank again"), "{error}");
            }
            // Limits that somebody set by hand are not of a precision.
            let by_hand = calibrated.with_thresholds(calibrated.thresholds().copied()).unwrap();
            assert!(other.scorer(Arc::new(by_hand)).is_ok());
        }
    });
}
