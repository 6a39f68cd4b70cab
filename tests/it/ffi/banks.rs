//! Banks of every kind through C.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use inctrl::ffi::*;
use inctrl::{BankSpec, Fit, PromptBank};

use super::handles::{of, ok, open, refused, sized};
use crate::tiny::{MODELS, Model, Picture, pictures, saved};

#[test]
fn banks_of_any_method_are_built_by_name_and_read_by_name() {
    let model = Model::new(MODELS[0].1, 7);
    let (normals, query) = (pictures(0..2), Picture::new(3));
    let frames: Vec<_> = normals.iter().map(Picture::frame).collect();
    let mut spec = BankSpec::default();
    spec.method = Some("anomaly-dino".to_owned());
    spec.fit = Some(Fit::Stretch);
    spec.options = vec!["size=80".to_owned(), "rotations=2".to_owned()];
    let rust = model.engine(1);
    let mut builder = rust.bank_builder_of(&spec).unwrap();
    frames.iter().for_each(|frame| builder.add(*frame).unwrap());
    let expected = builder.finish().unwrap();
    let score = rust.scorer(Arc::new(PromptBank::from_bytes(&saved(&expected)).unwrap())).unwrap();
    let score = { score }.score(query.frame()).unwrap().clone();

    let prompts: Vec<_> = frames.iter().map(of).collect();
    let all = open(&model, &prompts, 1);
    let texts = [c"size=80", c"rotations=2", c"size=80"].map(CStr::as_ptr);
    let mut options = sized!(inctrl_bank_options);
    options.method = c"anomaly-dino".as_ptr();
    (options.options, options.option_count) = (texts.as_ptr(), 2);
    (options.has_fit, options.fit) = (1, INCTRL_FIT_STRETCH);
    let (mut bank, mut slot, mut scorer) = (null_mut(), null_mut(), null_mut());
    let mut result = sized!(inctrl_result);
    let mut value = 0.0;
    // SAFETY: handles and structures of this test.
    unsafe {
        let build = |options: &inctrl_bank_options, bank: *mut *mut inctrl_bank| {
            inctrl_bank_build_with(all.engine, options, prompts.as_ptr(), prompts.len(), bank)
        };
        ok(build(&options, &mut bank));
        assert_eq!(CStr::from_ptr(inctrl_bank_id(bank)).to_str().unwrap(), expected.id());
        assert_eq!(CStr::from_ptr(inctrl_bank_class_name(bank)), c"");
        ok(inctrl_slot_create(all.engine, bank, &mut slot));
        ok(inctrl_scorer_create(all.engine, slot, 1, &mut scorer));
        refused(inctrl_scorer_output(scorer, 0, c"score".as_ptr(), &mut value), INCTRL_ERROR_ARGUMENT, &["had 0"]);
        ok(inctrl_scorer_score(scorer, &of(&query.frame()), 0, &mut result));
        assert_eq!(result.score.to_bits(), score.score.to_bits());
        assert!(result.holistic.is_nan() && result.image_residual.is_nan() && result.text_prior.is_nan());
        for (output, expected) in score.outputs() {
            let name = CString::new(output.name).unwrap();
            ok(inctrl_scorer_output(scorer, 0, name.as_ptr(), &mut value));
            assert_eq!(value.to_bits(), expected.to_bits(), "{}", output.name);
        }
        refused(
            inctrl_scorer_output(scorer, 0, c"holistic".as_ptr(), &mut value),
            INCTRL_ERROR_ARGUMENT,
            &["it has score, patch_max"],
        );
        assert!(value.is_nan());
        refused(inctrl_scorer_output(scorer, 1, c"score".as_ptr(), &mut value), INCTRL_ERROR_ARGUMENT, &["had 1"]);
        refused(inctrl_scorer_output(scorer, 0, c"score".as_ptr(), null_mut()), INCTRL_ERROR_ARGUMENT, &["NULL"]);

        // Another method asks for another scorer; the slot keeps its bank.
        let mut other = null_mut();
        ok(inctrl_bank_build(all.engine, c"cat".as_ptr(), INCTRL_FIT_CROP, prompts.as_ptr(), 2, null(), &mut other));
        refused(inctrl_slot_swap(slot, other, null_mut()), INCTRL_ERROR_BANK, &["another slot and scorer"]);
        ok(inctrl_scorer_score(scorer, &of(&query.frame()), 0, &mut result));

        let mut none = null_mut();
        options.option_count = 3;
        refused(build(&options, &mut none), INCTRL_ERROR_ARGUMENT, &["twice"]);
        options.option_count = 0;
        options.method = c"magic".as_ptr();
        refused(build(&options, &mut none), INCTRL_ERROR_ARGUMENT, &["anomaly-dino"]);
        options.has_fit = 2;
        refused(build(&options, &mut none), INCTRL_ERROR_ARGUMENT, &["has_fit"]);
        ok(inctrl_scorer_close(&mut scorer));
        ok(inctrl_slot_close(&mut slot));
        ok(inctrl_bank_close(&mut other));
        ok(inctrl_bank_close(&mut bank));
    }
}

