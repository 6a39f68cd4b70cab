//! Frames of several shapes, each with a map of its own rows and columns.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::view::Grid;
use inctrl::{BankSpec, Engine, ErrorKind, Fit, Frame, IgnoreMask, PixelFormat, PromptBank, Roi, Score};

use crate::tiny::{MODELS, Model};

/// Sides in pixels, and the map at 64 pixels of the shorter side with patches of 16 pixels.
const SHAPES: [(usize, usize, Grid); 4] = [
    (120, 80, Grid::new(4, 6)),
    (70, 70, Grid::new(4, 4)),
    // 64 x int(64 * 150 / 60) = 160 pixels.
    (60, 150, Grid::new(10, 4)),
    // 87.3 pixels: five patches and seven pixels that are not seen.
    (150, 110, Grid::new(4, 5)),
];
const SIZE: &str = "size=64";

fn pixels(width: usize, height: usize, seed: usize) -> Vec<u8> {
    (0..width * height).map(|i| (120 + (i % width * 7 + i / width * 5 + seed * 13) % 31) as u8).collect()
}

struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn new(width: usize, height: usize, seed: usize) -> Self {
        Picture { width, height, pixels: pixels(width, height, seed) }
    }

    fn frame(&self) -> Frame<'_> {
        Frame::packed(&self.pixels, self.width, self.height, PixelFormat::Grey8).unwrap()
    }
}

fn spec() -> BankSpec {
    let mut spec = BankSpec::default();
    (spec.method, spec.fit) = (Some("anomaly-dino".to_owned()), Some(Fit::Trim));
    spec.options = vec![SIZE.to_owned(), "rotations=1".to_owned()];
    spec
}

fn bank(engine: &Engine, prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    let mut builder = engine.bank_builder_of(&spec()).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    Arc::new(builder.finish().unwrap())
}

fn bits(score: &Score) -> (Grid, Vec<u32>, [f64; 4]) {
    let place = score.map.placement;
    let numbers = score.outputs().map(|(_, value)| value).chain(score.map.cells.iter().copied());
    (score.map.grid, numbers.map(f32::to_bits).collect(), [place.x, place.y, place.width, place.height])
}

fn model() -> Model {
    Model::new(MODELS[1].1, 11)
}

#[test]
fn a_batch_of_several_shapes_has_the_bits_of_each_frame_alone() {
    let engine = model().engine(2);
    let prompts: Vec<Picture> = SHAPES.iter().map(|&(width, height, _)| Picture::new(width, height, 0)).collect();
    let prompts: Vec<Frame<'_>> = prompts.iter().map(Picture::frame).collect();
    let bank = bank(&engine, &prompts[..3]);
    // All patches of all of them.
    let rows: usize = SHAPES[..3].iter().map(|(_, _, grid)| grid.cells()).sum();
    assert_eq!(bank.tensor("patches").unwrap().1[0], rows);

    // Shapes mixed, so that none lies beside its like.
    let queries: Vec<Picture> = (0..9)
        .map(|i| {
            let (width, height, _) = SHAPES[i * 3 % 4];
            Picture::new(width, height, i % 5)
        })
        .collect();
    let queries: Vec<Frame<'_>> = queries.iter().map(Picture::frame).collect();
    let alone: Vec<_> =
        queries.iter().map(|frame| bits(engine.scorer(Arc::clone(&bank)).unwrap().score(*frame).unwrap())).collect();
    for (i, (grid, cells, _)) in alone.iter().enumerate() {
        assert_eq!((*grid, cells.len()), (SHAPES[i * 3 % 4].2, 2 + grid.cells()), "query {i}");
    }
    assert!(alone.windows(2).all(|pair| pair[0].1 != pair[1].1));
    let mut many = engine.multi_bank_scorer(&[Arc::clone(&bank), Arc::clone(&bank)]).unwrap();
    for capacity in [1, 2, 4, 9] {
        let mut scorer = engine.batch_scorer(Arc::clone(&bank), NonZeroUsize::new(capacity).unwrap()).unwrap();
        for _ in 0..2 {
            let found = scorer.score_batch(&queries).unwrap();
            assert_eq!(found.iter().map(bits).collect::<Vec<_>>(), alone, "capacity {capacity}");
        }
    }
    for (query, alone) in queries.iter().zip(&alone) {
        many.score(*query).unwrap().iter().for_each(|score| assert_eq!(bits(score), *alone));
    }
}

