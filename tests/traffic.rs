//! Eight threads score through the C interface while the bank is replaced every ten milliseconds: no result mixes two
//! banks, and memory does not grow.
//!
//! This is a separate test binary because it counts with a global allocator. `INCTRL_FRAMES` is the number of frames.
//! `scripts/check_races.sh` runs it under ThreadSanitizer.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use inctrl::ffi::*;
use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};

mod counting;

use counting::NOW;

const CONFIG: &str = r#"{"embed_dim": 24,
    "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"#;
const THREADS: usize = 8;
const CELLS: usize = 9;
/// Normal images of a bank: enough that one bank left behind is more than [`SLACK`].
const PROMPTS: usize = 16;
/// Bytes that may come and go: the capacity of a list, what the runtime keeps of a thread.
const SLACK: usize = 32 << 10;
const WIDTH: u32 = 64;
const HEIGHT: u32 = 56;

/// A handle that threads share, as the header says that they may.
#[derive(Clone, Copy)]
struct Shared<T>(*const T);
// SAFETY: "an engine, a bank and a slot can be used by any number of threads at once"; a scorer goes to one thread.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The pointer, by a call: a closure then takes the whole of `self`.
    fn get(&self) -> *const T {
        self.0
    }
}

#[track_caller]
fn ok(status: i32) {
    // SAFETY: a C string of this thread.
    assert_eq!(status, INCTRL_OK, "{:?}", unsafe { std::ffi::CStr::from_ptr(inctrl_last_error()) });
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

fn pixels(seed: usize) -> Vec<u8> {
    (0..(WIDTH * HEIGHT) as usize).map(|i| ((i * (7 + seed) + i / 64 * seed * 5) % 251) as u8).collect()
}

fn view(pixels: &[u8]) -> inctrl_frame {
    let mut frame = sized!(inctrl_frame);
    (frame.data, frame.width, frame.height, frame.format) = (pixels.as_ptr().cast(), WIDTH, HEIGHT, INCTRL_MONO8);
    frame
}

/// All of a result that must be one bank's, but the time that it took.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    parts: [u32; 5],
    map: [u32; CELLS],
    verdict: (i32, i32),
    regions: Vec<[u32; 4]>,
    bank: [std::ffi::c_char; 24],
}

fn score(scorer: *const inctrl_scorer, frame: &inctrl_frame) -> (Said, u64) {
    let (mut map, mut regions) = ([f32::NAN; CELLS], [zero(); CELLS]);
    let mut result = sized!(inctrl_result);
    (result.map, result.map_capacity) = (map.as_mut_ptr(), map.len());
    (result.regions, result.region_capacity) = (regions.as_mut_ptr(), regions.len());
    // SAFETY: a scorer of this thread, structures of this function.
    ok(unsafe { inctrl_scorer_score(scorer, frame, 0, &mut result) });
    let parts = [result.score, result.holistic, result.patch_max, result.image_residual, result.text_prior];
    let said = Said {
        parts: parts.map(f32::to_bits),
        map: map.map(f32::to_bits),
        verdict: (result.verdict, result.reason),
        regions: regions[..result.region_count].iter().map(|r| [r.x, r.y, r.width, r.height]).collect(),
        bank: result.bank_id,
    };
    (said, result.generation)
}

fn zero() -> inctrl_region {
    inctrl_region { x: 0, y: 0, width: 0, height: 0, area: 0.0, peak: 0.0, cells: 0 }
}

