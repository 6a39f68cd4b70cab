//! WinCLIP against PyTorch in f64 (scripts/fixtures/winclip.py): scores and maps, zero-shot and few-shot, at the model's own
//! grid and at others; and what its banks can do.

use std::fs;
use std::sync::Arc;

use inctrl::tensor::DType;
use inctrl::view::{Grid, Layout};
use inctrl::weights::{Arch, random};
use inctrl::{BankSpec, Engine, ErrorKind, Fit, Frame, IgnoreMask, PixelFormat, PromptBank, Roi};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::common::root;
use crate::sameness::{self, bits};
use crate::tiny::{self, on_the_processor};

/// The bound of scores and of maps, relative to the largest of an image.
const TOLERANCE: f64 = 1e-5;
const PROMPTS: [&str; 3] = ["prompt_0", "prompt_1", "prompt_2"];
const QUERIES: [&str; 3] = ["good", "defect", "prompt_with_defect"];
const MODELS: [&str; 3] = ["square", "odd", "low"];

/// A model of the fixture, as its metadata describe it.
#[derive(Deserialize)]
struct About {
    config: serde_json::Value,
    class: String,
    seed: u64,
    grid: [usize; 2],
}

struct Fixture {
    bytes: Vec<u8>,
    name: &'static str,
    about: About,
    weights: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn open(name: &'static str) -> Self {
        let bytes = fs::read(root().join("tests/fixtures/winclip.safetensors")).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let about: About = serde_json::from_str(&metadata.metadata().as_ref().unwrap()[name]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w");
        let arch = Arch::from_json(&about.config.to_string()).unwrap();
        random::write(&weights, &arch, about.seed, DType::F32).unwrap();
        Fixture { bytes, name, about, weights, _folder: folder }
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(&format!("{}.{name}", self.name)).unwrap();
        tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn picture(&self, name: &str) -> Pixels {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(&format!("{}.picture.{name}", self.name)).unwrap();
        Pixels(tensor.data().to_vec(), [tensor.shape()[1], tensor.shape()[0]])
    }

    /// A bank for pictures that are not resized.
    fn spec(&self, method: &str) -> BankSpec {
        let patch = self.about.config["vision_cfg"]["patch_size"].as_u64().unwrap() as usize;
        let mut spec = BankSpec::default();
        (spec.method, spec.class, spec.fit) =
            (Some(method.to_owned()), Some(self.about.class.clone()), Some(Fit::Trim));
        spec.options.push(format!("size={}", patch * self.about.grid[0].min(self.about.grid[1])));
        spec
    }

    fn bank(&self, engine: &Engine, prompts: &[&str]) -> Arc<PromptBank> {
        let mut builder = engine.bank_builder_of(&self.spec("winclip")).unwrap();
        prompts.iter().for_each(|name| builder.add(self.picture(name).frame()).unwrap());
        Arc::new(builder.finish().unwrap())
    }

    fn zero(&self, engine: &Engine) -> Arc<PromptBank> {
        Arc::new(engine.bank_builder_of(&self.spec("winclip-zero")).unwrap().finish().unwrap())
    }
}

/// The pixels of a picture, and its width and height.
struct Pixels(Vec<u8>, [usize; 2]);

impl Pixels {
    fn frame(&self) -> Frame<'_> {
        Frame::packed(&self.0, self.1[0], self.1[1], PixelFormat::Rgb8).unwrap()
    }
}

#[track_caller]
fn near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let away = f64::from(a - b).abs();
        assert!(away <= TOLERANCE * largest, "{what} [{i}]: {a} is not {b}, {:.1e} of the largest", away / largest);
    }
}

