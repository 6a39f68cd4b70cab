//! Regions of a frame against banks of their own, on any device: each has the score of a scorer for the cut-out region.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::{
    BankSpec, BestBank, Engine, ErrorKind, Fit, Frame, IgnoreMask, Inspection, PromptBank, Roi, Score, SharedBank,
    Thresholds,
};

use crate::tiles_cases::Picture;

const LIMITS: Thresholds = Thresholds { review: 0.1, reject: 0.2, cell: 0.05 };

fn roi(x: usize, y: usize, width: usize, height: usize) -> Roi {
    Roi { x, y, width, height }
}

fn bank(engine: &Engine, options: &[&str], fit: Option<Fit>, prompts: &[Frame<'_>]) -> PromptBank {
    let mut spec = BankSpec::default();
    (spec.method, spec.fit) = (Some("anomaly-dino".to_owned()), fit);
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    builder.finish().unwrap()
}

/// Scores inspections as a scorer for each bank does, with the limits of the inspection.
fn alone(engine: &Engine, banks: &[Arc<PromptBank>], frame: Frame<'_>, inspections: &[Inspection<'_>]) -> Vec<Score> {
    let one = |inspection: &Inspection<'_>, bank: usize| {
        let part = inspection.roi.map_or(frame, |roi| frame.region(roi).unwrap());
        let mut score = engine.scorer(Arc::clone(&banks[bank])).unwrap().score(part).unwrap().clone();
        if let Some(limits) = inspection.thresholds {
            let limited = Arc::new(banks[bank].with_thresholds(Some(limits)).unwrap());
            let judged = engine.scorer(limited).unwrap().score(part).unwrap().clone();
            (score.decision, score.regions, score.scaled) = (judged.decision, judged.regions, judged.scaled);
        }
        score
    };
    let all = inspections.iter().flat_map(|inspection| inspection.banks.iter().map(move |&bank| (inspection, bank)));
    all.map(|(inspection, bank)| one(inspection, bank)).collect()
}

fn slots(engine: &Engine, banks: &[Arc<PromptBank>]) -> Vec<Arc<SharedBank>> {
    banks.iter().map(|bank| Arc::new(engine.shared_bank(Arc::clone(bank)).unwrap())).collect()
}

/// Whole views and tiles, shared or each with a bank of its own.
pub fn check(engine: &Engine) {
    let (good, frame) = (Picture::new(100, 70, 0), Picture::new(100, 70, 1));
    let (good, frame) = (good.frame(), frame.frame());
    let size = engine.arch().vision.image_size;
    let sized = format!("size={size}");
    let tile = format!("tile={size}");
    let view = [sized.as_str(), "rotations=1"];
    let tiles = [tile.as_str(), "overlap=16", "scale=0.8", "rotations=1"];
    let places = [roi(0, 0, 60, 60), roi(30, 5, 60, 60), roi(40, 10, 60, 60)];
    let own_tiles = [&tiles[..], &["bank-per=tile"]].concat();
    for options in [&view[..], &tiles, &own_tiles] {
        println!("{options:?}");
        // With trim the map of the whole frame has a grid of its own.
        let fit = (options.len() == view.len()).then_some(Fit::Trim);
        let prompts: [&[usize]; 3] = [&[0], &[1], &[0, 2]];
        let banks: Vec<Arc<PromptBank>> = (prompts.iter().enumerate())
            .map(|(i, prompts)| {
                let parts: Vec<_> = prompts.iter().map(|&k| good.region(places[k]).unwrap()).collect();
                let bank = bank(engine, options, fit, &parts);
                // One has limits, of which an inspection may have others.
                Arc::new(if i == 1 { bank.with_thresholds(Some(LIMITS)).unwrap() } else { bank })
            })
            .collect();
        let slots = slots(engine, &banks);
        let other = Thresholds { reject: 0.15, ..LIMITS };
        let inspection = |roi, banks, thresholds| Inspection { roi: Some(roi), banks, thresholds };
        let mut inspections = vec![
            inspection(places[0], &[0, 1, 2][..], None),
            inspection(places[1], &[1], Some(other)),
            inspection(places[2], &[2, 0], Some(LIMITS)),
            inspection(places[1], &[1], None),
        ];
        if options.last() != Some(&"bank-per=tile") {
            inspections.push(Inspection { roi: None, banks: &[0, 2], thresholds: None });
        }
        let expected = alone(engine, &banks, frame, &inspections);
        for capacity in [1, 3] {
            let mut scorer = engine.roi_scorer(&slots, NonZeroUsize::new(capacity).unwrap()).unwrap();
            for _ in 0..2 {
                assert_eq!(scorer.score(frame, &inspections).unwrap(), expected, "{capacity}");
            }
            assert_eq!(scorer.scores_of(0), &expected[..3]);
            assert_eq!((scorer.scores_of(2), scorer.scores_of(5)), (&expected[4..6], &[][..]));
            let best = scorer.best(0).unwrap();
            let mut values: Vec<f32> = expected[..3].iter().map(|score| score.score).collect();
            assert_eq!((values[best.place], best.scaled), (best.value, false));
            values.sort_by(f32::total_cmp);
            assert_eq!((best.value, best.margin), (values[0], Some(values[1] - values[0])));
            // With limits for all the comparison is on their scale.
            assert!(scorer.best(2).unwrap().scaled && scorer.best(1).unwrap().margin.is_none());
            assert_eq!(scorer.best(2), BestBank::among(&expected[4..6]));
            assert!(scorer.score(frame, &[]).unwrap().is_empty() && scorer.best(0).is_none());
        }
        assert!(expected[0].score != expected[1].score && expected[3].scaled != expected[6].scaled);

        // A bank that is exchanged is the next call's.
        let mut scorer = engine.roi_scorer(&slots, NonZeroUsize::MIN).unwrap();
        scorer.score(frame, &inspections[..1]).unwrap();
        slots[0].swap(Arc::clone(&banks[2])).unwrap();
        let found = scorer.score(frame, &inspections[..1]).unwrap();
        assert_eq!((found[0].score, found[0].generation), (expected[2].score, 2));
        assert_eq!((found[2].score, found[2].generation), (expected[2].score, 1));
    }
}

