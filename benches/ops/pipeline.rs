//! The whole job at real size: encode, score with a bank, bank build, load. The weights are random, written for the run.

use std::cell::LazyCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::Criterion;
use inctrl::backend::cpu::Cpu;
use inctrl::backend::{Backend, BankRole, BankTensor};
use inctrl::internals::{DeviceBank, Pipeline, Session};
use inctrl::methods::{Run, by_name};
use inctrl::tensor::DType;
use inctrl::text::Tokeniser;
use inctrl::view::{Plan, View};
use inctrl::weights::{Arch, LoadOptions, Weights, random, table};
use inctrl::{Device, Engine, EngineOptions, Fit, Frame, PixelFormat};
use tempfile::TempDir;

use super::common::{EMBED, PATCHES, TAPS, WIDTH, bench, check, cpu, dot, floats, flop, numbers, unit_rows};
use super::plain_tower;
use super::tokenise::sentences;

const ARCH: &str = "vit-b-16-plus-240";
/// Side of the frames.
const SIDE: usize = 300;
/// Largest error of an encoding, as a share of its largest element.
const TOLERANCE: f32 = 1e-4;

struct Model {
    _folder: TempDir,
    file: PathBuf,
    weights: Weights,
}

impl Model {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("weights.safetensors");
        random::write(&file, &arch(), 1, DType::F32).expect("the model fits the disk");
        let weights =
            Weights::open(&LoadOptions { weights: file.clone(), heads: None, config: None }).expect("weights");
        Model { _folder: folder, file, weights }
    }

    fn pipeline(&self, capacity: usize) -> Pipeline<Cpu> {
        let method = by_name("inctrl").expect("a method");
        Pipeline::open(cpu(), &self.weights, method, capacity, capacity).expect("memory for a pipeline")
    }

    fn engine(&self) -> Engine {
        let mut options = EngineOptions::new(&self.file);
        options.device = Device::Cpu;
        Engine::with(&options).expect("the model opens")
    }
}

fn arch() -> Arch {
    Arch::named(ARCH).expect("a known architecture")
}

fn picture(seed: usize) -> Vec<u8> {
    (0..SIDE * SIDE).map(|i| ((i % SIDE * 7) ^ (i / SIDE * 13) ^ (i * (seed + 1) / 5)) as u8).collect()
}

fn frame(pixels: &[u8]) -> Frame<'_> {
    Frame::packed(pixels, SIDE, SIDE, PixelFormat::Grey8).expect("a frame")
}

fn view() -> View {
    let vision = arch().vision;
    View::whole(Plan::new(SIDE, SIDE, vision.image_size, Fit::Crop).expect("a plan"), None, vision.patch_size)
}

/// Multiplications and additions to encode one image, of the last block only what the class token needs.
fn encode_flop() -> usize {
    let vision = arch().vision;
    let (tokens, width) = (vision.tokens(), vision.width);
    let patches = vision.patches() * 3 * vision.patch_size.pow(2) * width;
    let block = tokens * 12 * width * width + 2 * tokens * tokens * width;
    let last = (2 * tokens + 10) * width * width + 2 * tokens * width;
    2 * (patches + (vision.layers - 1) * block + last + width * EMBED)
}

/// The same for all sentences of a class.
fn text_flop() -> usize {
    let (text, tokeniser) = (arch().text.expect("a text tower"), Tokeniser::new().expect("the merge table"));
    let each = |sentence: &String| {
        let tokens = tokeniser.encode(sentence, text.context_length).expect("ids").len();
        let block = tokens * 12 * text.width * text.width + tokens * tokens * text.width;
        let last = (2 * tokens + 10) * text.width * text.width;
        2 * ((text.layers - 1) * block + last + text.width * EMBED)
    };
    sentences().iter().map(each).sum()
}

pub fn pipeline(c: &mut Criterion) {
    let model: LazyCell<Model> = LazyCell::new(Model::new);
    encode(c, &model);
    score(c, &model);
    bank_build(c, &model);
    load(c, &model);
}

fn encode(c: &mut Criterion, model: &LazyCell<Model>) {
    for images in [1, 8] {
        bench(c, "encode", format!("{images}x{ARCH}"), flop(images * encode_flop()), || {
            let mut pipeline = model.pipeline(images);
            let (views, pictures): (_, Vec<_>) = ([view()], (0..images).map(picture).collect());
            for (image, pixels) in pictures.iter().enumerate() {
                pipeline.place(frame(pixels).into(), &views, image).expect("patches");
            }
            pipeline.encode(images).expect("an encoding");
            // The last of the batch.
            let (_, found) = pipeline.parts();
            let (class, taps) = (&found.class, &found.taps);
            let class = class[(images - 1) * EMBED..images * EMBED].to_vec();
            let image = |tap: usize| &taps[(tap * images + images - 1) * PATCHES * WIDTH..][..PATCHES * WIDTH];
            let taps: Vec<f32> = (0..TAPS).flat_map(image).copied().collect();
            let mut rows = vec![0.0; PATCHES * 3 * 16 * 16];
            cpu().preprocess(frame(&pictures[images - 1]), &views, 16, 0, &mut rows, |_, _| Ok(())).expect("patches");
            let plain = plain_tower::encode(&model.weights, &rows);
            for (name, found, expected) in [("class", &class, &plain.class), ("taps", &taps, &plain.taps)] {
                assert_eq!(found.len(), expected.len(), "{name}");
                let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let error = (found - expected).abs();
                    assert!(error <= TOLERANCE * largest, "encode, {name}[{i}]: {found}, expected {expected}");
                }
            }
            move || pipeline.encode(images).expect("an encoding")
        });
    }
}

