//! Banks are replaced while threads score: no result mixes two banks, no old bank stays in memory, and a scorer admits
//! one thread at a time.

use std::num::NonZeroUsize;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use inctrl::ffi::*;
use inctrl::{BankSpec, Fit, PromptBank};

use super::handles::{of, ok, open, refused, sized};
use crate::tiny::{MODELS, Model, Picture, alone, frames, pictures};

const THREADS: usize = 8;
const FRAMES: usize = 10_000;

#[test]
fn every_result_is_that_of_its_bank_while_banks_are_exchanged() {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let (normals, queries) = (pictures(0..3), pictures(3..8));
    let banks: Vec<Arc<PromptBank>> = normals
        .iter()
        .enumerate()
        .map(|(i, normal)| {
            // Another fit, too, so that plans change with the bank.
            let fit = if i == 1 { Fit::Letterbox } else { Fit::Crop };
            Arc::new(engine.build_bank("cat", fit, &[normal.frame()]).unwrap())
        })
        .collect();
    let expected: Vec<Vec<_>> = banks.iter().map(|bank| alone(&engine, bank, &frames(&queries))).collect();
    let slot = Arc::new(engine.shared_bank(Arc::clone(&banks[0])).unwrap());
    let (taken, done, seen) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));

    let last = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let mut scorer = engine.scorer_of(&slot, NonZeroUsize::MIN).unwrap();
                let (taken, seen, expected, queries) = (&taken, &seen, &expected, &queries);
                scope.spawn(move || {
                    let (mut generation, mut changes) = (0, 0);
                    loop {
                        let number = taken.fetch_add(1, Ordering::Relaxed);
                        if number >= FRAMES {
                            break;
                        }
                        let query = number % queries.len();
                        let score = scorer.score(queries[query].frame()).unwrap();
                        assert!(score.generation >= generation, "a scorer went back to an older bank");
                        changes += usize::from(score.generation > generation);
                        generation = score.generation;
                        let mut alone = expected[(generation as usize - 1) % expected.len()][query].clone();
                        alone.generation = generation;
                        assert_eq!(*score, alone, "frame {number}, generation {generation}");
                    }
                    seen.fetch_add(changes, Ordering::Relaxed);
                    scorer
                })
            })
            .collect();
        let swaps = scope.spawn(|| {
            let mut generation = 1;
            while !done.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(10));
                generation = slot.swap(Arc::clone(&banks[generation as usize % banks.len()])).unwrap();
            }
            generation
        });
        // A thread that failed must not leave the swaps going on for ever.
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Release);
        let mut scorers: Vec<_> = ended.into_iter().map(Result::unwrap).collect();
        let last = swaps.join().unwrap();
        scorers.iter_mut().for_each(|scorer| {
            scorer.score(queries[0].frame()).unwrap();
            assert_eq!(scorer.shared_bank().current().1, last);
        });
        // All scorers have the last bank: the next swap frees every other.
        let current = Arc::clone(scorers[0].bank());
        slot.swap(Arc::clone(&current)).unwrap();
        for bank in banks.iter().filter(|bank| !Arc::ptr_eq(bank, &current)) {
            assert_eq!(Arc::strong_count(bank), 1, "a bank that nobody uses is still held");
        }
        last
    });
    println!("{last} banks, {} changes seen by {THREADS} threads over {FRAMES} frames", seen.load(Ordering::Relaxed));
    assert!(last > 10 && seen.load(Ordering::Relaxed) > THREADS);
}

