//! Tiny random models and pictures, for tests of the library from outside.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{Device, Engine, EngineOptions, Fit, Frame, PixelFormat, PromptBank, Score, Scorer};
use tempfile::TempDir;

/// A last block that serves the class token only; one that is a tap; sizes that are a multiple of nothing.
pub const MODELS: [(&str, &str); 3] = [
    (
        "untapped",
        r#"{"embed_dim": 32,
            "vision_cfg": {"image_size": 80, "patch_size": 16, "width": 128, "layers": 3},
            "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"#,
    ),
    (
        "tapped",
        r#"{"embed_dim": 24,
            "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
            "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2], "alpha": 0.5}}"#,
    ),
    (
        "odd",
        r#"{"embed_dim": 21, "quick_gelu": true,
            "vision_cfg": {"image_size": 50, "patch_size": 7, "width": 39, "head_width": 13, "mlp_ratio": 3, "layers": 2},
            "text_cfg": {"width": 18, "heads": 3, "layers": 2}, "inctrl": {"taps": [1]}}"#,
    ),
];

/// A random model in a file.
pub struct Model {
    _folder: TempDir,
    pub path: PathBuf,
}

impl Model {
    pub fn new(config: &str, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        random::write(&path, &Arch::from_json(config).unwrap(), seed, DType::F32).unwrap();
        Model { _folder: folder, path }
    }

    pub fn engine(&self, threads: usize) -> Engine {
        let mut options = EngineOptions::new(&self.path);
        options.device = Device::Cpu;
        options.threads = NonZeroUsize::new(threads);
        Engine::with(&options).unwrap()
    }
}

/// An engine on the processor, whatever devices the machine has.
pub fn on_the_processor(weights: impl Into<PathBuf>) -> Engine {
    let mut options = EngineOptions::new(weights);
    options.device = Device::Cpu;
    Engine::with(&options).unwrap()
}

/// Runs a test on every model, with engines of two threads.
pub fn on_every_model(test: impl Fn(&Engine)) {
    for (name, config) in MODELS {
        println!("model {name}");
        test(&Model::new(config, 7).engine(2));
    }
}

/// A picture with rows that are longer than they need to be.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    stride: usize,
    format: PixelFormat,
    bytes: Vec<u8>,
}

impl Picture {
    /// Picture `seed` is different from any other in content, and from its neighbours in size and format.
    pub fn new(seed: usize) -> Self {
        let (width, height) = [(80, 80), (61, 97), (120, 64), (48, 50), (33, 200)][seed % 5];
        let format = if seed.is_multiple_of(3) { PixelFormat::Grey8 } else { PixelFormat::Rgb8 };
        let stride = width * format.channels() + seed % 4;
        let value = |i: usize| {
            let wave = ((i % stride) as f32 * 0.05 * (seed + 1) as f32).sin() + ((i / stride) as f32 * 0.11).cos();
            (128.0 + 50.0 * wave) as u8 ^ (i * i % 23) as u8
        };
        Picture { width, height, stride, format, bytes: (0..stride * height).map(value).collect() }
    }

    pub fn frame(&self) -> Frame<'_> {
        Frame::new(&self.bytes, self.width, self.height, self.stride, self.format).unwrap()
    }
}

pub fn pictures(seeds: std::ops::Range<usize>) -> Vec<Picture> {
    seeds.map(Picture::new).collect()
}

pub fn frames(pictures: &[Picture]) -> Vec<Frame<'_>> {
    pictures.iter().map(Picture::frame).collect()
}

pub fn bank(engine: &Engine, prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    Arc::new(engine.build_bank("cat", Fit::Crop, prompts).unwrap())
}

/// Each picture by a scorer of its own.
pub fn alone(engine: &Engine, bank: &Arc<PromptBank>, frames: &[Frame<'_>]) -> Vec<Score> {
    frames.iter().map(|frame| engine.scorer(Arc::clone(bank)).unwrap().score(*frame).unwrap().clone()).collect()
}

pub fn score(scorer: &mut Scorer, frame: Frame<'_>) -> Score {
    scorer.score(frame).unwrap().clone()
}

/// The numbers of InCTRL: score, s_h, s_p, s_i, s_a.
pub fn five(score: &Score) -> [f32; 5] {
    ["score", "holistic", "patch_max", "image_residual", "text_prior"].map(|name| score.output(name).unwrap())
}

/// Fails unless two scores have the same bits.
#[track_caller]
pub fn same(what: &str, a: &Score, b: &Score) {
    let bits = |s: &Score| -> Vec<u32> {
        let parts = five(s);
        parts.iter().chain(&s.map.cells).map(|x| x.to_bits()).collect()
    };
    assert_eq!(bits(a), bits(b), "{what}: {a:?} and {b:?}");
    // Sizes and placement; no number in it is NaN. How often a slot's bank was exchanged is no part of the result.
    let mut b = b.clone();
    b.generation = a.generation;
    assert_eq!(*a, b, "{what}");
}

pub fn saved(bank: &PromptBank) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank");
    bank.save(&path).unwrap();
    std::fs::read(&path).unwrap()
}