/// Regions with ignore masks of their own, which are those of their banks.
pub fn check_masks(engine: &Engine) {
    let (good, frame) = (Picture::new(100, 70, 0), Picture::new(100, 70, 1));
    let (good, frame) = (good.frame(), frame.frame());
    let places = [roi(0, 0, 60, 60), roi(40, 10, 60, 60)];
    let masks = [roi(0, 0, 30, 60), roi(20, 30, 40, 30)];
    let banks = [0, 1].map(|i| {
        let mut spec = BankSpec::default();
        (spec.method, spec.fit) = (Some("anomaly-dino".to_owned()), Some(Fit::Stretch));
        spec.options = vec![format!("size={}", engine.arch().vision.image_size), "rotations=1".to_owned()];
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        builder.set_mask(IgnoreMask::from_rectangles(60, 60, &masks[i..=i]).unwrap()).unwrap();
        builder.add(good.region(places[i]).unwrap()).unwrap();
        Arc::new(builder.finish().unwrap())
    });
    let mut scorer = engine.roi_scorer(&slots(engine, &banks), const { NonZeroUsize::new(2).unwrap() }).unwrap();
    let inspection = |i: usize| Inspection { roi: Some(places[i]), banks: [&[0][..], &[1]][i], thresholds: None };
    let inspections = [inspection(0), inspection(1)];
    let expected = alone(engine, &banks, frame, &inspections);
    assert_eq!(scorer.score(frame, &inspections).unwrap(), expected);
    assert!(expected.iter().all(|score| score.ignored.contains(&true)) && expected[0].ignored != expected[1].ignored);
}

/// More banks than one comparison takes: the first ones go with the encoding, the others use its features.
pub fn check_many(engine: &Engine) {
    let (good, frame) = (Picture::new(60, 60, 0), Picture::new(60, 60, 1));
    let (good, frame) = (good.frame(), frame.frame());
    let options = [&format!("size={}", engine.arch().vision.image_size)[..], "rotations=1"];
    let one = Arc::new(bank(engine, &options, Some(Fit::Stretch), &[good]));
    let other = Arc::new(bank(engine, &options, Some(Fit::Stretch), &[frame]));
    let slots = slots(engine, &[&vec![one; 33][..], &[other]].concat());
    let mut scorer = engine.roi_scorer(&slots, NonZeroUsize::MIN).unwrap();
    let all: Vec<usize> = (0..slots.len()).collect();
    let inspections = [Inspection { roi: None, banks: &all, thresholds: None }];
    let found = scorer.score(frame, &inspections).unwrap();
    assert!(found[0].score > 1e-4 && found[..33].iter().all(|score| *score == found[0]));
    assert_eq!(BestBank::among(found).unwrap().place, 33);
}

/// Bad inspections are errors that name them, and the scorer stays usable.
pub fn check_refused(engine: &Engine) {
    let picture = Picture::new(60, 60, 0);
    let frame = picture.frame();
    let options = [&format!("size={}", engine.arch().vision.image_size)[..], "rotations=1"];
    let stretched = Arc::new(bank(engine, &options, Some(Fit::Stretch), &[frame]));
    let cropped = Arc::new(bank(engine, &options, Some(Fit::Crop), &[frame]));
    let mut masked = engine.bank_builder_for("anomaly-dino", "", Fit::Stretch).unwrap();
    masked.set_mask(IgnoreMask::from_rectangles(60, 60, &[roi(0, 0, 20, 20)]).unwrap()).unwrap();
    masked.add(frame).unwrap();
    assert!(engine.roi_scorer(&[], NonZeroUsize::MIN).is_err());
    let of_other_options = slots(engine, &[Arc::clone(&stretched), Arc::new(masked.finish().unwrap())]);
    let error = engine.roi_scorer(&of_other_options, NonZeroUsize::MIN).err().unwrap();
    assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("size="), "{error}");

    let slots = slots(engine, &[stretched, cropped]);
    let mut scorer = engine.roi_scorer(&slots, NonZeroUsize::MIN).unwrap();
    let whole = Inspection { roi: None, banks: &[0], thresholds: None };
    let percent = Thresholds { review: 10.0, reject: 20.0, cell: 5.0 };
    for (bad, words) in [
        (Inspection { banks: &[], ..whole }, "no bank is named"),
        (Inspection { banks: &[0, 2], ..whole }, "bank 2 was named, but the scorer has 2"),
        (
            Inspection { banks: &[0, 1], ..whole },
            "banks 0 (fit stretch) and 1 (fit crop) do not look at the region alike",
        ),
        (Inspection { roi: Some(roi(30, 0, 31, 10)), ..whole }, "31"),
        (Inspection { thresholds: Some(percent), ..whole }, "the threshold `review` is 10"),
    ] {
        let error = scorer.score(frame, &[whole, bad]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("inspection 1: ") && error.to_string().contains(words), "{error}");
        assert!(scorer.scores_of(0).is_empty());
    }
    // Banks that look at frames differently go into one call, each for a region of its own.
    assert_eq!(scorer.score(frame, &[whole, Inspection { banks: &[1], ..whole }]).unwrap().len(), 2);
}
