//! Several banks on one encoding, limits from good images, reports, and appending, through C as in Rust.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use inctrl::ffi::*;
use inctrl::{AppendOptions, BankSpec, Engine, Fit, Frame, Inspection, PromptBank, Roi, Thresholds};

use super::handles::{Handles, of, ok, open, refused, sized};
use crate::tiles_cases::Picture;
use crate::tiny::{MODELS, Model};

const LEFT: Roi = Roi { x: 0, y: 0, width: 48, height: 48 };
const RIGHT: Roi = Roi { x: 50, y: 10, width: 48, height: 48 };

fn c_roi(roi: Roi) -> inctrl_roi {
    inctrl_roi { x: roi.x as u32, y: roi.y as u32, width: roi.width as u32, height: roi.height as u32 }
}

fn bank_in_rust(engine: &Engine, frames: &[Frame<'_>]) -> PromptBank {
    let mut spec = BankSpec::default();
    (spec.method, spec.fit) = (Some("anomaly-dino".to_owned()), Some(Fit::Stretch));
    spec.options = vec!["size=48".to_owned(), "rotations=1".to_owned()];
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    frames.iter().for_each(|frame| builder.add(*frame).unwrap());
    builder.finish().unwrap()
}

/// The same bank in C, of a region of each frame.
fn bank_in_c(all: &Handles, frames: &[inctrl_frame], roi: Option<Roi>) -> *mut inctrl_bank {
    let texts = [c"size=48", c"rotations=1"].map(CStr::as_ptr);
    let mut options = sized!(inctrl_bank_options);
    (options.method, options.options, options.option_count) = (c"anomaly-dino".as_ptr(), texts.as_ptr(), 2);
    (options.has_fit, options.fit) = (1, INCTRL_FIT_STRETCH);
    let roi = roi.map(c_roi);
    options.roi = roi.as_ref().map_or(null(), |roi| roi);
    let mut bank = null_mut();
    // SAFETY: handles and structures of this test.
    ok(unsafe { inctrl_bank_build_with(all.engine, &options, frames.as_ptr(), frames.len(), &mut bank) });
    bank
}

fn id(bank: *const inctrl_bank) -> String {
    // SAFETY: a live handle of this test, whose string is copied.
    unsafe { CStr::from_ptr(inctrl_bank_id(bank)) }.to_str().unwrap().to_owned()
}

#[test]
fn several_products_in_one_frame() {
    let model = Model::new(MODELS[1].1, 7);
    let engine = model.engine(1);
    let pictures: Vec<Picture> = (0..4).map(|seed| Picture::new(100, 60, seed)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Picture::frame).collect();
    let c_frames: Vec<inctrl_frame> = frames.iter().map(of).collect();
    let all = open(&model, &c_frames[..1], 1);
    let parts = |roi: Roi| frames[..2].iter().map(|frame| frame.region(roi).unwrap()).collect::<Vec<_>>();
    let rust = [LEFT, RIGHT].map(|roi| Arc::new(bank_in_rust(&engine, &parts(roi))));
    let rust_slots = rust.each_ref().map(|bank| Arc::new(engine.shared_bank(Arc::clone(bank)).unwrap()));
    let mut rust_scorer = engine.roi_scorer(&rust_slots, std::num::NonZeroUsize::MIN).unwrap();
    let limits = Thresholds { review: 0.1, reject: 0.2, cell: 0.05 };
    let inspections = [
        Inspection { roi: Some(LEFT), banks: &[0], thresholds: Some(limits) },
        Inspection { roi: Some(RIGHT), banks: &[0, 1], thresholds: None },
    ];
    let expected = rust_scorer.score(frames[3], &inspections).unwrap().to_vec();
    let best = rust_scorer.best(1).unwrap();

    let mut banks = [LEFT, RIGHT].map(|roi| bank_in_c(&all, &c_frames[..2], Some(roi)));
    assert_eq!(banks.map(|bank| id(bank)), rust.each_ref().map(|bank| bank.id().to_owned()));
    let mut c_limits = sized!(inctrl_thresholds);
    (c_limits.review, c_limits.reject, c_limits.cell) = (0.1, 0.2, 0.05);
    let one = [0usize];
    let mut asked = [sized!(inctrl_inspection); 2];
    (asked[0].has_roi, asked[0].roi) = (1, c_roi(LEFT));
    (asked[0].slots, asked[0].slot_count, asked[0].thresholds) = (one.as_ptr(), 1, &c_limits);
    (asked[1].has_roi, asked[1].roi) = (1, c_roi(RIGHT));
    let mut slots = [null_mut(); 2];
    let mut scorer = null_mut();
    let mut maps = [[0.0f32; 9]; 3];
    let mut results = [sized!(inctrl_result); 3];
    for (result, map) in results.iter_mut().zip(&mut maps) {
        (result.map, result.map_capacity) = (map.as_mut_ptr(), map.len());
    }
    let mut found = sized!(inctrl_best_bank);
    let mut value = 0.0;
    // SAFETY: handles and structures of this test.
    unsafe {
        for (slot, bank) in slots.iter_mut().zip(banks) {
            ok(inctrl_slot_create(all.engine, bank, slot));
        }
        let list = slots.map(|slot| slot.cast_const());
        ok(inctrl_roi_scorer_create(all.engine, list.as_ptr(), 2, null(), &mut scorer));
        let score = |asked: &[inctrl_inspection; 2], results: &mut [inctrl_result], count: usize| {
            inctrl_roi_scorer_score(scorer, &c_frames[3], asked.as_ptr(), 2, 0, results.as_mut_ptr(), count)
        };
        ok(score(&asked, &mut results, 3));
        for (i, (result, expected)) in results.iter().zip(&expected).enumerate() {
            let origin = [LEFT, RIGHT, RIGHT][i];
            assert_eq!(result.score.to_bits(), expected.score.to_bits());
            assert_eq!(maps[i][..], expected.map.cells);
            assert_eq!((result.map_x, result.map_y), (origin.x as f64, origin.y as f64));
            assert_eq!(result.verdict != INCTRL_VERDICT_NONE, i == 0);
            assert_eq!(result.scaled.is_nan(), i != 0);
            ok(inctrl_roi_scorer_output(scorer, i, c"patch_max".as_ptr(), &mut value));
            assert_eq!(Some(value), expected.output("patch_max"));
        }
        ok(inctrl_roi_scorer_best(scorer, 1, &mut found));
        assert_eq!((found.place, found.value, found.is_scaled), (best.place, best.value, 0));
        assert_eq!(Some(found.margin), best.margin);
        refused(inctrl_roi_scorer_best(scorer, 2, &mut found), INCTRL_ERROR_ARGUMENT, &["the last call had 2"]);

        // One region fails; the other keeps its score.
        asked[0].roi.x = 60;
        refused(score(&asked, &mut results, 3), INCTRL_ERROR_ARGUMENT, &["inspection 0"]);
        assert_eq!((results[0].status, results[0].verdict), (INCTRL_ERROR_ARGUMENT, INCTRL_VERDICT_REVIEW));
        assert_eq!(results[1].score.to_bits(), expected[1].score.to_bits());
        refused(inctrl_roi_scorer_best(scorer, 0, &mut found), INCTRL_ERROR_ARGUMENT, &["has no score"]);
        ok(inctrl_roi_scorer_best(scorer, 1, &mut found));
        // A map that does not fit fails alone.
        asked[0].roi.x = 0;
        results[1].map_capacity = 8;
        refused(score(&asked, &mut results, 3), INCTRL_ERROR_ARGUMENT, &["room for 8"]);
        assert_eq!(results.map(|result| result.status), [INCTRL_OK, INCTRL_ERROR_ARGUMENT, INCTRL_OK]);
        results[1].map_capacity = 9;
        // Bad calls fail as a whole.
        refused(score(&asked, &mut results[..2], 2), INCTRL_ERROR_ARGUMENT, &["2 results", "name 3 slots"]);
        assert!(results[..2].iter().all(|result| result.status == INCTRL_ERROR_ARGUMENT && result.score.is_nan()));
        let far = [2usize];
        asked[0].slots = far.as_ptr();
        refused(score(&asked, &mut results, 3), INCTRL_ERROR_ARGUMENT, &["inspection 0", "bank 2 was named"]);
        asked[0].has_roi = 2;
        refused(score(&asked, &mut results, 3), INCTRL_ERROR_ARGUMENT, &["has_roi"]);
        let mut none = null_mut();
        refused(
            inctrl_roi_scorer_create(all.engine, null(), 0, null(), &mut none),
            INCTRL_ERROR_ARGUMENT,
            &["no slots"],
        );
        ok(inctrl_roi_scorer_close(&mut scorer));
        ok(inctrl_roi_scorer_close(&mut scorer));
        slots.iter_mut().for_each(|slot| ok(inctrl_slot_close(slot)));
        banks.iter_mut().for_each(|bank| ok(inctrl_bank_close(bank)));
    }
}

#[test]
fn limits_and_reports_from_good_images() {
    let model = Model::new(MODELS[1].1, 7);
    let engine = model.engine(1);
    let pictures: Vec<Picture> = (0..6).map(|seed| Picture::new(100, 60, seed)).collect();
    let parts: Vec<Frame<'_>> = pictures.iter().map(|picture| picture.frame().region(RIGHT).unwrap()).collect();
    let c_frames: Vec<inctrl_frame> = pictures.iter().map(|picture| of(&picture.frame())).collect();
    let all = open(&model, &c_frames[..1], 1);
    let rust = bank_in_rust(&engine, &parts[..3]);
    let calibrated = engine.calibrate(&rust, &parts[3..], 0.25).unwrap();
    let report = engine.report(&rust, &parts).unwrap();

    let mut bank = bank_in_c(&all, &c_frames[..3], Some(RIGHT));
    let (mut limited, mut present) = (null_mut(), 0);
    let mut said = sized!(inctrl_calibration);
    let mut checks = [sized!(inctrl_prompt_check); 6];
    let mut map = [0.0f32; 9];
    let mut found = sized!(inctrl_report);
    (found.mean_map, found.map_capacity) = (map.as_mut_ptr(), map.len());
    let roi = c_roi(RIGHT);
    // SAFETY: handles and structures of this test.
    unsafe {
        let calibrate = |rate: f64, out: *mut *mut inctrl_bank| {
            inctrl_bank_calibrate(all.engine, bank, c_frames[3..].as_ptr(), 3, &roi, rate, out)
        };
        ok(calibrate(0.25, &mut limited));
        assert_eq!(id(limited), calibrated.id());
        ok(inctrl_bank_calibration(limited, &mut said, &mut present));
        assert_eq!((present, said.images, said.source), (1, 3, INCTRL_SOURCE_HELD_OUT));
        assert_eq!(said.max_false_reject, 0.25);
        for score in [0.0, 0.1, calibrated.calibration().unwrap().scores()[1], 2.0] {
            assert_eq!(inctrl_bank_p_value(limited, score), calibrated.calibration().unwrap().p_value(score));
        }
        assert!(inctrl_bank_p_value(bank, 0.1).is_nan() && inctrl_bank_p_value(null(), 0.1).is_nan());
        ok(inctrl_bank_calibration(bank, &mut said, &mut present));
        assert_eq!((present, said.images), (0, 3));
        let mut none = null_mut();
        refused(calibrate(0.1, &mut none), INCTRL_ERROR_ARGUMENT, &["3 distinct pictures", "9 are needed"]);
        refused(calibrate(f64::NAN, &mut none), INCTRL_ERROR_ARGUMENT, &["between 0 and 1"]);
        assert!(none.is_null());

        let of_bank = |checks: &mut [inctrl_prompt_check; 6], found: &mut inctrl_report| {
            inctrl_bank_report(all.engine, bank, c_frames.as_ptr(), 6, &roi, checks.as_mut_ptr(), found)
        };
        ok(of_bank(&mut checks, &mut found));
        assert_eq!(checks.map(|check| check.is_prompt), [1, 1, 1, 0, 0, 0]);
        for (check, prompt) in checks.iter().zip(&report.prompts) {
            let score = &prompt.check.score;
            assert_eq!((check.score, check.patch_max), (score.score, score.map.largest()));
            assert_eq!(check.outlier != 0, prompt.outlier);
        }
        assert!(checks[3].score.is_nan());
        assert_eq!((found.prompts, found.missing, found.copies), (3, 0, 0));
        assert_eq!((found.grid_rows, found.grid_cols, &map[..]), (3, 3, &report.mean_map.cells[..]));
        found.map_capacity = 8;
        refused(of_bank(&mut checks, &mut found), INCTRL_ERROR_ARGUMENT, &["room for 8"]);
        checks[2].struct_size = 1;
        refused(of_bank(&mut checks, &mut found), INCTRL_ERROR_ARGUMENT, &["struct_size"]);
        let strangers =
            inctrl_bank_report(all.engine, bank, c_frames[4..].as_ptr(), 2, &roi, checks.as_mut_ptr(), null_mut());
        refused(strangers, INCTRL_ERROR_ARGUMENT, &["none of the images is a prompt"]);
        ok(inctrl_bank_close(&mut limited));
        ok(inctrl_bank_close(&mut bank));
    }
}

#[test]
fn images_are_appended_to_a_slot() {
    let model = Model::new(MODELS[1].1, 7);
    let engine = Arc::new(model.engine(1));
    let pictures: Vec<Picture> = (0..6).map(|seed| Picture::new(100, 60, seed)).collect();
    let parts: Vec<Frame<'_>> = pictures.iter().map(|picture| picture.frame().region(RIGHT).unwrap()).collect();
    let c_frames: Vec<inctrl_frame> = pictures.iter().map(|picture| of(&picture.frame())).collect();
    let all = open(&model, &c_frames[..1], 1);
    let first = bank_in_rust(&engine, &parts[..1]);
    let rows = first.rows();
    let options = AppendOptions { max_rows: Some(2 * rows), drop_limits: true };
    let slot = Arc::new(engine.shared_bank(Arc::new(first)).unwrap());
    let mut rust = engine.appender(&slot, &options).unwrap();

    let mut bank = bank_in_c(&all, &c_frames[..1], Some(RIGHT));
    let roi = c_roi(RIGHT);
    let (mut slot, mut appender, mut grown) = (null_mut(), null_mut(), null_mut());
    let mut options = sized!(inctrl_append_options);
    (options.max_rows, options.roi, options.limits) = (2 * rows, &roi, INCTRL_LIMITS_DROP);
    let mut done = sized!(inctrl_appended);
    let folder = tempfile::tempdir().unwrap();
    let file = CString::new(folder.path().join("bank").to_str().unwrap()).unwrap();
    // SAFETY: handles and structures of this test.
    unsafe {
        assert_eq!(inctrl_bank_rows(bank), rows);
        ok(inctrl_slot_create(all.engine, bank, &mut slot));
        ok(inctrl_appender_create(all.engine, slot, &options, &mut appender));
        for (k, left) in [(1, 0), (2, 1), (3, 1)] {
            ok(inctrl_appender_append(appender, &c_frames[k], &mut done));
            let expected = rust.append(parts[k]).unwrap();
            assert_eq!((done.generation, done.is_new, done.left), (k as u64 + 1, 1, left));
            assert_eq!((done.rows, done.prompts), (expected.bank.rows(), 2));
        }
        ok(inctrl_appender_bank(appender, &mut grown));
        assert_eq!(id(grown), rust.bank().id());
        ok(inctrl_bank_save(grown, file.as_ptr()));
        assert_eq!(PromptBank::open(folder.path().join("bank")).unwrap().appended(), rust.bank().appended());
        ok(inctrl_appender_append(appender, &c_frames[3], &mut done));
        assert_eq!((done.generation, done.is_new), (4, 0));
        ok(inctrl_appender_append_calibrated(appender, &c_frames[4], c_frames[1..4].as_ptr(), 3, 0.4, &mut done));
        let expected = rust.append_calibrated(parts[4], &parts[1..4], 0.4).unwrap();
        ok(inctrl_bank_close(&mut grown));
        ok(inctrl_appender_bank(appender, &mut grown));
        assert_eq!(id(grown), expected.bank.id());
        // Another bank in the slot ends it.
        ok(inctrl_slot_swap(slot, bank, null_mut()));
        refused(
            inctrl_appender_append(appender, &c_frames[5], null_mut()),
            INCTRL_ERROR_ARGUMENT,
            &["another bank was put into the slot"],
        );
        refused(inctrl_appender_append(null(), &c_frames[5], null_mut()), INCTRL_ERROR_ARGUMENT, &["NULL"]);
        options.limits = 2;
        let mut none = null_mut();
        refused(
            inctrl_appender_create(all.engine, slot, &options, &mut none),
            INCTRL_ERROR_ARGUMENT,
            &["INCTRL_LIMITS"],
        );
        ok(inctrl_appender_close(&mut appender));
        ok(inctrl_slot_close(&mut slot));
        ok(inctrl_bank_close(&mut grown));
        ok(inctrl_bank_close(&mut bank));
    }
}