#[test]
fn winclip_is_the_reference_s() {
    for model in MODELS {
        let fixture = Fixture::open(model);
        let engine = on_the_processor(&fixture.weights);
        let zero = fixture.zero(&engine);
        near(&format!("{model}.texts"), zero.tensor("text_prototypes").unwrap().0, &fixture.numbers("texts"));
        let banks =
            [("zero", zero), ("1", fixture.bank(&engine, &PROMPTS[..1])), ("3", fixture.bank(&engine, &PROMPTS))];
        for (kind, bank) in banks {
            let mut scorer = engine.scorer(bank).unwrap();
            for query in QUERIES {
                let (name, picture) = (format!("{kind}.{query}"), fixture.picture(query));
                let found = scorer.score(picture.frame()).unwrap();
                assert_eq!([found.map.grid.rows, found.map.grid.cols], fixture.about.grid, "{model}");
                let what = format!("{model}.{name}");
                near(&what, &found.map.cells, &fixture.numbers(&name));
                near(&format!("{what}.score"), &[found.score], &fixture.numbers(&format!("{name}.score")));
                let largest = found.map.cells.iter().copied().fold(0.0, f32::max);
                assert_eq!(found.output("patch_max"), Some(largest), "{what}");
                if kind != "zero" {
                    let prior = found.output("text_prior").unwrap();
                    near(&format!("{what}.prior"), &[prior], &fixture.numbers(&format!("{name}.prior")));
                }
            }
        }
    }
}

/// A prompt has no distance to itself, which makes its cells 0 and its score half the zero-shot score.
#[test]
fn a_prompt_is_at_no_distance_from_itself() {
    let fixture = Fixture::open("odd");
    let engine = on_the_processor(&fixture.weights);
    let picture = fixture.picture(PROMPTS[1]);
    let zero = engine.scorer(fixture.zero(&engine)).unwrap().score(picture.frame()).unwrap().score;
    let found = engine.scorer(fixture.bank(&engine, &PROMPTS)).unwrap().score(picture.frame()).unwrap().clone();
    assert!(found.map.cells.iter().all(|cell| *cell == 0.0), "{:?}", found.map.cells);
    assert_eq!((found.score, found.output("text_prior")), (0.5 * zero, Some(zero)));
}

/// Bits depend neither on the batch, nor on the place in it, nor on threads, nor on the order of prompts, nor on how many
/// windows are encoded at once: batches of this many images are encoded in parts of other sizes than single images.
#[test]
fn bits_depend_on_the_image_alone() {
    for model in ["square", "odd"] {
        let fixture = Fixture::open(model);
        let names: Vec<&str> = QUERIES.iter().chain(&PROMPTS).copied().collect();
        let pictures: Vec<Pixels> = names.iter().map(|name| fixture.picture(name)).collect();
        let frames: Vec<Frame<'_>> = pictures.iter().map(Pixels::frame).cycle().take(17).collect();
        for zero in [true, false] {
            let bank = |engine: &Engine, order: &[&str]| {
                if zero { fixture.zero(engine) } else { fixture.bank(engine, order) }
            };
            let what = format!("{model}, zero-shot: {zero}");
            sameness::bits_depend_on_the_image_alone(&what, &fixture.weights, &frames, [1, 5, 17], &PROMPTS, bank);
        }
    }
}

