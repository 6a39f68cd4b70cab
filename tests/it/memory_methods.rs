//! PatchCore and its kin on DINOv2 against the oracle in f64 (scripts/fixtures/memory_methods.py): distances, scores,
//! what a bank holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{BankBuilder, BankSpec, Engine, ErrorKind, Fit, Frame, PixelFormat, PromptBank};
use safetensors::SafeTensors;

use crate::common::root;
use crate::sameness;
use crate::tiny::on_the_processor;

/// The bound of distances and scores, relative to the largest of an image.
const TOLERANCE: f64 = 1e-5;
/// The seed of the model's weights.
const SEED: u64 = 5;
const PROMPTS: [&str; 4] = ["prompt_0", "prompt_1", "prompt_2", "prompt_3"];
const QUERIES: [&str; 3] = ["good", "defect", "prompt_with_defect"];

struct Fixture {
    bytes: Vec<u8>,
    weights: PathBuf,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w");
        let config = fs::read_to_string(root().join("tests/fixtures/dinov2/registers.json")).unwrap();
        random::write(&weights, &Arch::from_json(&config).unwrap(), SEED, DType::F32).unwrap();
        let bytes = fs::read(root().join("tests/fixtures/memory_methods.safetensors")).unwrap();
        Fixture { bytes, weights, _folder: folder }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap();
        tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// The pixels of a picture, and its sides.
    fn picture(&self, name: &str) -> (Vec<u8>, [usize; 2]) {
        let file = self.file();
        let tensor = file.tensor(&format!("picture.{name}")).unwrap();
        (tensor.data().to_vec(), [tensor.shape()[1], tensor.shape()[0]])
    }
}

fn frame((pixels, [width, height]): &(Vec<u8>, [usize; 2])) -> Frame<'_> {
    Frame::packed(pixels, *width, *height, PixelFormat::Rgb8).unwrap()
}

/// What the method says of a bank of this many square images.
fn size(builder: &BankBuilder<'_>, images: usize) -> String {
    builder.size_with(images, 64, 64).unwrap().note.unwrap()
}

fn spec(method: &str, options: &[&str]) -> BankSpec {
    let mut spec = BankSpec::default();
    spec.method = Some(method.to_owned());
    // The pictures have the size that the encoder sees.
    spec.fit = Some(Fit::Trim);
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    spec.options.push("size=70".to_owned());
    spec
}

fn bank(engine: &Engine, fixture: &Fixture, spec: &BankSpec, shots: usize) -> Arc<PromptBank> {
    let mut builder = engine.bank_builder_of(spec).unwrap();
    for name in &PROMPTS[..shots] {
        builder.add(frame(&fixture.picture(name))).unwrap();
    }
    Arc::new(builder.finish().unwrap())
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

/// Distances and scores of every query against banks of 1, 2 and 4 prompts.
fn check(method: &str, named: &str, options: &[&str], shots: &[usize], score: &str) {
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    for &shots in shots {
        let bank = bank(&engine, &fixture, &spec(method, options), shots);
        let mut scorer = engine.scorer(bank).unwrap();
        for query in QUERIES {
            let what = format!("{named}.{shots}.{query}");
            let found = scorer.score(frame(&fixture.picture(query))).unwrap();
            near(&what, &found.map.cells, &fixture.numbers(&what));
            near(&format!("{what}.{score}"), &[found.score], &fixture.numbers(&format!("{what}.{score}")));
        }
    }
}

#[test]
fn patchcore_is_the_oracle_s() {
    check("patchcore", "patchcore", &["taps=2,3"], &[1, 2, 4], "score");
    check("patchcore", "patchcore", &["taps=2,3", "reweight=on"], &[1, 2, 4], "reweighted");
    check("patchcore", "patchcore.full", &["coreset=1"], &[1, 2, 4], "score");
}

#[test]
fn subspace_is_the_oracle_s() {
    check("subspace", "subspace", &["taps=1,2", "rotations=0"], &[1, 2, 4], "score");
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    for shots in [1, 2, 4] {
        let bank = bank(&engine, &fixture, &spec("subspace", &["taps=1,2", "rotations=0"]), shots);
        let (_, shape) = bank.tensor("components").unwrap();
        assert_eq!(shape[0] as f32, fixture.numbers(&format!("subspace.{shots}.components"))[0], "{shots} shots");
    }
}

#[test]
fn padim_is_the_oracle_s() {
    check("padim", "padim", &["taps=2,3", "dims=40"], &[2, 4], "score");
    check("padim", "padim", &["taps=2,3", "dims=40", "single=on"], &[1], "score");
}

#[test]
fn spade_is_the_oracle_s() {
    check("spade", "spade", &["taps=2,3"], &[1, 2, 4], "score");
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    let mut builder = engine.bank_builder_of(&spec("spade", &[])).unwrap();
    assert!(builder.expect(51).unwrap_err().to_string().contains("at most 50"));
    let picture = fixture.picture("good");
    (0..51).for_each(|_| builder.add(frame(&picture)).unwrap());
    let error = builder.finish().unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("51 normal images"), "{error}");
}

