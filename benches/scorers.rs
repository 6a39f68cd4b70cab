//! Several scorers of one engine at once: throughput, latency, fairness, threads of the process.
//!
//!     inctrl weights random --arch vit-b-16-plus-240 --seed 1 -o W.safetensors
//!     cargo bench --bench scorers -- --weights W.safetensors [--scorers 1,2,4,40] [--threads N] [--seconds S] [--turns] [--json FILE]
//!
//! Each scorer has its own thread, which scores one frame after the other. Calls are counted between two instants at
//! which all scorers are working; a call that extends beyond them counts in part. Fairness is the smallest number of
//! calls of a scorer divided by the largest. `--turns` admits one scorer at a time, first come, first served, to
//! compare scorers that take turns with scorers that share the threads.
//!
//! With `--rounds N` it prints the median latency of N calls of one scorer alone, in milliseconds: run the programs of
//! two versions in turn and compare the pairs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use inctrl::{Device, Engine, EngineOptions, Fit, Frame, PixelFormat};
use serde_json::{Value, json};

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Calls of each scorer before the first that counts.
const WARM_UP: usize = 2;

struct Arguments {
    weights: PathBuf,
    scorers: Vec<usize>,
    threads: NonZeroUsize,
    seconds: f64,
    turns: bool,
    rounds: usize,
    json: Option<PathBuf>,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut parsed = Arguments {
            weights: std::env::var_os("INCTRL_BENCH_WEIGHTS").map(PathBuf::from).unwrap_or_default(),
            scorers: vec![1, 2, 4, 40],
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            seconds: 20.0,
            turns: false,
            rounds: 0,
            json: None,
        };
        // Cargo adds `--bench`.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            if word == "--turns" {
                parsed.turns = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("`{word}` has no value"))?;
            let wrong = |error: &dyn std::fmt::Display| format!("`{word} {value}`: {error}");
            match &word[..] {
                "--weights" => parsed.weights = value.into(),
                "--json" => parsed.json = Some(value.into()),
                "--threads" => parsed.threads = value.parse().map_err(|e| wrong(&e))?,
                "--seconds" => parsed.seconds = value.parse().map_err(|e| wrong(&e))?,
                "--rounds" => parsed.rounds = value.parse().map_err(|e| wrong(&e))?,
                "--scorers" => {
                    let counts = value.split(',').map(str::parse::<NonZeroUsize>);
                    let counts: Result<Vec<_>, _> = counts.collect();
                    parsed.scorers = counts.map_err(|e| wrong(&e))?.into_iter().map(NonZeroUsize::get).collect();
                }
                _ => {
                    return Err(format!(
                        "`{word}`: use --weights, --scorers, --threads, --seconds, --turns, --rounds or --json"
                    ));
                }
            }
        }
        if parsed.weights.as_os_str().is_empty() {
            return Err("--weights or INCTRL_BENCH_WEIGHTS: which model?".into());
        }
        Ok(parsed)
    }
}

/// First come, first served, or open to all.
#[derive(Default)]
struct Turns {
    wanted: AtomicUsize,
    served: AtomicUsize,
    waiting: std::sync::Mutex<()>,
    next: std::sync::Condvar,
}

impl Turns {
    fn take<T>(&self, work: impl FnOnce() -> T) -> T {
        let ticket = self.wanted.fetch_add(1, Ordering::SeqCst);
        let guard = self.waiting.lock().expect("nobody panics");
        drop(self.next.wait_while(guard, |()| self.served.load(Ordering::SeqCst) != ticket).expect("nobody panics"));
        let done = work();
        let guard = self.waiting.lock().expect("nobody panics");
        self.served.fetch_add(1, Ordering::SeqCst);
        self.next.notify_all();
        drop(guard);
        done
    }
}

/// The threads of this process.
fn threads_now() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Calls(Vec<(Instant, Instant)>);

impl Calls {
    /// How many there were from `begin` to `end`: one that is cut counts by its share.
    fn between(&self, begin: Instant, end: Instant) -> f64 {
        let share = |&(from, to): &(Instant, Instant)| {
            let inside = to.min(end).saturating_duration_since(from.max(begin));
            inside.as_secs_f64() / to.duration_since(from).as_secs_f64()
        };
        self.0.iter().map(share).sum()
    }
}

