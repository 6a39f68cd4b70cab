//! The hot path takes no memory: after the first frames, scoring allocates nothing on any thread.
//!
//! A test binary of its own, as it counts with a global allocator; one test only, so that nothing else is counted.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};
use inctrl::{Device, Engine, EngineOptions, Fit, Frame, PixelFormat};

#[cfg(feature = "cuda")]
#[expect(dead_code, reason = "faults and schedules are for other tests")]
mod emulator;

struct Counting;

/// Allocations of all threads since the start.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator as it came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CONFIG: &str = r#"{"embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"width": 16, "heads": 2, "layers": 1},
    "inctrl": {"taps": [1]}}"#;

#[test]
fn scoring_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("weights.safetensors");
    random::write(&weights, &Arch::from_json(CONFIG).unwrap(), 1, DType::F32).unwrap();
    allocates_nothing(&weights, Device::Cpu, 10_000);
    // In the same test, as the counter is the process's.
    #[cfg(feature = "cuda")]
    match emulator::load() {
        Ok(()) => allocates_nothing(&weights, Device::Cuda(0), 400),
        Err(reason) => println!("SKIP: no emulated GPU: {reason}"),
    }
}

fn allocates_nothing(weights: &Path, device: Device, count: usize) {
    let mut options = EngineOptions::new(weights);
    options.device = device;
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
    println!("{device}: {warm_up} allocations in the first 20 frames, {steady} in {count} more");
    assert!(warm_up > 0, "the counter does not count");
    assert_eq!(steady, 0);
    assert!(sum.is_finite());
}
