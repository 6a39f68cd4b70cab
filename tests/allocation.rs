//! The hot path allocates no memory: after the first frames, scoring allocates nothing on any thread, from Rust and
//! through the C interface.
//!
//! This is a separate test program because it counts with a global allocator. It has no test harness, so that nothing
//! else is counted.
//!
//! The emulated GPU is slow and runs only 400 frames of each kind; `INCTRL_FRAMES=10000 cargo test --release --test
//! allocation` runs as many on every device.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inctrl::backend::cpu::Cpu;
use inctrl::encoder::encode_texts;
use inctrl::ffi::*;
use inctrl::internals::{model_bytes, text_bytes};
use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{BankSpec, Device, Engine, EngineOptions, Fit, Frame, PixelFormat, Precision};

mod counting;
#[cfg(feature = "cuda")]
mod emulator;
#[path = "common/larger.rs"]
mod larger;
#[path = "counting/rois.rs"]
mod rois;

use counting::ALLOCATIONS;

const CONFIG: &str = r#"{"embed_dim": 64,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    "inctrl": {"taps": [1]}}"#;

const DINO: &str = r#"{"family": "dinov2", "image_size": 32, "patch_size": 16, "width": 64, "layers": 2}"#;
const RESNET: &str =
    r#"{"family": "resnet", "image_size": 32, "blocks": [1, 2, 1, 1], "stem": 8, "widths": [8, 16, 24, 32]}"#;
const MASKS: [&str; 2] = ["mask=off", "mask=on"];

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    random::write(&weights, &Arch::from_json(CONFIG).unwrap(), 1, DType::F32).unwrap();
    let frames = std::env::var("INCTRL_FRAMES").ok().map(|text| text.parse().unwrap());
    let on_cpu = frames.unwrap_or(10_000);
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        match Cpu::with_precision(1, Some(precision)) {
            Ok(_) => {
                allocates_nothing(&weights, Device::Cpu, Some(precision), on_cpu);
                batches_after_single_frames(&weights, precision);
            }
            Err(error) => println!("SKIP: {error}"),
        }
    }
    through_c(&weights, Device::Cpu, on_cpu);
    let dino = folder.path().join("dino.safetensors");
    larger::write(&dino, DINO, 1, 12.0);
    MASKS.iter().for_each(|mask| grids_in_turn(&dino, Device::Cpu, mask, on_cpu.min(2000)));
    tiles(&dino, Device::Cpu, on_cpu.min(500));
    rois::check(&dino, Device::Cpu, on_cpu.min(500));
    memory_is_what_is_estimated(folder.path());
    every_method(&weights, Device::Cpu, on_cpu.min(2000), &METHODS);
    let resnet = folder.path().join("resnet.safetensors");
    random::write(&resnet, &Arch::from_json(RESNET).unwrap(), 1, DType::F32).unwrap();
    every_method(&resnet, Device::Cpu, on_cpu.min(2000), &ON_RESNETS);
    #[cfg(feature = "cuda")]
    match emulator::load() {
        Ok(()) => {
            let emulated = frames.unwrap_or(400);
            allocates_nothing(&weights, Device::Cuda(0), None, emulated);
            MASKS.iter().for_each(|mask| grids_in_turn(&dino, Device::Cuda(0), mask, emulated));
            tiles(&dino, Device::Cuda(0), emulated.min(40));
            every_method(&weights, Device::Cuda(0), emulated.min(100), &METHODS);
            every_method(&resnet, Device::Cuda(0), emulated.min(60), &ON_RESNETS);
            through_c(&weights, Device::Cuda(0), emulated);
            rois::check(&dino, Device::Cuda(0), emulated.min(40));
        }
        Err(reason) => println!("SKIP: no emulated GPU: {reason}"),
    }
}

