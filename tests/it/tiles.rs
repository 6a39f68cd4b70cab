//! Frames looked at in tiles: scores of every method, files, masks, seams, and what cannot be.

use std::sync::Arc;

use inctrl::view::{BankPer, Grid, Layout, Tiling};
use inctrl::{BankSpec, Engine, ErrorKind, Fit, IgnoreMask, PromptBank, Roi, Score, Thresholds};

use crate::tiles_cases::{CASES, Case, Picture, bank, bits, check, texts, tiling};
use crate::tiny::{MODELS, Model, saved};

const SIDES: (usize, usize) = (150, 110);

fn engine() -> Engine {
    Model::new(MODELS[1].1, 7).engine(2)
}

fn picture(seed: usize) -> Picture {
    Picture::new(SIDES.0, SIDES.1, seed)
}

fn score(engine: &Engine, bank: &Arc<PromptBank>, picture: &Picture) -> Score {
    engine.scorer(Arc::clone(bank)).unwrap().score(picture.frame()).unwrap().clone()
}

fn error_of(engine: &Engine, method: &str, options: &[&str]) -> String {
    let mut spec = BankSpec::default();
    (spec.method, spec.class) = (Some(method.to_owned()), Some("nut".to_owned()));
    spec.options = options.iter().map(|option| (*option).to_owned()).collect();
    let error = engine.bank_builder_of(&spec).err().unwrap_or_else(|| panic!("{method} {options:?} was taken"));
    assert_eq!(error.kind(), ErrorKind::Argument);
    error.chain()
}

#[test]
fn tiles_score_as_the_regions_that_they_show() {
    for (name, config) in &MODELS[..2] {
        println!("model {name}");
        check(&Model::new(config, 7).engine(2), CASES);
    }
}

