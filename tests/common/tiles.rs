//! Scores by tiles against scores of the cut-out regions, put together by hand, on any device.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::view::{BankPer, Layout, Tiling, View};
use inctrl::{BankSpec, Engine, Fit, Frame, PixelFormat, PromptBank, Score};

/// A method, its options, and whether tiles share a bank.
pub struct Case {
    pub method: &'static str,
    pub options: &'static [&'static str],
    pub bank_per: BankPer,
}

const fn case(method: &'static str, options: &'static [&'static str], bank_per: BankPer) -> Case {
    Case { method, options, bank_per }
}

/// Every method. Those that are here with a shared bank give the same bits whatever the order of a bank's rows.
pub const CASES: &[Case] = &[
    case("anomaly-dino", &["rotations=1"], BankPer::Frame),
    case("padim", &["taps=1,2", "dims=20"], BankPer::Tile),
    case("winclip-zero", &[], BankPer::Frame),
    case("anomaly-dino", &["rotations=1"], BankPer::Tile),
    case("patchcore", &["coreset=1"], BankPer::Frame),
    case("patchcore", &["coreset=0.5", "taps=1,2", "reweight=on"], BankPer::Tile),
    case("subspace", &["rotations=0", "taps=1,2"], BankPer::Tile),
    case("spade", &["taps=2"], BankPer::Tile),
    case("inctrl", &[], BankPer::Tile),
    case("winclip", &[], BankPer::Tile),
];

/// A picture of its own texture.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub bytes: Vec<u8>,
}

impl Picture {
    pub fn new(width: usize, height: usize, seed: usize) -> Self {
        let value = |i: usize| {
            let (x, y) = ((i / 3 % width) as f32, (i / 3 / width) as f32);
            let wave = (x * 0.21 + seed as f32).sin() + (y * 0.13 * (1 + seed % 3) as f32).cos();
            (128.0 + 40.0 * wave + (i % 3) as f32 * 9.0) as u8 ^ (i * i % 19) as u8
        };
        Picture { width, height, bytes: (0..3 * width * height).map(value).collect() }
    }

    pub fn frame(&self) -> Frame<'_> {
        Frame::packed(&self.bytes, self.width, self.height, PixelFormat::Rgb8).unwrap()
    }
}

pub fn bank(engine: &Engine, method: &str, options: &[String], prompts: &[Frame<'_>]) -> Arc<PromptBank> {
    let mut spec = BankSpec::default();
    (spec.method, spec.class) = (Some(method.to_owned()), Some("nut".to_owned()));
    (spec.fit, spec.options) = (Some(Fit::Stretch), options.to_vec());
    let mut builder = engine.bank_builder_of(&spec).unwrap();
    prompts.iter().for_each(|frame| builder.add(*frame).unwrap());
    Arc::new(builder.finish().unwrap())
}

/// The numbers of a score, to the bit: outputs and map.
pub fn bits(score: &Score) -> Vec<u32> {
    let numbers = score.outputs().map(|(_, value)| value).chain(score.map.cells.iter().copied());
    numbers.map(f32::to_bits).collect()
}

/// The tiles of frames for this engine: of the model's size, one patch of overlap, at a scale at which no cell is a whole
/// number of pixels.
pub fn tiling(engine: &Engine, bank_per: BankPer) -> Tiling {
    let vision = &engine.arch().vision;
    Tiling { tile: vision.image_size, overlap: vision.patch_size, scale: 0.8, bank_per, defect: None, squares: false }
}

pub fn texts(options: &[&str], tiling: &Tiling) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).chain(tiling.to_string().split(' ').map(str::to_owned)).collect()
}

/// Whether a tile is the one in which a cell is most central, along an axis: the first of those with the nearest centre.
fn is_nearest(starts: &[usize], tile: usize, size: usize, cell: usize) -> bool {
    let away = |start: &usize| (2 * cell + 1).abs_diff(2 * start + size);
    let nearest = (0..starts.len()).min_by_key(|i| away(&starts[*i])).unwrap();
    starts[nearest] == starts[tile]
}

