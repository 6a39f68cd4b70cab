//! Evaluations that share encodings: each image is encoded once, and every method has the bits that it has alone.

use std::collections::BTreeMap;
use std::path::Path;

use inctrl::{BankSpec, Device, Engine, EngineOptions, ErrorKind, Fit};
use inctrl_lab::datasets::Dataset;
use inctrl_lab::evaluation::{Event, Job, Options, run_together};
use inctrl_lab::study::settle;

use crate::program::Bench;

/// One class of 4 good images to draw from, and 4 good and 3 bad ones to judge.
fn bench() -> Bench {
    let bench = Bench::new();
    for i in 0..4 {
        bench.picture(&format!("set/ring/train/good/{i}.png"), 44, 44, 300 + i);
        bench.picture(&format!("set/ring/test/good/{i}.png"), 44, 44, 310 + i);
    }
    (0..3).for_each(|i| bench.picture(&format!("set/ring/test/bent/{i}.png"), 44, 44, 320 + i));
    bench
}

fn engine(bench: &Bench, weights: &str) -> Engine {
    let mut options = EngineOptions::new(bench.path(weights));
    (options.device, options.threads) = (Device::Cpu, std::num::NonZeroUsize::new(1));
    Engine::with(&options).unwrap()
}

fn options(engine: &Engine, method: &str, own: &[&str], shots: &[usize]) -> Options {
    let mut spec = BankSpec::default();
    (spec.method, spec.fit) = (Some(method.to_owned()), Some(Fit::Crop));
    // Methods without normal images need a name to settle.
    spec.class = Some("ring".to_owned());
    spec.options = own.iter().map(|option| (*option).to_owned()).collect();
    let (shots, runs, classes) = (shots.to_vec(), 2, Vec::new());
    let options = Options { shots, runs, seed: 0, spec, classes, mask_side: 64, draws: None, costs: false };
    settle(engine, options).unwrap()
}

/// Every kind of features: with and without a last norm, of unit length and not, class token, windows of both kinds, and
/// views that are rotated in two ways.
fn methods(engine: &Engine) -> Vec<Options> {
    vec![
        options(engine, "inctrl", &[], &[1, 2]),
        options(engine, "winclip", &[], &[1, 2]),
        options(engine, "winclip-zero", &[], &[1]),
        options(engine, "anomaly-dino", &["size=48", "rotations=3"], &[1, 2]),
        options(engine, "patchcore", &["taps=1", "rotations=3"], &[1, 2]),
        options(engine, "spade", &[], &[1, 2]),
        options(engine, "padim", &[], &[2]),
        options(engine, "subspace", &["size=48", "taps=1,2", "rotations=2"], &[1, 2]),
    ]
}

/// Runs jobs and returns what is in the folders, without the costs, and how many views were encoded.
fn run(
    engine: &Engine,
    bench: &Bench,
    out: &str,
    options: &[Options],
    memory: Option<usize>,
) -> (BTreeMap<String, Vec<u8>>, u64, usize) {
    let dataset = Dataset::open(bench.path("set"), None, 0).unwrap();
    let folders: Vec<_> = options
        .iter()
        .map(|options| bench.path(format!("{out}/{}", options.spec.method.as_deref().unwrap())))
        .collect();
    folders.iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
    let jobs: Vec<Job<'_>> =
        options.iter().zip(&folders).map(|(options, folder)| Job { options, folder: folder.as_path() }).collect();
    let (before, mut passes) = (engine.encoded_views(), 0);
    let all = run_together(engine, &dataset, &jobs, memory, &mut |event| {
        if let Event::Banks { passes: found, .. } = event {
            passes = found;
        }
        Ok(())
    });
    all.unwrap().into_iter().for_each(|scored| drop(scored.unwrap()));
    let mut files = BTreeMap::new();
    for folder in &folders {
        for name in ["journal.jsonl", "prompts.json"] {
            files.insert(key(folder, name), std::fs::read(folder.join(name)).unwrap());
        }
    }
    (files, engine.encoded_views() - before, passes)
}

fn key(folder: &Path, name: &str) -> String {
    format!("{}/{name}", folder.file_name().unwrap().to_str().unwrap())
}

