//! What must not matter does not: batches, threads, the order of prompts, what a scorer did before, a trip through a file.
//! Equality is equality of bits. And what does matter is noticed: another model's bank, a damaged file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inctrl::backend::BankVectors;
use inctrl::backend::cpu::Cpu;
use inctrl::method::{Detector, Lane, class_mean};
use inctrl::preprocess::Plan;
use inctrl::tensor::DType;
use inctrl::weights::{Arch, LoadOptions, Weights, random};
use inctrl::{Engine, EngineOptions, ErrorKind, Fit, Frame, PixelFormat, PromptBank, Score, Scorer};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tempfile::TempDir;

/// A last block that serves the class token only; one that is a tap; sizes that are a multiple of nothing.
const MODELS: [(&str, &str); 3] = [
    (
        "untapped",
        r#"{"embed_dim": 32,
            "vision_cfg": {"image_size": 80, "patch_size": 16, "width": 128, "layers": 3},
            "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"#,
    ),
    (
        "tapped",
        r#"{"embed_dim": 24,
            "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 64, "layers": 2},
            "text_cfg": {"width": 16, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2], "alpha": 0.5}}"#,
    ),
    (
        "odd",
        r#"{"embed_dim": 21, "quick_gelu": true,
            "vision_cfg": {"image_size": 50, "patch_size": 7, "width": 39, "head_width": 13, "mlp_ratio": 3, "layers": 2},
            "text_cfg": {"width": 18, "heads": 3, "layers": 2}, "inctrl": {"taps": [1]}}"#,
    ),
];

/// A random model in a file.
struct Model {
    _folder: TempDir,
    path: PathBuf,
}

impl Model {
    fn new(config: &str, seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        random::write(&path, &Arch::from_json(config).unwrap(), seed, DType::F32).unwrap();
        Model { _folder: folder, path }
    }

    fn engine(&self, threads: usize) -> Engine {
        let mut options = EngineOptions::new(&self.path);
        options.threads = NonZeroUsize::new(threads);
        Engine::with(&options).unwrap()
    }
}

/// Runs a test on every model, with engines of two threads.
fn on_every_model(test: impl Fn(&Engine)) {
    for (name, config) in MODELS {
        println!("model {name}");
        test(&Model::new(config, 7).engine(2));
    }
}

/// A picture with rows that are longer than they need to be.
struct Picture {
    width: usize,
    height: usize,
    stride: usize,
    format: PixelFormat,
    bytes: Vec<u8>,
}

impl Picture {
    /// Picture `seed` is different from any other in content, and from its neighbours in size and format.
    fn new(seed: usize) -> Self {
        let (width, height) = [(80, 80), (61, 97), (120, 64), (48, 50), (33, 200)][seed % 5];
        let format = if seed.is_multiple_of(3) { PixelFormat::Grey8 } else { PixelFormat::Rgb8 };
        let stride = width * format.channels() + seed % 4;
        let value = |i: usize| {
            let wave = ((i % stride) as f32 * 0.05 * (seed + 1) as f32).sin() + ((i / stride) as f32 * 0.11).cos();
            (128.0 + 50.0 * wave) as u8 ^ (i * i % 23) as u8
        };
        Picture { width, height, stride, format, bytes: (0..stride * height).map(value).collect() }
    }

    fn frame(&self) -> Frame<'_> {
        Frame::new(&self.bytes, self.width, self.height, self.stride, self.format).unwrap()
    }
}

fn pictures(seeds: std::ops::Range<usize>) -> Vec<Picture> {
    seeds.map(Picture::new).collect()
}

fn frames(pictures: &[Picture]) -> Vec<Frame<'_>> {
    pictures.iter().map(Picture::frame).collect()
}

fn bank(engine: &Engine, prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    Arc::new(engine.build_bank("cat", Fit::Crop, prompts).unwrap())
}

