//! ResNets against torchvision in f64, and the methods that run on them against the oracle (scripts/fixtures/resnet.py).

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use inctrl::backend::Backend;
use inctrl::backend::cpu::Cpu;
use inctrl::checkpoint::{ConvertOptions, convert};
use inctrl::encoder::{Vision, Wants};
use inctrl::tensor::DType;
use inctrl::view::{Grid, Plan, View};
use inctrl::weights::{Arch, LoadOptions, Weights, random};
use inctrl::{BankSpec, Engine, ErrorKind, Fit, Frame, PixelFormat, PromptBank};
use safetensors::SafeTensors;

use crate::common::root;
use crate::sameness;
use crate::tiny::on_the_processor;

/// The bound of features, relative to the largest of a tensor.
const FEATURES: f64 = 2e-5;
/// That of distances and scores, relative to the largest of an image.
const TOLERANCE: f64 = 1e-5;
const SEED: u64 = 3;
const SIZE: [usize; 2] = [72, 104];
const PROMPTS: [&str; 4] = ["prompt_0", "prompt_1", "prompt_2", "prompt_3"];
const QUERIES: [&str; 3] = ["good", "defect", "prompt_with_defect"];
/// A method's options, small enough for the fixture.
const METHODS: [(&str, &[&str]); 3] =
    [("patchcore", &["level-dims=100", "dims=77", "reweight=on"]), ("padim", &["dims=40"]), ("spade", &[])];

struct Fixture {
    bytes: Vec<u8>,
    weights: PathBuf,
    _folder: tempfile::TempDir,
}

fn config(kind: &str) -> Arch {
    let text = fs::read_to_string(root().join(format!("tests/fixtures/resnet/{kind}.json"))).unwrap();
    Arch::from_json(&text).unwrap()
}

impl Fixture {
    fn open(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("w");
        random::write(&weights, &config(kind), SEED, DType::F32).unwrap();
        let bytes = fs::read(root().join("tests/fixtures/resnet/expected.safetensors")).unwrap();
        Fixture { bytes, weights, _folder: folder }
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn picture(&self, name: &str) -> Vec<u8> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(&format!("picture.{name}")).unwrap();
        assert_eq!(tensor.shape(), [SIZE[0], SIZE[1], 3]);
        tensor.data().to_vec()
    }

    fn bank(&self, engine: &Engine, spec: &BankSpec, shots: usize) -> Arc<PromptBank> {
        let mut builder = engine.bank_builder_of(spec).unwrap();
        PROMPTS[..shots].iter().for_each(|name| builder.add(frame(&self.picture(name))).unwrap());
        Arc::new(builder.finish().unwrap())
    }
}

fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame::packed(pixels, SIZE[1], SIZE[0], PixelFormat::Rgb8).unwrap()
}

/// The pictures have the size that the encoder sees.
fn spec(method: &str, options: &[&str]) -> BankSpec {
    let mut spec = BankSpec::default();
    spec.method = Some(method.to_owned());
    spec.fit = Some(Fit::Trim);
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    spec.options.push(format!("size={}", SIZE[0]));
    spec
}

#[track_caller]
fn near(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let away = f64::from(a - b).abs();
        assert!(away <= tolerance * largest, "{what} [{i}]: {a} is not {b}, {:.1e} of the largest", away / largest);
    }
}