/// From a frame to the score.
fn score(c: &mut Criterion, model: &LazyCell<Model>) {
    for prompts in [1, 2, 4, 8, 64, 256] {
        let work = encode_flop() + 2 * TAPS * PATCHES * PATCHES * prompts * WIDTH;
        bench(c, "score", format!("1x{ARCH} K={prompts}"), flop(work), || {
            let mut pipeline = model.pipeline(1);
            let (views, pixels) = ([view()], picture(0));
            let prompt_taps: Arc<Vec<f32>> = unit_rows(numbers(2, TAPS * prompts * PATCHES * WIDTH), WIDTH).into();
            let (mean, texts) = (numbers(3, EMBED), unit_rows(numbers(4, 2 * EMBED), EMBED));
            let tensor = |values, rows| BankTensor { values, shape: [1, rows, EMBED], role: BankRole::Numbers };
            let shape = [TAPS, prompts * PATCHES, WIDTH];
            let taps = BankTensor { values: &prompt_taps, shape, role: BankRole::Rows };
            let (mean, texts) = (mean.into(), texts.into());
            let tensors = [taps, tensor(&mean, 1), tensor(&texts, 2)];
            let bank: DeviceBank = Box::new(pipeline.parts().0.bank(&tensors).expect("a bank"));
            let run = move |pipeline: &mut Pipeline<Cpu>, each: &mut dyn FnMut(&[f32], &[f32])| {
                pipeline.place(frame(&pixels).into(), &views, 0).expect("patches");
                let all = [Run { views: 0..1, first_slot: 0, bank: 0 }];
                pipeline.score(1, &all, &[&bank], &mut |_, outputs, map| each(outputs, map)).expect("a score");
            };
            let mut map = Vec::new();
            run(&mut pipeline, &mut |outputs, cells| {
                map = cells.to_vec();
                let largest = cells.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let &[score, holistic, patch_max, ..] = outputs else { panic!("{outputs:?}") };
                check("patch_max", patch_max, largest.into());
                check("score", score, (f64::from(holistic) + f64::from(patch_max)) / 2.0);
            });
            let taps = pipeline.features().expect("features").taps;
            for cell in [0, PATCHES - 1] {
                let residual = |tap: usize| {
                    let query = &taps[(tap * PATCHES + cell) * WIDTH..][..WIDTH];
                    let candidates = &prompt_taps[tap * prompts * PATCHES * WIDTH..][..prompts * PATCHES * WIDTH];
                    let cosines = candidates.chunks_exact(WIDTH).map(|prompt| dot(query, prompt));
                    0.5 * (1.0 - cosines.fold(f64::NEG_INFINITY, f64::max))
                };
                check("map", map[cell], (0..TAPS).map(residual).sum::<f64>() / TAPS as f64);
            }
            move || {
                run(&mut pipeline, &mut |outputs, _| {
                    std::hint::black_box(outputs[0]);
                });
            }
        });
    }
}

fn bank_build(c: &mut Criterion, model: &LazyCell<Model>) {
    for prompts in [1, 8] {
        let work = text_flop() + prompts * encode_flop();
        bench(c, "bank_build", format!("{ARCH} K={prompts}"), flop(work), || {
            let engine = model.engine();
            let pictures: Vec<_> = (0..prompts).map(picture).collect();
            let run = move |engine: &Engine| {
                let frames: Vec<_> = pictures.iter().map(|pixels| frame(pixels)).collect();
                engine.build_bank("metal nut", Fit::Crop, &frames).expect("a bank")
            };
            let bank = run(&engine);
            // What is in the bank has no residual, and the prototypes have length 1.
            for text in bank.tensor("text_prototypes").expect("prototypes").0.chunks_exact(EMBED) {
                check("text prototypes", dot(text, text) as f32, 1.0);
            }
            let mut scorer = engine.scorer(Arc::new(bank)).expect("a scorer");
            for prompt in 0..prompts {
                let pixels = picture(prompt);
                check("a prompt's residual", scorer.score(frame(&pixels)).expect("a score").map.largest(), 0.0);
            }
            move || {
                std::hint::black_box(run(&engine));
            }
        });
    }
}

/// From the mapped file, which is in the page cache, to a scorer that could be made.
fn load(c: &mut Criterion, model: &LazyCell<Model>) {
    // Known without the model, which a filter may leave out: the tensors are all of the file but for its header.
    let parameters: usize = table(&arch()).iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    bench(c, "load", ARCH, floats(parameters), || {
        let engine = model.engine();
        assert_eq!(engine.arch(), &arch());
        let pixels = picture(3);
        let bank = engine.build_bank("cat", Fit::Crop, &[frame(&pixels)]).expect("a bank");
        let mut scorer = engine.batch_scorer(Arc::new(bank), NonZeroUsize::MIN).expect("a scorer");
        check("a prompt's residual", scorer.score(frame(&pixels)).expect("a score").map.largest(), 0.0);
        let mut options = EngineOptions::new(&model.file);
        options.device = Device::Cpu;
        move || {
            std::hint::black_box(Engine::with(&options).expect("the model opens"));
        }
    });
}