/// Different prompts in the draws of all jobs.
fn prompts(files: &BTreeMap<String, Vec<u8>>) -> u64 {
    let of = |file: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(file).unwrap();
    let files = files.iter().filter(|(name, _)| name.ends_with("prompts.json")).map(|(_, file)| of(file));
    let mut hashes: Vec<String> = files
        .flat_map(|file| file["draws"].as_array().unwrap().clone())
        .flat_map(|draw| draw["prompts"].as_array().unwrap().clone())
        .map(|prompt| prompt["hash"].as_str().unwrap().to_owned())
        .collect();
    hashes.sort();
    hashes.dedup();
    hashes.len() as u64
}

#[test]
fn an_image_is_encoded_once_for_all_methods_shots_and_runs() {
    let bench = bench();
    let engine = engine(&bench, "w.safetensors");
    let all = methods(&engine);
    assert!(all.windows(2).all(|two| engine.looks(&two[0].spec).unwrap() == engine.looks(&two[1].spec).unwrap()));
    let (together, encoded, passes) = run(&engine, &bench, "together", &all, None);
    // Two rotations are of AnomalyDINO and PatchCore both, two of SubspaceAD.
    assert_eq!((encoded, passes), (prompts(&together) * (1 + 2 + 2) + 7, 1));

    let mut alone = BTreeMap::new();
    let mut sum = 0;
    for one in &all {
        let (files, encoded, _) = run(&engine, &bench, "alone", std::slice::from_ref(one), None);
        alone.extend(files);
        sum += encoded;
    }
    assert!(sum > 3 * encoded, "{sum} encodings alone, {encoded} together");
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&together), names(&alone));
    for (name, file) in &together {
        assert!(*file == alone[name], "{name}");
    }
    // What takes too much memory at once is encoded in parts, to the same bits.
    let (parts, encoded, passes) = run(&engine, &bench, "parts", &all, Some(0));
    assert!((encoded, passes) == (sum, all.len()) && parts == together);

    // Some are finished, one was cut, others are new: each does what it lacks.
    let (first, rest) = all.split_at(3);
    run(&engine, &bench, "grown", first, None);
    let journal = bench.path("grown/winclip/journal.jsonl");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() / 2]).unwrap();
    let (grown, _, _) = run(&engine, &bench, "grown", &[first, rest].concat(), None);
    assert!(grown == together);
    let (again, encoded, _) = run(&engine, &bench, "grown", &all, None);
    assert!(again == together && encoded == 0, "{encoded}");
}

/// A picture of another shape is none for PaDiM, and a normal image that one method cannot use ends that method only.
#[test]
fn what_one_method_refuses_the_others_judge() {
    let bench = bench();
    bench.picture("set/ring/test/good/8.png", 88, 44, 330);
    bench.write("set/ring/test/good/9.png", "no picture");
    let engine = engine(&bench, "w.safetensors");
    let mut all = methods(&engine);
    for one in &mut all {
        one.spec.fit = Some(Fit::Trim);
    }
    // InCTRL takes squares only.
    let (together, ..) = run(&engine, &bench, "together", &all, None);
    let mut refused = Vec::new();
    for one in &all {
        let (alone, ..) = run(&engine, &bench, "alone", std::slice::from_ref(one), None);
        assert!(alone.iter().all(|(name, file)| together[name] == *file), "{:?}", one.spec.method);
        let journal = &alone[&format!("{}/journal.jsonl", one.spec.method.as_deref().unwrap())];
        let errors = String::from_utf8_lossy(journal).lines().filter(|line| line.contains("\"error\":\"")).count();
        refused.push(errors);
    }
    assert_eq!(refused, [2, 1, 1, 1, 1, 1, 2, 1]);
}

#[test]
fn methods_that_look_at_images_in_different_ways_are_not_mixed() {
    let bench = bench();
    let engine = engine(&bench, "w.safetensors");
    let spec = |method: &str, own: &[&str]| options(&engine, method, own, &[1]).spec;
    let (large, own) = (spec("patchcore", &["size=64"]), spec("spade", &[]));
    assert_ne!(engine.looks(&large).unwrap(), engine.looks(&own).unwrap());
    let error = engine.multi_bank_builder(&[large, own]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("64 pixels, fit crop, cells of 8"), "{error}");
}