#[test]
fn what_padim_cannot_do_is_said() {
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    let mut builder = engine.bank_builder_of(&spec("padim", &[])).unwrap();
    assert!(builder.expect(1).unwrap_err().to_string().contains("at least two"));
    let told = size(&builder, 3);
    assert!(told.contains("25 places of 64 channels, each with a mean and 2 directions"), "{told}");
    builder.add(frame(&fixture.picture(PROMPTS[0]))).unwrap();
    let error = builder.finish_with(|_, _| ()).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("single=on"), "{error}");
    // Images of another shape: among the prompts, and among the queries, where the others go on.
    let (pixels, [width, height]) = fixture.picture("good");
    let narrow = Frame::packed(&pixels[..70 * 70 * 3], 70, 70, PixelFormat::Rgb8).unwrap();
    builder.add(narrow).unwrap();
    let error = builder.finish_with(|_, _| ()).unwrap_err();
    assert!(error.to_string().contains("5 x 7") && error.to_string().contains("5 x 5"), "{error}");
    let two = bank(&engine, &fixture, &spec("padim", &[]), 2);
    let mut scorer = engine.scorer(Arc::clone(&two)).unwrap();
    let wide = Frame::packed(&pixels, width, height, PixelFormat::Rgb8).unwrap();
    let before = scorer.score(wide).unwrap().score;
    let error = scorer.score(narrow).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("knows each place of 5 x 7"), "{error}");
    assert_eq!(scorer.score(wide).unwrap().score.to_bits(), before.to_bits());
    // A bank of other channels is another scorer's.
    let other = bank(&engine, &fixture, &spec("padim", &["method-seed=1"]), 2);
    assert!(scorer.set_bank(other).unwrap_err().to_string().contains("method-seed=1"));
}