/// Prompts can be taken out of a bank and added to it, with the bits of a bank of these prompts; files keep it; and banks of
/// several numbers of prompts take turns in a scorer.
#[test]
fn banks_shrink_grow_and_take_turns() {
    let fixture = Fixture::open("odd");
    let engine = on_the_processor(&fixture.weights);
    let (two, three) = (fixture.bank(&engine, &PROMPTS[..2]), fixture.bank(&engine, &PROMPTS));
    let mut builder = engine.append_to(&two).unwrap();
    builder.add(fixture.picture(PROMPTS[2]).frame()).unwrap();
    assert_eq!(builder.finish().unwrap().id(), three.id());
    let kept = two.prompt_hashes().iter().map(|hash| three.prompt_hashes().iter().position(|h| h == hash).unwrap());
    assert_eq!(three.subset(&kept.collect::<Vec<_>>()).unwrap().id(), two.id());
    assert_eq!(PromptBank::from_bytes(&two.to_bytes().unwrap()).unwrap().id(), two.id());
    let zero = fixture.zero(&engine);
    let read = Arc::new(PromptBank::from_bytes(&zero.to_bytes().unwrap()).unwrap());
    assert_eq!((read.id(), read.prompt_hashes().len(), read.class()), (zero.id(), 0, "bird"));
    let picture = fixture.picture("good");
    let score = |bank: &Arc<PromptBank>| bits(engine.scorer(Arc::clone(bank)).unwrap().score(picture.frame()).unwrap());
    assert_eq!(score(&read), score(&zero));
    let mut scorer = engine.scorer(Arc::clone(&two)).unwrap();
    for bank in [&two, &three, &two] {
        scorer.set_bank(Arc::clone(bank)).unwrap();
        assert_eq!(bits(scorer.score(picture.frame()).unwrap()), score(bank));
    }
    // Another method's bank is another scorer's, whichever way round.
    for (mine, other) in [(&two, &zero), (&zero, &two)] {
        let mut scorer = engine.scorer(Arc::clone(mine)).unwrap();
        let error = scorer.set_bank(Arc::clone(other)).unwrap_err();
        assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("winclip-zero"), "{error}");
        assert_eq!(bits(scorer.score(picture.frame()).unwrap()), score(mine));
    }
}

/// A plain CLIP model, whose configuration names no taps, at a depth that has no published ones.
#[test]
fn a_model_without_heads_needs_no_taps() {
    let fixture = Fixture::open("square");
    let bytes = fs::read(&fixture.weights).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let heads = |name: &str| name.starts_with("adapter.") || name.starts_with("diff_head");
    let plain = file.iter().filter(|(name, _)| !heads(name));
    let folder = tempfile::tempdir().unwrap();
    let [path, whole] = ["plain.safetensors", "whole.safetensors"].map(|name| folder.path().join(name));
    fs::write(&path, safetensors::serialize(plain, None).unwrap()).unwrap();
    fs::write(&whole, safetensors::serialize(file.iter(), None).unwrap()).unwrap();
    let mut config = fixture.about.config.clone();
    config.as_object_mut().unwrap().remove("inctrl");
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let engine = on_the_processor(&path);
    let picture = fixture.picture("defect");
    let found = engine.scorer(fixture.bank(&engine, &PROMPTS)).unwrap().score(picture.frame()).unwrap().clone();
    near("plain.3.defect", &found.map.cells, &fixture.numbers("3.defect"));
    // Heads are of some taps.
    let Err(error) = Engine::open(&whole) else { panic!("heads without taps") };
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("no default taps"), "{error}");
}

/// CLIP's encoders of every kind: a trained activation, odd widths, heads of InCTRL beside it.
#[test]
fn they_run_on_every_encoder_with_texts() {
    tiny::on_every_model(|engine| {
        let pictures = tiny::pictures(0..5);
        let frames = tiny::frames(&pictures);
        for (method, prompts) in [("winclip-zero", 0), ("winclip", 3)] {
            let mut spec = BankSpec::default();
            (spec.method, spec.class) = (Some(method.to_owned()), Some("metal nut".to_owned()));
            let mut builder = engine.bank_builder_of(&spec).unwrap();
            frames[..prompts].iter().for_each(|frame| builder.add(*frame).unwrap());
            let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
            let of = |scorer: &mut inctrl::Scorer, frame| scorer.score(frame).unwrap().clone();
            let [prompt, query] = [frames[0], frames[3]].map(|frame| of(&mut scorer, frame));
            assert!((0.0..=1.0).contains(&query.score) && query.map.largest() > 0.0, "{method}: {query:?}");
            if prompts > 0 {
                assert!(prompt.map.largest() == 0.0, "{method}: {prompt:?}");
            }
        }
    });
}