#[test]
fn tiled_banks_come_back_from_their_files_and_keep_their_prompts_apart() {
    let engine = engine();
    let (good, query) = ([0, 1, 2].map(picture), picture(9));
    let frames = good.each_ref().map(Picture::frame);
    for Case { method, options, bank_per } in CASES.iter().filter(|case| case.method != "winclip-zero") {
        let options = texts(options, &tiling(&engine, *bank_per));
        let all = bank(&engine, method, &options, &frames);
        let expected = bits(&score(&engine, &all, &query));
        let read = Arc::new(PromptBank::from_bytes(&saved(&all)).unwrap());
        assert_eq!((read.id(), read.tiling(), read.info().positions), (all.id(), all.tiling(), all.info().positions));
        assert_eq!(bits(&score(&engine, &read, &query)), expected, "{method}");
        assert_eq!(all.info().positions, if *bank_per == BankPer::Tile { 12 } else { 1 });
        if !all.has_separate_prompts() {
            continue;
        }
        let kept: Vec<usize> = (0..3).filter(|k| *k != 1).collect();
        let of_two = frames.iter().filter(|frame| {
            let hash = blake3::Hash::from_bytes(frame.content_hash().unwrap()).to_hex().to_string();
            all.prompt_hashes()[1] != hash
        });
        let of_two: Vec<_> = of_two.copied().collect();
        let fewer = bank(&engine, method, &options, &of_two);
        assert_eq!(all.subset(&kept).unwrap().id(), fewer.id(), "{method}");
        let mut builder = engine.append_to(&fewer).unwrap();
        let third = frames.iter().find(|frame| !of_two.iter().any(|other| std::ptr::eq(other.row(0), frame.row(0))));
        builder.add(*third.unwrap()).unwrap();
        assert_eq!(builder.finish().unwrap().id(), all.id(), "{method}");
    }
    // Banks without tiles stay as they were: version 2, in which older programs read them.
    let untiled = bank(&engine, "anomaly-dino", &["size=48".to_owned()], &frames);
    let text = |bank: &PromptBank| String::from_utf8_lossy(&saved(bank)[..600]).into_owned();
    assert!(text(&untiled).contains(r#"{\"version\":2"#) && !text(&untiled).contains("tiling"), "{}", text(&untiled));
    let tiled = bank(&engine, "anomaly-dino", &["tile=48".to_owned()], &frames);
    assert!(text(&tiled).contains(r#"{\"version\":3"#), "{}", text(&tiled));
}

#[test]
fn what_a_mask_covers_is_not_looked_at() {
    let engine = engine();
    let covered = Roi { x: 0, y: 0, width: 80, height: 110 };
    let good = [0, 1].map(picture);
    let (query, mut other) = (picture(9), picture(9));
    for (i, byte) in other.bytes.iter_mut().enumerate() {
        if i / 3 % SIDES.0 < covered.width {
            *byte = (i * i % 251) as u8;
        }
    }
    for per in [BankPer::Frame, BankPer::Tile] {
        let tiling = tiling(&engine, per);
        let mut spec = BankSpec::default();
        (spec.method, spec.options) = (Some("anomaly-dino".to_owned()), texts(&["rotations=1"], &tiling));
        let mut builder = engine.bank_builder_of(&spec).unwrap();
        builder.set_mask(IgnoreMask::from_rectangles(SIDES.0, SIDES.1, &[covered]).unwrap()).unwrap();
        good.iter().for_each(|good| builder.add(good.frame()).unwrap());
        let bank = Arc::new(builder.finish().unwrap());
        // Of four columns of tiles the first, over 57 pixels, is covered.
        assert_eq!(bank.info().positions, if per == BankPer::Tile { 9 } else { 1 });
        let found = score(&engine, &bank, &query);
        // Eight columns of cells of 18.75 pixels, of which the mask covers four and a quarter.
        let ignored: Vec<bool> = (0..48).map(|cell| cell % 8 < 4).collect();
        assert_eq!(found.ignored, ignored);
        assert!(found.map.cells.iter().zip(&ignored).all(|(cell, ignored)| (*cell == 0.0) == *ignored), "{found:?}");
        assert_eq!(bits(&score(&engine, &bank, &other)), bits(&found));
        let read = Arc::new(PromptBank::from_bytes(&saved(&bank)).unwrap());
        assert_eq!(bits(&score(&engine, &read, &query)), bits(&found));
    }
}

/// A checkered defect on a texture that the bank knows, in the smallest frame of two rows of three tiles.
struct Seams {
    engine: Engine,
    bank: Arc<PromptBank>,
    /// Width and height of the frame.
    sides: [usize; 2],
    /// Pixels of the frame that a tile and a patch have.
    tile: usize,
    patch: usize,
    defect: usize,
}

impl Seams {
    fn new(scale: f64) -> Self {
        let engine = engine();
        let tiling = Tiling { tile: 96, overlap: 32, scale, bank_per: BankPer::Frame, defect: None, squares: false };
        let pixels = |length: usize| (length as f64 / scale).round() as usize;
        let sides = [pixels(3 * 96 - 2 * 32), pixels(2 * 96 - 32)];
        let layout = Layout::new(&tiling, 16, sides[0], sides[1]).unwrap();
        assert_eq!(layout.tiles(), Grid::new(2, 3));
        let bank = bank(&engine, "anomaly-dino", &texts(&["rotations=1"], &tiling), &[texture(sides, None).frame()]);
        Seams { engine, bank, sides, tile: pixels(96), patch: pixels(16), defect: pixels(24) }
    }

    /// The scores with the defect's upper left corner at each of these places. Where a limit is given, a region at this
    /// limit lies on the defect.
    fn scores(&self, limit: Option<f32>, places: impl Iterator<Item = [usize; 2]>) -> Vec<f32> {
        let limits = limit.map(|cell| Thresholds { review: 0.0, reject: 2.0, cell });
        let bank = Arc::new(self.bank.with_thresholds(limits).unwrap());
        let mut scorer = self.engine.scorer(bank).unwrap();
        let size = self.defect;
        places
            .map(|[left, top]| {
                let found = scorer.score(texture(self.sides, Some([left, top, size])).frame()).unwrap();
                let on = |region: &inctrl::Region| {
                    let across = region.x < left + size && region.x + region.width > left;
                    across && region.y < top + size && region.y + region.height > top
                };
                let follows = limit.is_none() || found.regions.iter().any(on);
                assert!(follows, "a defect at {left}, {top} has its regions at {:?}", found.regions);
                found.score
            })
            .collect()
    }
}

/// A texture, and a checkered square in it: left, top, side.
fn texture([width, height]: [usize; 2], defect: Option<[usize; 3]>) -> Picture {
    let value = |i: usize| {
        let (x, y) = (i / 3 % width, i / 3 / width);
        match defect.map(|[left, top, size]| (x.wrapping_sub(left), y.wrapping_sub(top), size)) {
            Some((x, y, size)) if x < size && y < size => 255 * ((x / 3 + y / 3) & 1) as u8,
            _ => (110 + (x * 7 + y * 5) % 31) as u8,
        }
    };
    Picture { width, height, bytes: (0..3 * width * height).map(value).collect() }
}

/// Every step of a pixel over both seams of a row and over the one of a column, against the middle of a tile, where the
/// defect meets every phase of the patches. A random encoder's score depends on the phase by a half; on a seam it falls
/// by less than an eighth below the smallest in the middle, and rises by less than two fifths over the largest.
#[test]
fn a_defect_that_crosses_a_seam_keeps_its_score_and_its_region() {
    for scale in [1.0, 0.8] {
        let seams = Seams::new(scale);
        let middle = (seams.tile - seams.defect) / 2;
        let inside = seams.scores(None, (middle - seams.patch..=middle + seams.patch).map(|x| [x, middle]));
        let bounds = |scores: &[f32]| scores.iter().fold((f32::INFINITY, 0.0f32), |(a, b), x| (a.min(*x), b.max(*x)));
        let (least, most) = bounds(&inside);
        let [wide, high] = seams.sides.map(|side| side - seams.defect);
        let places = (0..=wide).map(|x| [x, middle]).chain((0..=high).map(|y| [middle, y]));
        let (low, high) = bounds(&seams.scores(Some(0.85 * least), places));
        println!("scale {scale}: {least} to {most} in the middle of a tile, {low} to {high} everywhere");
        assert!(low >= 0.875 * least && high <= 1.4 * most, "scale {scale}: {low} to {high} is not {least} to {most}");
    }
}

#[test]
fn options_settle_and_say_how() {
    let engine = engine();
    let mut spec = BankSpec::default();
    (spec.method, spec.options) = (Some("anomaly-dino".to_owned()), vec!["defect-size=32".to_owned()]);
    // Not the model's 48: the method's own size.
    let settled = engine.settle(&spec).unwrap();
    let expected = [
        "tile=448",
        "overlap=32",
        "scale=0.5",
        "bank-per=frame",
        "defect-size=32",
        "size=448",
        "rotations=8",
        "mask=off",
    ];
    assert_eq!((settled.fit, &settled.options[..]), (Some(Fit::Stretch), &expected.map(str::to_owned)[..]));
    let builder = engine.bank_builder_of(&settled).unwrap();
    assert_eq!(builder.tiling().unwrap().defect, Some(32));
    let reason = builder.tiling_reason().unwrap();
    assert!(
        reason.contains("scale 0.5 they are as wide as a patch of 16") && reason.contains("lies whole"),
        "{reason}"
    );
    let size = builder.size_with(3, 1500, 1000).unwrap();
    // Of 896 pixels, 832 apart.
    assert_eq!((size.tiles, size.encodings, size.rows), (Grid::new(2, 2), 3 * 4 * 8, 3 * 4 * 8 * 28 * 28));
    // A bank for each position does not turn its prompts, unless told to.
    spec.options = vec!["tile=48".to_owned(), "bank-per=tile".to_owned()];
    assert!(engine.settle(&spec).unwrap().options.contains(&"rotations=1".to_owned()));
    spec.method = Some("padim".to_owned());
    spec.options = vec!["tile=48".to_owned()];
    assert!(engine.settle(&spec).unwrap().options.contains(&"bank-per=tile".to_owned()));
}

#[test]
fn what_cannot_be_tiled_is_refused_in_words() {
    let engine = engine();
    for (method, options, expected) in [
        ("anomaly-dino", &["tile=50"][..], "multiple of the encoder's patch of 16, such as 48"),
        ("anomaly-dino", &["tile=48", "overlap=48"], "smaller than the tile"),
        ("anomaly-dino", &["tile=48", "overlap=8"], "such as 16"),
        (
            "anomaly-dino",
            &["tile=48", "size=64"],
            "tiles of 48 pixels, but the views of the method `anomaly-dino` have 64",
        ),
        ("anomaly-dino", &["tile=48", "mask=on"], "mask=on tells a part"),
        ("anomaly-dino", &["tile=48", "bank-per=tile", "rotations=4"], "rotations turn them"),
        ("anomaly-dino", &["scale=0"], "from 0.001 to 16"),
        ("inctrl", &["tile=64"], "tiles of 64 pixels, but the views of the method `inctrl` have 48"),
        ("padim", &["tile=48", "bank-per=frame"], "use bank-per=tile"),
        ("spade", &["tile=48", "bank-per=frame"], "use bank-per=tile"),
        ("winclip-zero", &["tile=48", "bank-per=tile"], "all tiles have one bank"),
    ] {
        let error = error_of(&engine, method, options);
        assert!(error.contains(expected), "{method} {options:?}: {error}");
    }
    let mut spec = BankSpec::default();
    (spec.method, spec.fit, spec.options) =
        (Some("anomaly-dino".to_owned()), Some(Fit::Crop), vec!["tile=48".to_owned()]);
    assert!(engine.bank_builder_of(&spec).err().unwrap().to_string().contains("tiles cover the whole frame"));

    // Frames that are smaller than a tile, and frames of another shape where each position has its bank.
    let good = picture(0);
    let shared =
        bank(&engine, "anomaly-dino", &texts(&["rotations=1"], &tiling(&engine, BankPer::Frame)), &[good.frame()]);
    let slot = Arc::new(engine.shared_bank(Arc::clone(&shared)).unwrap());
    assert_eq!(slot.grid(SIDES.0, SIDES.1).unwrap(), Grid::new(6, 8));
    let mut scorer = engine.scorer_of(&slot, std::num::NonZeroUsize::MIN).unwrap();
    let expected = bits(scorer.score(good.frame()).unwrap());
    let small = Picture::new(45, 110, 0);
    let error = scorer.score(small.frame()).unwrap_err();
    assert!(error.to_string().contains("is 60 x 60 pixels of the frame, which has 45 x 110"), "{error}");
    assert_eq!(slot.grid(45, 110).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(bits(scorer.score(good.frame()).unwrap()), expected);
    // Any other size is fine for tiles that share a bank.
    assert_eq!(scorer.score(Picture::new(200, 90, 1).frame()).unwrap().map.grid, Grid::new(5, 10));

    let own = bank(&engine, "anomaly-dino", &texts(&["rotations=1"], &tiling(&engine, BankPer::Tile)), &[good.frame()]);
    let mut of_own = engine.scorer(Arc::clone(&own)).unwrap();
    let error = of_own.score(Picture::new(200, 90, 1).frame()).unwrap_err();
    assert!(error.to_string().contains("knows each place of 6 x 8") && error.kind() == ErrorKind::Argument, "{error}");
    let error = engine.append_to(&own).unwrap().add(Picture::new(200, 90, 1).frame()).unwrap_err();
    assert!(error.to_string().contains("one shape"), "{error}");

    // Banks with other positions do not go beside each other; in a slot each takes frames of its own only.
    let wide = Picture::new(200, 90, 1);
    let of_wide =
        bank(&engine, "anomaly-dino", &texts(&["rotations=1"], &tiling(&engine, BankPer::Tile)), &[wide.frame()]);
    assert_eq!(
        engine.multi_bank_scorer(&[Arc::clone(&own), Arc::clone(&of_wide)]).err().unwrap().kind(),
        ErrorKind::Argument
    );
    of_own.score(good.frame()).unwrap();
    of_own.set_bank(of_wide).unwrap();
    of_own.score(wide.frame()).unwrap();
    assert!(of_own.score(good.frame()).unwrap_err().to_string().contains("knows each place of 5 x 10"));

    // Banks of another tiling do not go into the slot, nor beside each other.
    let untiled = bank(&engine, "anomaly-dino", &["size=48".to_owned(), "rotations=1".to_owned()], &[good.frame()]);
    for other in [&own, &untiled] {
        let error = slot.swap(Arc::clone(other)).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Bank && error.to_string().contains("with tiles (tile=48 overlap=16 scale=0.8"),
            "{error}"
        );
        assert!(engine.multi_bank_scorer(&[Arc::clone(&shared), Arc::clone(other)]).is_err());
    }
    assert_eq!(bits(scorer.score(good.frame()).unwrap()), expected);
}