fn allocates_nothing(weights: &Path, device: Device, precision: Option<Precision>, count: usize) {
    let mut options = EngineOptions::new(weights);
    (options.device, options.precision) = (device, precision);
    options.threads = NonZeroUsize::new(2);
    let engine = Engine::with(&options).unwrap();

    // Grey and colour, packed and padded, all of one size.
    let (width, height) = (48, 40);
    let bytes: Vec<u8> = (0..200 * height).map(|i| (i * 37 % 251) as u8).collect();
    let frame = |stride, format| Frame::new(&bytes, width, height, stride, format).unwrap();
    let frames = [
        frame(48, PixelFormat::Grey8),
        frame(144, PixelFormat::Rgb8),
        frame(64, PixelFormat::Grey8),
        frame(200, PixelFormat::Rgb8),
    ];
    let bank = Arc::new(engine.build_bank("cat", Fit::Crop, &frames[..2]).unwrap());
    let mut scorer = engine.scorer(bank).unwrap();

    let mut sum = 0.0;
    let mut run = |count: usize| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for frame in frames.iter().cycle().take(count) {
            sum += scorer.score(*frame).unwrap().score;
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    let warm_up = run(20);
    let steady = run(count);
    println!(
        "{device}, {}: {warm_up} allocations in the first 20 frames, {steady} in {count} more",
        engine.precision()
    );
    assert!(warm_up > 0, "the counter does not count");
    assert_eq!(steady, 0);
    assert!(sum.is_finite());
}

/// Batches of any size and a bank of more prompts need no memory that single frames and one prompt did not.
fn batches_after_single_frames(weights: &Path, precision: Precision) {
    let mut options = EngineOptions::new(weights);
    (options.device, options.precision) = (Device::Cpu, Some(precision));
    options.threads = NonZeroUsize::new(2);
    let engine = Engine::with(&options).unwrap();
    let (width, height) = (48, 40);
    let bytes: Vec<u8> = (0..width * height).map(|i| (i * 37 % 251) as u8).collect();
    let frames = [Frame::packed(&bytes, width, height, PixelFormat::Grey8).unwrap(); 128];
    let bank = |prompts: usize| Arc::new(engine.build_bank("cat", Fit::Crop, &frames[..prompts]).unwrap());
    let slot = Arc::new(engine.shared_bank(bank(1)).unwrap());
    let mut scorer = engine.scorer_of(&slot, NonZeroUsize::new(frames.len()).unwrap()).unwrap();
    scorer.warm_up(width, height, PixelFormat::Grey8, 2).unwrap();
    for prompts in [1, 8] {
        slot.swap(bank(prompts)).unwrap();
        // Patches of 128, 61 and 121 images are of three, two and three blocks.
        for images in [128, 7, 61, 121, 1] {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            assert_eq!(scorer.score_some(&frames[..images]).unwrap().len(), images);
            let found = ALLOCATIONS.load(Ordering::Relaxed) - before;
            assert_eq!(found, 0, "{images} images, {prompts} prompts");
        }
    }
    println!("{precision}: batches of all sizes and a larger bank: no allocation after single frames");
}

/// Frames of two shapes in turn, alone and in one batch: memory is taken when each is first seen, and then no more.
fn grids_in_turn(weights: &Path, device: Device, mask: &str, count: usize) {
    let mut options = EngineOptions::new(weights);
    options.device = device;
    options.threads = NonZeroUsize::new(2);
    let engine = Engine::with(&options).unwrap();
    // Tokens of the bright half stand before those of the dark.
    let bytes: Vec<u8> = (0..96 * 96).map(|i| (i * 37 % 51) as u8 + if i / 24 % 2 == 0 { 200 } else { 0 }).collect();
    let frame = |width, height| Frame::packed(&bytes, width, height, PixelFormat::Grey8).unwrap();
    let (wide, tall) = (frame(96, 48), frame(40, 70));
    let mut spec = BankSpec::default();
    (spec.method, spec.fit) = (Some("anomaly-dino".to_owned()), Some(Fit::Trim));
    spec.options = vec!["size=64".to_owned(), "rotations=1".to_owned(), mask.to_owned()];
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    [wide, tall].iter().for_each(|frame| builder.add(*frame).unwrap());
    let bank = Arc::new(builder.finish().unwrap());
    let mut scorer = engine.batch_scorer(bank, const { NonZeroUsize::new(3).unwrap() }).unwrap();
    let mut run = |count: usize| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..count / 5 {
            let cells = [wide, tall].map(|frame| scorer.score(frame).unwrap().map.grid.cells());
            assert_eq!(cells, [4 * 8, 7 * 4]);
            let scores = scorer.score_some(&[tall, wide, tall]).unwrap();
            assert!(scores.iter().zip([28, 32, 28]).all(|(score, cells)| score.map.cells.len() == cells));
        }
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    let warm_up = run(15);
    let steady = run(count);
    println!("{device}, {mask}, two grids in turn: {warm_up} allocations at first, {steady} in {count} more");
    assert_eq!(steady, 0, "two grids in turn");
}

/// Frames of two sizes in turn, each of more tiles than are encoded at once; with a bank for all and one for each.
fn tiles(weights: &Path, device: Device, count: usize) {
    let mut options = EngineOptions::new(weights);
    options.device = device;
    options.threads = NonZeroUsize::new(2);
    let engine = Engine::with(&options).unwrap();
    let bytes: Vec<u8> = (0..160 * 160).map(|i| (i * i * 37 % 251) as u8).collect();
    let frame = |width, height| Frame::packed(&bytes, width, height, PixelFormat::Grey8).unwrap();
    for (per, sizes) in [("frame", [(160, 112), (96, 160)]), ("tile", [(160, 112), (160, 112)])] {
        let mut spec = BankSpec::default();
        spec.method = Some("anomaly-dino".to_owned());
        let texts = ["tile=64", "overlap=32", "scale=1", "rotations=1", &format!("bank-per={per}")];
        spec.options = texts.map(str::to_owned).to_vec();
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        builder.add(frame(160, 112)).unwrap();
        let bank = builder.finish().unwrap();
        let limits = inctrl::Thresholds { review: 0.1, reject: 0.2, cell: 0.1 };
        let bank = Arc::new(bank.with_thresholds(Some(limits)).unwrap());
        let mut scorer = engine.batch_scorer(bank, const { NonZeroUsize::new(2).unwrap() }).unwrap();
        let frames = sizes.map(|(width, height)| frame(width, height));
        let mut run = |count: usize| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..count / 4 {
                for (frame, (width, height)) in frames.iter().zip(sizes) {
                    assert_eq!(scorer.score(*frame).unwrap().map.grid.cells(), width / 16 * (height / 16));
                }
                assert_eq!(scorer.score_some(&frames).unwrap().len(), 2);
            }
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        let warm_up = run(12);
        let steady = run(count);
        println!("{device}, tiles, a bank for each {per}: {warm_up} allocations at first, {steady} in {count} more");
        assert_eq!(steady, 0, "tiles, a bank for each {per}");
    }
}

type Methods = [(&'static str, &'static [&'static str])];

/// The methods beside InCTRL and AnomalyDINO.
const METHODS: [(&str, &[&str]); 7] = [
    ("patchcore", &["taps=1,2", "coreset=0.5", "reweight=on"]),
    ("subspace", &["taps=1,2", "rotations=1"]),
    ("padim", &["taps=1,2"]),
    ("spade", &["taps=1,2"]),
    ("winclip", &["size=48"]),
    ("winclip", &["size=48", "squares=on"]),
    ("winclip-zero", &["size=48"]),
];
const ON_RESNETS: [(&str, &[&str]); 3] =
    [("patchcore", &["dims=20", "level-dims=30", "reweight=on"]), ("padim", &["dims=20"]), ("spade", &[])];

/// Single frames and batches.
fn every_method(weights: &Path, device: Device, count: usize, methods: &Methods) {
    let mut options = EngineOptions::new(weights);
    options.device = device;
    options.threads = NonZeroUsize::new(2);
    let engine = Engine::with(&options).unwrap();
    let bytes: Vec<u8> = (0..96 * 96).map(|i| (i * i * 37 % 251) as u8).collect();
    for &(method, options) in methods {
        let width = if options.contains(&"squares=on") { 72 } else { 48 };
        let frames =
            [0, 100, 777, 3000].map(|from| Frame::packed(&bytes[from..], width, 48, PixelFormat::Grey8).unwrap());
        let mut spec = BankSpec::default();
        (spec.method, spec.class) = (Some(method.to_owned()), Some("cat".to_owned()));
        spec.options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        let prompts = if method == "winclip-zero" { 0 } else { 3 };
        frames[..prompts].iter().for_each(|frame| builder.add(*frame).unwrap());
        let bank = Arc::new(builder.finish().unwrap());
        let mut scorer = engine.batch_scorer(bank, const { NonZeroUsize::new(3).unwrap() }).unwrap();
        let mut run = |count: usize| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for frame in frames.iter().cycle().take(count / 2) {
                assert!(scorer.score(*frame).unwrap().score.is_finite());
                assert_eq!(scorer.score_some(&frames[1..]).unwrap().len(), 3);
            }
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        let warm_up = run(16);
        let steady = run(count);
        println!("{device}, {method} {options:?}: {warm_up} allocations at first, {steady} in {count} more");
        assert_eq!(steady, 0, "{method} {options:?}");
    }
}

/// A model of InCTRL's and one of DINOv2's, each with its method, at several widths, patches, and layers.
const SIZES: [(&str, &str, &str); 10] = [
    (
        "inctrl",
        r#"{"embed_dim": 64,
            "vision_cfg": {"image_size": 128, "patch_size": 16, "width": 192, "layers": 3},
            "text_cfg": {"width": 64, "heads": 2, "layers": 2, "vocab_size": 49408},
            "inctrl": {"taps": [1, 2]}}"#,
        "",
    ),
    (
        "inctrl",
        r#"{"embed_dim": 128,
            "vision_cfg": {"image_size": 224, "patch_size": 16, "width": 512, "layers": 4},
            "text_cfg": {"width": 256, "heads": 4, "layers": 3, "vocab_size": 49408},
            "inctrl": {"taps": [1, 2, 3]}}"#,
        "",
    ),
    (
        "inctrl",
        r#"{"embed_dim": 256,
            "vision_cfg": {"image_size": 240, "patch_size": 32, "width": 768, "layers": 2},
            "text_cfg": {"width": 128, "heads": 2, "layers": 1, "vocab_size": 49408},
            "inctrl": {"taps": [1]}}"#,
        "",
    ),
    (
        "winclip",
        r#"{"embed_dim": 320,
            "vision_cfg": {"image_size": 160, "patch_size": 16, "width": 448, "layers": 2},
            "text_cfg": {"width": 128, "heads": 2, "layers": 1, "vocab_size": 49408},
            "inctrl": {"taps": [1]}}"#,
        "",
    ),
    (
        "anomaly-dino",
        r#"{"family": "dinov2", "image_size": 224, "patch_size": 14, "width": 192, "layers": 3}"#,
        "size=224 rotations=1",
    ),
    (
        "anomaly-dino",
        r#"{"family": "dinov2", "image_size": 224, "patch_size": 14, "width": 384, "layers": 2, "registers": 4}"#,
        "size=448 rotations=1",
    ),
    (
        "anomaly-dino",
        r#"{"family": "dinov2", "image_size": 112, "patch_size": 14, "width": 512, "layers": 2, "mlp": "swiglu"}"#,
        "size=336 rotations=1",
    ),
    (
        "patchcore",
        r#"{"family": "resnet", "image_size": 224, "blocks": [2, 2, 2, 2], "stem": 64, "widths": [64, 128, 256, 512]}"#,
        "size=224",
    ),
    (
        "padim",
        r#"{"family": "resnet", "image_size": 224, "blocks": [1, 2, 1, 1], "bottleneck": true, "stem": 64,
            "inner": [64, 128, 256, 512], "widths": [256, 512, 1024, 2048]}"#,
        "size=256 single=on",
    ),
    (
        "spade",
        r#"{"family": "resnet", "image_size": 192, "blocks": [2, 2, 2, 2], "stem": 32, "widths": [64, 128, 256, 512]}"#,
        "size=192",
    ),
];

