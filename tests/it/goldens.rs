//! Every intermediate of the pipeline against a float64 run of the method in PyTorch, from the first layer to the
//! score, so that a failure names the first wrong one.
//!
//! `tests/fixtures/model` is written by `scripts/fixtures/model.py`; its weights are made again from their seed.
//! `INCTRL_GOLDENS=DIR` also checks a folder of golden files that the repository does not carry.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inctrl::backend::cpu::Cpu;
use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search};
use inctrl::encoder::HookPoint;
use inctrl::internals::{Pipeline, Session};
use inctrl::methods::by_name;
use inctrl::methods::inctrl::text_prototypes;
use inctrl::tensor::DType;
use inctrl::text::Tokeniser;
use inctrl::view::View;
use inctrl::weights::{Arch, LoadOptions, Weights, random};
use inctrl::{Device, Engine, EngineOptions, Fit, Image};
use serde::Deserialize;

use crate::compare::{Goldens, close, close_to_max};
use crate::tiny::five;

/// The bound of the CPU path: per tensor `max|a - b| <= 2e-5 max|b|`, scores within 1e-5.
const TENSOR: f32 = 2e-5;
const SCORE: f32 = 1e-5;

struct Case {
    options: LoadOptions,
    class: String,
    prompts: Vec<PathBuf>,
    queries: Vec<PathBuf>,
    goldens: Goldens,
    /// Whether the goldens hold every stage of the residual stream.
    whole_stream: bool,
}

impl Case {
    fn check(&self) {
        self.check_intermediates();
        self.check_scores();
    }

    fn images(&self, paths: &[PathBuf]) -> Vec<Image> {
        paths.iter().map(|p| Image::open(p).unwrap()).collect()
    }

    /// Compares the beginning of `found` with the golden tensor.
    fn compare(&self, name: &str, found: &[f32]) {
        let expected = self.goldens.get(name);
        close_to_max(name, &found[..expected.len()], expected, TENSOR);
    }

    fn check_intermediates(&self) {
        let weights = Weights::open(&self.options).unwrap();
        let arch = weights.arch();
        let mut backend = Cpu::new(2).unwrap();
        let text = text_prototypes(&mut backend, &weights, &Tokeniser::new().unwrap(), &self.class).unwrap();
        self.compare("text_prototypes", &text);

        let queries = self.images(&self.queries);
        let method = by_name("inctrl").unwrap();
        let mut pipeline = Pipeline::open(backend, &weights, method, queries.len(), queries.len()).unwrap();
        let place = |pipeline: &mut Pipeline<Cpu>, image: &Image, at: usize| {
            let plan = arch.vision.plan(image.width(), image.height(), Fit::Crop).unwrap();
            let view = View::whole(plan, None, arch.vision.patch_size);
            pipeline.place(image.frame().into(), &[view], at).unwrap();
        };
        let features: Vec<_> = self
            .images(&self.prompts)
            .iter()
            .map(|image| {
                place(&mut pipeline, image, 0);
                pipeline.encode(1).unwrap();
                pipeline.features().unwrap().taps
            })
            .collect();

        for (i, image) in queries.iter().enumerate() {
            place(&mut pipeline, image, i);
        }
        let mut compared = 0;
        pipeline
            .encode_observed(queries.len(), |stage, x| {
                let name = match stage {
                    HookPoint::Embed => "embed".to_owned(),
                    HookPoint::Block(i) => format!("block_{}", i - 1),
                };
                // Files of the whole stream are large: not every one has it.
                if self.goldens.find(&name).is_some() {
                    self.compare(&name, x);
                    compared += 1;
                }
            })
            .unwrap();
        // A tapped last block runs in full and is seen; otherwise it serves the class token only.
        let blocks = arch.taps.last().map_or(0, |&last| last.max(arch.vision.layers - 1));
        assert!(!self.whole_stream || compared == 1 + blocks, "{compared} stages compared of {}", 1 + blocks);
        let (backend, found) = pipeline.parts();
        self.check_taps(arch, &found.taps);
        self.compare("class_query", &found.class);

        let tap_len = arch.vision.patches() * arch.vision.width;
        let tap = |l: usize| features.iter().flat_map(move |taps| &taps[l * tap_len..][..tap_len]);
        let taps: Arc<Vec<f32>> = Arc::new((0..arch.taps.len()).flat_map(tap).copied().collect());
        let shape = [arch.taps.len(), features.len() * arch.vision.patches(), arch.vision.width];
        let bank = backend.bank(&[BankTensor { values: &taps, shape, role: BankRole::Rows }]).unwrap();
        let rows = queries.len() * arch.vision.patches();
        let mut cosines = backend.buffer(Role::Nearest, arch.taps.len() * rows).unwrap();
        backend.patch_nn(&found.taps, &Search::all(rows, 0), &bank, &mut cosines).unwrap();
        let layer_maps: Vec<f32> = cosines.iter().map(|cosine| 0.5 * (1.0 - cosine)).collect();
        self.compare("layer_maps", &layer_maps);
    }

