//! Batches of views: several parts of several frames, each with banks of its own, in one recording, have the bits of the
//! parts that are cut out and scored one by one.

use std::sync::Arc;

use inctrl::internals::DeviceBank;
use inctrl::view::{Corners, Turn, View};
use inctrl::{AnyFrame, Engine, Fit, Frame, PromptBank, Roi, Score};

use crate::tiny::{frames, pictures};

/// A region of `side` pixels.
fn region(x: usize, y: usize, side: usize) -> Roi {
    Roi { x, y, width: side, height: side }
}

fn numbers(outputs: &[f32], map: &[f32]) -> Vec<u32> {
    // A scorer clamps what a batch gives.
    outputs.iter().chain(map).map(|x| x.clamp(0.0, 1.0).to_bits()).collect()
}

fn numbers_of(score: &Score) -> Vec<u32> {
    let outputs: Vec<f32> = score.outputs().map(|(_, x)| x).collect();
    numbers(&outputs, &score.map.cells)
}

pub fn check(engine: &Engine) {
    let (prompts, queries) = (pictures(0..3), pictures(5..7));
    let (prompts, queries) = (frames(&prompts), frames(&queries));
    let bank = |frames: &[Frame<'_>]| Arc::new(engine.build_bank("nut", Fit::Stretch, frames).unwrap());
    // Of one image, of another, and of three: a bank may have any number of rows.
    let banks: [Arc<PromptBank>; 3] = [bank(&prompts[..1]), bank(&prompts[1..2]), bank(&prompts)];
    let mut scorers = banks.each_ref().map(|bank| engine.scorer(Arc::clone(bank)).unwrap());
    let uploaded: Vec<DeviceBank> = banks.iter().map(|bank| engine.device_bank(bank).unwrap()).collect();
    let uploaded: Vec<&DeviceBank> = uploaded.iter().collect();

    let vision = &engine.arch().vision;
    let view = |roi: Roi| {
        let plan = vision.plan(roi.width, roi.height, Fit::Stretch).unwrap();
        View::of_region(roi, plan, None, vision.patch_size).unwrap()
    };
    // Tiles that overlap, of which one is smaller, and the banks of each.
    let regions = [region(0, 0, 30), region(11, 2, 30), region(3, 9, 21)];
    let views: Vec<View> = regions.iter().copied().map(view).collect();
    let banks_of = |view: usize| [0..1, 1..3, 2..3][view].clone();

    let mut batch = engine.batch(&banks[0], 6, 8).unwrap();
    let mut found: Vec<Vec<u32>> = Vec::new();
    for _ in 0..2 {
        batch.begin(views[0].grid(vision.patch_size)).unwrap();
        let mut slots = Vec::new();
        for query in &queries {
            let placed = batch.place(AnyFrame::from(*query), None, &views, banks_of, |slot, seen, view| {
                assert_eq!([seen.width(), seen.height()], [query.width(), query.height()]);
                slots.push((slot, view.region()));
                Ok(())
            });
            placed.unwrap();
        }
        let expected = regions.iter().enumerate().flat_map(|(i, roi)| banks_of(i).map(|_| *roi)).collect::<Vec<_>>();
        assert_eq!(slots.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        assert_eq!(slots.iter().map(|(_, roi)| *roi).collect::<Vec<_>>(), expected.repeat(2));
        let mut again = Vec::new();
        batch
            .score(&uploaded, &mut |slot, outputs, map| {
                assert_eq!(slot, again.len());
                again.push(numbers(outputs, map));
            })
            .unwrap();
        // The recording of the first batch.
        assert!(found.is_empty() || found == again);
        found = again;
    }
    let mut slot = 0;
    for query in &queries {
        for (view, roi) in regions.iter().enumerate() {
            for bank in banks_of(view) {
                let alone = numbers_of(scorers[bank].score(query.region(*roi).unwrap()).unwrap());
                assert_eq!(found[slot], alone, "{roi:?} against bank {bank}");
                slot += 1;
            }
        }
    }
    assert!(found[0] != found[1] && found[0] != found[4]);

    // A rotation by half a turn is a view like others; the picture that is turned by hand has its bits.
    let query = queries[0];
    let plan = vision.plan(query.width(), query.height(), Fit::Stretch).unwrap();
    let turn = Turn { degrees: 180.0, corners: Corners::Black };
    let views = [
        View::whole(plan.clone(), None, vision.patch_size),
        View::turned(turn, plan, None, vision.patch_size).unwrap(),
    ];
    batch.begin(views[0].grid(vision.patch_size)).unwrap();
    batch.place(query.into(), None, &views, |_| 0..1, |_, _, _| Ok(())).unwrap();
    let mut found = Vec::new();
    batch.score(&uploaded[..1], &mut |_, outputs, map| found.push(numbers(outputs, map))).unwrap();
    assert_eq!(found[0], numbers_of(scorers[0].score(query).unwrap()));
    assert!(found[0] != found[1]);

    // More views or more slots than there is memory for are errors.
    batch.begin(views[0].grid(vision.patch_size)).unwrap();
    let many = vec![views[0].clone(); 7];
    assert!(batch.place(query.into(), None, &many, |_| 0..1, |_, _, _| Ok(())).is_err());
    assert!(batch.place(query.into(), None, &many[..3], |_| 0..3, |_, _, _| Ok(())).is_err());
}