/// A mask leaves out the windows that touch it, in prompts and in queries: what lies below it changes no bit of the rest of a
/// few-shot map from one prompt to another.
#[test]
fn masked_cells_and_their_windows_do_not_count() {
    let fixture = Fixture::open("square");
    let engine = on_the_processor(&fixture.weights);
    let picture = fixture.picture("good");
    let [width, height] = picture.1;
    let rectangle = |x, y, width, height| Roi { x, y, width, height };
    let masked = |method: &str, roi: Roi, prompts: &[&str]| {
        let mut builder = engine.bank_builder_of(&fixture.spec(method)).unwrap();
        builder.set_mask(IgnoreMask::from_rectangles(width, height, &[roi]).unwrap()).unwrap();
        prompts.iter().try_for_each(|name| builder.add(fixture.picture(name).frame()))?;
        builder.finish().map(Arc::new)
    };
    // The first of five columns of cells.
    let corner = rectangle(0, 0, width / 5, height);
    for (method, prompts) in [("winclip-zero", &[][..]), ("winclip", &PROMPTS)] {
        let bank = masked(method, corner, prompts).unwrap();
        if method == "winclip" {
            let rows = |name: &str| bank.tensor(name).unwrap().1[0];
            assert_eq!([rows("patches"), rows("windows_2"), rows("windows_3")], [3 * 20, 3 * 12, 3 * 6]);
            let kept = bank.subset(&[0, 2]).unwrap();
            assert_eq!(kept.tensor("windows_3").unwrap().1, [12, 64]);
        }
        let found = engine.scorer(bank).unwrap().score(picture.frame()).unwrap().clone();
        for (cell, (value, ignored)) in found.map.cells.iter().zip(&found.ignored).enumerate() {
            assert!(*ignored == (cell % 5 == 0) && (*value == 0.0) == *ignored, "{method}, cell {cell}: {value}");
        }
    }
    // A middle cross leaves patches, but no window of 3 x 3.
    let cross = rectangle(width * 2 / 5, 0, width / 5, height);
    let error = masked("winclip", cross, &PROMPTS).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("no window of 3 x 3"), "{error}");
    // Without prompts the other window sizes, or the image alone, still say something of each cell.
    let found =
        engine.scorer(masked("winclip-zero", cross, &[]).unwrap()).unwrap().score(picture.frame()).unwrap().clone();
    assert!(found.map.cells.iter().zip(&found.ignored).all(|(value, ignored)| (*value > 0.0) != *ignored));
}