/// A bank in bytes: its own normal images, fit and thresholds.
fn bank_bytes(engine: *const inctrl_engine, number: usize, folder: &Path) -> Vec<u8> {
    let pictures: Vec<_> = (0..PROMPTS).map(|i| pixels(number * PROMPTS + i)).collect();
    let frames: Vec<_> = pictures.iter().map(|picture| view(picture)).collect();
    let fit = [INCTRL_FIT_CROP, INCTRL_FIT_LETTERBOX, INCTRL_FIT_CROP][number];
    let mut limits = sized!(inctrl_thresholds);
    (limits.review, limits.reject, limits.cell) = (0.1, 0.9, [0.001, 0.01, 0.1][number]);
    let path = folder.join(format!("{number}.bank"));
    let file = CString::new(path.to_str().unwrap()).unwrap();
    let (mut plain, mut bank) = (null_mut(), null_mut());
    // SAFETY: a live engine, structures and variables of this function.
    unsafe {
        ok(inctrl_bank_build(engine, c"cat".as_ptr(), fit, frames.as_ptr(), PROMPTS, null(), &mut plain));
        ok(inctrl_bank_with_thresholds(plain, &limits, &mut bank));
        ok(inctrl_bank_save(bank, file.as_ptr()));
        ok(inctrl_bank_close(&mut bank));
        ok(inctrl_bank_close(&mut plain));
    }
    std::fs::read(path).unwrap()
}

/// Reads a bank, gives it to `work`, and closes it.
fn with_bank<T>(bytes: &[u8], work: impl FnOnce(*const inctrl_bank) -> T) -> T {
    let mut bank = null_mut();
    // SAFETY: bytes and a variable of this function.
    ok(unsafe { inctrl_bank_from_bytes(bytes.as_ptr().cast(), bytes.len(), &mut bank) });
    let done = work(bank);
    // SAFETY: nobody else has the handle.
    ok(unsafe { inctrl_bank_close(&mut bank) });
    done
}

fn swap(slot: *const inctrl_slot, bytes: &[u8]) -> u64 {
    let mut generation = 0;
    // SAFETY: live handles, and a variable of this function.
    with_bank(bytes, |bank| ok(unsafe { inctrl_slot_swap(slot, bank, &mut generation) }));
    generation
}

/// Scores `count` frames on [`THREADS`] scorers while banks are exchanged; then leaves every scorer with `banks[0]` and
/// no other bank behind. Returns the number of swaps.
fn traffic(
    slot: *const inctrl_slot,
    scorers: &[Shared<inctrl_scorer>],
    banks: &[Vec<u8>],
    pictures: &[Vec<u8>],
    expected: &[Vec<Said>],
    count: usize,
) -> u64 {
    let (taken, running, changes) = (AtomicUsize::new(0), AtomicUsize::new(scorers.len()), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let slot = Shared(slot);
    // Every slot of this test begins with `banks[0]` as generation 1, and banks take turns.
    let swaps = thread::scope(|scope| {
        for scorer in scorers {
            let (taken, running, changes, failed) = (&taken, &running, &changes, &failed);
            scope.spawn(move || {
                // Whichever way the thread ends, the swaps must.
                struct Ends<'a>(&'a AtomicUsize, &'a AtomicBool);
                impl Drop for Ends<'_> {
                    fn drop(&mut self) {
                        self.1.fetch_or(thread::panicking(), Ordering::Relaxed);
                        self.0.fetch_sub(1, Ordering::Release);
                    }
                }
                let _ends = Ends(running, failed);
                let mut last = 0;
                loop {
                    let number = taken.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let picture = number % pictures.len();
                    let (said, generation) = score(scorer.get(), &view(&pictures[picture]));
                    assert!(generation >= last, "a scorer went back to an older bank");
                    changes.fetch_add(u64::from(generation != last), Ordering::Relaxed);
                    last = generation;
                    let bank = (generation as usize - 1) % banks.len();
                    assert_eq!(said, expected[bank][picture], "frame {number}, generation {generation}");
                }
            });
        }
        let swaps = scope.spawn(|| {
            let (mut generation, mut swaps) = (0, 0);
            while running.load(Ordering::Acquire) > 0 && !failed.load(Ordering::Relaxed) || generation % 3 != 1 {
                thread::sleep(Duration::from_millis(10));
                let next = if generation == 0 { 1 } else { generation as usize % banks.len() };
                generation = swap(slot.get(), &banks[next]);
                swaps += 1;
            }
            swaps
        });
        swaps.join().unwrap()
    });
    println!("{count} frames, {swaps} swaps, {} changes seen by {} scorers", changes.into_inner(), scorers.len());
    // Every scorer lets go of the bank that it had; the swaps after that free the rest.
    for _ in 0..banks.len() {
        scorers.iter().for_each(|scorer| drop(score(scorer.get(), &view(&pictures[0]))));
        swap(slot.get(), &banks[0]);
    }
    swaps
}

