//! Images are appended to a bank while it is used, with a cap on its rows.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use inctrl::{
    AppendOptions, Appender, BankSpec, Engine, ErrorKind, Fit, Frame, PixelFormat, PromptBank, SharedBank, Thresholds,
    WhiteLevel,
};

use crate::tiles_cases::{Picture, bits};
use crate::tiny::{MODELS, Model, saved};

fn built(engine: &Engine, method: &str, options: &[&str], frames: &[Frame<'_>]) -> PromptBank {
    let mut spec = BankSpec::default();
    (spec.method, spec.fit) = (Some(method.to_owned()), Some(Fit::Stretch));
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    frames.iter().for_each(|frame| builder.add(*frame).unwrap());
    builder.finish().unwrap()
}

fn begin(engine: &Arc<Engine>, bank: PromptBank, options: &AppendOptions) -> (Arc<SharedBank>, Appender) {
    let slot = Arc::new(engine.shared_bank(Arc::new(bank)).unwrap());
    let appender = engine.appender(&slot, options).unwrap();
    (slot, appender)
}

fn capped(max_rows: usize) -> AppendOptions {
    AppendOptions { max_rows: Some(max_rows), ..AppendOptions::default() }
}

/// The methods that keep their images apart.
const METHODS: [(&str, &[&str]); 7] = [
    ("inctrl", &[]),
    ("anomaly-dino", &["size=48", "rotations=2"]),
    ("spade", &["taps=2"]),
    ("subspace", &["rotations=0", "taps=1,2"]),
    ("winclip", &[]),
    ("patchcore", &["coreset=1"]),
    ("padim", &["taps=1,2", "dims=20"]),
];

#[test]
fn a_bank_that_grew_is_the_bank_of_all_its_images() {
    let engine = Arc::new(Model::new(MODELS[1].1, 7).engine(2));
    let pictures: Vec<Picture> = (0..5).map(|seed| Picture::new(60, 60, seed)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Picture::frame).collect();
    for (method, options) in METHODS {
        println!("{method}");
        let (slot, mut appender) =
            begin(&engine, built(&engine, method, options, &frames[..2]), &AppendOptions::default());
        let mut scorer = engine.scorer_of(&slot, NonZeroUsize::MIN).unwrap();
        for (count, frame) in (3..5).zip(&frames[2..]) {
            let done = appender.append(*frame).unwrap();
            let expected = built(&engine, method, options, &frames[..count]);
            assert_eq!((done.generation, done.is_new, done.left.len()), (count as u64 - 1, true, 0));
            // The identity is a hash of all content.
            assert_eq!(done.bank.id(), expected.id());
            assert_eq!(done.bank.rows(), expected.rows());
            assert!(done.bank.appended().is_empty(), "no order matters without a cap");
            let score = scorer.score(frames[4]).unwrap().clone();
            assert_eq!((score.bank, score.generation), (expected.bank_id(), done.generation));
            assert_eq!(bits(&score), bits(engine.scorer(Arc::new(expected)).unwrap().score(frames[4]).unwrap()));
        }
        // The rows that a cap counts are those of the bank.
        let (_, mut capped) = begin(&engine, built(&engine, method, options, &frames[..2]), &capped(1));
        let three = built(&engine, method, options, &frames[..3]).rows();
        let error = capped.append(frames[2]).unwrap_err();
        assert!(error.to_string().contains(&format!("have {three} rows")), "{error}");
        // What it has already changes nothing.
        let again = appender.append(frames[3]).unwrap();
        assert_eq!((again.is_new, again.generation, slot.current().1), (false, 3, 3));
        assert_eq!(appender.bank().prompt_hashes().len(), 4);
    }
    let mixed = built(&engine, "patchcore", &["coreset=0.5"], &frames);
    let slot = Arc::new(engine.shared_bank(Arc::new(mixed)).unwrap());
    let error = engine.appender(&slot, &AppendOptions::default()).err().unwrap();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("does not keep its prompts apart"));
}

