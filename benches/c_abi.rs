//! What the C interface costs: the latency distribution of one score through it, beside the same call from Rust.
//!
//!     cargo bench --bench c_abi -- [weights.safetensors] [rounds]
//!
//! Without weights a small random model is made, on which the interface's share is the largest. The two take turns frame by
//! frame, so that both meet the same disturbances, and their scores are compared before anything is timed.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Instant;

use inctrl::ffi::*;
use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{Engine, EngineOptions, Fit, Frame, PixelFormat};

const CONFIG: &str = r#"{"embed_dim": 64,
    "vision_cfg": {"image_size": 112, "patch_size": 16, "width": 128, "layers": 4},
    "text_cfg": {"width": 64, "heads": 2, "layers": 1}, "inctrl": {"taps": [2, 3]}}"#;

fn main() {
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weights = arguments.next().map_or_else(
        || {
            let path = folder.path().join("weights.safetensors");
            let arch = Arch::from_json(CONFIG).expect("the configuration above");
            random::write(&path, &arch, 1, DType::F32).expect("the model fits the disk");
            path
        },
        Into::into,
    );
    let rounds: usize = arguments.next().map_or(2000, |text| text.parse().expect("a number of rounds"));

    let mut options = EngineOptions::new(&weights);
    options.device = inctrl::Device::Cpu;
    options.threads = NonZeroUsize::new(1);
    let engine = Engine::with(&options).expect("the model opens");
    let (width, height) = (640usize, 480usize);
    let pixels: Vec<u8> = (0..width * height).map(|i| (100 + i % 31 + i / width % 17) as u8).collect();
    let frame = Frame::packed(&pixels, width, height, PixelFormat::Grey8).expect("a whole frame");
    let bank = Arc::new(engine.build_bank("object", Fit::Crop, &[frame]).expect("the frame is normal"));
    let mut scorer = engine.scorer(bank).expect("memory for a scorer");

    let text = CString::new(weights.to_str().expect("a path in UTF-8")).expect("a path without zeros");
    // SAFETY: numbers and pointers.
    let (mut c_options, mut c_frame, mut result): (inctrl_engine_options, inctrl_frame, inctrl_result) =
        unsafe { std::mem::zeroed() };
    c_options.struct_size = size_of::<inctrl_engine_options>();
    (c_options.weights, c_options.device, c_options.threads) = (text.as_ptr(), c"cpu".as_ptr(), 1);
    c_frame.struct_size = size_of::<inctrl_frame>();
    (c_frame.data, c_frame.format) = (pixels.as_ptr().cast(), INCTRL_MONO8);
    (c_frame.width, c_frame.height) = (width as u32, height as u32);
    result.struct_size = size_of::<inctrl_result>();
    let (mut c_engine, mut c_bank, mut c_slot, mut c_scorer) = (null_mut(), null_mut(), null_mut(), null_mut());
    let ok = |status: i32| assert_eq!(status, INCTRL_OK);
    // SAFETY: structures and variables of this function, here and below.
    unsafe {
        ok(inctrl_engine_open(&c_options, &mut c_engine));
        ok(inctrl_bank_build(c_engine, c"object".as_ptr(), INCTRL_FIT_CROP, &c_frame, 1, null(), &mut c_bank));
        ok(inctrl_slot_create(c_engine, c_bank, &mut c_slot));
        ok(inctrl_scorer_create(c_engine, c_slot, 1, &mut c_scorer));
        ok(inctrl_scorer_score(c_scorer, &c_frame, 0, &mut result));
    }
    let score = scorer.score(frame).expect("the frame is good").score;
    assert_eq!(score.to_bits(), result.score.to_bits(), "C and Rust differ");

    let (mut rust, mut c) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for _ in 0..rounds {
        let begin = Instant::now();
        scorer.score(frame).expect("the frame is good");
        rust.push(begin.elapsed().as_nanos());
        let begin = Instant::now();
        // SAFETY: as above.
        ok(unsafe { inctrl_scorer_score(c_scorer, &c_frame, 0, &mut result) });
        c.push(begin.elapsed().as_nanos());
    }
    // SAFETY: as above; nobody uses the handles any more.
    unsafe {
        ok(inctrl_scorer_close(&mut c_scorer));
        ok(inctrl_slot_close(&mut c_slot));
        ok(inctrl_bank_close(&mut c_bank));
        ok(inctrl_engine_close(&mut c_engine));
    }
    println!("{}, {rounds} rounds, microseconds", engine.device());
    println!("      {:>9} {:>9} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "p99.9", "max");
    let quantiles = |mut times: Vec<u128>| {
        times.sort_unstable();
        [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| times[((times.len() - 1) as f64 * q) as usize] as f64 / 1000.0)
    };
    let (rust, c) = (quantiles(rust), quantiles(c));
    for (name, times) in [("Rust", &rust), ("C", &c)] {
        println!("{name:<5} {}", times.map(|t| format!("{t:>9.1}")).join(" "));
    }
    println!("C / Rust at p50: {:.4}", c[0] / rust[0]);
}
