//! DINOv2 models against PyTorch in f64 (`scripts/fixtures/dinov2.py`), on any backend.
#![allow(dead_code, reason = "each program uses its own part")]

use std::path::{Path, PathBuf};

use inctrl::backend::Backend;
use inctrl::backend::cpu::Cpu;
use inctrl::encoder::{HookPoint, Vision, Wants};
use inctrl::tensor::DType;
use inctrl::view::Grid;
use inctrl::weights::{Arch, LoadOptions, Weights, random};
use serde::Deserialize;

use crate::compare::{Goldens, close_to_max};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dinov2")
}

/// An entry of `cases.json`.
#[derive(Deserialize)]
struct Case {
    name: String,
    seed: u64,
    grid: [usize; 2],
    step: usize,
}

/// The patch rows `[N, 3 P P]` of the script's pattern.
fn patch_rows(grid: Grid, patch: usize) -> Vec<f32> {
    let pixel =
        |c: usize, y: usize, x: usize| ((c * 37 + y * 11 + x * 7 + (y / 9) * (x / 5) * 13) % 257) as f32 / 64.0 - 2.0;
    let mut rows = Vec::with_capacity(grid.cells() * 3 * patch * patch);
    for cell in 0..grid.cells() {
        let (top, left) = (cell / grid.cols * patch, cell % grid.cols * patch);
        for i in 0..3 * patch * patch {
            rows.push(pixel(i / (patch * patch), top + i / patch % patch, left + i % patch));
        }
    }
    rows
}

fn unit(row: &[f32]) -> impl Iterator<Item = f32> {
    let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    row.iter().map(move |x| (f64::from(*x) / norm) as f32)
}

/// Holds the case called `name` against its goldens, each tensor within `tolerance` of its largest: the class
/// embedding, the unit patch tokens after the final norm, and those of every block without it. The second image of a
/// batch has the first's bits.
pub fn check<B: Backend>(backend: &mut B, name: &str, tolerance: f32) {
    let model = Model::open(backend, name);
    let layers = model.weights.arch().vision.layers;
    let normed = Wants { taps: vec![layers], norm: true, class: true, unit: true, ..Wants::default() };
    let found = model.encode(backend, &normed, |_, _| ());
    let width = model.weights.arch().vision.width;
    let expected = &model.goldens.get("normed")[..width];
    close_to_max(&format!("{name} class"), &found.class, expected, tolerance);
    model.check_patches("normed", &found.taps, tolerance);
    let raw = Wants { taps: (1..=layers).collect(), norm: false, class: false, unit: true, ..Wants::default() };
    let found = model.encode(backend, &raw, |_, _| ());
    for (i, taps) in found.taps.chunks_exact(model.grid.cells() * width).enumerate() {
        model.check_patches(&format!("block_{}", i + 1), taps, tolerance);
    }
}

/// As [`check`], for the residual stream itself at every stage, which the processor's operations leave when they
/// return.
pub fn check_stream(cpu: &mut Cpu, name: &str, tolerance: f32) {
    let model = Model::open(cpu, name);
    let layers = model.weights.arch().vision.layers;
    let wants = Wants { taps: vec![layers], norm: true, class: false, unit: true, ..Wants::default() };
    let mut compared = 0;
    model.encode(cpu, &wants, |stage, x| {
        let stage = match stage {
            HookPoint::Embed => "embed".to_owned(),
            HookPoint::Block(i) => format!("block_{i}"),
        };
        let found = model.kept(&x[..x.len() / 2]);
        close_to_max(&format!("{name} {stage}"), &found, model.goldens.get(&stage), tolerance);
        compared += 1;
    });
    assert_eq!(compared, 1 + layers);
}

struct Model<B: Backend> {
    name: String,
    weights: Weights,
    vision: Vision<B>,
    grid: Grid,
    step: usize,
    goldens: Goldens,
    _folder: tempfile::TempDir,
}

/// What one image leaves.
struct Found {
    class: Vec<f32>,
    taps: Vec<f32>,
}

impl<B: Backend> Model<B> {
    fn open(backend: &mut B, name: &str) -> Self {
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(folder().join("cases.json")).unwrap()).unwrap();
        let case = cases.into_iter().find(|case| case.name == name).unwrap();
        let arch = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("weights.safetensors");
        random::write(&path, &Arch::from_json(&arch).unwrap(), case.seed, DType::F32).unwrap();
        let weights = Weights::open(&LoadOptions { weights: path, heads: None, config: None }).unwrap();
        Model {
            name: name.to_owned(),
            vision: Vision::load(backend, &weights).unwrap(),
            weights,
            grid: Grid::new(case.grid[0], case.grid[1]),
            step: case.step,
            goldens: Goldens::open(&folder().join(format!("{name}.safetensors"))),
            _folder: temporary,
        }
    }

    /// Encodes a batch of the same image twice.
    fn encode(&self, backend: &mut B, wants: &Wants, observe: impl FnMut(HookPoint, &B::Buffer)) -> Found {
        let (cells, vision) = (self.grid.cells(), &self.weights.arch().vision);
        self.vision.serve(backend, &self.weights, wants).unwrap();
        let mut ws = self.vision.workspace(backend, std::slice::from_ref(wants), 2, cells).unwrap();
        let at = self.vision.tokens(backend, self.grid, 2).unwrap();
        let rows = patch_rows(self.grid, vision.patch_size).repeat(2);
        backend.upload(&rows, self.vision.patch_rows(&mut ws).0).unwrap();
        self.vision.encode(backend, &mut ws, &at, 2, observe).unwrap();
        let mut read = |buffer: &B::Buffer, parts: usize, len: usize| {
            let mut both = vec![f32::NAN; 2 * parts * len];
            backend.download(buffer, &mut both).unwrap();
            let (first, second): (Vec<_>, Vec<_>) =
                both.chunks_exact(2 * len).map(|two| two.split_at(len)).map(|(a, b)| (a.to_vec(), b.to_vec())).unzip();
            let bits = |image: &[Vec<f32>]| image.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&first), bits(&second), "{}: the second image of the batch", self.name);
            first.concat()
        };
        let class = if wants.class { read(&ws.wanted[0].features.class, 1, vision.width) } else { Vec::new() };
        Found { class, taps: read(&ws.wanted[0].features.taps, wants.taps.len(), cells * vision.width) }
    }

    /// The tokens that the goldens hold: 0, step, 2 step, ..
    fn kept(&self, tokens: &[f32]) -> Vec<f32> {
        tokens.chunks(self.weights.arch().vision.width).step_by(self.step).flatten().copied().collect()
    }

    /// Unit patch tokens `[N, W]` against those of a golden stage.
    fn check_patches(&self, stage: &str, found: &[f32], tolerance: f32) {
        let vision = &self.weights.arch().vision;
        let (width, prefix) = (vision.width, vision.prefix());
        let tokens = (0..prefix + self.grid.cells()).step_by(self.step).zip(self.goldens.get(stage).chunks(width));
        let pairs = tokens
            .filter(|(token, _)| *token >= prefix)
            .flat_map(|(token, row)| found[(token - prefix) * width..][..width].iter().copied().zip(unit(row)));
        let (found, expected): (Vec<f32>, Vec<f32>) = pairs.unzip();
        close_to_max(&format!("{} patches of {stage}", self.name), &found, &expected, tolerance);
    }
}