fn measure(engine: &Engine, arguments: &Arguments, count: usize, pixels: &[u8]) -> Value {
    let frame = Frame::packed(pixels, WIDTH, HEIGHT, PixelFormat::Grey8).expect("a frame");
    let bank = Arc::new(engine.build_bank("object", Fit::Crop, &[frame]).expect("the frame is normal"));
    let slot = Arc::new(engine.shared_bank(bank).expect("memory for a bank"));
    let scorers: Vec<_> =
        (0..count).map(|_| engine.scorer_of(&slot, NonZeroUsize::MIN).expect("memory for a scorer")).collect();
    let (ready, stop, turns) = (Barrier::new(count + 1), AtomicBool::new(false), Turns::default());
    let (begin, end, threads, calls) = thread::scope(|scope| {
        let running: Vec<_> = scorers
            .into_iter()
            .map(|mut scorer| {
                let (ready, stop, turns) = (&ready, &stop, &turns);
                scope.spawn(move || {
                    let mut score = || {
                        let mut work = || scorer.score(frame).map(|score| score.score).expect("a score");
                        let begin = Instant::now();
                        std::hint::black_box(if arguments.turns { turns.take(work) } else { work() });
                        (begin, Instant::now())
                    };
                    for _ in 0..WARM_UP {
                        score();
                    }
                    ready.wait();
                    let mut calls = Vec::new();
                    // One more than asked for: all are at work until the last instant that counts.
                    while !stop.load(Ordering::SeqCst) {
                        calls.push(score());
                    }
                    Calls(calls)
                })
            })
            .collect();
        ready.wait();
        let begin = Instant::now();
        thread::sleep(Duration::from_secs_f64(arguments.seconds));
        let threads = threads_now();
        let end = Instant::now();
        stop.store(true, Ordering::SeqCst);
        let calls: Vec<_> = running.into_iter().map(|thread| thread.join().expect("nobody panics")).collect();
        (begin, end, threads, calls)
    });
    let counts: Vec<f64> = calls.iter().map(|calls| calls.between(begin, end)).collect();
    let mut times: Vec<f64> =
        calls.iter().flat_map(|calls| &calls.0).map(|(a, b)| 1e3 * (*b - *a).as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    let (fewest, most) = (counts.iter().copied().fold(f64::MAX, f64::min), counts.iter().copied().fold(0.0, f64::max));
    let per_second = counts.iter().sum::<f64>() / (end - begin).as_secs_f64();
    let threads_of_library = threads.map(|threads| threads as usize - 1 - count);
    println!(
        "{count:>3} scorers: {per_second:7.2} frames/s, p50 {:8.2} ms, p99 {:8.2} ms, max {:8.2} ms, fewest/most {:.2}, {} threads of \
         the library",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        fewest / most,
        threads_of_library.map_or("?".to_owned(), |threads| threads.to_string()),
    );
    json!({"scorers": count, "frames_per_second": per_second, "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
        "max_ms": quantile(1.0), "fewest_over_most": fewest / most, "library_threads": threads_of_library})
}

/// The median latency in milliseconds of one scorer alone.
fn latency(engine: &Engine, rounds: usize, pixels: &[u8]) -> f64 {
    let frame = Frame::packed(pixels, WIDTH, HEIGHT, PixelFormat::Grey8).expect("a frame");
    let bank = engine.build_bank("object", Fit::Crop, &[frame]).expect("the frame is normal");
    let mut scorer = engine.scorer(Arc::new(bank)).expect("memory for a scorer");
    let mut score = || {
        let begin = Instant::now();
        std::hint::black_box(scorer.score(frame).expect("a score").score);
        1e3 * begin.elapsed().as_secs_f64()
    };
    for _ in 0..WARM_UP {
        score();
    }
    median((0..rounds).map(|_| score()).collect())
}

fn main() {
    let arguments = Arguments::parse().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let mut options = EngineOptions::new(&arguments.weights);
    (options.device, options.threads) = (Device::Cpu, Some(arguments.threads));
    let engine = Engine::with(&options).expect("the model opens");
    let pixels: Vec<u8> = (0..WIDTH * HEIGHT).map(|i| (i * 37 % 251 + i / 900 % 5) as u8).collect();
    if arguments.rounds > 0 {
        println!("{:.4}", latency(&engine, arguments.rounds, &pixels));
        return;
    }
    println!("{}, {} scorers", engine.device(), if arguments.turns { "turns of" } else { "shared by" });
    let rows: Vec<Value> =
        arguments.scorers.iter().map(|&count| measure(&engine, &arguments, count, &pixels)).collect();
    if let Some(path) = &arguments.json {
        let report =
            json!({"device": engine.device(), "threads": arguments.threads, "turns": arguments.turns, "rows": rows});
        std::fs::write(path, format!("{report:#}\n")).expect("a place for the report");
    }
}
