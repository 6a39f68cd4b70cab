//! Limits from good images and reports on banks, from memory: for whole frames, regions and tiles.

use std::sync::Arc;

use inctrl::calibration::{Calibration, GoodPart, Source, outliers};
use inctrl::pictures::PictureId;
use inctrl::{BankSpec, Engine, ErrorKind, Fit, Frame, PromptBank, Roi};

use crate::tiles_cases::Picture;
use crate::tiny::{MODELS, Model};

const ROI: Roi = Roi { x: 10, y: 5, width: 50, height: 50 };

/// Banks of a region, of whole frames, and of tiles that share a bank or have their own.
const OPTIONS: [&[&str]; 3] = [
    &["size=48", "rotations=1"],
    &["tile=48", "overlap=16", "scale=1", "rotations=1"],
    &["tile=48", "overlap=16", "scale=1", "rotations=1", "bank-per=tile"],
];

fn bank(engine: &Engine, options: &[&str], prompts: &[Frame<'_>]) -> PromptBank {
    let mut spec = BankSpec::default();
    spec.method = Some("anomaly-dino".to_owned());
    spec.fit = (options.len() == 2).then_some(Fit::Stretch);
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    builder.finish().unwrap()
}

#[test]
fn limits_are_those_of_the_scores_of_good_images() {
    let engine = Model::new(MODELS[1].1, 7).engine(2);
    let pictures: Vec<Picture> = (0..7).map(|seed| Picture::new(70, 60, seed)).collect();
    for (options, roi) in [(OPTIONS[0], Some(ROI)), (OPTIONS[0], None), (OPTIONS[1], None), (OPTIONS[2], None)] {
        let frames: Vec<Frame<'_>> = (pictures.iter())
            .map(|picture| roi.map_or(picture.frame(), |roi| picture.frame().region(roi).unwrap()))
            .collect();
        let bank = bank(&engine, options, &frames[..3]);
        // Held out: the last four, once each, however often they are given.
        let given = [&frames[..], &frames[5..]].concat();
        let found = engine.calibrate(&bank, &given, 0.2).unwrap();
        let mut scorer = engine.scorer(Arc::new(bank.with_thresholds(None).unwrap())).unwrap();
        let mut scored = |frame: &Frame<'_>| {
            let score = scorer.score(*frame).unwrap();
            GoodPart {
                picture: PictureId::of(*frame).unwrap(),
                score: score.score,
                patch_max: score.output("patch_max").unwrap(),
            }
        };
        let parts: Vec<GoodPart> = frames[3..].iter().map(&mut scored).collect();
        let expected = Calibration::new(Source::HeldOut, 0.2, &parts).unwrap();
        assert_eq!(found.calibration(), Some(&expected));
        assert_eq!(found.thresholds(), Some(&expected.thresholds()));
        let error = engine.calibrate(&bank, &given, 0.1).unwrap_err();
        assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("9 are needed"), "{error}");

        // A result has its p-value and its place on the scale of the limit.
        let mut scorer = engine.scorer(Arc::new(found)).unwrap();
        for frame in &frames {
            let score = scorer.score(*frame).unwrap();
            assert_eq!(score.p_value, Some(expected.p_value(score.score)));
            assert_eq!(score.scaled.unwrap() >= 0.5, score.score >= expected.thresholds().reject);
        }
    }
}

#[test]
fn prompts_are_judged_by_the_others() {
    let engine = Model::new(MODELS[1].1, 7).engine(2);
    let pictures: Vec<Picture> = [0, 3, 6, 9].map(|seed| Picture::new(70, 60, seed)).into();
    let frames: Vec<Frame<'_>> = pictures.iter().map(Picture::frame).collect();
    let stranger = Picture::new(70, 60, 20);
    for options in OPTIONS {
        let bank = bank(&engine, options, &frames);
        let given = [&[stranger.frame()][..], &frames[..3], &frames[..1]].concat();
        let report = engine.report(&bank, &given).unwrap();
        assert_eq!(report.prompts.iter().map(|prompt| prompt.image).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((report.missing, report.copies), (1, 0));
        let mut sum = vec![0.0; report.mean_map.cells.len()];
        for prompt in &report.prompts {
            let place = prompt.check.place;
            let others: Vec<usize> = (0..4).filter(|k| *k != place).collect();
            let others = Arc::new(bank.subset(&others).unwrap());
            let score = engine.scorer(others).unwrap().score(given[prompt.image]).unwrap().clone();
            assert_eq!((score.score, &score.map), (prompt.check.score.score, &prompt.check.score.map));
            sum.iter_mut().zip(&score.map.cells).for_each(|(sum, cell)| *sum += f64::from(*cell));
        }
        let mean: Vec<f32> = sum.iter().map(|sum| (sum / 3.0) as f32).collect();
        assert_eq!(report.mean_map.cells, mean);
        let scores: Vec<f32> = report.prompts.iter().map(|prompt| prompt.check.score.score).collect();
        assert_eq!(report.prompts.iter().map(|prompt| prompt.outlier).collect::<Vec<_>>(), outliers(&scores));

        // The prompts alone: limits from each against the others, in the order of no matter what.
        let own = engine.calibrate(&bank, &frames, 0.25).unwrap();
        let calibration = own.calibration().unwrap();
        assert_eq!((calibration.source(), calibration.scores().len()), (Source::LeaveOneOut, 4));
        assert!(scores.iter().all(|score| calibration.scores().contains(score)));
    }
    let error = engine.report(&bank(&engine, OPTIONS[0], &frames), &[stranger.frame()]).unwrap_err();
    assert!(error.to_string().contains("none of the images is a prompt"), "{error}");
    let error = engine.report(&bank(&engine, OPTIONS[0], &frames[..1]), &frames[..1]).unwrap_err();
    assert!(error.to_string().contains("image 0: the bank has no other prompt"), "{error}");
}