/// Pictures that are not square, cut into squares: the published code's scores, and a map of each square's own cells.
#[test]
fn wide_and_tall_pictures_are_cut_into_squares_as_published() {
    let fixture = Fixture::open("square");
    let engine = on_the_processor(&fixture.weights);
    let of = |options: &[&str], zero: bool, prompts: &[&str]| {
        let mut spec = BankSpec::default();
        (spec.method, spec.class) =
            (Some(if zero { "winclip-zero" } else { "winclip" }.to_owned()), Some(fixture.about.class.clone()));
        spec.options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        prompts.iter().for_each(|name| builder.add(fixture.picture(name).frame()).unwrap());
        Arc::new(builder.finish().unwrap())
    };
    let names = |shape: &str| ["prompt_0", "prompt_1", "query"].map(|name| format!("{shape}_{name}"));
    for (shape, squares) in [("wide", Grid::new(1, 2)), ("tall", Grid::new(2, 1))] {
        let names = names(shape);
        let [first, second, query] = names.each_ref().map(String::as_str);
        let picture = fixture.picture(query);
        let few = of(&["squares=on"], false, &[first, second]);
        assert_eq!(few.info().positions, 2, "{shape}");
        let layout = Layout::new(few.tiling().unwrap(), 16, picture.1[0], picture.1[1]).unwrap();
        assert_eq!((layout.tiles(), layout.tile_grid()), (squares, Grid::square(5)));
        let found = engine.scorer(Arc::clone(&few)).unwrap().score(picture.frame()).unwrap().clone();
        near(&format!("{shape}.few"), &[found.score], &fixture.numbers(&format!("{shape}.few")));
        let prior = found.output("text_prior").unwrap();
        near(&format!("{shape}.zero"), &[prior], &fixture.numbers(&format!("{shape}.zero")));
        let half = 0.5 * (found.output("patch_max").unwrap() + prior);
        assert!((found.score - half).abs() <= 1e-6 * half, "{found:?}");
        let maps = fixture.numbers(&format!("{shape}.maps"));
        let mut expected = vec![0.0; layout.grid().cells()];
        for (tile, map) in maps.chunks(25).take(2).enumerate() {
            layout.stitch(tile, map, &mut expected, |cell| *cell);
        }
        assert_eq!(found.map.grid, layout.grid());
        near(&format!("{shape}.map"), &found.map.cells, &expected);
        let zero = engine.scorer(of(&["squares=on"], true, &[])).unwrap().score(picture.frame()).unwrap().clone();
        assert_eq!((zero.score, zero.map.grid), (prior, layout.grid()));
        // Its own prompts are at no distance, and files keep the squares.
        let prompt = fixture.picture(first);
        let score =
            |bank: &Arc<PromptBank>| engine.scorer(Arc::clone(bank)).unwrap().score(prompt.frame()).unwrap().clone();
        assert!(score(&few).map.cells.iter().all(|cell| *cell == 0.0));
        let read = Arc::new(PromptBank::from_bytes(&few.to_bytes().unwrap()).unwrap());
        assert_eq!((read.id(), read.tiling(), bits(&score(&read))), (few.id(), few.tiling(), bits(&score(&few))));
    }
    // A square picture is one square: the same bits as without.
    let good = fixture.picture("good");
    let score = |options: &[&str], zero: bool| {
        let prompts = if zero { &[][..] } else { &PROMPTS };
        bits(engine.scorer(of(options, zero, prompts)).unwrap().score(good.frame()).unwrap())
    };
    for zero in [true, false] {
        assert_eq!(score(&["squares=on"], zero), score(&[], zero));
    }

    // Pictures of other shapes, where each square has its bank, and where all share one.
    let (wide, tall) = (names("wide"), names("tall"));
    let own = of(&["squares=on"], false, &[&wide[0]]);
    let mut scorer = engine.scorer(Arc::clone(&own)).unwrap();
    let before = bits(scorer.score(fixture.picture(&wide[2]).frame()).unwrap());
    let error = scorer.score(fixture.picture(&tall[2]).frame()).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("is cut into 2 x 1 squares"), "{error}");
    assert_eq!(bits(scorer.score(fixture.picture(&wide[2]).frame()).unwrap()), before);
    let error = engine.append_to(&own).unwrap().add(good.frame()).unwrap_err();
    assert!(error.to_string().contains("into 1 x 1 squares, and the images before it into 1 x 2"), "{error}");
    let shared = of(&["squares=on", "bank-per=frame"], false, &[&wide[0], &tall[1], "prompt_0"]);
    let mut scorer = engine.scorer(shared).unwrap();
    for name in [&wide[0], &tall[1]] {
        assert_eq!(scorer.score(fixture.picture(name).frame()).unwrap().map.largest(), 0.0, "{name}");
    }
    let mut spec = BankSpec::default();
    (spec.method, spec.options) = (Some("patchcore".to_owned()), vec!["squares=on".to_owned()]);
    let error = engine.bank_builder_of(&spec).err().unwrap();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("only winclip"), "{error}");
    (spec.method, spec.fit) = (Some("winclip".to_owned()), Some(Fit::Crop));
    assert!(engine.bank_builder_of(&spec).err().unwrap().to_string().contains("leave the fit out"));
}