#[test]
fn a_defect_is_found_where_it_is() {
    let engine = model().engine(2);
    for (width, height, grid) in SHAPES {
        let good = Picture::new(width, height, 0);
        let bank = bank(&engine, &[good.frame()]);
        let mut scorer = engine.scorer(bank).unwrap();
        let same = scorer.score(good.frame()).unwrap();
        assert!(same.map.largest() < 1e-6, "{width} x {height}: {}", same.map.largest());
        // The pixels of one cell, off the diagonal.
        let (row, col) = (grid.rows - 1, grid.cols / 2 - 1);
        let place = same.map.placement;
        let (right, down) = (place.width / grid.cols as f64, place.height / grid.rows as f64);
        let mut bad = Picture::new(width, height, 0);
        for (i, pixel) in bad.pixels.iter_mut().enumerate() {
            let (x, y) = ((i % width) as f64, (i / width) as f64);
            if (x / right) as usize == col && (y / down) as usize == row {
                *pixel = 255 * (((i % width / 2) ^ (i / width / 2)) & 1) as u8;
            }
        }
        let found = scorer.score(bad.frame()).unwrap();
        let worst = (0..grid.cells()).max_by(|&a, &b| found.map.cells[a].total_cmp(&found.map.cells[b])).unwrap();
        assert_eq!((worst / grid.cols, worst % grid.cols), (row, col), "{width} x {height}: {:?}", found.map.cells);
    }
}

#[test]
fn ignored_pixels_are_ignored_in_a_wide_map() {
    let engine = model().engine(1);
    let good = Picture::new(120, 80, 0);
    let mut builder = engine.bank_builder_of(&spec()).unwrap();
    // The last of six columns of cells.
    let roi = Roi { x: 100, y: 0, width: 20, height: 80 };
    builder.set_mask(IgnoreMask::from_rectangles(120, 80, &[roi]).unwrap()).unwrap();
    builder.add(good.frame()).unwrap();
    let bank = Arc::new(builder.finish().unwrap());
    assert_eq!(bank.tensor("patches").unwrap().1[0], 20);
    let mut scorer = engine.scorer(bank).unwrap();
    let mut bad = Picture::new(120, 80, 0);
    bad.pixels.chunks_exact_mut(120).for_each(|row| row[100..].fill(255));
    let found = scorer.score(bad.frame()).unwrap();
    let ignored: Vec<bool> = (0..24).map(|cell| cell % 6 == 5).collect();
    assert_eq!(found.ignored, ignored);
    assert!(found.map.cells.iter().zip(&ignored).all(|(cell, ignored)| !ignored || *cell == 0.0));
    let error = scorer.score(Picture::new(80, 120, 0).frame()).unwrap_err();
    assert_eq!((error.kind(), error.shapes()), (ErrorKind::Argument, Some([&[80, 120][..], &[120, 80][..]])));
}

#[test]
fn an_unseen_grid_takes_memory_once_and_says_so() {
    let engine = model().engine(1);
    let pictures: Vec<Picture> = SHAPES.iter().map(|&(width, height, _)| Picture::new(width, height, 0)).collect();
    let slot = Arc::new(engine.shared_bank(bank(&engine, &[pictures[0].frame()])).unwrap());
    let mut scorer = engine.scorer_of(&slot, NonZeroUsize::MIN).unwrap();
    for round in 0..2 {
        for (picture, (width, height, grid)) in pictures.iter().zip(SHAPES) {
            scorer.score(picture.frame()).unwrap();
            // That of a square is ready from the beginning.
            let expected = (round == 0 && grid != Grid::square(4)).then_some(grid);
            assert_eq!(scorer.grown(), expected, "{width} x {height}, round {round}");
            assert_eq!(slot.grid(width, height).unwrap(), grid);
        }
    }
    // Regions of every shape fit, largest or not.
    let limits = inctrl::Thresholds { review: 0.0, reject: 2.0, cell: 0.0 };
    let (judged, _) = slot.current();
    slot.swap(Arc::new(judged.with_thresholds(Some(limits)).unwrap())).unwrap();
    for picture in &pictures {
        assert_eq!(scorer.score(picture.frame()).unwrap().regions.len(), 1);
    }
}

#[test]
fn what_cannot_be_is_refused_and_the_scorer_goes_on() {
    let engine = model().engine(1);
    let good = Picture::new(120, 80, 0);
    let mut scorer = engine.scorer(bank(&engine, &[good.frame()])).unwrap();
    let expected = bits(scorer.score(good.frame()).unwrap());
    let thin = Picture::new(1, 4000, 0);
    let error = scorer.score(thin.frame()).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("64 x 256000"), "{error}");
    assert_eq!(bits(scorer.score(good.frame()).unwrap()), expected);

    // The heads of InCTRL are made for the model's own grid.
    let error = engine.build_bank("cat", Fit::Trim, &[good.frame()]).unwrap_err();
    assert!(error.kind() == ErrorKind::Argument && error.to_string().contains("trained for maps of 3 x 3"), "{error}");
    let square = Picture::new(80, 80, 0);
    assert!(engine.build_bank("cat", Fit::Trim, &[square.frame()]).is_ok());
}
