//! Bytes from outside must never crash the library: every entry is fed mutants of good files, those that once failed
//! first.
//!
//! `cargo test` gives each entry a second. For more, and other mutants each time:
//!
//!     INCTRL_FUZZ_SECONDS=600 INCTRL_FUZZ_SEED=$RANDOM cargo test --release --test it fuzz:: -- --nocapture
//!
//! For checkpoints, `tests/hostile.rs` also tries a million damaged files and measures the memory that they take.
//!
//! `INCTRL_FUZZ_LAST=PATH` keeps the latest input of each entry in `PATH-<entry>`. If a sanitizer ends the process, the
//! input is there.
//!
//! The corpus is `tests/fixtures/fuzz/<entry>`, the good files of `tests/fixtures`, and a bank made here. An input that
//! panics is written to the temporary folder under the name that the failure tells; add it to the corpus when the fault
//! is fixed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inctrl::checkpoint::{ConvertOptions, PromptList, convert};
use inctrl::ffi::{inctrl_bank_close, inctrl_bank_from_bytes};
use inctrl::view::{Plan, valid_cells};
use inctrl::weights::{Arch, LoadOptions, Weights};
use inctrl::{Fit, Frame, IgnoreMask, Image, PixelFormat, PromptBank, Roi, Thresholds};

use safetensors::SafeTensors;

use crate::tiny::{MODELS, Model, Picture, saved};

/// Marsaglia's xorshift: reproducible, and independent of any crate's version.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// The files of a folder of the corpus, which need not be there.
fn corpus(entry: &str) -> Vec<Vec<u8>> {
    let Ok(folder) = fs::read_dir(fixtures().join("fuzz").join(entry)) else { return Vec::new() };
    folder.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// A few changes of the sorts that break parsers: bits, interesting numbers, lost, repeated and foreign stretches.
fn mutant(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(6) {
        // Headers come first in every format: half of the changes go there.
        let reach = if random.below(2) == 0 { bytes.len().min(2048) } else { bytes.len() };
        let at = random.below(reach);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => {
                let numbers = [0, 1, u64::MAX, i64::MAX as u64, u64::from(u32::MAX), 1 << 31, 0x7ff0_0000_0000_0000];
                let number = numbers[random.below(numbers.len())].to_le_bytes();
                let len = [1, 2, 4, 8][random.below(4)];
                bytes.iter_mut().skip(at).zip(&number[..len]).for_each(|(byte, new)| *byte = *new);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..(at + random.below(64)).min(bytes.len()))),
            5 => {
                let part = bytes[at..(at + random.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let part = other[from..(from + random.below(64)).min(other.len())].to_vec();
                let end = (at + part.len()).min(bytes.len());
                bytes.splice(at..end, part);
            }
        }
    }
    bytes
}

/// Feeds the seeds as they are, then mutants until the time is over.
fn fuzz(entry: &str, mut seeds: Vec<Vec<u8>>, mut feed: impl FnMut(&[u8])) {
    seeds.extend(corpus(entry));
    let begin = Instant::now();
    let time = Duration::from_secs(variable("INCTRL_FUZZ_SECONDS", 1));
    let seed = variable("INCTRL_FUZZ_SEED", 1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut count = 0u64;
    let last = std::env::var("INCTRL_FUZZ_LAST").map(|path| format!("{path}-{entry}"));
    let mut one = |input: &[u8]| {
        if let Ok(last) = &last {
            fs::write(last, input).unwrap();
        }
        if catch_unwind(AssertUnwindSafe(|| feed(input))).is_err() {
            let path = std::env::temp_dir().join(format!("inctrl-fuzz-{entry}-{}", blake3::hash(input).to_hex()));
            fs::write(&path, input).unwrap();
            panic!("{entry}: the input in {} panics", path.display());
        }
        count += 1;
    };
    seeds.iter().for_each(|input| one(input));
    while begin.elapsed() < time {
        one(&mutant(&mut random, &seeds));
    }
    println!("{entry}: {count} inputs, seed {seed}");
}

#[test]
fn banks() {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let picture = Picture::new(0);
    let plain = engine.build_bank("cat", Fit::Crop, &[picture.frame()]).unwrap();
    let limits = Thresholds { review: 0.25, reject: 0.5, cell: 0.125 };
    let judged = plain.with_thresholds(Some(limits)).unwrap();
    let mut builder = engine.bank_builder("cat", Fit::Stretch).unwrap();
    let boxes = [Roi { x: 3, y: 4, width: 30, height: 20 }];
    builder.set_mask(IgnoreMask::from_rectangles(80, 80, &boxes).unwrap()).unwrap();
    builder.add(picture.frame()).unwrap();
    let masked = builder.finish().unwrap();
    fuzz("bank", vec![saved(&plain), saved(&judged), saved(&masked)], |bytes| {
        let found = PromptBank::from_bytes(bytes);
        if let Ok(bank) = found {
            // What is accepted can be used or is refused.
            let _ = engine.shared_bank(bank.into());
        }
        let mut bank = std::ptr::null_mut();
        // SAFETY: the bytes are there, and the handle is this function's.
        #[expect(unsafe_code, reason = "the C interface takes pointers")]
        unsafe {
            inctrl_bank_from_bytes(bytes.as_ptr().cast(), bytes.len(), &mut bank);
            assert_eq!(inctrl_bank_close(&mut bank), 0);
        }
    });
}

#[test]
fn weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let config = fixtures().join("model/tapped.json");
    let seed = fs::read(fixtures().join("model/tapped.safetensors")).unwrap();
    fuzz("weights", vec![seed], |bytes| {
        fs::write(&path, bytes).unwrap();
        let _ = Weights::open(&LoadOptions { weights: path.clone(), heads: None, config: Some(config.clone()) });
        let _ = Weights::open(&LoadOptions { weights: path.clone(), heads: None, config: None });
    });
}

#[test]
fn configurations() {
    let names = ["tapped", "untapped", "quick_gelu"];
    let seeds = names.map(|name| fs::read(fixtures().join(format!("model/{name}.json"))).unwrap());
    fuzz("config", seeds.to_vec(), |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = Arch::from_json(text);
        }
    });
}