#[test]
fn bits_of_pictures_in_squares_depend_on_the_image_alone() {
    let fixture = Fixture::open("square");
    let names = ["wide_query", "wide_prompt_0", "wide_prompt_1"];
    let pictures: Vec<Pixels> = names.iter().map(|name| fixture.picture(name)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Pixels::frame).collect();
    let bank = |engine: &Engine, order: &[&str]| {
        let mut spec = BankSpec::default();
        (spec.method, spec.class) = (Some("winclip".to_owned()), Some("nut".to_owned()));
        spec.options = vec!["squares=on".to_owned()];
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        order.iter().for_each(|name| builder.add(fixture.picture(name).frame()).unwrap());
        Arc::new(builder.finish().unwrap())
    };
    sameness::bits_depend_on_the_image_alone("squares", &fixture.weights, &frames, [1, 2, 3], &names[1..], bank);
}

#[test]
fn what_it_cannot_do_is_said() {
    let fixture = Fixture::open("odd");
    let engine = on_the_processor(&fixture.weights);
    let refused = |spec: &BankSpec, expected: &str| {
        let Err(error) = engine.bank_builder_of(spec) else { panic!("{spec:?} makes a bank") };
        assert!(error.chain().contains(expected), "{}", error.chain());
    };
    let mut nameless = fixture.spec("winclip-zero");
    nameless.class = None;
    refused(&nameless, "no class was named");
    nameless.class = Some(" _".to_owned());
    refused(&nameless, "is empty");
    let mut small = fixture.spec("winclip");
    small.options = vec!["size=16".to_owned()];
    refused(&small, "windows of up to 3 x 3 patches, but this frame has 2 x 2");

    // Normal images where there are none, and none where some are needed.
    let picture = fixture.picture("good");
    let mut builder = engine.bank_builder_of(&fixture.spec("winclip-zero")).unwrap();
    let error = builder.add(picture.frame()).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("takes no normal images"), "{error}");
    assert!(builder.expect(1).unwrap_err().to_string().contains("use the method `winclip`"));
    let zero = Arc::new(builder.finish().unwrap());
    assert!(engine.append_to(&zero).unwrap().add(picture.frame()).is_err());
    let error = engine.bank_builder_of(&fixture.spec("winclip")).unwrap().finish().unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");

    // A frame too small for a window does not stop the others.
    let mut spec = fixture.spec("winclip-zero");
    spec.options = vec!["size=24".to_owned()];
    let mut scorer = engine.scorer(Arc::new(engine.bank_builder_of(&spec).unwrap().finish().unwrap())).unwrap();
    let before = bits(scorer.score(picture.frame()).unwrap());
    spec.options = vec!["size=16".to_owned()];
    assert!(engine.bank_builder_of(&spec).is_err());
    assert_eq!(bits(scorer.score(picture.frame()).unwrap()), before);

    // A bank of another model.
    let other = on_the_processor(&Fixture::open("low").weights);
    let Err(error) = other.scorer(zero) else { panic!("a bank of another model is taken") };
    assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("was built with model"), "{error}");
}

#[test]
fn encoders_without_texts_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("w");
    let config = fs::read_to_string(root().join("tests/fixtures/dinov2/plain.json")).unwrap();
    random::write(&weights, &Arch::from_json(&config).unwrap(), 1, DType::F32).unwrap();
    let engine = on_the_processor(&weights);
    for method in ["winclip", "winclip-zero"] {
        let mut spec = BankSpec::default();
        (spec.method, spec.class) = (Some(method.to_owned()), Some("nut".to_owned()));
        let Err(error) = engine.bank_builder_of(&spec) else { panic!("{method} runs without texts") };
        let text = error.to_string();
        assert!(
            error.kind() == ErrorKind::Config && text.contains(&format!("`{method}` compares images with texts")),
            "{text}"
        );
        assert!(text.contains("dinov2, which has no text tower"), "{text}");
    }
}
