//! Changes to a weights file while an engine is open: loaded parts still work, later reads are refused. A checkpoint or
//! a prompt list that is truncated while it is read is an error.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use inctrl::checkpoint::{ConvertOptions, PromptList, convert};
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

/// Keeps so many thirds of a file.
fn cut(path: &Path, keep: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() * keep / 3).unwrap();
}

#[test]
fn a_file_cut_short_is_an_error_and_not_the_end_of_the_process() {
    for keep in [0, 1, 2] {
        let error = changed(|path| cut(path, keep)).unwrap_err();
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

#[test]
fn a_checkpoint_cut_short_while_it_is_converted_is_an_error() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints");
    // The last three hold tensors that are stored transposed.
    let names = ["open_clip.pt", "open_clip_legacy.pt", "open_clip.safetensors", "script.pt", "inctrl.pyth"];
    for (name, keep) in names.iter().flat_map(|name| [0, 1].map(|keep| (name, keep))) {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("m.pt");
        fs::copy(fixtures.join(name), &source).unwrap();
        fs::copy(fixtures.join("config.json"), folder.path().join("m.json")).unwrap();
        let output = folder.path().join("w.safetensors");
        let options = ConvertOptions { source: source.clone(), heads: None, config: None, dtype: None };
        // The first call comes after the header, when all but one tensor have to be read.
        let error = convert(&options, &output, |_, _| cut(&source, keep)).map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Weights, Some(&*source)), "{name}: {error}");
        assert!(error.to_string().contains("has become shorter since it was opened"), "{name}: {error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{name}: a failed conversion leaves nothing");
    }
}

#[test]
fn a_prompt_list_cut_short_while_it_is_read_is_an_error() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints/scored");
    let folder = tempfile::tempdir().unwrap();
    for name in ["prompts.pt", "prompts_half.pt", "prompts_views.pt"] {
        let path = folder.path().join(name);
        fs::copy(fixtures.join(name), &path).unwrap();
        let list = PromptList::open(&path).unwrap();
        list.get(0).unwrap();
        cut(&path, 0);
        let error = list.get(0).map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Weights, Some(&*path)), "{error}");
        assert!(error.to_string().contains("has become shorter since it was opened"), "{error}");
    }
}