/// The stages of both kinds of blocks, whichever stage the cells are of, and twice in a batch.
#[test]
fn stages_are_torchvision_s() {
    for kind in ["plain", "bottleneck"] {
        let fixture = Fixture::open(kind);
        let weights =
            Weights::open(&LoadOptions { weights: fixture.weights.clone(), heads: None, config: None }).unwrap();
        let vision = &weights.arch().vision;
        let pixels = fixture.picture("defect");
        let plan = Plan::with(SIZE[1], SIZE[0], SIZE[0], Fit::Trim, &vision.preprocessing).unwrap();
        for mut cpu in Cpu::of_each_instruction_set(2, inctrl::Precision::F32).unwrap() {
            let encoder = Vision::load(&mut cpu, &weights).unwrap();
            for (taps, class, cell) in [(vec![1, 2, 3], true, 4), (vec![2, 3], false, 8), (vec![3], false, 16)] {
                let wants = Wants { taps: taps.clone(), class, ..Wants::default() };
                let view = View::whole(plan.clone(), None, cell);
                let grid = view.grid(cell);
                if grid != Grid::new(SIZE[0] / cell, SIZE[1] / cell) || SIZE[0] % cell + SIZE[1] % cell > 0 {
                    // A strip of the picture is cut off, so that the fixture is of another picture.
                    assert_eq!(cell, 16);
                    continue;
                }
                let mut ws = encoder.workspace(&cpu, std::slice::from_ref(&wants), 2, grid.cells()).unwrap();
                let at = encoder.tokens(&mut cpu, grid, 2).unwrap();
                let (rows, patch) = encoder.patch_rows(&mut ws);
                assert_eq!(patch, cell);
                for first in [0, 1] {
                    cpu.preprocess(frame(&pixels), std::slice::from_ref(&view), cell, first, rows, |_, _| Ok(()))
                        .unwrap();
                }
                encoder.encode(&mut cpu, &mut ws, &at, 2, |_, _| ()).unwrap();
                let both = |what: &str, buffer: &Vec<f32>, expected: &[f32]| {
                    let (first, rest) = buffer.split_at(expected.len());
                    near(&format!("{}, {kind}, {what}", cpu.describe()), first, expected, FEATURES);
                    assert_eq!(first, &rest[..expected.len()], "{kind}, {what}");
                };
                for (level, stage) in ws.wanted[0].features.levels.iter().zip(&taps) {
                    assert_eq!(
                        level.grid.cells() * level.width,
                        fixture.numbers(&format!("{kind}.layer{stage}")).len()
                    );
                    both(&format!("stage {stage}"), &level.rows, &fixture.numbers(&format!("{kind}.layer{stage}")));
                }
                if class {
                    both("the mean", &ws.wanted[0].features.class, &fixture.numbers(&format!("{kind}.mean")));
                }
            }
        }
    }
}

fn check(method: &str, named: &str, options: &[&str], shots: &[usize], score: &str) {
    let fixture = Fixture::open("bottleneck");
    let engine = on_the_processor(&fixture.weights);
    for &shots in shots {
        let bank = fixture.bank(&engine, &spec(method, options), shots);
        let mut scorer = engine.scorer(bank).unwrap();
        for query in QUERIES {
            let what = format!("{named}.{shots}.{query}");
            let found = scorer.score(frame(&fixture.picture(query))).unwrap();
            near(&what, &found.map.cells, &fixture.numbers(&what), TOLERANCE);
            let expected = fixture.numbers(&format!("{what}.{score}"));
            near(&format!("{what}.{score}"), &[found.score], &expected, TOLERANCE);
        }
    }
}

#[test]
fn patchcore_is_the_oracle_s() {
    let dims = ["level-dims=100", "dims=77"];
    check("patchcore", "patchcore", &dims, &[1, 2, 4], "score");
    check("patchcore", "patchcore", &[&dims[..], &["reweight=on"]].concat(), &[1, 2, 4], "reweighted");
    check("patchcore", "patchcore.full", &[&dims[..], &["coreset=1"]].concat(), &[1, 2, 4], "score");
}

#[test]
fn padim_is_the_oracle_s() {
    check("padim", "padim", &["dims=40"], &[2, 4], "score");
    check("padim", "padim", &["dims=40", "single=on"], &[1], "score");
}

#[test]
fn spade_is_the_oracle_s() {
    check("spade", "spade", &[], &[1, 2, 4], "score");
}