#[test]
fn banks_with_tiles_score_through_the_same_calls() {
    let model = Model::new(MODELS[1].1, 7);
    let (good, query) = (Picture::new(1), Picture::new(6));
    let rust = model.engine(1);
    let tiles = [c"tile=48", c"overlap=16", c"scale=1", c"rotations=1", c"bank-per=tile"];
    let mut spec = BankSpec::default();
    spec.method = Some("anomaly-dino".to_owned());
    spec.options = tiles.iter().map(|text| text.to_str().unwrap().to_owned()).collect();
    let mut builder = rust.bank_builder_of(&spec).unwrap();
    builder.add(good.frame()).unwrap();
    let expected = Arc::new(builder.finish().unwrap());
    let score = rust.scorer(Arc::clone(&expected)).unwrap().score(query.frame()).unwrap().clone();
    // 61 x 97 pixels: 4 x 6 cells, of which a tile has three.
    let cells = score.map.cells.len();
    assert_eq!((cells, expected.info().positions), (24, 2 * 3));

    let prompts = [of(&good.frame())];
    let all = open(&model, &prompts, 1);
    let texts = tiles.map(CStr::as_ptr);
    let mut options = sized!(inctrl_bank_options);
    options.method = c"anomaly-dino".as_ptr();
    (options.options, options.option_count) = (texts.as_ptr(), texts.len());
    let (mut bank, mut slot, mut scorer) = (null_mut(), null_mut(), null_mut());
    let mut map = vec![f32::NAN; cells];
    let mut result = sized!(inctrl_result);
    (result.map, result.map_capacity) = (map.as_mut_ptr(), cells);
    let (mut rows, mut cols) = (0, 0);
    // SAFETY: handles and structures of this test.
    unsafe {
        ok(inctrl_bank_build_with(all.engine, &options, prompts.as_ptr(), 1, &mut bank));
        assert_eq!(CStr::from_ptr(inctrl_bank_id(bank)).to_str().unwrap(), expected.id());
        ok(inctrl_slot_create(all.engine, bank, &mut slot));
        ok(inctrl_scorer_create(all.engine, slot, 1, &mut scorer));
        ok(inctrl_scorer_grid(scorer, query.width as u32, query.height as u32, &mut rows, &mut cols));
        assert_eq!((rows, cols), (6, 4));
        ok(inctrl_scorer_score(scorer, &of(&query.frame()), 0, &mut result));
        assert_eq!((result.score.to_bits(), &map), (score.score.to_bits(), &score.map.cells));
        assert_eq!((result.grid_rows, result.grid_cols, result.grid), (6, 4, 0));
        assert_eq!((result.map_x, result.map_width, result.map_height), (0.0, 61.0, 97.0));
        // Another shape has other positions, and a frame that is smaller than a tile has none.
        let other = Picture::new(2);
        let at = &of(&other.frame());
        refused(inctrl_scorer_score(scorer, at, 0, &mut result), INCTRL_ERROR_ARGUMENT, &["knows each place of 6 x 4"]);
        assert_eq!(result.verdict, INCTRL_VERDICT_REVIEW);
        let small = inctrl_scorer_grid(scorer, 30, 97, &mut rows, &mut cols);
        refused(small, INCTRL_ERROR_ARGUMENT, &["which has 30 x 97"]);
        ok(inctrl_scorer_close(&mut scorer));
        ok(inctrl_slot_close(&mut slot));
        ok(inctrl_bank_close(&mut bank));
    }
}

