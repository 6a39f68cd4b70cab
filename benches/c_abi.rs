//! The cost of the C interface: the latency of one score through it and of the same call from Rust, in pairs.
//!
//!     inctrl weights random --arch vit-b-16-plus-240 --seed 1 -o W.safetensors
//!     cargo bench --bench c_abi -- [--weights W.safetensors] [--rounds N] [--threads N] [--json FILE]
//!
//! INCTRL_BENCH_WEIGHTS names weights, too. Without weights, a small random model is made, where the share of the
//! interface is largest. The two calls take turns in one loop, Rust first in every other pair, so that both meet the
//! same disturbances; the result is the difference within a pair. Each side has its own engine, and the place of its
//! memory may matter: as a control, Rust is compared with a second engine of Rust. Scores and maps are compared before
//! anything is timed.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::time::Instant;

use inctrl::ffi::*;
use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{Device, Engine, EngineOptions, Fit, Frame, PixelFormat, Scorer};
use serde_json::{Value, json};

const CONFIG: &str = r#"{"embed_dim": 64,
    "vision_cfg": {"image_size": 112, "patch_size": 16, "width": 128, "layers": 4},
    "text_cfg": {"width": 64, "heads": 2, "layers": 1}, "inctrl": {"taps": [2, 3]}}"#;
const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Pairs before the first that counts.
const WARM_UP: usize = 5;
const RESAMPLES: usize = 2000;

struct Arguments {
    weights: Option<PathBuf>,
    rounds: usize,
    threads: NonZeroUsize,
    json: Option<PathBuf>,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let weights = std::env::var_os("INCTRL_BENCH_WEIGHTS").map(PathBuf::from);
        let mut parsed = Arguments { weights, rounds: 1000, threads: NonZeroUsize::MIN, json: None };
        // Cargo adds `--bench`.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` has no value"))?;
            let wrong = |error| format!("`{word} {value}`: {error}");
            match &word[..] {
                "--weights" => parsed.weights = Some(value.into()),
                "--json" => parsed.json = Some(value.into()),
                "--rounds" => {
                    parsed.rounds = value.parse::<NonZeroUsize>().map_err(wrong)?.get();
                }
                "--threads" => parsed.threads = value.parse().map_err(wrong)?,
                _ => return Err(format!("`{word}`: use --weights, --rounds, --threads or --json")),
            }
        }
        Ok(parsed)
    }
}

/// A scorer behind the C interface, with the structures of its caller.
struct ThroughC {
    engine: *mut inctrl_engine,
    bank: *mut inctrl_bank,
    slot: *mut inctrl_slot,
    scorer: *mut inctrl_scorer,
    frame: inctrl_frame,
    result: inctrl_result,
}

fn ok(status: i32) {
    assert_eq!(status, INCTRL_OK, "a call through C fails");
}

impl ThroughC {
    fn open(weights: &Path, threads: NonZeroUsize, pixels: &'static [u8]) -> Self {
        let text = CString::new(weights.to_str().expect("a path in UTF-8")).expect("a path without zeros");
        // SAFETY: numbers and pointers, for which zeros are values.
        let (mut options, mut frame, mut result): (inctrl_engine_options, inctrl_frame, inctrl_result) =
            unsafe { std::mem::zeroed() };
        options.struct_size = size_of::<inctrl_engine_options>();
        (options.weights, options.device) = (text.as_ptr(), c"cpu".as_ptr());
        options.threads = u32::try_from(threads.get()).expect("a sensible number of threads");
        frame.struct_size = size_of::<inctrl_frame>();
        (frame.data, frame.format) = (pixels.as_ptr().cast(), INCTRL_MONO8);
        (frame.width, frame.height) = (WIDTH as u32, HEIGHT as u32);
        result.struct_size = size_of::<inctrl_result>();
        let mut c =
            ThroughC { engine: null_mut(), bank: null_mut(), slot: null_mut(), scorer: null_mut(), frame, result };
        // SAFETY: structures, strings and variables of this function; the pixels live as long as the program.
        unsafe {
            ok(inctrl_engine_open(&options, &mut c.engine));
            ok(inctrl_bank_build(c.engine, c"object".as_ptr(), INCTRL_FIT_CROP, &c.frame, 1, null(), &mut c.bank));
            ok(inctrl_slot_create(c.engine, c.bank, &mut c.slot));
            ok(inctrl_scorer_create(c.engine, c.slot, 1, &mut c.scorer));
        }
        c
    }