#[test]
fn pictures() {
    let files = fs::read_dir(fixtures().join("preprocess")).unwrap().map(|entry| entry.unwrap().path());
    let small = files.filter(|path| path.extension().is_none_or(|kind| kind != "safetensors"));
    let mut seeds: Vec<Vec<u8>> = small.map(|path| fs::read(path).unwrap()).collect();
    for table in ["jpeg", "pictures"] {
        let bytes = fs::read(fixtures().join(table).with_extension("safetensors")).unwrap();
        let table = SafeTensors::deserialize(&bytes).unwrap();
        let files = table.iter().filter(|(name, _)| !name.starts_with("pixels/"));
        seeds.extend(files.map(|(_, file)| file.data().to_vec()));
    }
    fuzz("picture", seeds, |bytes| {
        let _ = Image::decode(bytes);
    });
}

/// Sizes, strides and formats from the input's first bytes, pixels from the rest.
#[test]
fn frames() {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let bank = engine.build_bank("cat", Fit::Letterbox, &[Picture::new(0).frame()]).unwrap();
    let mut scorer = engine.scorer(bank.into()).unwrap();
    let seeds = [(4u16, 3u16, 12u16, 1u8), (9, 7, 40, 5), (1, 1, 0, 9), (65535, 2, 0, 0), (40, 40, 41, 6)];
    let seeds = seeds.map(|(width, height, stride, format)| {
        let numbers = [width, height, stride, 1, 1, 3, 2].map(u16::to_le_bytes).concat();
        [&numbers[..], &[format], &(0..2000).map(|i| (i * i) as u8).collect::<Vec<_>>()].concat()
    });
    fuzz("frame", seeds.to_vec(), |bytes| {
        let Some((head, pixels)) = bytes.split_at_checked(15) else { return };
        let number = |i: usize| usize::from(u16::from_le_bytes([head[2 * i], head[2 * i + 1]]));
        let format = PixelFormat::ALL[usize::from(head[14]) % PixelFormat::ALL.len()];
        let Ok(frame) = Frame::new(pixels, number(0), number(1), number(2), format) else { return };
        let roi = Roi { x: number(3), y: number(4), width: number(5), height: number(6) };
        for frame in [Some(frame), frame.region(roi).ok()].into_iter().flatten() {
            frame.content_hash().unwrap();
            let score = scorer.score(frame).unwrap();
            assert!(score.score.is_finite() && score.map.cells.iter().all(|cell| (0.0..=1.0).contains(cell)));
        }
    });
}