/// Prompts can be taken out of a bank and added to it, with the bits of a bank of these prompts; and banks of several
/// numbers of prompts take turns in a scorer.
#[test]
fn banks_shrink_grow_and_take_turns() {
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    for (method, options) in [
        ("subspace", &["taps=1,2", "rotations=2"][..]),
        ("padim", &["taps=2,3", "dims=40"]),
        ("patchcore", &["coreset=1", "rotations=2", "reweight=on"]),
        ("spade", &["taps=2,3"]),
    ] {
        let of = |shots: usize| bank(&engine, &fixture, &spec(method, options), shots);
        let (two, three) = (of(2), of(3));
        let mut builder = engine.append_to(&two).unwrap();
        builder.add(frame(&fixture.picture(PROMPTS[2]))).unwrap();
        assert_eq!(builder.finish().unwrap().id(), three.id(), "{method}");
        let hash = |name: &str| {
            let hash = frame(&fixture.picture(name)).content_hash().unwrap();
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let places: Vec<usize> = PROMPTS[..2]
            .iter()
            .map(|name| three.prompt_hashes().iter().position(|known| *known == hash(name)).unwrap())
            .collect();
        assert_eq!(three.subset(&places).unwrap().id(), two.id(), "{method}");
        let mut scorer = engine.scorer(Arc::clone(&two)).unwrap();
        let good = fixture.picture("good");
        let first = scorer.score(frame(&good)).unwrap().score;
        scorer.set_bank(Arc::clone(&three)).unwrap();
        let second = scorer.score(frame(&good)).unwrap().score;
        assert_eq!(engine.scorer(three).unwrap().score(frame(&good)).unwrap().score.to_bits(), second.to_bits());
        scorer.set_bank(two).unwrap();
        assert!(first != second && scorer.score(frame(&good)).unwrap().score.to_bits() == first.to_bits(), "{method}");
    }
}

/// Bits depend neither on the batch, nor on the place in it, nor on threads, nor on the order of prompts.
#[test]
fn bits_depend_on_the_image_alone() {
    let fixture = Fixture::open();
    let pictures: Vec<_> = QUERIES.iter().chain(&PROMPTS).map(|name| fixture.picture(name)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(frame).collect();
    for (method, options) in [
        ("patchcore", &["taps=2,3", "reweight=on"][..]),
        ("subspace", &["taps=1,2", "rotations=3"]),
        ("padim", &["taps=2,3", "dims=40"]),
        ("spade", &["taps=2,3"]),
    ] {
        let bank = |engine: &Engine, order: &[&str]| {
            let mut builder = engine.bank_builder_of(&spec(method, options)).unwrap();
            order.iter().for_each(|name| builder.add(frame(&fixture.picture(name))).unwrap());
            Arc::new(builder.finish().unwrap())
        };
        sameness::bits_depend_on_the_image_alone(method, &fixture.weights, &frames, [1, 2, 7], &PROMPTS, bank);
    }
}

/// CLIP's encoders, of widths that are a multiple of nothing too.
#[test]
fn they_run_on_every_encoder() {
    crate::tiny::on_every_model(|engine| {
        let pictures = crate::tiny::pictures(0..5);
        let frames = crate::tiny::frames(&pictures);
        for (method, options) in [
            ("patchcore", &["taps=1,2", "coreset=0.3", "reweight=on"][..]),
            ("subspace", &["taps=1,2", "rotations=2"]),
            ("padim", &["taps=1,2", "dims=50"]),
            ("spade", &[]),
        ] {
            let mut spec = BankSpec::default();
            spec.method = Some(method.to_owned());
            spec.options = options.iter().map(|option| (*option).to_owned()).collect();
            let mut builder = engine.bank_builder_of(&spec).unwrap();
            frames[..3].iter().for_each(|frame| builder.add(*frame).unwrap());
            let bank = Arc::new(builder.finish().unwrap());
            let mut scorer = engine.scorer(Arc::clone(&bank)).unwrap();
            let of = |scorer: &mut inctrl::Scorer, frame| scorer.score(frame).unwrap().score;
            let [prompt, query] = [frames[0], frames[3]].map(|frame| of(&mut scorer, frame));
            assert!(prompt >= 0.0 && query > prompt, "{method}: a prompt scores {prompt}, another image {query}");
            // A mask leaves cells out, in prompts and in queries.
            let mut builder = engine.bank_builder_of(&spec).unwrap();
            let corner = inctrl::Roi { x: 0, y: 0, width: 40, height: 80 };
            builder.set_mask(inctrl::IgnoreMask::from_rectangles(80, 80, &[corner]).unwrap()).unwrap();
            let square = crate::tiny::Picture::new(0);
            let other = crate::tiny::Picture::new(5);
            [&square, &other].iter().for_each(|picture| builder.add(picture.frame()).unwrap());
            let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
            let masked = crate::tiny::Picture::new(10);
            let score = scorer.score(masked.frame()).unwrap();
            let ignored = score.map.cells.iter().zip(&score.ignored).filter(|(_, ignored)| **ignored);
            assert!(ignored.clone().count() > 0 && ignored.clone().all(|(cell, _)| *cell == 0.0), "{method}");
        }
    });
}

#[test]
fn the_coreset_is_the_oracle_s_whatever_the_order_and_the_threads() {
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    let patches = |bank: &PromptBank| {
        let (values, shape) = bank.tensor("patches").unwrap();
        values.chunks(shape[1]).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    for shots in [1, 2, 4] {
        let of = |options: &[&str]| bank(&engine, &fixture, &spec("patchcore", options), shots);
        let all = patches(&of(&["taps=2,3", "coreset=1"]));
        let chosen = patches(&of(&["taps=2,3"]));
        // The oracle's places are those of prompts in their order by name, the bank's rows lie in that of their hashes.
        let mut order: Vec<(String, usize)> = PROMPTS[..shots]
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let hash = frame(&fixture.picture(name)).content_hash().unwrap();
                (hash.iter().map(|byte| format!("{byte:02x}")).collect(), i)
            })
            .collect();
        order.sort();
        let cells = all.len() / shots;
        let expected: Vec<Vec<f32>> = fixture
            .numbers(&format!("patchcore.{shots}.chosen"))
            .iter()
            .map(|place| {
                let (prompt, cell) = (*place as usize / cells, *place as usize % cells);
                all[order.iter().position(|(_, i)| *i == prompt).unwrap() * cells + cell].clone()
            })
            .collect();
        assert_eq!(chosen, expected, "{shots} shots");
        // A number in place of a share, and a first row that is drawn.
        let three = patches(&of(&["taps=2,3", "rows=3"]));
        assert_eq!(three[..], expected[..3]);
        let drawn = patches(&of(&["taps=2,3", "rows=3", "method-seed=8"]));
        assert!(drawn != three && drawn.iter().all(|row| all.contains(row)));
        assert_eq!(drawn, patches(&of(&["taps=2,3", "rows=3", "method-seed=8"])));
    }
}

#[test]
fn what_patchcore_cannot_do_is_said() {
    let fixture = Fixture::open();
    let engine = on_the_processor(&fixture.weights);
    let mut builder = engine.bank_builder_of(&spec("patchcore", &["rows=36"])).unwrap();
    let told = size(&builder, 2);
    assert!(
        told.contains("2 images of this shape leave 50 patches of 64 numbers") && told.contains("keeps 36"),
        "{told}"
    );
    builder.add(frame(&fixture.picture("good"))).unwrap();
    let error = builder.finish().unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.chain().contains("than the 35 of"), "{}", error.chain());
    for (options, expected) in [
        (&["taps=2,4"][..], "has 3: name blocks from 1 to 3"),
        (&["taps=3,2"], "ascending"),
        (&["coreset=0"], "above 0 and at most 1"),
        (&["coreset=1.5"], "above 0 and at most 1"),
    ] {
        let error = engine.bank_builder_of(&spec("patchcore", options)).err().unwrap();
        assert!(error.chain().contains(expected), "{}", error.chain());
    }
    // Rows that were chosen among those of all prompts belong to none of them.
    let chosen = bank(&engine, &fixture, &spec("patchcore", &[]), 2);
    assert!(!chosen.has_separate_prompts());
    let error = engine.append_to(&chosen).err().unwrap();
    assert!(error.chain().contains("does not keep its prompts apart"), "{}", error.chain());
    let all = bank(&engine, &fixture, &spec("patchcore", &["coreset=1"]), 2);
    let mut builder = engine.append_to(&all).unwrap();
    builder.add(frame(&fixture.picture(PROMPTS[2]))).unwrap();
    let longer = builder.finish().unwrap();
    assert_eq!(longer.id(), bank(&engine, &fixture, &spec("patchcore", &["coreset=1"]), 3).id());
    // Through a file, and not into a scorer of another method.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b");
    chosen.save(&path).unwrap();
    let read = Arc::new(PromptBank::open(Path::new(&path)).unwrap());
    assert_eq!((read.id(), read.options().to_string()), (chosen.id(), chosen.options().to_string()));
    let mut scorer = engine.scorer(bank(&engine, &fixture, &spec("anomaly-dino", &["rotations=1"]), 1)).unwrap();
    let error = scorer.set_bank(read).unwrap_err();
    assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("patchcore"), "{error}");
}
