//! The method through every entry point of the engine, against its formula in f64 on the features of its own banks.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::image::{IgnoreMask, Roi};
use crate::tensor::DType;
use crate::view::{Corners, Turn, rotate};
use crate::weights::{Arch, random};
use crate::{
    BankSpec, Device, Engine, EngineOptions, ErrorKind, Fit, Frame, PixelFormat, PromptBank, Score, Thresholds,
};

const SIDE: usize = 80;
const CONFIG: &str = r#"{"embed_dim": 24, "vision_cfg": {"image_size": 80, "patch_size": 8, "width": 64, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1]}}"#;

struct Model(tempfile::TempDir);

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        random::write(folder.path().join("w"), &Arch::from_json(CONFIG).unwrap(), 5, DType::F32).unwrap();
        Model(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn engine(&self, threads: usize) -> Engine {
        let mut options = EngineOptions::new(self.path().join("w"));
        options.device = Device::Cpu;
        options.threads = NonZeroUsize::new(threads);
        Engine::with(&options).unwrap()
    }
}

fn picture(seed: usize) -> Vec<u8> {
    (0..100 * 90 * 3).map(|i| ((i * 37 + seed * 101) ^ ((i >> 4) * (11 + seed))) as u8).collect()
}

fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame::packed(pixels, 100, 90, PixelFormat::Rgb8).unwrap()
}

fn spec(options: &[&str]) -> BankSpec {
    let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    options.push(format!("size={SIDE}"));
    BankSpec { method: Some("anomaly-dino".to_owned()), fit: Some(Fit::Crop), options, ..BankSpec::default() }
}

fn bank(engine: &Engine, options: &[&str], prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    let mut builder = engine.bank_builder_of(&spec(options)).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    Arc::new(builder.finish().unwrap())
}

fn bits(score: &Score) -> Vec<u32> {
    score.outputs().map(|(_, x)| x).chain(score.map.cells.iter().copied()).map(f32::to_bits).collect()
}

/// Unit rows of a bank.
fn rows(bank: &PromptBank) -> Vec<&[f32]> {
    let (values, shape) = bank.tensor("patches").unwrap();
    assert_eq!(shape.len(), 2);
    values.chunks(shape[1]).collect()
}

#[test]
fn distances_and_scores_are_those_of_the_paper() {
    let model = Model::new();
    let engine = model.engine(2);
    let pictures: Vec<Vec<u8>> = (0..4).map(picture).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(|pixels| frame(pixels)).collect();
    for options in [&["rotations=1"][..], &[]] {
        let bank = bank(&engine, options, &frames[..2]);
        let mut scorer = engine.scorer(Arc::clone(&bank)).unwrap();
        for query in &frames {
            // What a bank of the query alone holds are the query's own unit tokens.
            let own = self::bank(&engine, &["rotations=1"], &[*query]);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let nearest = |row| rows(&bank).into_iter().map(|b| dot(row, b)).fold(f64::NEG_INFINITY, f64::max);
            let distances: Vec<f64> = rows(&own).into_iter().map(|row| 1.0 - nearest(row)).collect();
            let mut sorted = distances.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            // 100 cells: one of them. An f32 sum of 64 products of unit vectors errs by at most 64 roundings.
            let tol = 64.0 * f64::from(f32::EPSILON);
            let found = scorer.score(*query).unwrap();
            assert_eq!(found.map.cells.len(), 100);
            for (cell, (found, expected)) in found.map.cells.iter().zip(&distances).enumerate() {
                assert!(
                    (f64::from(*found) - expected).abs() <= tol,
                    "{options:?}, cell {cell}: {found} is not {expected}"
                );
            }
            assert!((f64::from(found.score) - sorted[0]).abs() <= tol, "{} is not {}", found.score, sorted[0]);
            assert_eq!(found.output("patch_max"), Some(found.map.largest()));
        }
    }
}

fn reflected(degrees: f64) -> Turn {
    Turn { degrees, corners: Corners::Reflected }
}

#[test]
fn a_prompt_is_seen_at_every_turn_in_order() {
    let engine = Model::new().engine(2);
    let pixels = picture(1);
    let turned = bank(&engine, &["rotations=3"], &[frame(&pixels)]);
    assert_eq!(turned.tensor("patches").unwrap().1, [300, 64]);
    let mut memory = Vec::new();
    for (turn, rows) in rows(&turned).chunks(100).enumerate() {
        let view = rotate(&frame(&pixels), reflected(120.0 * turn as f64), &mut memory).unwrap();
        assert_eq!(rows, self::rows(&bank(&engine, &["rotations=1"], &[view])), "turn {turn}");
    }
    assert_eq!(bank(&engine, &[], &[frame(&pixels)]).tensor("patches").unwrap().1[0], 800);
}

#[test]
fn batches_threads_and_the_order_of_prompts_change_no_bit() {
    let model = Model::new();
    let pictures: Vec<Vec<u8>> = (0..6).map(picture).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(|pixels| frame(pixels)).collect();
    let mut first = None;
    for (threads, order) in [(1, [0, 1, 2]), (2, [2, 0, 1]), (3, [1, 2, 0])] {
        let engine = model.engine(threads);
        let bank = bank(&engine, &["rotations=2"], &order.map(|i| frames[i]));
        let mut alone = engine.scorer(Arc::clone(&bank)).unwrap();
        let mut together = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(4).unwrap()).unwrap();
        let found: Vec<Vec<u32>> = together.score_batch(&frames).unwrap().iter().map(bits).collect();
        for (frame, found) in frames.iter().zip(&found) {
            assert_eq!(&bits(alone.score(*frame).unwrap()), found, "{threads} threads");
        }
        let id = bank.id().to_owned();
        assert_eq!(*first.get_or_insert_with(|| (id.clone(), found.clone())), (id, found), "{threads} threads");
    }
}