/// Each picture by a scorer of its own.
fn alone(engine: &Engine, bank: &Arc<PromptBank>, frames: &[Frame<'_>]) -> Vec<Score> {
    frames.iter().map(|frame| engine.scorer(Arc::clone(bank)).unwrap().score(*frame).unwrap().clone()).collect()
}

fn score(scorer: &mut Scorer, frame: Frame<'_>) -> Score {
    scorer.score(frame).unwrap().clone()
}

/// Fails unless two scores have the same bits.
#[track_caller]
fn same(what: &str, a: &Score, b: &Score) {
    let bits = |s: &Score| -> Vec<u32> {
        let parts = [s.score, s.holistic, s.patch_max, s.image_residual, s.text_prior];
        parts.iter().chain(&s.map.cells).map(|x| x.to_bits()).collect()
    };
    assert_eq!(bits(a), bits(b), "{what}: {a:?} and {b:?}");
    // Sizes and placement; no number in it is NaN.
    assert_eq!(a, b, "{what}");
}

fn saved(bank: &PromptBank) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank");
    bank.save(&path).unwrap();
    std::fs::read(&path).unwrap()
}

#[test]
fn batch_size_and_position_change_no_bit() {
    on_every_model(|engine| {
        let (prompts, queries) = (pictures(0..2), pictures(2..10));
        let (bank, queries) = (bank(engine, &frames(&prompts)), frames(&queries));
        let expected = alone(engine, &bank, &queries);
        assert!(expected.windows(2).all(|pair| pair[0].score != pair[1].score), "pictures score differently");
        for batch in [1, 2, 3, 5, 8] {
            let mut scorer = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(batch).unwrap()).unwrap();
            for turn in 0..queries.len() {
                let order: Vec<usize> = (0..queries.len()).map(|i| (i + turn) % queries.len()).collect();
                let batch_of: Vec<_> = order.iter().map(|&i| queries[i]).collect();
                let found = scorer.score_batch(&batch_of).unwrap();
                assert_eq!(found.len(), order.len());
                for (found, &i) in found.iter().zip(&order) {
                    same(&format!("picture {i} in batches of {batch}, turned by {turn}"), found, &expected[i]);
                }
            }
        }
    });
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (name, config) in MODELS {
        let model = Model::new(config, 7);
        let (prompts, queries) = (pictures(0..3), pictures(3..6));
        let (prompts, queries) = (frames(&prompts), frames(&queries));
        let mut expected = None;
        for threads in [1, 2, 3, 5] {
            let engine = model.engine(threads);
            let bank = bank(&engine, &prompts);
            let found = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(2).unwrap());
            let found = found.unwrap().score_batch(&queries).unwrap();
            let (id, scores) = expected.get_or_insert_with(|| (bank.id().to_owned(), found.clone()));
            assert_eq!(bank.id(), id, "{name}: the bank with {threads} threads");
            for (found, expected) in found.iter().zip(scores) {
                same(&format!("{name}, {threads} threads"), found, expected);
            }
        }
    }
}

#[test]
fn the_order_of_prompts_changes_no_bit() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..3), Picture::new(3));
        let prompts = frames(&prompts);
        let mut expected = None;
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let bank = bank(engine, &order.map(|i| prompts[i]));
            let (file, found) = (saved(&bank), alone(engine, &bank, &[query.frame()]));
            let (first_file, first) = expected.get_or_insert_with(|| (file.clone(), found.clone()));
            assert_eq!(&file, first_file, "the bank of prompts in order {order:?}");
            same(&format!("prompts in order {order:?}"), &found[0], &first[0]);
        }
    });
}

#[test]
fn duplicate_prompts_change_nothing_in_the_map() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..2), Picture::new(4));
        let [a, b] = frames(&prompts)[..] else { panic!() };
        let (once, more) = (bank(engine, &[a, b]), bank(engine, &[b, a, b, b]));
        assert_eq!((once.info().duplicates, more.info().duplicates), (0, 2));
        assert_ne!(once.id(), more.id());
        let [once, more] = [once, more].map(|bank| alone(engine, &bank, &[query.frame()]).remove(0));
        let bits = |s: &Score| s.map.cells.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&once), bits(&more));
        assert_eq!(once.patch_max.to_bits(), more.patch_max.to_bits());
        assert_eq!(once.text_prior.to_bits(), more.text_prior.to_bits());
    });
}

#[test]
fn appending_equals_building_at_once() {
    on_every_model(|engine| {
        let prompts = pictures(0..4);
        let prompts = frames(&prompts);
        let at_once = bank(engine, &prompts);
        for first in 1..4 {
            // Through a file, as a user appends a day later, and in another order.
            let begun = PromptBank::from_bytes(&saved(&bank(engine, &prompts[..first]))).unwrap();
            let mut builder = engine.append_to(&begun).unwrap();
            assert_eq!(builder.len(), first);
            prompts[first..].iter().rev().for_each(|frame| builder.add(*frame).unwrap());
            assert_eq!(saved(&builder.finish().unwrap()), saved(&at_once), "{first} prompts, then the others");
        }
    });
}