    fn score(&mut self) -> f32 {
        // SAFETY: handles and structures of this value.
        ok(unsafe { inctrl_scorer_score(self.scorer, &self.frame, 0, &mut self.result) });
        self.result.score
    }

    /// Scores once with a map.
    fn map(&mut self) -> Vec<f32> {
        // SAFETY: a handle of this value.
        let grid = unsafe { inctrl_engine_grid(self.engine) } as usize;
        let mut map = vec![f32::NAN; grid * grid];
        (self.result.map, self.result.map_capacity) = (map.as_mut_ptr(), map.len());
        self.score();
        (self.result.map, self.result.map_capacity) = (null_mut(), 0);
        map
    }
}

impl Drop for ThroughC {
    fn drop(&mut self) {
        // SAFETY: handles of this value, which nobody uses any more.
        unsafe {
            ok(inctrl_scorer_close(&mut self.scorer));
            ok(inctrl_slot_close(&mut self.slot));
            ok(inctrl_bank_close(&mut self.bank));
            ok(inctrl_engine_close(&mut self.engine));
        }
    }
}

fn open(weights: &Path, threads: NonZeroUsize, frame: Frame<'_>) -> (Engine, Scorer) {
    let mut options = EngineOptions::new(weights);
    (options.device, options.threads) = (Device::Cpu, Some(threads));
    let engine = Engine::with(&options).expect("the model opens");
    let bank = engine.build_bank("object", Fit::Crop, &[frame]).expect("the frame is normal");
    let scorer = engine.scorer(Arc::new(bank)).expect("memory for a scorer");
    (engine, scorer)
}

/// Times of two calls that take turns, in microseconds, a pair a round: first, second, second, first.
fn pairs(rounds: usize, mut first: impl FnMut(), mut second: impl FnMut()) -> Vec<[f64; 2]> {
    fn time(call: &mut impl FnMut()) -> f64 {
        let begin = Instant::now();
        call();
        begin.elapsed().as_secs_f64() * 1e6
    }
    let mut pair = |round: usize| {
        if round.is_multiple_of(2) {
            let a = time(&mut first);
            [a, time(&mut second)]
        } else {
            let b = time(&mut second);
            [time(&mut first), b]
        }
    };
    for round in 0..WARM_UP {
        pair(round);
    }
    (0..rounds).map(pair).collect()
}

/// The smallest number that at least a share `q` of all does not exceed.
fn quantile(numbers: &mut [f64], q: f64) -> f64 {
    let rank = ((numbers.len() as f64 * q).ceil() as usize).clamp(1, numbers.len());
    *numbers.select_nth_unstable_by(rank - 1, f64::total_cmp).1
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    quantile(&mut numbers.collect::<Vec<_>>(), 0.5)
}

/// A statistic of pairs, and the interval that holds 95 % of its values on pairs drawn anew from these.
fn with_interval(pairs: &[[f64; 2]], statistic: impl Fn(&[[f64; 2]]) -> f64) -> [f64; 3] {
    // SplitMix64, for the same interval each time.
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut drawn = pairs.to_vec();
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| pairs[(random() % pairs.len() as u64) as usize]);
            statistic(&drawn)
        })
        .collect();
    [statistic(pairs), quantile(&mut values, 0.025), quantile(&mut values, 0.975)]
}

/// Prints a comparison of the second call with the first, and returns it for the file.
fn compare(names: [&str; 2], pairs: &[[f64; 2]]) -> Value {
    let mut latencies = serde_json::Map::new();
    for (i, name) in names.into_iter().enumerate() {
        let mut times: Vec<f64> = pairs.iter().map(|pair| pair[i]).collect();
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| round(quantile(&mut times, q)));
        println!("{name:<12} {p50:>11.2} {p90:>11.2} {p99:>11.2} {max:>11.2}");
        latencies.insert(name.to_owned(), json!({"p50": p50, "p90": p90, "p99": p99, "max": max}));
    }
    let difference = with_interval(pairs, |pairs| median(pairs.iter().map(|[a, b]| b - a))).map(round);
    let ratio = with_interval(pairs, |pairs| {
        median(pairs.iter().map(|pair| pair[1])) / median(pairs.iter().map(|pair| pair[0]))
    })
    .map(|x| (x * 1e5).round() / 1e5);
    let [middle, low, high] = difference;
    println!("  median difference {middle:.2} us, 95 % interval {low:.2} to {high:.2}");
    println!("  ratio of the medians {:.5}, 95 % interval {:.5} to {:.5}", ratio[0], ratio[1], ratio[2]);
    json!({
        "latency_us": latencies,
        "median_difference_us": middle,
        "median_difference_interval_us": [low, high],
        "ratio": ratio[0],
        "ratio_interval": [ratio[1], ratio[2]],
    })
}