/// The definition: each tile is a frame of its own, in which those cells count that are most central in it; the score is
/// that of the worst, and each cell of the map comes from its tile.
fn by_hand(engine: &Engine, banks: &[Arc<PromptBank>], layout: &Layout, query: Frame<'_>) -> Vec<u32> {
    let (vision, grid, tiles) = (&engine.arch().vision, layout.grid(), layout.tiles());
    let size = layout.tile_grid().rows;
    let first = |at: usize, cells: usize, side: usize| (at as f64 * cells as f64 / side as f64).round() as usize;
    let region = |tile: usize| layout.region(tile);
    let left: Vec<usize> = (0..tiles.cols).map(|i| first(region(i).x, grid.cols, query.width())).collect();
    let top: Vec<usize> = (0..tiles.rows).map(|i| first(region(i * tiles.cols).y, grid.rows, query.height())).collect();
    let outputs = banks[0].outputs();
    let mut all = vec![f32::NAN; grid.cells()];
    let mut worst = vec![f32::NEG_INFINITY; outputs.len()];
    for tile in 0..tiles.cells() {
        let bank = &banks[if banks.len() == 1 { 0 } else { tile }];
        let (row, col) = (tile / tiles.cols, tile % tiles.cols);
        let place = |cell: usize| [top[row] + cell / size, left[col] + cell % size];
        let own = |cell: usize| {
            let [y, x] = place(cell);
            is_nearest(&top, row, size, y) && is_nearest(&left, col, size, x)
        };
        let cut = query.region(region(tile)).unwrap();
        let plan = vision.plan(cut.width(), cut.height(), Fit::Stretch).unwrap();
        let view = View::whole(plan, None, vision.patch_size).only(own);
        let mut batch = engine.batch(bank, 1, 1).unwrap();
        batch.begin(layout.tile_grid()).unwrap();
        batch.place(cut.into(), None, &[view], |_| 0..1, |_, _, _| Ok(())).unwrap();
        let device = engine.device_bank(bank).unwrap();
        batch
            .score(&[&device], &mut |_, values, map| {
                for cell in (0..map.len()).filter(|cell| own(*cell)) {
                    let [y, x] = place(cell);
                    assert!(all[y * grid.cols + x].is_nan());
                    all[y * grid.cols + x] = map[cell].max(0.0);
                }
                if values[0] > worst[0] {
                    let clamped = values.iter().zip(outputs).map(|(x, output)| x.max(output.low).min(output.high));
                    worst = clamped.collect();
                }
            })
            .unwrap();
    }
    let largest = all.iter().copied().fold(0.0, f32::max);
    let patch_max = outputs.iter().position(|output| output.name == "patch_max").unwrap();
    assert!(worst[patch_max] <= largest);
    worst[patch_max] = largest;
    worst.iter().chain(&all).map(|x| x.to_bits()).collect()
}

/// Scores of the cases' methods by tiles have the bits of the definition: in any batch, alone and beside another bank.
pub fn check(engine: &Engine, cases: &[Case]) {
    let (width, height) = (150, 110);
    let good = [0, 1].map(|seed| Picture::new(width, height, seed));
    let bad = [7, 8].map(|seed| Picture::new(width, height, seed));
    let good = good.each_ref().map(Picture::frame);
    let queries = bad.each_ref().map(Picture::frame);
    let vision = &engine.arch().vision;
    for Case { method, options, bank_per } in cases {
        println!("{method} {options:?}, a bank for each {}", bank_per.name());
        let tiling = tiling(engine, *bank_per);
        let layout = Layout::new(&tiling, vision.patch_size, width, height).unwrap();
        let tiles = layout.tiles().cells();
        assert!(tiles > 1);
        let good: &[Frame<'_>] = if *method == "winclip-zero" { &[] } else { &good };
        let tiled = bank(engine, method, &texts(options, &tiling), good);
        assert_eq!(tiled.tiling(), Some(&tiling));

        let mut own: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        if *method != "inctrl" {
            own.push(format!("size={}", tiling.tile));
        }
        let cut = |tile: usize| {
            let region = layout.region(tile);
            good.iter().map(move |frame| frame.region(region).unwrap())
        };
        let banks: Vec<Arc<PromptBank>> = match bank_per {
            BankPer::Frame => vec![bank(engine, method, &own, &(0..tiles).flat_map(cut).collect::<Vec<_>>())],
            BankPer::Tile => {
                (0..tiles).map(|tile| bank(engine, method, &own, &cut(tile).collect::<Vec<_>>())).collect()
            }
        };
        let expected = queries.map(|query| by_hand(engine, &banks, &layout, query));
        assert!(expected[0] != expected[1]);
        for capacity in [1, 11] {
            let capacity = NonZeroUsize::new(capacity).unwrap();
            let mut scorer = engine.batch_scorer(Arc::clone(&tiled), capacity).unwrap();
            for _ in 0..2 {
                let found = scorer.score_batch(&queries).unwrap();
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(bits(found), *expected, "capacity {capacity}");
                    assert_eq!((found.map.grid, found.map.placement), (layout.grid(), layout.placement()));
                    assert_eq!((found.width, found.height, found.bank), (width, height, tiled.bank_id()));
                    assert!(found.ignored.iter().all(|ignored| !ignored));
                }
            }
        }
        let mut many = engine.multi_bank_scorer(&[Arc::clone(&tiled), Arc::clone(&tiled)]).unwrap();
        for (query, expected) in queries.iter().zip(&expected) {
            many.score(*query).unwrap().iter().for_each(|found| assert_eq!(bits(found), *expected));
        }
    }
}