#[test]
fn the_oldest_of_those_appended_leaves_first() {
    let engine = Arc::new(Model::new(MODELS[1].1, 7).engine(2));
    let pictures: Vec<Picture> = (0..8).map(|seed| Picture::new(60, 60, seed)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Picture::frame).collect();
    let options = ["size=48", "rotations=1"];
    let of = |places: &[usize]| {
        let chosen: Vec<Frame<'_>> = places.iter().map(|&k| frames[k]).collect();
        built(&engine, "anomaly-dino", &options, &chosen)
    };
    let first = of(&[0, 1]);
    let each = first.rows() / 2;
    let hash = |k: usize| of(&[k]).prompt_hashes()[0].clone();
    // Room for two beside the first ones, and a row less than for a third.
    let cap = capped(5 * each - 1);
    let (slot, mut appender) = begin(&engine, first, &cap);
    for (k, expected, left) in
        [(2, &[0, 1, 2][..], None), (3, &[0, 1, 2, 3], None), (4, &[0, 1, 3, 4], Some(2)), (5, &[0, 1, 4, 5], Some(3))]
    {
        let done = appender.append(frames[k]).unwrap();
        assert_eq!(done.bank.id(), of(expected).id(), "{k}");
        assert_eq!(done.left, left.map(hash).into_iter().collect::<Vec<_>>());
        assert!(done.bank.rows() <= cap.max_rows.unwrap());
    }
    // The order is in the file, and another program goes on with it.
    let (bank, _) = slot.current();
    assert_eq!(bank.appended(), [hash(4), hash(5)]);
    let read = PromptBank::from_bytes(&saved(&bank)).unwrap();
    assert_eq!((read.appended(), read.id()), (bank.appended(), bank.id()));
    let (_, mut later) = begin(&engine, read, &cap);
    assert_eq!(later.append(frames[6]).unwrap().left, [hash(4)]);
    // The builder has the same rule: several images at once.
    let mut builder = engine.append_to(&bank).unwrap();
    builder.limit_rows(5 * each - 1).unwrap();
    [6, 7].iter().for_each(|&k| builder.add(frames[k]).unwrap());
    assert_eq!(builder.finish().unwrap().id(), of(&[0, 1, 6, 7]).id());

    // No room: the slot keeps its bank, and the image is forgotten.
    let (slot, mut appender) = begin(&engine, of(&[0, 1]), &capped(3 * each - 1));
    for _ in 0..2 {
        let error = appender.append(frames[2]).unwrap_err();
        assert!(error.to_string().contains(&format!("have {} rows", 3 * each)), "{error}");
        assert_eq!((slot.current().1, appender.bank().id()), (1, of(&[0, 1]).id()));
    }
    // Another bank in the slot is not overwritten.
    let (slot, mut appender) = begin(&engine, of(&[0, 1]), &AppendOptions::default());
    slot.swap(Arc::new(of(&[5]))).unwrap();
    let error = appender.append(frames[2]).unwrap_err();
    assert!(error.to_string().contains("another bank was put into the slot"), "{error}");
    assert_eq!(slot.current().0.id(), of(&[5]).id());
    let mut new = engine.bank_builder_for("anomaly-dino", "", Fit::Stretch).unwrap();
    assert!(new.limit_rows(9).is_err() && new.keep_limits().is_err());
}

