//! Scores by tiles against scores of the cut-out regions, put together by hand, on any device.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::view::{BankPer, Layout, Tiling};
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
    Tiling { tile: vision.image_size, overlap: vision.patch_size, scale: 0.8, bank_per, defect: None }
}

pub fn texts(options: &[&str], tiling: &Tiling) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).chain(tiling.to_string().split(' ').map(str::to_owned)).collect()
}

/// The definition: each tile is a frame of its own, the score is that of the worst, and each cell of the map comes from
/// the tile in which it is most central.
fn by_hand(engine: &Engine, banks: &[Arc<PromptBank>], layout: &Layout, query: Frame<'_>) -> Vec<u32> {
    let mut scorers: Vec<_> = banks.iter().map(|bank| engine.scorer(Arc::clone(bank)).unwrap()).collect();
    let mut map = vec![f32::NAN; layout.grid().cells()];
    let mut worst: Option<Score> = None;
    for tile in 0..layout.tiles().cells() {
        let own = if scorers.len() == 1 { 0 } else { tile };
        let score = scorers[own].score(query.region(layout.region(tile)).unwrap()).unwrap();
        layout.stitch(tile, &score.map.cells, &mut map, |cell| *cell);
        if worst.as_ref().is_none_or(|worst| score.score > worst.score) {
            worst = Some(score.clone());
        }
    }
    let largest = map.iter().copied().fold(0.0, f32::max);
    let outputs = worst.iter().flat_map(Score::outputs);
    let outputs = outputs.map(|(output, value)| if output.name == "patch_max" { largest } else { value });
    outputs.chain(map.iter().copied()).map(f32::to_bits).collect()
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