#[test]
fn no_result_is_torn_and_memory_does_not_grow_while_banks_are_exchanged() {
    let frames = std::env::var("INCTRL_FRAMES").map_or(10_000, |text| text.parse().expect("a number of frames"));
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    random::write(&weights, &Arch::from_json(CONFIG).unwrap(), 7, DType::F32).unwrap();
    let weights = CString::new(weights.to_str().unwrap()).unwrap();
    let mut options = sized!(inctrl_engine_options);
    (options.weights, options.device, options.threads) = (weights.as_ptr(), c"cpu".as_ptr(), 1);
    let pictures: Vec<_> = (0..5).map(|seed| pixels(100 + seed)).collect();

    // Once for whatever is made on first use, then counted.
    for counted in [false, true] {
        let opened = NOW.load(Ordering::Relaxed);
        let mut engine = null_mut();
        // SAFETY: structures and variables of this function, here and below.
        ok(unsafe { inctrl_engine_open(&options, &mut engine) });
        let banks: Vec<_> = (0..3).map(|number| bank_bytes(engine, number, folder.path())).collect();
        assert!(banks.iter().all(|bank| bank.len() > SLACK), "a bank left behind would not be seen");
        let of_slot = |bytes: &[u8]| {
            let (mut slot, mut scorer) = (null_mut(), null_mut());
            // SAFETY: live handles, and variables of this closure.
            with_bank(bytes, |bank| ok(unsafe { inctrl_slot_create(engine, bank, &mut slot) }));
            // SAFETY: the slot has just been made.
            ok(unsafe { inctrl_scorer_create(engine, slot, 1, &mut scorer) });
            (slot, scorer)
        };
        // What each bank gives alone.
        let expected: Vec<Vec<_>> = banks
            .iter()
            .map(|bank| {
                let (mut slot, mut scorer) = of_slot(bank);
                let said = pictures.iter().map(|picture| score(scorer, &view(picture)).0).collect();
                // SAFETY: nobody else has the handles.
                unsafe {
                    ok(inctrl_scorer_close(&mut scorer));
                    ok(inctrl_slot_close(&mut slot));
                }
                said
            })
            .collect();
        for ((a, b), c) in expected[0].iter().zip(&expected[1]).zip(&expected[2]) {
            assert!(a.parts != b.parts && b.parts != c.parts && c.parts != a.parts, "banks that cannot be told apart");
        }

        let (mut slot, first) = of_slot(&banks[0]);
        let mut scorers = vec![Shared(first.cast_const())];
        scorers.resize_with(THREADS, || {
            let mut scorer = null_mut();
            // SAFETY: live handles, and a variable of this closure.
            ok(unsafe { inctrl_scorer_create(engine, slot, 1, &mut scorer) });
            Shared(scorer.cast_const())
        });
        let run = |count| traffic(slot, &scorers, &banks, &pictures, &expected, count);
        run(frames.min(1000));
        if counted {
            let before = NOW.load(Ordering::Relaxed);
            let swaps = run(frames);
            let after = NOW.load(Ordering::Relaxed);
            println!("{before} bytes before {frames} frames and {swaps} swaps, {after} after");
            assert!(after <= before + SLACK, "memory grew: {before} bytes before, {after} after {swaps} swaps");
            assert!(frames < 10_000 || swaps > 10, "too few swaps to show anything");
        }
        // SAFETY: nobody uses the handles any more, and each is closed once.
        unsafe {
            for scorer in scorers {
                ok(inctrl_scorer_close(&mut scorer.get().cast_mut()));
            }
            ok(inctrl_slot_close(&mut slot));
            ok(inctrl_engine_close(&mut engine));
        }
        drop((banks, expected));
        let closed = NOW.load(Ordering::Relaxed);
        println!("{opened} bytes before the engine was opened, {closed} after all was closed");
        assert!(!counted || closed <= opened + SLACK, "memory is kept: {opened} bytes before, {closed} after");
    }
}