#[test]
fn a_file_keeps_every_bit() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..3), Picture::new(8));
        let built = Arc::new(engine.build_bank("metal_nut", Fit::Letterbox, &frames(&prompts)).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank");
        built.save(&path).unwrap();
        let opened = Arc::new(PromptBank::open(&path).unwrap());
        assert_eq!(saved(&built), saved(&opened));
        assert_eq!((opened.id(), opened.class(), opened.fit()), (built.id(), "metal_nut", Fit::Letterbox));
        assert_eq!(opened.model_hash(), engine.model_hash());
        assert_eq!(opened.prompt_hashes(), built.prompt_hashes());
        let [a, b] = [&built, &opened].map(|bank| alone(engine, bank, &[query.frame()]).remove(0));
        same("a bank from its file", &b, &a);
    });
}

#[test]
fn a_prompt_has_no_residual_against_itself() {
    on_every_model(|engine| {
        let prompts = pictures(0..4);
        let prompts = frames(&prompts);
        for score in alone(engine, &bank(engine, &prompts), &prompts) {
            assert!(score.map.cells.iter().all(|r| (0.0..1e-6).contains(r)), "{:?}", score.map.cells);
            assert!((0.0..1e-6).contains(&score.patch_max), "{}", score.patch_max);
        }
    });
}

/// As above, but for the map as computed: a public one shows a negative residual as 0.
#[test]
fn a_prompt_has_no_residual_against_itself_before_clamping() {
    for (name, config) in MODELS {
        let model = Model::new(config, 7);
        let options = LoadOptions { weights: model.path.clone(), heads: None, config: None };
        let weights = Weights::open(&options).unwrap();
        let arch = weights.arch();
        for mut backend in Cpu::of_each_instruction_set(2).unwrap() {
            let detector = Arc::new(Detector::load(&mut backend, &weights).unwrap());
            let mut lane = Lane::new(backend, detector, 1).unwrap();
            let picture = Picture::new(1);
            let plan = Plan::new(picture.width, picture.height, arch.vision.image_size, Fit::Crop).unwrap();
            lane.place(picture.frame(), &plan, 0).unwrap();
            lane.encode(1, |_, _| ()).unwrap();
            let (taps, adapted) = lane.prompt_features().unwrap();
            let class_mean = class_mean(&adapted, arch.embed_dim);
            let text_prototypes = vec![0.1; 2 * arch.embed_dim];
            let vectors = BankVectors { class_mean: &class_mean, text_prototypes: &text_prototypes };
            let bank = lane.bank(&Arc::from(taps), 1, vectors).unwrap();
            lane.residual_map(1, &bank).unwrap();
            let check = |_, parts: inctrl::method::Parts, map: &[f32]| {
                assert!(map.iter().all(|r| r.abs() < 1e-6), "{name}: {map:?}");
                assert!(parts.patch_max.abs() < 1e-6, "{name}: {parts:?}");
            };
            lane.scores(1, &bank, check).unwrap();
        }
    }
}

#[test]
fn what_a_scorer_did_before_changes_no_bit() {
    on_every_model(|engine| {
        let (prompts, queries) = (pictures(0..2), pictures(2..9));
        let (bank, queries) = (bank(engine, &frames(&prompts)), frames(&queries));
        let expected = alone(engine, &bank, &queries);
        let mut scorer = engine.batch_scorer(bank, NonZeroUsize::new(3).unwrap()).unwrap();
        for i in [0, 1, 0, 6, 2, 2, 5, 3, 4, 0] {
            same(&format!("picture {i}, scorer used before"), &score(&mut scorer, queries[i]), &expected[i]);
            // A batch in between, so that memory beyond the next image is not empty.
            scorer.score_batch(&queries[i.min(4)..]).unwrap();
        }
    });
}

#[test]
fn an_engine_serves_threads_at_once() {
    on_every_model(|engine| {
        let (prompts, queries) = (pictures(0..2), pictures(2..6));
        let (bank, queries) = (bank(engine, &frames(&prompts)), frames(&queries));
        let expected = alone(engine, &bank, &queries);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (bank, queries, expected) = (Arc::clone(&bank), &queries, &expected);
                scope.spawn(move || {
                    let mut scorer = engine.scorer(bank).unwrap();
                    for i in (0..12).map(|i| (i + thread) % queries.len()) {
                        same(&format!("thread {thread}"), &score(&mut scorer, queries[i]), &expected[i]);
                    }
                });
            }
        });
    });
}