/// A mask from the input's first bytes and a picture of its size from the rest: which cells are valid for every fit;
/// for some, a bank is built with it, saved, read again, and a frame scored.
#[test]
fn masks() {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let vision = engine.arch().vision.clone();
    let seeds = [(4u16, 3u16, 12u16, 0u8), (9, 7, 9, 1), (1, 1, 1, 2), (65535, 1, 65535, 0), (40, 40, 41, 1)];
    let seeds = seeds.map(|(width, height, stride, fit)| {
        let numbers = [width, height, stride, 1, 1, 3, 2].map(u16::to_le_bytes).concat();
        [&numbers[..], &[fit], &(0..1700).map(|i| u8::from(i % 7 < 3) * (i as u8)).collect::<Vec<_>>()].concat()
    });
    let mut count = 0;
    fuzz("mask", seeds.to_vec(), |bytes| {
        let Some((head, pixels)) = bytes.split_at_checked(15) else { return };
        let number = |i: usize| usize::from(u16::from_le_bytes([head[2 * i], head[2 * i + 1]]));
        let (width, height) = (number(0), number(1));
        let rectangle = Roi { x: number(3), y: number(4), width: number(5), height: number(6) };
        let format = PixelFormat::ALL[usize::from(head[14] / 3) % 2];
        let Ok(frame) = Frame::new(pixels, width, height, number(2), format) else { return };
        let fit = [Fit::Crop, Fit::Letterbox, Fit::Stretch][usize::from(head[14]) % 3];
        for mask in [IgnoreMask::from_frame(frame), IgnoreMask::from_rectangles(width, height, &[rectangle])] {
            let Ok(mask) = mask else { continue };
            assert!(mask.ignored() <= width * height);
            let Ok(plan) = Plan::new(width, height, vision.image_size, fit) else { continue };
            let cells = valid_cells(&plan, Some(&mask), vision.patch_size);
            assert!(cells.iter().all(|cell| [0.0, 1.0].contains(cell)));
            count += 1;
            // The text tower takes most of a bank's time.
            if count % 32 != 1 {
                continue;
            }
            let mut builder = engine.bank_builder("cat", fit).unwrap();
            builder.set_mask(mask).unwrap();
            // Nothing may be left to judge.
            let Ok(bank) = builder.add(frame).and_then(|()| builder.finish()) else { continue };
            let again = PromptBank::from_bytes(&saved(&bank)).unwrap();
            assert_eq!(again.mask(), bank.mask());
            let score = engine.scorer(again.into()).unwrap().score(frame).unwrap().clone();
            assert!(score.score.is_finite());
            for ((cell, ignored), valid) in score.map.cells.iter().zip(&score.ignored).zip(&cells) {
                assert!(*ignored == (*valid == 0.0) && (!*ignored || *cell == 0.0));
            }
        }
    });
}

#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("m.pt"), folder.path().join("w.safetensors"));
    let of = |name: &str| fs::read(fixtures().join("checkpoints").join(name)).unwrap();
    fs::write(folder.path().join("m.json"), of("config.json")).unwrap();
    let names =
        ["open_clip.pt", "open_clip_legacy.pt", "open_clip.safetensors", "inctrl.pyth", "script.pt", "heads.pth"];
    let lists = ["scored/prompts.pt", "scored/prompts_half.pt", "scored/prompts_views.pt"];
    fuzz("checkpoint", names.iter().chain(&lists).map(|name| of(name)).collect(), |bytes| {
        fs::write(&source, bytes).unwrap();
        let options = ConvertOptions { source: source.clone(), heads: None, config: None, dtype: None };
        let converted = convert(&options, &output, |_, _| ());
        assert_eq!(output.exists(), converted.is_ok());
        if let Ok(converted) = converted {
            // What was converted is weights, all of them or all but the heads.
            let opened = Weights::open(&LoadOptions { weights: output.clone(), heads: None, config: None });
            assert_eq!(opened.unwrap().has_heads(), converted.heads);
            fs::remove_file(&output).unwrap();
        }
        if let Ok(list) = PromptList::open(&source) {
            (0..list.len()).for_each(|i| drop(list.get(i)));
        }
    });
}
