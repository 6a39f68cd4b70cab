//! Methods that share encodings have the bits that each has alone, on any device.

use std::sync::Arc;

use inctrl::methods::by_name;
use inctrl::{BankSpec, Engine, Fit, Frame, PromptBank, Result, Score};

use crate::tiny::{frames, pictures};

/// Every method, and every kind of features: with and without a last norm, of unit length and not, the class token, windows
/// of both kinds; rotations that two methods have, and such that one has.
const METHODS: [(&str, &[&str]); 9] = [
    ("inctrl", &[]),
    ("winclip", &[]),
    ("winclip-zero", &[]),
    ("anomaly-dino", &["rotations=2"]),
    // Finds no part in some pictures, and says so of these alone.
    ("anomaly-dino", &["rotations=1", "mask=on"]),
    ("patchcore", &["coreset=0.5", "taps=1", "rotations=2"]),
    ("spade", &["taps=2"]),
    ("padim", &["taps=1,2", "dims=20"]),
    ("subspace", &["taps=1,2", "rotations=1", "variance=0.9"]),
];

fn spec(engine: &Engine, method: &str, options: &[&str]) -> BankSpec {
    let mut spec = BankSpec::default();
    (spec.method, spec.class, spec.fit) = (Some(method.to_owned()), Some("nut".to_owned()), Some(Fit::Stretch));
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    if by_name(method).unwrap().options().iter().any(|option| option.name == "size") {
        spec.options.push(format!("size={}", engine.arch().vision.image_size));
    }
    spec
}

/// The numbers of each score, or the error.
fn bits(scores: Result<&[Score]>) -> Result<Vec<Vec<u32>>, String> {
    scores.map(|scores| scores.iter().map(of_score).collect()).map_err(|error| error.chain())
}

fn of_score(score: &Score) -> Vec<u32> {
    score.outputs().map(|(_, x)| x).chain(score.map.cells.iter().copied()).map(f32::to_bits).collect()
}

pub fn check(engine: &Engine, prompts: usize, queries: usize) {
    let (pictures, shown) = (pictures(0..prompts), pictures(prompts..prompts + queries));
    let (prompts, queries) = (frames(&pictures), frames(&shown));
    let specs: Vec<BankSpec> = METHODS.iter().map(|(method, options)| spec(engine, method, options)).collect();
    let takes = |method: usize| by_name(METHODS[method].0).unwrap().takes_prompts();
    let hash = |frame: &Frame<'_>| blake3::Hash::from_bytes(frame.content_hash().unwrap()).to_hex().to_string();
    let hashes: Vec<String> = prompts.iter().map(hash).collect();
    let hashes: Vec<&str> = hashes.iter().map(String::as_str).collect();
    // Of each method a bank of all prompts, and one of all but the first.
    let chosen = |method: usize| if takes(method) { vec![&hashes[..], &hashes[1..]] } else { vec![&hashes[..0]] };

    let before = engine.encoded_views();
    let mut builder = engine.multi_bank_builder(&specs).unwrap();
    let methods: Vec<usize> = (0..METHODS.len()).filter(|method| takes(*method)).collect();
    for prompt in &prompts {
        builder.add(*prompt, &methods).unwrap().into_iter().for_each(|added| added.unwrap());
    }
    // As it is, turned over for two methods, and turned by an angle of the last one's own.
    assert_eq!(engine.encoded_views() - before, 3 * prompts.len() as u64);
    let bank = |method: usize, hashes: &&[&str]| Arc::new(builder.bank_of(method, hashes).unwrap());
    let of_method = |method: usize| chosen(method).iter().map(|hashes| bank(method, hashes)).collect();
    let banks: Vec<Vec<Arc<PromptBank>>> = (0..METHODS.len()).map(of_method).collect();
    for (method, (spec, banks)) in specs.iter().zip(&banks).enumerate() {
        for (hashes, bank) in chosen(method).iter().zip(banks) {
            let mut alone = engine.bank_builder_of(spec).unwrap();
            let own = prompts.iter().filter(|prompt| hashes.contains(&hash(prompt).as_str()));
            own.for_each(|prompt| alone.add(*prompt).unwrap());
            assert_eq!(bank.id(), alone.finish().unwrap().id(), "{:?}", METHODS[method]);
        }
    }

    let mut scorer = engine.multi_method_scorer(&banks.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let all: Vec<usize> = (0..METHODS.len()).collect();
    for query in &queries {
        let before = engine.encoded_views();
        let found = scorer.score(*query, &all).unwrap();
        let found: Vec<Result<Vec<Vec<u32>>, String>> = found.into_iter().map(bits).collect();
        assert_eq!(engine.encoded_views() - before, 1);
        for ((method, banks), found) in METHODS.iter().zip(&banks).zip(&found) {
            for (at, bank) in banks.iter().enumerate() {
                let mut alone = engine.scorer(Arc::clone(bank)).unwrap();
                let alone = alone.score(*query).map(of_score).map_err(|error| error.chain());
                assert!(alone == found.clone().map(|found| found[at].clone()), "{method:?}");
            }
        }
        assert!(found.iter().filter(|found| found.is_ok()).count() >= METHODS.len() - 1);
        // Some of them only.
        let some: Vec<_> = scorer.score(*query, &[1, 6]).unwrap().into_iter().map(bits).collect();
        assert!(some == [found[1].clone(), found[6].clone()]);
    }
}