#[test]
fn banks_are_appended_saved_opened_and_told_apart() {
    let model = Model::new(MODELS[1].1, 7);
    let normals = pictures(0..2);
    let c_normals: Vec<_> = normals.iter().map(|normal| of(&normal.frame())).collect();
    let both = open(&model, &c_normals, 1);
    let mut one = open(&model, &c_normals[..1], 1);
    let folder = tempfile::tempdir().unwrap();
    let file = CString::new(folder.path().join("nut.bank").to_str().unwrap()).unwrap();
    // SAFETY: handles, strings and variables of this test.
    unsafe {
        let id = |bank| CStr::from_ptr(inctrl_bank_id(bank)).to_str().unwrap().to_owned();
        let (mut longer, mut read, mut from_bytes) = (null_mut(), null_mut(), null_mut());
        ok(inctrl_bank_append(one.engine, one.bank, &c_normals[1], 1, &mut longer));
        assert_eq!((id(longer), inctrl_bank_prompts(longer)), (id(both.bank), 2));
        assert_ne!(id(longer), id(one.bank));
        ok(inctrl_bank_save(longer, file.as_ptr()));
        ok(inctrl_bank_open(file.as_ptr(), &mut read));
        let bytes = std::fs::read(folder.path().join("nut.bank")).unwrap();
        ok(inctrl_bank_from_bytes(bytes.as_ptr().cast(), bytes.len(), &mut from_bytes));
        for bank in [read, from_bytes] {
            assert_eq!(id(bank), id(longer));
            assert_eq!(CStr::from_ptr(inctrl_bank_class_name(bank)), c"cat");
        }
        let mut unlimited = null_mut();
        ok(inctrl_bank_open_without_thresholds(file.as_ptr(), &mut unlimited));
        assert_eq!(id(unlimited), id(longer));
        ok(inctrl_bank_close(&mut unlimited));
        // A bank of another model is refused, and the old one stays in place.
        let other = open(&Model::new(MODELS[1].1, 8), &c_normals, 1);
        let mut generation = 77;
        refused(inctrl_slot_swap(one.slot, other.bank, &mut generation), INCTRL_ERROR_BANK, &["model"]);
        assert_eq!(generation, 77);
        ok(inctrl_slot_swap(one.slot, longer, &mut generation));
        assert_eq!(generation, 2);
        // Whatever a scorer came from can be closed before it.
        for bank in [&mut longer, &mut read, &mut from_bytes] {
            ok(inctrl_bank_close(bank));
        }
        ok(inctrl_bank_close(&mut one.bank));
        ok(inctrl_slot_close(&mut one.slot));
        ok(inctrl_engine_close(&mut one.engine));
        let (mut result, mut expected) = (sized!(inctrl_result), sized!(inctrl_result));
        ok(inctrl_scorer_score(one.scorer, &c_normals[0], 0, &mut result));
        ok(inctrl_scorer_score(both.scorer, &c_normals[0], 0, &mut expected));
        assert_eq!((result.score.to_bits(), result.generation), (expected.score.to_bits(), 2));
    }
}