/// What a model, its text tower and its scorers take is at most what is asked for beforehand, and that at most half as
/// much again.
fn memory_is_what_is_estimated(folder: &Path) {
    let weights = folder.join("sized.safetensors");
    let mut wrong = Vec::new();
    let mut close = |what: &str, taken: usize, estimate: usize| {
        println!("{what}: {taken} bytes taken, {estimate} estimated, {:.2} of them", estimate as f64 / taken as f64);
        if taken > estimate || 2 * estimate > 3 * taken {
            wrong.push(what.to_owned());
        }
    };
    for (method, config, settings) in SIZES {
        let arch = Arch::from_json(config).unwrap();
        random::write(&weights, &arch, 1, DType::F32).unwrap();
        let vision = &arch.vision;
        let name = format!("{method}, {} pixels, {} wide, {} layers", vision.image_size, vision.width, vision.layers);
        let mut options = EngineOptions::new(&weights);
        options.device = Device::Cpu;
        options.threads = NonZeroUsize::new(2);
        let mut engine = None;
        let taken = counting::peak(|| engine = Some(Engine::with(&options).unwrap()));
        let engine = engine.unwrap();
        close(&format!("{name}, the model"), taken, model_bytes(&arch));

        if let Some(tower) = &arch.text {
            let texts: Vec<Vec<u32>> = (0..200).map(|text| (0..10 + text % 7).collect()).collect();
            let mut cpu = options.cpu().unwrap();
            let taken = counting::peak(|| drop(encode_texts(&mut cpu, engine.weights(), &texts).unwrap()));
            let tokens = texts.iter().map(Vec::len).sum();
            close(&format!("{name}, texts"), taken, text_bytes(&arch, tower, tokens, texts.len(), 2));
        }

        let mut spec = BankSpec::default();
        (spec.method, spec.fit) = (Some(method.to_owned()), Some(Fit::Crop));
        spec.options = settings.split_whitespace().map(str::to_owned).collect();
        let side = spec.options.first().map_or(arch.vision.image_size, |size| size[5..].parse().unwrap());
        let bytes: Vec<u8> = (0..side * side * 3).map(|i| (i * 37 % 251) as u8).collect();
        let frame = Frame::packed(&bytes, side, side, PixelFormat::Rgb8).unwrap();
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        builder.add(frame).unwrap();
        let bank = Arc::new(builder.finish().unwrap());
        let slot = Arc::new(engine.shared_bank(Arc::clone(&bank)).unwrap());
        for capacity in [1, 4, 24, 100] {
            let images = NonZeroUsize::new(capacity).unwrap();
            let frames = vec![frame; capacity];
            let taken = counting::peak(|| {
                let mut scorer = engine.scorer_of(&slot, images).unwrap();
                assert_eq!(scorer.score_some(&frames).unwrap().len(), capacity);
            });
            let estimate = engine.scorer_bytes(&bank, images).unwrap();
            close(&format!("{name}, {capacity} images of {side} pixels"), taken, estimate);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A structure of the C interface, all zero but its size.
macro_rules! sized {
    ($kind:ty) => {{
        // SAFETY: numbers and pointers.
        let mut value: $kind = unsafe { std::mem::zeroed() };
        value.struct_size = size_of::<$kind>();
        value
    }};
}

/// The same bytes in memory of the device, which stays until the process ends.
#[cfg(feature = "cuda")]
fn in_device_memory(bytes: &[u8]) -> *const std::ffi::c_void {
    use cudarc::driver::{CudaContext, result};
    let context = CudaContext::new(0).unwrap();
    context.bind_to_thread().unwrap();
    // SAFETY: the context is current; the memory is as long as what is copied into it, which is waited for.
    unsafe {
        let address = result::malloc_sync(bytes.len()).unwrap();
        result::memcpy_htod_sync(address, bytes).unwrap();
        result::stream::synchronize(result::stream::null()).unwrap();
        address as *const _
    }
}

/// Through the C interface: every pixel format, in host memory and in device memory if there is a device; several
/// regions of a frame; maps, regions and verdicts; a late deadline.
fn through_c(weights: &Path, device: Device, count: usize) {
    let (width, height) = (48u32, 40u32);
    let bytes: Vec<u8> = (0..200 * height).map(|i| (i * 37 % 251) as u8).collect();
    let mut frame = sized!(inctrl_frame);
    (frame.data, frame.width, frame.height, frame.stride) = (bytes.as_ptr().cast(), width, height, 200);
    let host = [
        INCTRL_MONO8,
        INCTRL_MONO16,
        INCTRL_RGB8,
        INCTRL_BGR8,
        INCTRL_RGBA8,
        INCTRL_BGRA8,
        INCTRL_BAYER_RG8,
        INCTRL_BAYER_GR8,
        INCTRL_BAYER_GB8,
        INCTRL_BAYER_BG8,
    ]
    .map(|format| inctrl_frame { format, ..frame });
    #[cfg(not(feature = "cuda"))]
    let other = host;
    #[cfg(feature = "cuda")]
    let other = if device == Device::Cpu {
        host
    } else {
        let data = in_device_memory(&bytes);
        host.map(|frame| inctrl_frame { data, memory: INCTRL_MEMORY_CUDA, ..frame })
    };
    // All formats in one memory and then all in the other, in turn.
    let memories = [host, other];
    let mask: Vec<u8> = (0..width * height).map(|i| u8::from(i % width < 12)).collect();
    let mut mask_frame = sized!(inctrl_frame);
    (mask_frame.data, mask_frame.width, mask_frame.height) = (mask.as_ptr().cast(), width, height);
    mask_frame.format = INCTRL_MONO8;

    let weights = std::ffi::CString::new(weights.to_str().unwrap()).unwrap();
    let device = std::ffi::CString::new(device.to_string()).unwrap();
    let mut options = sized!(inctrl_engine_options);
    (options.weights, options.device, options.threads) = (weights.as_ptr(), device.as_ptr(), 2);
    let limits = inctrl_thresholds { review: 0.1, reject: 0.9, cell: 0.001, ..sized!(inctrl_thresholds) };
    use std::ptr::null_mut;
    let (mut engine, mut plain, mut bank, mut slot, mut scorer) =
        (null_mut(), null_mut(), null_mut(), null_mut(), null_mut());
    let ok = |status: i32| assert_eq!(status, INCTRL_OK);
    for mask in [std::ptr::null(), &raw const mask_frame] {
        // SAFETY: handles, structures and variables of this function, here and below.
        unsafe {
            ok(inctrl_engine_open(&options, &mut engine));
            ok(inctrl_bank_build(engine, c"cat".as_ptr(), INCTRL_FIT_CROP, &host[0], 1, mask, &mut plain));
            ok(inctrl_bank_with_thresholds(plain, &limits, &mut bank));
            ok(inctrl_slot_create(engine, bank, &mut slot));
            ok(inctrl_scorer_create(engine, slot, 2, &mut scorer));
        }
        let mut map = [0.0f32; 16];
        let mut regions = [inctrl_region { x: 0, y: 0, width: 0, height: 0, area: 0.0, peak: 0.0, cells: 0 }; 4];
        let mut results = [sized!(inctrl_result); 10];
        (results[0].map, results[0].map_capacity) = (map.as_mut_ptr(), map.len());
        (results[0].regions, results[0].region_capacity) = (regions.as_mut_ptr(), regions.len());
        let rois = [(0, 0, 16, 16), (5, 3, 20, 30), (1, 1, 1, 1)];
        let rois = rois.map(|(x, y, width, height)| inctrl_roi { x, y, width, height });
        let (mut health, mut found) = (sized!(inctrl_health), 0);
        let mut run = |count: usize| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for number in 0..count / 20 {
                let frames = &memories[number / 10 % 2];
                let one = &frames[number % frames.len()];
                // SAFETY: as above.
                unsafe {
                    for _ in 0..7 {
                        ok(inctrl_scorer_score(scorer, one, 1, results.as_mut_ptr()));
                        found += results[0].region_count;
                    }
                    ok(inctrl_scorer_score_batch(scorer, frames.as_ptr(), 10, 0, results.as_mut_ptr()));
                    if mask.is_null() {
                        ok(inctrl_scorer_score_regions(scorer, one, rois.as_ptr(), 3, 0, results.as_mut_ptr()));
                    } else {
                        ok(inctrl_scorer_score_batch(scorer, frames.as_ptr(), 3, 0, results.as_mut_ptr()));
                    }
                    ok(inctrl_scorer_health(scorer, &mut health));
                }
            }
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        let warm_up = run(1000.min(count));
        let steady = run(count);
        println!("{device:?}, through the C interface: {warm_up} allocations at first, {steady} in {count} more");
        assert_eq!(steady, 0, "through the C interface");
        assert!(found > 0 && health.late > 0 && health.frames as usize == 1000.min(count) + count);
        // SAFETY: as above.
        unsafe {
            ok(inctrl_scorer_close(&mut scorer));
            ok(inctrl_slot_close(&mut slot));
            ok(inctrl_bank_close(&mut bank));
            ok(inctrl_bank_close(&mut plain));
            ok(inctrl_engine_close(&mut engine));
        }
    }
}
