//! Scores before and after conversion: files of four programs with CLIP's whole vocabulary, each scored by the program
//! that saved it (`scripts/fixtures/scored_checkpoints.py`), then converted and scored here. Prompt lists are compared
//! with the pictures that they were made from.

use std::path::Path;

use inctrl::checkpoint::PromptList;
use inctrl::{Engine, ErrorKind, Fit, Frame, Image, PixelFormat, PromptBank};

use crate::common::converted::{Facts, TOLERANCE, converted, facts, fixture, picture};
use crate::compare::close;
use crate::tiny::{five, on_the_processor};

/// The text prior is a softmax of 100 times the cosines, so that a difference of cosines counts up to 25 times: here
/// one of 2^-22, four roundings.
const TEXT_TOLERANCE: f32 = 25.0 / (1 << 22) as f32;

fn engine(folder: &Path) -> Engine {
    let weights = folder.join("w.safetensors");
    converted("open_clip.pt", &weights);
    on_the_processor(weights)
}

fn bank_of_pictures(engine: &Engine, facts: &Facts) -> PromptBank {
    let images: Vec<Image> = facts.normals.iter().map(|name| Image::open(picture(name)).unwrap()).collect();
    let frames: Vec<Frame<'_>> = images.iter().map(Image::frame).collect();
    engine.build_bank(&facts.class, Fit::Crop, &frames).unwrap()
}

fn bank_of_list(engine: &Engine, facts: &Facts, name: &str) -> PromptBank {
    let list = PromptList::open(fixture(name)).unwrap();
    assert_eq!(list.len(), facts.normals.len());
    let mut builder = engine.bank_builder(&facts.class, Fit::Crop).unwrap();
    for i in 0..list.len() {
        builder.add_normalised(&list.get(i).unwrap()).unwrap();
    }
    builder.finish().unwrap()
}

/// Fails unless the scores of all queries are those of the reference.
#[track_caller]
fn agree(what: &str, found: &[[f32; 5]], expected: &[[f32; 5]]) {
    let columns = |rows: &[[f32; 5]], range: std::ops::Range<usize>| -> Vec<f32> {
        rows.iter().flat_map(|row| row[range.clone()].to_vec()).collect()
    };
    close(what, &columns(found, 0..4), &columns(expected, 0..4), TOLERANCE, 1.0);
    close(what, &columns(found, 4..5), &columns(expected, 4..5), TEXT_TOLERANCE, 1.0);
}

fn scores(engine: &Engine, bank: PromptBank, facts: &Facts) -> Vec<[f32; 5]> {
    let mut scorer = engine.scorer(bank.into()).unwrap();
    let parts = |name: &String| {
        let s = scorer.score(Image::open(picture(name)).unwrap().frame()).unwrap();
        five(s)
    };
    facts.queries.iter().map(parts).collect()
}

#[test]
fn every_program_s_file_scores_as_its_program_does() {
    let (facts, folder) = (facts(), tempfile::tempdir().unwrap());
    let mut first: Option<Vec<[f32; 5]>> = None;
    for source in ["open_clip.pt", "inctrl.pyth", "hf/model.safetensors", "script.pt"] {
        let weights = folder.path().join("w.safetensors");
        converted(source, &weights);
        let engine = on_the_processor(&weights);
        let found = scores(&engine, bank_of_pictures(&engine, &facts), &facts);
        agree(source, &found, &facts.scores[source]);
        assert_eq!(&found, first.get_or_insert(found.clone()), "{source}: the same model, the same bits");
    }
}

#[test]
fn the_fixtures_tell_queries_apart() {
    // Scores that all queries share would show nothing.
    let scores = &facts().scores["open_clip.pt"];
    for (part, (a, b)) in scores[0].iter().zip(&scores[1]).enumerate() {
        assert!((a - b).abs() > 1e-3, "part {part} of both queries");
    }
}

#[test]
fn prompt_lists_score_as_the_reference_does_with_them() {
    let (facts, folder) = (facts(), tempfile::tempdir().unwrap());
    let engine = engine(folder.path());
    for (list, expected) in [
        ("prompts.pt", "open_clip.pt"),
        ("prompts_views.pt", "open_clip.pt"),
        ("prompts_half.pt", "prompts_half.pt"),
        ("prompts_float.pt", "prompts_float.pt"),
    ] {
        let found = scores(&engine, bank_of_list(&engine, &facts, list), &facts);
        agree(list, &found, &facts.scores[expected]);
    }
}

#[test]
fn a_list_and_the_8_bit_pictures_that_it_holds_are_one_bank() {
    let (facts, folder) = (facts(), tempfile::tempdir().unwrap());
    let engine = engine(folder.path());
    let list = PromptList::open(fixture("prompts.pt")).unwrap();
    let pixels: Vec<Vec<u8>> = (0..list.len()).map(|i| list.get(i).unwrap().pixels().unwrap()).collect();
    let frames: Vec<Frame<'_>> =
        pixels.iter().map(|pixels| Frame::packed(pixels, 32, 32, PixelFormat::Rgb8).unwrap()).collect();
    let bank = engine.build_bank(&facts.class, Fit::Crop, &frames).unwrap();
    for name in ["prompts.pt", "prompts_views.pt"] {
        assert_eq!(bank_of_list(&engine, &facts, name).id(), bank.id(), "{name}");
    }
    for name in ["prompts_half.pt", "prompts_float.pt"] {
        assert_eq!(PromptList::open(fixture(name)).unwrap().get(0).unwrap().pixels(), None);
        assert_ne!(bank_of_list(&engine, &facts, name).id(), bank.id(), "{name}");
    }
}

#[test]
fn images_of_a_list_are_counted() {
    let list = PromptList::open(fixture("prompts.pt")).unwrap();
    assert_eq!(list.get(list.len()).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(PromptList::open(fixture("absent.pt")).map(|_| ()).unwrap_err().kind(), ErrorKind::Io);
}