    /// Unit taps `[L, B, N, W]` against golden taps as they are, or against the golden blocks of the first image.
    fn check_taps(&self, arch: &Arch, found: &[f32]) {
        let width = arch.vision.width;
        if let Some(taps) = self.goldens.find("taps_query") {
            return close_to_max("taps_query", found, &unit_rows(taps, width), TENSOR);
        }
        for (found, tap) in found.chunks(found.len() / arch.taps.len()).zip(&arch.taps) {
            let block = self.goldens.get(&format!("block_{}", tap - 1));
            let expected = unit_rows(&block[width..], width);
            close_to_max(&format!("tap {tap}"), &found[..expected.len()], &expected, TENSOR);
        }
    }

    fn check_scores(&self) {
        let mut options = EngineOptions::new("");
        options.device = Device::Cpu;
        options.weights = self.options.clone();
        let engine = Engine::with(&options).unwrap();
        let (prompts, queries) = (self.images(&self.prompts), self.images(&self.queries));
        let frames: Vec<_> = prompts.iter().map(Image::frame).collect();
        let bank = Arc::new(engine.build_bank(&self.class, Fit::Crop, &frames).unwrap());
        let mut scorer = engine.scorer(bank).unwrap();
        let scores: Vec<_> = queries.iter().map(|q| scorer.score(q.frame()).unwrap().clone()).collect();
        let map: Vec<f32> = scores.iter().flat_map(|s| s.map.cells.clone()).collect();
        close_to_max("patch_map", &map, self.goldens.get("patch_map"), TENSOR);
        type Part = fn(&inctrl::Score) -> f32;
        let parts: [(&str, Part); 5] = [
            ("s_p", |s| five(s)[2]),
            ("s_i", |s| five(s)[3]),
            ("s_a", |s| five(s)[4]),
            ("s_h", |s| five(s)[1]),
            ("score", |s| s.score),
        ];
        for (name, part) in parts {
            let found: Vec<f32> = scores.iter().map(part).collect();
            close(name, &found, self.goldens.get(name), SCORE, 1.0);
        }
    }
}

fn unit_rows(x: &[f32], width: usize) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|x| (*x as f64 / norm) as f32).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(unit).collect()
}

/// An entry of `cases.json`.
#[derive(Deserialize)]
struct Fixture {
    name: String,
    class: String,
    seed: u64,
    normals: Vec<String>,
    queries: Vec<String>,
}

fn check_fixture(name: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model");
    let cases: Vec<Fixture> = serde_json::from_slice(&fs::read(dir.join("cases.json")).unwrap()).unwrap();
    let case = cases.into_iter().find(|case| case.name == name).unwrap();
    let arch = Arch::from_json(&fs::read_to_string(dir.join(format!("{name}.json"))).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    random::write(&weights, &arch, case.seed, DType::F32).unwrap();
    let paths = |names: &[String]| names.iter().map(|file| dir.join(file)).collect();
    Case {
        options: LoadOptions { weights, heads: None, config: None },
        class: case.class,
        prompts: paths(&case.normals),
        queries: paths(&case.queries),
        goldens: Goldens::open(&dir.join(format!("{name}.safetensors"))),
        whole_stream: true,
    }
    .check();
}

#[test]
fn a_model_whose_last_block_is_a_tap() {
    check_fixture("tapped");
}

#[test]
fn a_model_whose_last_block_serves_the_class_token_only() {
    check_fixture("untapped");
}

#[test]
fn a_model_with_quick_gelu_and_another_alpha() {
    check_fixture("quick_gelu");
}

#[test]
fn external_goldens() {
    let Some(dir) = std::env::var_os("INCTRL_GOLDENS") else {
        println!("SKIP: INCTRL_GOLDENS is not set");
        return;
    };
    let dir = Path::new(&dir);
    let image = |name: String| dir.join("images").join(name);
    for (class, shots, config, file) in [
        ("bottle", 1, "config.json", "score_bottle_1shot"),
        ("metal_nut", 2, "config.json", "score_metal_nut_2shot"),
        ("cat", 4, "config.json", "score_cat_4shot"),
        ("bottle", 2, "config_untapped.json", "score_untapped_bottle_2shot"),
    ] {
        println!("{file}");
        Case {
            options: LoadOptions {
                weights: dir.join("tiny/weights.safetensors"),
                heads: None,
                config: Some(dir.join("tiny").join(config)),
            },
            class: class.into(),
            prompts: (0..shots).map(|i| image(format!("normal_{i}.png"))).collect(),
            queries: ["query_good.png", "query_defect.png", "normal_0.png"].map(|n| image(n.into())).to_vec(),
            goldens: Goldens::open(&dir.join("tiny").join(format!("{file}.safetensors"))),
            whole_stream: false,
        }
        .check();
    }
}
