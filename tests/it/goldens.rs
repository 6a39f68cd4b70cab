//! Every intermediate of the pipeline against a float64 run of the method in PyTorch, so that the first wrong layer is
//! named. `INCTRL_GOLDENS=DIR` also checks a folder of larger golden files that the repository does not carry.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use inctrl::backend::cpu::Cpu;
use inctrl::method::{Detector, Lane, text_prototypes};
use inctrl::model::Stage;
use inctrl::preprocess::Plan;
use inctrl::text::Tokeniser;
use inctrl::weights::{LoadOptions, Weights};
use inctrl::{Engine, EngineOptions, Fit, Image};

use crate::compare::{Goldens, close, close_to_max};

/// DESIGN's bound for the CPU path: per tensor `max|a - b| <= 2e-5 max|b|`, scores within 1e-5.
const TENSOR: f32 = 2e-5;
const SCORE: f32 = 1e-5;

struct Case<'a> {
    options: LoadOptions,
    class: &'a str,
    prompts: Vec<PathBuf>,
    queries: Vec<PathBuf>,
    goldens: Goldens,
}

fn unit_rows(x: &[f32], width: usize) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|x| (*x as f64 / norm) as f32).collect::<Vec<_>>()
    };
    x.chunks(width).flat_map(unit).collect()
}

impl Case<'_> {
    fn check(&self) {
        self.check_intermediates();
        self.check_scores();
    }

    fn images(&self, paths: &[PathBuf]) -> Vec<Image> {
        paths.iter().map(|p| Image::open(p).unwrap()).collect()
    }

    fn check_intermediates(&self) {
        let weights = Weights::open(&self.options).unwrap();
        let arch = weights.arch().clone();
        let mut backend = Cpu::new(2).unwrap();
        let detector = Arc::new(Detector::load(&mut backend, &weights).unwrap());
        let text = text_prototypes(&mut backend, &weights, &Tokeniser::new().unwrap(), self.class).unwrap();
        close_to_max("text_prototypes", &text, self.goldens.get("text_prototypes"), TENSOR);

        let images = self.images(&self.queries);
        let count = images.len();
        let mut lane = Lane::new(backend, detector, count).unwrap();
        for (i, image) in images.iter().enumerate() {
            let plan = Plan::new(image.width(), image.height(), arch.vision.image_size, Fit::Crop).unwrap();
            lane.place(image.frame(), &plan, i).unwrap();
        }
        let goldens = &self.goldens;
        lane.encode(count, |stage, x| {
            let name = match stage {
                Stage::Embed => "embed".to_owned(),
                Stage::Block(i) => format!("block_{}", i - 1),
            };
            if let Some(expected) = goldens.find(&name) {
                close_to_max(&name, &x[..expected.len()], expected, TENSOR);
            }
        })
        .unwrap();
        let [class, taps, _] = lane.intermediates();
        close_to_max("class_query", &class[..count * arch.embed_dim], goldens.get("class_query"), TENSOR);
        let expected = unit_rows(goldens.get("taps_query"), arch.vision.width);
        close_to_max("taps_query", &taps[..expected.len()], &expected, TENSOR);
    }

    fn check_scores(&self) {
        let mut options = EngineOptions::new("");
        options.weights = self.options.clone();
        let engine = Engine::with(&options).unwrap();
        let (prompts, queries) = (self.images(&self.prompts), self.images(&self.queries));
        let frames: Vec<_> = prompts.iter().map(Image::frame).collect();
        let bank = Arc::new(engine.build_bank(self.class, Fit::Crop, &frames).unwrap());
        let mut scorer = engine.scorer(bank).unwrap();
        let scores: Vec<_> = queries.iter().map(|q| scorer.score(q.frame()).unwrap().clone()).collect();
        let map: Vec<f32> = scores.iter().flat_map(|s| s.map.cells.clone()).collect();
        close("patch_map", &map, self.goldens.get("patch_map"), TENSOR, 1.0);
        type Part = fn(&inctrl::Score) -> f32;
        let parts: [(&str, Part); 5] = [
            ("score", |s| s.score),
            ("s_h", |s| s.holistic),
            ("s_p", |s| s.patch_max),
            ("s_i", |s| s.image_residual),
            ("s_a", |s| s.text_prior),
        ];
        for (name, part) in parts {
            let found: Vec<f32> = scores.iter().map(part).collect();
            close(name, &found, self.goldens.get(name), SCORE, 1.0);
        }
    }
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
            class,
            prompts: (0..shots).map(|i| image(format!("normal_{i}.png"))).collect(),
            queries: ["query_good.png", "query_defect.png", "normal_0.png"].map(|n| image(n.into())).to_vec(),
            goldens: Goldens::open(&dir.join("tiny").join(format!("{file}.safetensors"))),
        }
        .check();
    }
}
