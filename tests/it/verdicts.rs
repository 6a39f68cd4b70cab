//! Verdicts, regions and ignored cells.

use std::sync::Arc;

use inctrl::{Fit, Frame, IgnoreMask, PixelFormat, Reason, Roi, Score, Thresholds, Verdict};

use crate::tiny::{Picture, on_every_model, pictures, score};

/// Whatever the thresholds: a pass has no region, a region lies on a cell that reaches its limit, every such cell is in
/// one.
#[test]
fn a_verdict_never_contradicts_its_regions() {
    on_every_model(|engine| {
        let (normals, queries) = (pictures(0..2), pictures(0..9));
        let plain = engine.build_bank("cat", Fit::Letterbox, &[normals[0].frame(), normals[1].frame()]).unwrap();
        for (review, reject, cell) in
            [(0.0, 0.0, 0.0), (0.2, 0.3, 0.05), (0.3, 0.5, 0.2), (1.0, 1.0, 0.1), (1.0, 1.0, 1.0)]
        {
            let bank = plain.with_thresholds(Some(Thresholds { review, reject, cell })).unwrap();
            let mut scorer = engine.scorer(Arc::new(bank)).unwrap();
            for query in &queries {
                let found = score(&mut scorer, query.frame());
                let decision = found.decision.unwrap();
                let past =
                    (0..found.map.cells.len()).filter(|i| found.map.cells[*i] >= cell && !found.ignored[*i]).count();
                assert_eq!(found.regions.iter().map(|region| region.cells).sum::<usize>(), past);
                assert_eq!(decision.verdict == Verdict::Reject, found.score >= reject);
                match decision.reason {
                    Reason::Below => assert!(decision.verdict == Verdict::Pass && past == 0 && found.score < review),
                    Reason::Score => assert!(decision.verdict != Verdict::Pass && past == 0 && found.score >= review),
                    Reason::Regions => assert!(decision.verdict == Verdict::Review && past > 0 && found.score < review),
                    Reason::ScoreAndRegions => assert!(decision.verdict != Verdict::Pass && past > 0),
                    other => panic!("{other:?} of an image that has a score"),
                }
                for region in &found.regions {
                    assert!(region.peak >= cell && region.area > 0.0);
                    assert!(region.x + region.width <= found.width && region.y + region.height <= found.height);
                    assert!(region.area <= (region.width * region.height) as f64);
                }
            }
        }
        let mut scorer = engine.scorer(Arc::new(plain)).unwrap();
        let found = score(&mut scorer, queries[0].frame());
        assert!(found.decision.is_none() && found.regions.is_empty());
    });
}

/// Ignored pixels can be anything, in a query and in a prompt, without changing a bit.
#[test]
fn what_is_ignored_changes_nothing() {
    on_every_model(|engine| {
        let (width, height) = (100, 100);
        let good: Vec<u8> = (0..width * height * 3).map(|i| (i * 7 % 97 + i / 300) as u8).collect();
        let boxes = [Roi { x: 0, y: 0, width: 47, height: 55 }, Roi { x: 90, y: 3, width: 3, height: 80 }];
        let mask = IgnoreMask::from_rectangles(width, height, &boxes).unwrap();
        let mut changed = good.clone();
        for (i, pixel) in changed.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % width, i / width);
            if boxes.iter().any(|b| (b.x..b.x + b.width).contains(&x) && (b.y..b.y + b.height).contains(&y)) {
                pixel.copy_from_slice(&[(x * y) as u8, 255, x as u8]);
            }
        }
        let mut defect = changed.clone();
        defect[(70 * width + 60) * 3..(70 * width + 75) * 3].fill(0);
        let judged = |prompt: &[u8], query: &[u8]| -> Score {
            let mut builder = engine.bank_builder("cat", Fit::Crop).unwrap();
            builder.set_mask(mask.clone()).unwrap();
            let frame = |pixels| Frame::packed(pixels, width, height, PixelFormat::Rgb8).unwrap();
            builder.add(frame(prompt)).unwrap();
            score(&mut engine.scorer(Arc::new(builder.finish().unwrap())).unwrap(), frame(query))
        };
        let same = judged(&good, &good);
        assert!(same.ignored.contains(&true) && same.ignored.contains(&false));
        assert!(same.map.largest() <= 1e-6, "{}", same.map.largest());
        for (prompt, query) in [(&good, &changed), (&changed, &good), (&changed, &changed)] {
            assert_eq!(judged(prompt, query), same);
        }
        let found = judged(&good, &defect);
        assert!(found.map.largest() > 1e-4, "{}", found.map.largest());
        let largest = found.map.cells.iter().copied().fold(0.0, f32::max);
        assert_eq!(Some(largest), found.output("patch_max"), "the maximum is that of the map");
        assert!(found.map.cells.iter().zip(&found.ignored).all(|(cell, ignored)| !ignored || *cell == 0.0));
    });
}

/// The padding of a letterboxed picture is not what is strange about it.
#[test]
fn padding_is_not_judged() {
    on_every_model(|engine| {
        // Wide prompt, tall query: each has padding where the other has picture.
        let flat = |width: usize, height: usize| vec![140u8; width * height];
        let (wide, tall) = (flat(120, 40), flat(40, 120));
        let frame = |pixels, width, height| Frame::packed(pixels, width, height, PixelFormat::Grey8).unwrap();
        let bank = engine.build_bank("cat", Fit::Letterbox, &[frame(&wide, 120, 40)]).unwrap();
        let mut scorer = engine.scorer(Arc::new(bank)).unwrap();
        let found = score(&mut scorer, frame(&tall, 40, 120));
        let grid = found.map.grid.side().unwrap();
        for (i, (cell, ignored)) in found.map.cells.iter().zip(&found.ignored).enumerate() {
            let middle = (i % grid) as f64 + 0.5;
            let inside = (grid as f64 / 3.0..2.0 * grid as f64 / 3.0).contains(&middle);
            assert!(*ignored || inside || grid < 5, "cell {i} is padding");
            assert!(!ignored || *cell == 0.0);
        }
        assert!(found.ignored.contains(&true) && found.ignored.contains(&false));
        // The same scorer goes back to a frame without padding.
        let square = Picture::new(0);
        assert!(!score(&mut scorer, square.frame()).ignored.contains(&true));
    });
}