/// Bits depend neither on the batch, nor on the place in it, nor on threads, nor on the order of prompts.
#[test]
fn bits_depend_on_the_image_alone() {
    let fixture = Fixture::open("plain");
    let pictures: Vec<_> = QUERIES.iter().chain(&PROMPTS).map(|name| fixture.picture(name)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(|pixels| frame(pixels)).collect();
    for (method, options) in METHODS {
        let bank = |engine: &Engine, order: &[&str]| {
            let mut builder = engine.bank_builder_of(&spec(method, options)).unwrap();
            order.iter().for_each(|name| builder.add(frame(&fixture.picture(name))).unwrap());
            Arc::new(builder.finish().unwrap())
        };
        sameness::bits_depend_on_the_image_alone(method, &fixture.weights, &frames, [1, 2, 7], &PROMPTS, bank);
    }
}

/// Prompts can be taken out of a bank and added to it, banks pass through files, and take turns in a scorer.
#[test]
fn banks_shrink_grow_are_kept_and_take_turns() {
    let fixture = Fixture::open("plain");
    let engine = on_the_processor(&fixture.weights);
    for (method, options) in METHODS {
        let options = if method == "patchcore" { &["dims=60", "coreset=1"][..] } else { options };
        let of = |shots: usize| fixture.bank(&engine, &spec(method, options), shots);
        let (two, three) = (of(2), of(3));
        let mut builder = engine.append_to(&two).unwrap();
        builder.add(frame(&fixture.picture(PROMPTS[2]))).unwrap();
        assert_eq!(builder.finish().unwrap().id(), three.id(), "{method}");
        let hash = |name: &str| {
            let hash = frame(&fixture.picture(name)).content_hash().unwrap();
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let place = |name: &&str| three.prompt_hashes().iter().position(|known| *known == hash(name)).unwrap();
        assert_eq!(three.subset(&PROMPTS[..2].iter().map(place).collect::<Vec<_>>()).unwrap().id(), two.id());
        let read = Arc::new(PromptBank::from_bytes(&two.to_bytes().unwrap()).unwrap());
        assert_eq!((read.id(), read.options().to_string()), (two.id(), two.options().to_string()));
        let mut scorer = engine.scorer(read).unwrap();
        let good = fixture.picture("good");
        let first = scorer.score(frame(&good)).unwrap().score;
        scorer.set_bank(Arc::clone(&three)).unwrap();
        assert_ne!(scorer.score(frame(&good)).unwrap().score, first);
        scorer.set_bank(two).unwrap();
        assert_eq!(scorer.score(frame(&good)).unwrap().score.to_bits(), first.to_bits(), "{method}");
    }
}

/// What a mask ignores counts neither in prompts nor in queries.
#[test]
fn masks_leave_cells_out() {
    let fixture = Fixture::open("plain");
    let engine = on_the_processor(&fixture.weights);
    for (method, options) in METHODS {
        let mut builder = engine.bank_builder_of(&spec(method, options)).unwrap();
        let left = inctrl::Roi { x: 0, y: 0, width: 48, height: SIZE[0] };
        builder.set_mask(inctrl::IgnoreMask::from_rectangles(SIZE[1], SIZE[0], &[left]).unwrap()).unwrap();
        PROMPTS[..2].iter().for_each(|name| builder.add(frame(&fixture.picture(name))).unwrap());
        let mut scorer = engine.scorer(Arc::new(builder.finish().unwrap())).unwrap();
        let score = scorer.score(frame(&fixture.picture("defect"))).unwrap();
        let ignored = score.map.cells.iter().zip(&score.ignored).filter(|(_, ignored)| **ignored);
        assert!(ignored.clone().count() > 0 && ignored.clone().all(|(cell, _)| *cell == 0.0), "{method}");
        assert!(score.map.cells.iter().any(|cell| *cell > 0.0), "{method}");
    }
}

/// By default pictures are shown as torchvision's models see them: an eighth of each side is not seen.
#[test]
fn the_usual_view_is_torchvision_s() {
    let fixture = Fixture::open("plain");
    let engine = on_the_processor(&fixture.weights);
    let square = vec![90; 128 * 128];
    for (method, _) in METHODS {
        let mut spec = BankSpec::default();
        spec.method = Some(method.to_owned());
        if method == "patchcore" {
            // Every row of the prompts is kept, so that they are at no distance.
            spec.options = vec!["coreset=1".to_owned()];
        }
        let settled = engine.settle(&spec).unwrap();
        assert_eq!(settled.fit, Some(Fit::Crop));
        assert!(settled.options.contains(&"size=64".to_owned()), "{settled:?}");
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        let frame = Frame::packed(&square, 128, 128, PixelFormat::Grey8).unwrap();
        (0..2).for_each(|_| builder.add(frame).unwrap());
        let bank = Arc::new(builder.finish().unwrap());
        // 64 of 73 pixels in each direction.
        let unseen = 1.0 - (64.0f64 / 73.0).powi(2);
        // Kept in hundredths of a percent.
        assert!(bank.unseen().count() == 2 && bank.unseen().all(|share| (share - unseen).abs() <= 1e-4), "{method}");
        assert_eq!(engine.scorer(bank).unwrap().score(frame).unwrap().score, 0.0, "{method}");
    }
}

#[test]
fn what_does_not_run_on_a_resnet_says_why() {
    let fixture = Fixture::open("plain");
    let engine = on_the_processor(&fixture.weights);
    for (method, reason) in [
        ("subspace", "this encoder is a ResNet"),
        ("anomaly-dino", "this encoder is a ResNet"),
        ("winclip", "no text tower"),
        ("winclip-zero", "no text tower"),
        ("inctrl", "no text tower"),
    ] {
        let error = engine.bank_builder_of(&spec(method, &[])).err().unwrap();
        assert!(error.kind() == ErrorKind::Config && error.chain().contains(reason), "{method}: {}", error.chain());
    }
    for (method, options, reason) in [
        ("patchcore", &["taps=2,5"][..], "has 4: name stages from 1 to 4"),
        ("spade", &["taps=1,2,3,4"], "compares at most 3"),
        ("padim", &["taps=0,1"], "from 1 to"),
    ] {
        let error = engine.bank_builder_of(&spec(method, options)).err().unwrap();
        assert!(error.chain().contains(reason), "{method}: {}", error.chain());
    }
    let error = engine.bank_builder_of(&BankSpec::default()).err().unwrap();
    assert!(error.chain().contains("patchcore, padim, spade"), "{}", error.chain());
    let transformer = tempfile::tempdir().unwrap();
    let path = transformer.path().join("w");
    let arch = fs::read_to_string(root().join("tests/fixtures/dinov2/registers.json")).unwrap();
    random::write(&path, &Arch::from_json(&arch).unwrap(), 1, DType::F32).unwrap();
    let error = on_the_processor(&path).bank_builder_of(&spec("patchcore", &["dims=3"])).err().unwrap();
    assert!(error.chain().contains("`dims` is for ResNets"), "{}", error.chain());
    let error = random::write_with_outliers(&path, &config("tiny"), 1, DType::F32).unwrap_err();
    assert!(error.to_string().contains("this is a ResNet"), "{error}");
}

/// Every layout of one model converts to the same file.
#[test]
fn files_of_other_programs_convert_to_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.safetensors");
    random::write(&own, &config("tiny"), SEED, DType::F32).unwrap();
    let open = |weights: PathBuf| Weights::open(&LoadOptions { weights, heads: None, config: None }).unwrap();
    let expected = open(own);
    for name in ["published.pth", "training.pth", "timm.safetensors"] {
        let output = folder.path().join("converted.safetensors");
        let options = ConvertOptions {
            source: root().join("tests/fixtures/resnet/layouts").join(name),
            heads: None,
            config: Some(root().join("tests/fixtures/resnet/tiny.json")),
            dtype: None,
        };
        let converted = convert(&options, &output, |_, _| ()).unwrap();
        assert!(converted.notes.iter().any(|note| note.contains("fc.bias")), "{name}: {:?}", converted.notes);
        assert_eq!(open(output.clone()).hash(), expected.hash(), "{name}");
        // Without a configuration, only the size is another.
        let converted = convert(&ConvertOptions { config: None, ..options }, &output, |_, _| ()).unwrap();
        let mut arch = config("tiny");
        arch.vision.image_size = 224;
        assert_eq!(converted.arch, arch, "{name}");
    }
}

/// Large frames in tiles, whose maps are put together.
#[test]
fn frames_are_scored_in_tiles() {
    let fixture = Fixture::open("plain");
    let engine = on_the_processor(&fixture.weights);
    for (method, options, per) in
        [("patchcore", &["dims=60"][..], "frame"), ("padim", &["dims=40"], "tile"), ("spade", &[], "tile")]
    {
        let mut spec = BankSpec::default();
        spec.method = Some(method.to_owned());
        let tiles = ["tile=48", "overlap=16", "scale=1", &format!("bank-per={per}")].map(str::to_owned);
        spec.options = options.iter().map(|option| (*option).to_owned()).chain(tiles).collect();
        let bank = fixture.bank(&engine, &spec, 2);
        let mut scorer = engine.scorer(bank).unwrap();
        let [good, defect] =
            ["good", "defect"].map(|name| scorer.score(frame(&fixture.picture(name))).unwrap().clone());
        let cell = if method == "patchcore" { 8 } else { 4 };
        assert_eq!(defect.map.grid, Grid::new(SIZE[0] / cell, SIZE[1] / cell), "{method}");
        assert!(defect.score > good.score, "{method}: {} and {}", defect.score, good.score);
    }
}