/// Limits stay where scores only fall, with the images that they were set with.
#[test]
fn limits_are_kept_or_computed_or_dropped() {
    let engine = Arc::new(Model::new(MODELS[1].1, 7).engine(2));
    let pictures: Vec<Picture> = (0..12).map(|seed| Picture::new(60, 60, seed)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Picture::frame).collect();
    let plain = built(&engine, "anomaly-dino", &["size=48", "rotations=1"], &frames[..2]);
    let each = plain.rows() / 2;
    let calibrated = engine.calibrate(&plain, &frames[2..6], 0.2).unwrap();
    let scores = |bank: &Arc<PromptBank>| -> Vec<f32> {
        let mut scorer = engine.scorer(Arc::clone(bank)).unwrap();
        let numbers = |frame: &Frame<'_>| {
            let score = scorer.score(*frame).unwrap();
            [&[score.score], &score.map.cells[..]].concat()
        };
        frames[6..].iter().flat_map(numbers).collect()
    };
    let (_, mut appender) = begin(&engine, calibrated, &capped(4 * each));
    let mut before = scores(appender.bank());
    for frame in &frames[6..8] {
        let bank = appender.append(*frame).unwrap().bank;
        assert_eq!(bank.calibration(), appender.bank().calibration());
        assert!(bank.thresholds().is_some() && bank.calibration().is_some());
        // Every number falls or stays: the promise of the limits holds.
        let after = scores(&bank);
        assert!(after.iter().zip(&before).all(|(after, before)| after <= before) && after != before);
        before = after;
    }
    // Limits that are computed anew hold for the images that are here now, which stay from now on.
    let good = &frames[2..6];
    let bank = appender.append_calibrated(frames[8], good, 0.2).unwrap().bank;
    let anew = engine.calibrate(&bank, good, 0.2).unwrap();
    assert_eq!((bank.id(), bank.prompt_hashes().len()), (anew.id(), 4));
    let error = appender.append(frames[9]).unwrap_err();
    assert!(error.to_string().contains("a cap of"), "{error}");
    let dropping = AppendOptions { max_rows: Some(4 * each), drop_limits: true };
    let (_, mut appender) = begin(&engine, PromptBank::from_bytes(&saved(&bank)).unwrap(), &dropping);
    let done = appender.append(frames[9]).unwrap();
    assert!(done.bank.thresholds().is_none() && done.left.len() == 1);

    // A method whose scores may rise says so.
    let limits = Thresholds { review: 0.4, reject: 0.5, cell: 0.2 };
    let inctrl = built(&engine, "inctrl", &[], &frames[..2]).with_thresholds(Some(limits)).unwrap();
    let slot = Arc::new(engine.shared_bank(Arc::new(inctrl)).unwrap());
    let error = engine.appender(&slot, &AppendOptions::default()).err().unwrap();
    assert!(error.to_string().contains("scores of the method `inctrl` may rise"), "{error}");
    let dropping = AppendOptions { drop_limits: true, ..AppendOptions::default() };
    let mut appender = engine.appender(&slot, &dropping).unwrap();
    assert!(appender.append(frames[6]).unwrap().bank.thresholds().is_none());
    assert!(appender.append_calibrated(frames[7], good, 0.2).unwrap().bank.thresholds().is_some());
    // The limits that were computed for a bank do not become those of a longer one.
    let (slot, mut appender) = begin(&engine, built(&engine, "inctrl", &[], &frames[..2]), &AppendOptions::default());
    appender.append_calibrated(frames[6], good, 0.2).unwrap();
    let error = appender.append(frames[7]).unwrap_err();
    assert!(error.to_string().contains("scores of the method `inctrl` may rise"), "{error}");
    assert_eq!((slot.current().1, appender.bank().prompt_hashes().len()), (2, 3));
    assert!(appender.append_calibrated(frames[7], good, 0.2).unwrap().is_new);
}

/// An image that found no room leaves nothing behind: not even what it declared of its brightness.
#[test]
fn an_image_without_room_is_forgotten() {
    let engine = Arc::new(Model::new(MODELS[1].1, 7).engine(1));
    let pictures: Vec<Picture> = (0..2).map(|seed| Picture::new(60, 60, seed)).collect();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Picture::frame).collect();
    let bank = built(&engine, "anomaly-dino", &["size=48", "rotations=1"], &frames);
    let rows = bank.rows();
    let (_, mut appender) = begin(&engine, bank, &capped(rows));
    let sixteen = |most: u16| -> Vec<u8> {
        (0..3600u32).flat_map(|i| ((i * u32::from(most) / 3599) as u16).to_le_bytes()).collect()
    };
    let (dim, bright) = (sixteen(4095), sixteen(65_535));
    let frame = |data| Frame::packed(data, 60, 60, PixelFormat::Grey16).unwrap();
    let declared = frame(&dim).with_white_level(WhiteLevel::new(4095).unwrap()).unwrap();
    for frame in [declared, frame(&bright), declared] {
        let error = appender.append(frame).unwrap_err();
        assert!(error.to_string().contains("a cap of"), "{error}");
    }
}

#[test]
fn scorers_go_on_while_images_are_appended() {
    let engine = Arc::new(Model::new(MODELS[1].1, 7).engine(2));
    let pictures: Vec<Picture> = (0..9).map(|seed| Picture::new(60, 60, seed)).collect();
    let first = built(&engine, "anomaly-dino", &["size=48", "rotations=1"], &[pictures[0].frame()]);
    let (slot, mut appender) = begin(&engine, first, &AppendOptions::default());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scoring = scope.spawn(|| {
            let mut scorer = engine.scorer_of(&slot, NonZeroUsize::MIN).unwrap();
            let (mut generation, mut last) = (0, f32::INFINITY);
            while !done.load(Ordering::Relaxed) || generation < 8 {
                let score = scorer.score(pictures[8].frame()).unwrap();
                assert!(score.generation >= generation && score.score <= last);
                (generation, last) = (score.generation, score.score);
            }
            generation
        });
        pictures[1..8].iter().for_each(|picture| {
            appender.append(picture.frame()).unwrap();
        });
        done.store(true, Ordering::Relaxed);
        assert_eq!(scoring.join().unwrap(), 8);
    });
}