/// To a hundredth of a microsecond; clocks say no more.
fn round(microseconds: f64) -> f64 {
    (microseconds * 100.0).round() / 100.0
}

/// The name of the processor, or of its kind where the system does not say.
fn processor() -> String {
    let lines = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = lines.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or_else(|| std::env::consts::ARCH.into(), |(_, name)| name.to_owned())
}

fn compiler() -> String {
    let output = std::process::Command::new("rustc").arg("--version").output();
    output.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn main() {
    let arguments = Arguments::parse().unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weights = arguments.weights.clone().unwrap_or_else(|| {
        let path = folder.path().join("small.safetensors");
        let arch = Arch::from_json(CONFIG).expect("the configuration above");
        random::write(&path, &arch, 1, DType::F32).expect("the model fits the disk");
        path
    });
    let (rounds, threads) = (arguments.rounds, arguments.threads);

    let pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(|i| (100 + i % 31 + i / WIDTH % 17) as u8).collect();
    let pixels: &'static [u8] = pixels.leak();
    let frame = Frame::packed(pixels, WIDTH, HEIGHT, PixelFormat::Grey8).expect("a whole frame");
    let (engine, mut scorer) = open(&weights, threads, frame);
    let expected = scorer.score(frame).expect("the frame is good").clone();
    let mut rust = || {
        let score = scorer.score(frame).expect("the frame is good").score;
        assert_eq!(score.to_bits(), expected.score.to_bits());
    };

    println!("{}, {rounds} pairs, microseconds", engine.device());
    println!("{:<12} {:>11} {:>11} {:>11} {:>11}", "", "p50", "p90", "p99", "max");
    let through_c = {
        let mut c = ThroughC::open(&weights, threads, pixels);
        let bits = |map: &[f32]| map.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&c.map()), bits(&expected.map.cells), "C and Rust differ");
        let c = || assert_eq!(c.score().to_bits(), expected.score.to_bits(), "C and Rust differ");
        compare(["Rust", "C"], &pairs(rounds, &mut rust, c))
    };
    let control = {
        let (_engine, mut second) = open(&weights, threads, frame);
        let again = || {
            let score = second.score(frame).expect("the frame is good").score;
            assert_eq!(score.to_bits(), expected.score.to_bits());
        };
        compare(["Rust", "Rust again"], &pairs(rounds, &mut rust, again))
    };

    let Some(file) = arguments.json else { return };
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut command = "cargo bench --bench c_abi --".to_owned();
    if arguments.weights.is_some() {
        command += &format!(" --weights {}", name(&weights));
    }
    command += &format!(" --rounds {rounds} --threads {threads} --json {}", name(&file));
    let vision = &engine.arch().vision;
    let report = json!({
        "what": "one score through the C interface beside the same call from Rust, in pairs whose order is swapped every time",
        "command": command,
        "machine": {
            "cpu": processor(),
            "cores": std::thread::available_parallelism().map_or(0, NonZeroUsize::get),
            "system": std::env::consts::OS,
        },
        "versions": {"inctrl": env!("CARGO_PKG_VERSION"), "rustc": compiler()},
        "device": engine.device(),
        "model": {
            "hash": engine.model_hash(), "image_size": vision.image_size, "patch_size": vision.patch_size,
            "width": vision.width, "layers": vision.layers,
        },
        "threads": threads,
        "frame": format!("{WIDTH} x {HEIGHT}, Mono8"),
        "pairs": rounds,
        "resamples": RESAMPLES,
        "rust_and_c": through_c,
        "control_rust_and_rust": control,
    });
    let text = serde_json::to_string_pretty(&report).expect("numbers and strings") + "\n";
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
