//! The law that every method keeps: bits depend neither on the batch, nor on the place in it, nor on threads, nor on the order of
//! prompts, nor on other banks beside the own one.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use inctrl::{Device, Engine, EngineOptions, Frame, PromptBank, Score};

/// The bits of a score's outputs and of its map.
pub fn bits(score: &Score) -> Vec<u32> {
    let numbers = score.outputs().map(|(_, x)| x).chain(score.map.cells.iter().copied());
    numbers.map(f32::to_bits).collect()
}

/// Fails unless the scores of `frames` are the same to the last bit in batches of each of `batches`. `bank(engine, order)` makes
/// the bank of some prompts in this order of `prompts`.
#[track_caller]
pub fn bits_depend_on_the_image_alone(
    what: &str,
    weights: &Path,
    frames: &[Frame<'_>],
    batches: [usize; 3],
    prompts: &[&str],
    bank: impl Fn(&Engine, &[&str]) -> Arc<PromptBank>,
) {
    let mut expected: Option<(String, Vec<Vec<u32>>)> = None;
    for (threads, backwards) in [(1, false), (3, true)] {
        let mut options = EngineOptions::new(weights);
        (options.device, options.threads) = (Device::Cpu, NonZeroUsize::new(threads));
        let engine = Engine::with(&options).unwrap();
        let mut order = prompts.to_vec();
        if backwards {
            order.reverse();
        }
        let bank = bank(&engine, &order);
        for batch in batches {
            let mut scorer = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(batch).unwrap()).unwrap();
            let found: Vec<_> = scorer.score_batch(frames).unwrap().iter().map(bits).collect();
            let (id, expected) = expected.get_or_insert_with(|| (bank.id().to_owned(), found.clone()));
            assert!(bank.id() == id.as_str() && found == *expected, "{what}, {threads} threads, batches of {batch}");
        }
        let mut several = engine.multi_bank_scorer(&[Arc::clone(&bank), bank]).unwrap();
        for (frame, expected) in frames.iter().zip(&expected.as_ref().unwrap().1) {
            assert!(several.score(*frame).unwrap().iter().all(|score| bits(score) == *expected), "{what}, two banks");
        }
    }
}