#[test]
fn a_second_thread_is_refused() {
    struct Shared(*const inctrl_scorer);
    // SAFETY: the library promises that a second thread is refused, which is what is tested.
    unsafe impl Sync for Shared {}

    let model = Model::new(MODELS[1].1, 7);
    let picture = Picture::new(0);
    let all = open(&model, &[of(&picture.frame())], 1);
    let scorer = Shared(all.scorer);
    let (frame, started, ended) = (of(&picture.frame()), AtomicBool::new(false), AtomicBool::new(false));
    let many = vec![frame; 400];
    let pixels = picture.frame().row(0).as_ptr() as usize;
    let busy = thread::scope(|scope| {
        let (scorer, started, ended) = (&scorer, &started, &ended);
        let other = scope.spawn(move || {
            let mut frame = sized!(inctrl_frame);
            (frame.data, frame.width, frame.height, frame.format) = (pixels as *const _, 80, 80, INCTRL_MONO8);
            let (mut busy, mut result) = (0, sized!(inctrl_result));
            while !ended.load(Ordering::Acquire) {
                // SAFETY: a handle that outlives the threads, and structures of this thread.
                match unsafe { inctrl_scorer_score(scorer.0, &frame, 0, &mut result) } {
                    INCTRL_ERROR_BUSY => {
                        assert_eq!((result.verdict, result.status), (INCTRL_VERDICT_REVIEW, INCTRL_ERROR_BUSY));
                        busy += 1;
                    }
                    status => ok(status),
                }
                started.store(true, Ordering::Release);
                thread::yield_now();
            }
            busy
        });
        while !started.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let mut results = vec![sized!(inctrl_result); many.len()];
        loop {
            // SAFETY: as above.
            match unsafe { inctrl_scorer_score_batch(scorer.0, many.as_ptr(), many.len(), 0, results.as_mut_ptr()) } {
                INCTRL_ERROR_BUSY => thread::yield_now(),
                status => break ok(status),
            }
        }
        ended.store(true, Ordering::Release);
        assert!(results.iter().all(|result| result.score.to_bits() == results[0].score.to_bits()));
        other.join().unwrap()
    });
    assert!(busy > 0, "no call met another one");
}

/// The method `winclip-zero` takes a name and no frames; banks of two names take turns in a slot.
#[test]
fn a_bank_without_normal_images_is_built_scored_and_swapped() {
    let model = Model::new(MODELS[0].1, 7);
    let (normal, query) = (Picture::new(0), Picture::new(3));
    let prompts = [of(&normal.frame())];
    let all = open(&model, &prompts, 1);
    let rust = model.engine(1);
    let expected = |class: &str| {
        let mut spec = BankSpec::default();
        (spec.method, spec.class) = (Some("winclip-zero".to_owned()), Some(class.to_owned()));
        let bank = Arc::new(rust.bank_builder_of(&spec).unwrap().finish().unwrap());
        rust.scorer(bank).unwrap().score(query.frame()).unwrap().score
    };
    let mut options = sized!(inctrl_bank_options);
    options.method = c"winclip-zero".as_ptr();
    let (mut nut, mut cat, mut none) = (null_mut(), null_mut(), null_mut());
    let (mut slot, mut scorer) = (null_mut(), null_mut());
    let mut result = sized!(inctrl_result);
    // SAFETY: handles and structures of this test.
    unsafe {
        let build = |options: &inctrl_bank_options, frames: &[inctrl_frame], bank: *mut *mut inctrl_bank| {
            let first = if frames.is_empty() { null() } else { frames.as_ptr() };
            inctrl_bank_build_with(all.engine, options, first, frames.len(), bank)
        };
        refused(build(&options, &[], &mut none), INCTRL_ERROR_ARGUMENT, &["no class was named"]);
        options.class_name = c"metal nut".as_ptr();
        ok(build(&options, &[], &mut nut));
        assert_eq!(inctrl_bank_prompts(nut), 0);
        refused(build(&options, &prompts, &mut none), INCTRL_ERROR_ARGUMENT, &["takes no normal images"]);
        options.class_name = c"cat".as_ptr();
        ok(build(&options, &[], &mut cat));
        ok(inctrl_slot_create(all.engine, nut, &mut slot));
        ok(inctrl_scorer_create(all.engine, slot, 1, &mut scorer));
        for (bank, class) in [(nut, "metal nut"), (cat, "cat"), (nut, "metal nut")] {
            ok(inctrl_slot_swap(slot, bank, null_mut()));
            ok(inctrl_scorer_score(scorer, &of(&query.frame()), 0, &mut result));
            assert_eq!(result.score.to_bits(), expected(class).to_bits(), "{class}");
        }
        options.method = c"winclip".as_ptr();
        refused(build(&options, &[], &mut none), INCTRL_ERROR_ARGUMENT, &["at least one"]);
        ok(build(&options, &prompts, &mut none));
        refused(inctrl_slot_swap(slot, none, null_mut()), INCTRL_ERROR_BANK, &["another slot and scorer"]);
        ok(inctrl_scorer_close(&mut scorer));
        ok(inctrl_slot_close(&mut slot));
        for mut bank in [nut, cat, none] {
            ok(inctrl_bank_close(&mut bank));
        }
    }
}