#[test]
fn prompts_are_told_apart_for_panels_files_and_more_prompts() {
    let model = Model::new();
    let engine = model.engine(2);
    let pictures: Vec<Vec<u8>> = (0..5).map(picture).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(|pixels| frame(pixels)).collect();
    let all = bank(&engine, &["rotations=2"], &frames[..3]);
    let parts: Vec<Arc<PromptBank>> = (0..3).map(|k| Arc::new(all.subset(&[k]).unwrap())).collect();
    let mut banks = vec![Arc::clone(&all), Arc::new(all.subset(&[0, 2]).unwrap())];
    banks.extend(parts);
    let mut many = engine.multi_bank_scorer(&banks).unwrap();
    for query in &frames[3..] {
        let found: Vec<Vec<u32>> = many.score(*query).unwrap().iter().map(bits).collect();
        for (bank, found) in banks.iter().zip(found) {
            assert_eq!(bits(engine.scorer(Arc::clone(bank)).unwrap().score(*query).unwrap()), found);
        }
    }
    let path = model.path().join("bank");
    bank(&engine, &["rotations=2"], &frames[..2]).save(&path).unwrap();
    let opened = PromptBank::open(&path).unwrap();
    assert_eq!(
        (opened.method(), opened.options().to_string()),
        ("anomaly-dino", format!("size={SIDE} rotations=2 mask=off"))
    );
    let mut builder = engine.append_to(&opened).unwrap();
    builder.add(frames[2]).unwrap();
    assert_eq!(builder.finish().unwrap().id(), all.id());
}

#[test]
fn options_are_a_part_of_a_bank_and_scorers_are_of_one_size() {
    let engine = Model::new().engine(1);
    let pixels = picture(2);
    let [upright, turned] =
        [["rotations=1"], ["rotations=2"]].map(|options| bank(&engine, &options, &[frame(&pixels)]));
    assert_ne!(upright.id(), turned.id());
    let mut scorer = engine.scorer(Arc::clone(&upright)).unwrap();
    scorer.set_bank(turned).unwrap();
    scorer.score(frame(&pixels)).unwrap();
    // Of another method.
    let other = Arc::new(engine.build_bank("cat", Fit::Crop, &[frame(&pixels)]).unwrap());
    let error = scorer.set_bank(Arc::clone(&other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bank);
    assert!(error.to_string().contains("`anomaly-dino`") && error.to_string().contains("`inctrl`"), "{error}");
    scorer.score(frame(&pixels)).unwrap();
    let error = engine.multi_bank_scorer(&[other, upright]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Argument);

    for (options, expected) in [
        (&["rotations=0"][..], "from 1 to 64"),
        (&["colour=red"], "size, rotations, mask"),
        (&["mask=maybe"], "on or off"),
        (&["size=7"], "several patches"),
        (&["size"], "name=value"),
    ] {
        let mut spec = spec(&[]);
        spec.options = options.iter().map(|option| (*option).to_owned()).collect();
        let error = engine.bank_builder_of(&spec).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.chain().contains(expected), "{}", error.chain());
    }
    let mut nameless = BankSpec { method: Some("inctrl".to_owned()), ..BankSpec::default() };
    engine.bank_builder_of(&nameless).unwrap();
    nameless.class = Some(" ".to_owned());
    assert_eq!(engine.bank_builder_of(&nameless).err().unwrap().kind(), ErrorKind::Argument);
}

#[test]
fn ignored_cells_have_no_distance_and_no_say() {
    let engine = Model::new().engine(2);
    let (prompt, mut query) = (picture(3), picture(3));
    // A defect in the left half of the picture.
    query.chunks_exact_mut(300).skip(20).take(40).for_each(|row| row[40..110].iter_mut().for_each(|x| *x = 255 - *x));
    let half = [Roi { x: 0, y: 0, width: 50, height: 90 }];
    let masked = |rectangles: &[Roi]| {
        let mut builder = engine.bank_builder_of(&spec(&["rotations=4"])).unwrap();
        builder.set_mask(IgnoreMask::from_rectangles(100, 90, rectangles).unwrap()).unwrap();
        builder.add(frame(&prompt)).map(|()| Arc::new(builder.finish().unwrap()))
    };
    let bank = masked(&half).unwrap();
    // Half of the cells of an upright view remain, and the other half of one upside down.
    assert_eq!(bank.tensor("patches").unwrap().1[0], 200);
    let limits = Thresholds { review: 0.05, reject: 0.5, cell: 0.05 };
    let bank = Arc::new(bank.with_thresholds(Some(limits)).unwrap());
    let score = engine.scorer(Arc::clone(&bank)).unwrap().score(frame(&query)).unwrap().clone();
    assert!(score.score < 0.05 && score.regions.is_empty(), "{}", score.score);
    assert!(
        (0..100).all(
            |cell| score.ignored[cell] == (cell % 10 < 5) && (!score.ignored[cell] || score.map.cells[cell] == 0.0)
        )
    );
    let seen = self::bank(&engine, &["rotations=4"], &[frame(&prompt)]);
    assert!(engine.scorer(seen).unwrap().score(frame(&query)).unwrap().score > 0.05);

    let everything = [Roi { x: 0, y: 0, width: 100, height: 90 }];
    let error = masked(&everything).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("leaves no cell"), "{error}");
}