#[test]
fn a_scorer_changes_its_bank() {
    on_every_model(|engine| {
        let (prompts, query) = (pictures(0..4), Picture::new(4));
        let prompts = frames(&prompts);
        let banks = [
            bank(engine, &prompts[..1]),
            bank(engine, &prompts[1..]),
            Arc::new(engine.build_bank("truck", Fit::Stretch, &prompts[..1]).unwrap()),
        ];
        let expected = [0, 1, 2].map(|i| alone(engine, &banks[i], &[query.frame()]).remove(0));
        assert_ne!(expected[0].score, expected[1].score);
        assert_ne!(expected[0].map, expected[2].map);
        let mut scorer = engine.scorer(Arc::clone(&banks[0])).unwrap();
        for i in [0, 1, 2, 0, 2, 1] {
            scorer.set_bank(Arc::clone(&banks[i])).unwrap();
            assert_eq!(scorer.bank().id(), banks[i].id());
            same(&format!("bank {i}"), &score(&mut scorer, query.frame()), &expected[i]);
        }
    });
}

#[test]
fn the_bank_of_another_model_is_refused() {
    let (_, config) = MODELS[1];
    let (engine, other) = (Model::new(config, 7).engine(1), Model::new(config, 8).engine(1));
    assert_ne!(engine.model_hash(), other.model_hash());
    let picture = Picture::new(0);
    let (own, foreign) = (bank(&engine, &[picture.frame()]), bank(&other, &[picture.frame()]));
    let mut scorer = engine.scorer(own).unwrap();
    let before = score(&mut scorer, picture.frame());
    let errors = [
        engine.scorer(Arc::clone(&foreign)).err().unwrap(),
        engine.append_to(&foreign).err().unwrap(),
        scorer.set_bank(foreign).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Bank);
        let text = error.to_string();
        assert!(text.contains(engine.model_hash()) && text.contains(other.model_hash()), "{text}");
    }
    same("after a refused bank", &score(&mut scorer, picture.frame()), &before);
}

/// A small bank, its file, and where the tensors begin in it.
fn small_bank() -> (PromptBank, Vec<u8>, usize) {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let prompts = pictures(0..2);
    let bank = engine.build_bank("cat", Fit::Crop, &frames(&prompts)).unwrap();
    let file = saved(&bank);
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (bank, file, 8 + header)
}

/// Fails unless `file` is refused, or is `bank` to the last bit.
#[track_caller]
fn refused_or_same(what: &str, bank: &PromptBank, file: &[u8]) {
    match PromptBank::from_bytes(file) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Bank, "{what}: {error}"),
        Ok(found) => assert_eq!(saved(&found), saved(bank), "{what} was not noticed"),
    }
}

#[test]
fn every_damaged_bit_of_a_header_is_noticed() {
    let (bank, file, data) = small_bank();
    let mut harmless = 0;
    for at in 0..data {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            match PromptBank::from_bytes(&damaged) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Bank, "bit {bit} of byte {at}: {error}"),
                Ok(_) => {
                    harmless += 1;
                    refused_or_same(&format!("bit {bit} of byte {at}"), &bank, &damaged);
                }
            }
        }
    }
    // Blanks that pad the header may become other blanks, and nothing else.
    let blanks = file[..data].iter().rev().take_while(|byte| **byte == b' ').count();
    assert!(harmless <= 8 * blanks, "{harmless} damaged bits were accepted, with {blanks} blanks of padding");
}

#[test]
fn reshaped_tensors_are_noticed() {
    let (bank, file, data) = small_bank();
    let header = std::str::from_utf8(&file[8..data]).unwrap();
    let info = bank.info();
    let shape = format!("[{},{},{},{}]", info.taps, info.prompts, info.patches, info.width);
    let turned = format!("[{},{},{},{}]", info.taps, info.prompts, info.width, info.patches);
    assert!(header.contains(&shape), "{header}");
    let mut damaged = file[..8].to_vec();
    damaged.extend(header.replace(&shape, &turned).bytes());
    damaged.extend(&file[data..]);
    let error = PromptBank::from_bytes(&damaged).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bank);
}

