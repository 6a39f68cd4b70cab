//! A weights file that somebody writes into while an engine is open: what was loaded goes on, what is read later is refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{Engine, ErrorKind, Fit, Result};

use crate::tiny::{MODELS, Model, bank, frames, on_the_processor, pictures, same, score};

fn build(engine: &Engine) -> Result<()> {
    let prompts = pictures(0..2);
    engine.build_bank("screw", Fit::Crop, &frames(&prompts)).map(drop)
}

/// A model, an engine on it, and what the engine scores before and after `change`, which it does not see.
fn changed(change: impl FnOnce(&Path)) -> Result<()> {
    let model = Model::new(MODELS[0].1, 7);
    let engine = on_the_processor(&model.path);
    let prompts = pictures(0..2);
    let bank = bank(&engine, &frames(&prompts));
    let query = &pictures(5..6)[0];
    let before = score(&mut engine.scorer(Arc::clone(&bank)).unwrap(), query.frame());
    change(&model.path);
    let after = score(&mut engine.scorer(Arc::clone(&bank)).unwrap(), query.frame());
    same("after the change", &before, &after);
    engine.append_to(&bank).unwrap().add(query.frame()).unwrap();
    build(&engine)
}

#[test]
fn another_model_written_over_the_open_one_builds_no_bank_under_its_name() {
    let error = changed(|path| {
        let other = Model::new(MODELS[0].1, 8);
        fs::copy(&other.path, path).unwrap();
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(error.to_string().contains("since it was opened"), "{error}");
}

#[test]
fn a_file_cut_short_is_an_error_and_not_the_end_of_the_process() {
    for keep in [0, 1, 2] {
        let cut = |path: &Path| {
            let len = fs::metadata(path).unwrap().len();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len * keep / 3).unwrap();
        };
        let error = changed(cut).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        assert!(error.to_string().contains("since it was opened"), "{error}");
    }
}

#[test]
fn a_file_replaced_by_renaming_changes_nothing() {
    changed(|path| {
        let new = path.with_extension("new");
        random::write(&new, &Arch::from_json(MODELS[0].1).unwrap(), 8, DType::F32).unwrap();
        fs::rename(&new, path).unwrap();
    })
    .unwrap();
    changed(|path| fs::remove_file(path).unwrap()).unwrap();
}