/// A bank's file with a checksum that fits whatever `change` made of its header and tensors.
fn forged(file: &[u8], change: impl Fn(&mut String, &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>)) -> Vec<u8> {
    let (_, metadata) = SafeTensors::read_metadata(file).unwrap();
    let (key, text) = metadata.metadata().as_ref().unwrap().iter().next().unwrap();
    let mut header = text.split_once(' ').unwrap().1.to_owned();
    let numbers = |bytes: &[u8]| bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let read = |(name, t): (String, TensorView<'_>)| (name, (t.shape().to_vec(), numbers(t.data())));
    let mut tensors = SafeTensors::deserialize(file).unwrap().tensors().into_iter().map(read).collect();
    change(&mut header, &mut tensors);

    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for extent in tensors["taps"].0.iter().chain(&tensors["class_mean"].0) {
        hasher.update(&(*extent as u64).to_le_bytes());
    }
    for name in ["taps", "adapted_class", "class_mean", "text_prototypes"] {
        hasher.update(&bytes(&tensors[name].1));
    }
    let id = &hasher.finalize().to_hex()[..16];
    let parts: Vec<_> = tensors.iter().map(|(name, (shape, x))| (name, shape, bytes(x))).collect();
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    let views = parts.iter().map(|(name, shape, bytes)| (name.as_str(), view(shape, bytes)));
    safetensors::serialize(views, Some([(key.clone(), format!("{id} {header}"))].into())).unwrap()
}

/// A valid checksum does not make a bank valid: it says who it is of, and must have that model's sizes.
#[test]
fn forged_banks_are_refused() {
    let engines = [0, 1].map(|i| Model::new(MODELS[i].1, 7).engine(1));
    let picture = Picture::new(0);
    let files = [0, 1].map(|i| saved(&bank(&engines[i], &[picture.frame()])));
    let unchanged = forged(&files[0], |_, _| ());
    engines[0].scorer(Arc::new(PromptBank::from_bytes(&unchanged).unwrap())).unwrap();

    let nan = forged(&files[0], |_, tensors| tensors.get_mut("taps").unwrap().1[5] = f32::NAN);
    let error = PromptBank::from_bytes(&nan).unwrap_err();
    assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("taps"), "{error}");

    let [own, foreign] = [0, 1].map(|i| engines[i].model_hash());
    let renamed = forged(&files[1], |header, _| *header = header.replace(foreign, own));
    let narrow = forged(&files[0], |_, tensors| {
        for (name, shape) in [("adapted_class", vec![1, 4]), ("class_mean", vec![4]), ("text_prototypes", vec![2, 4])] {
            let elements = shape.iter().product();
            tensors.insert(name.into(), (shape, vec![0.5; elements]));
        }
    });
    for file in [renamed, narrow] {
        let forged = Arc::new(PromptBank::from_bytes(&file).unwrap());
        let mut scorer = engines[0].scorer(bank(&engines[0], &[picture.frame()])).unwrap();
        let errors = [
            engines[0].scorer(Arc::clone(&forged)).err().unwrap(),
            engines[0].append_to(&forged).err().unwrap(),
            scorer.set_bank(forged).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Bank), "{errors:?}");
    }
}

#[test]
fn a_file_that_is_no_bank_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let weights = Model::new(MODELS[1].1, 7);
    let (empty, absent) = (folder.path().join("empty"), folder.path().join("absent"));
    std::fs::write(&empty, []).unwrap();
    let check = |path: &Path, kind: ErrorKind| {
        let error = PromptBank::open(path).unwrap_err();
        assert_eq!((error.kind(), error.path()), (kind, Some(path)), "{error}");
    };
    check(&empty, ErrorKind::Bank);
    check(&absent, ErrorKind::Io);
    check(&weights.path, ErrorKind::Bank);
}

#[test]
fn damaged_files_are_noticed() {
    let (bank, file, _) = small_bank();
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(at in 0..file.len(), byte: u8, cut in 0..file.len(), tail in prop::collection::vec(any::<u8>(), 1..9))| {
        let mut changed = file.clone();
        changed[at] = byte;
        refused_or_same(&format!("byte {at} as {byte}"), &bank, &changed);
        refused_or_same(&format!("cut to {cut} bytes"), &bank, &file[..cut]);
        let longer = [&file[..], &tail].concat();
        refused_or_same("bytes after the end", &bank, &longer);
        let mut gone = file.clone();
        gone.remove(at);
        refused_or_same(&format!("without byte {at}"), &bank, &gone);
    });
}
