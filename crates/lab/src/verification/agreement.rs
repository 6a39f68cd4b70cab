//! Two engines' scores of the same images.

use std::path::PathBuf;

use inctrl::{Score, Verdict};
use serde::Serialize;

use super::{Judged, Shown};
use crate::metrics::{auroc, rank_correlation};

/// How far the scores of an engine lie from those of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Images that both have scored and that are not prompts of the bank.
    pub images: usize,
    /// Images that are prompts of the bank, which do not count.
    pub prompts: usize,
    /// The largest difference of two scores of an image.
    pub score_most: f64,
    /// The mean difference.
    pub score_mean: f64,
    /// The largest difference of two cells of a map.
    pub cell_most: f64,
    /// Rank correlation of the scores, and of all cells of all maps; absent where everything is equal.
    pub scores_ranked: Option<f64>,
    /// See `scores_ranked`.
    pub cells_ranked: Option<f64>,
    /// The lowest rank correlation of the cells of a map, and its image.
    pub worst_map: Option<(f64, PathBuf)>,
    /// Images whose verdict changes at the limits of the bank; absent if it has none.
    pub changes: Option<Vec<Change>>,
    /// How often a defective image scores above another, for both engines; absent without defective images.
    pub auroc: Option<[f64; 2]>,
}

/// An image whose verdict changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its file.
    pub path: PathBuf,
    /// Both scores.
    pub scores: [f32; 2],
    /// The largest cell of each map.
    pub largest: [f32; 2],
    /// Both verdicts.
    #[serde(serialize_with = "names")]
    pub verdicts: [Verdict; 2],
}

fn names<S: serde::Serializer>(verdicts: &[Verdict; 2], serializer: S) -> Result<S::Ok, S::Error> {
    verdicts.map(Verdict::name).serialize(serializer)
}

impl Agreement {
    /// That of `other` with `reference`, which scored the same `images`.
    pub fn of(images: &[Shown], reference: &Judged, other: &Judged) -> Self {
        let pairs = images.iter().zip(reference.scores.iter().zip(&other.scores));
        let both = pairs.filter_map(|(image, (a, b))| Some((image, [a.as_ref().ok()?, b.as_ref().ok()?])));
        let (prompts, both): (Vec<_>, Vec<_>) = both.partition(|(_, [scored, _])| scored.prompt);
        let both: Vec<(&Shown, [&Score; 2])> =
            both.into_iter().map(|(image, pair)| (image, pair.map(|scored| &scored.score))).collect();
        let mut found = Agreement { images: both.len(), prompts: prompts.len(), ..Agreement::default() };
        if both.is_empty() {
            return found;
        }
        let apart = |[a, b]: [f32; 2]| (f64::from(a) - f64::from(b)).abs();
        let scores = [0, 1].map(|k| both.iter().map(|(_, pair)| pair[k].score).collect::<Vec<f32>>());
        let differences: Vec<f64> = scores[0].iter().zip(&scores[1]).map(|(a, b)| apart([*a, *b])).collect();
        found.score_most = differences.iter().copied().fold(0.0, f64::max);
        found.score_mean = differences.iter().sum::<f64>() / differences.len() as f64;
        found.scores_ranked = rank_correlation(&scores[0], &scores[1]);
        let mut all = [Vec::new(), Vec::new()];
        for (image, pair) in &both {
            let cells = pair.map(cells);
            let most = cells[0].iter().zip(&cells[1]).map(|(a, b)| apart([*a, *b])).fold(0.0, f64::max);
            found.cell_most = found.cell_most.max(most);
            let ranked = rank_correlation(&cells[0], &cells[1]);
            if let Some(ranked) = ranked.filter(|ranked| found.worst_map.as_ref().is_none_or(|(r, _)| ranked < r)) {
                found.worst_map = Some((ranked, image.path.clone()));
            }
            all.iter_mut().zip(cells).for_each(|(all, cells)| all.extend(cells));
        }
        found.cells_ranked = rank_correlation(&all[0], &all[1]);
        let change = |(image, pair): &(&Shown, [&Score; 2])| {
            let verdicts = [pair[0].decision?.verdict, pair[1].decision?.verdict];
            let (scores, largest) = (pair.map(|score| score.score), pair.map(|score| score.map.largest()));
            Some(Change { path: image.path.clone(), scores, largest, verdicts })
        };
        let all: Option<Vec<Change>> = both.iter().map(change).collect();
        found.changes = all.map(|all| all.into_iter().filter(|c| c.verdicts[0] != c.verdicts[1]).collect());
        let defective: Vec<bool> = both.iter().map(|(image, _)| image.defective).collect();
        let of = |k: usize| auroc(&scores[k], &defective).ok();
        found.auroc = of(0).zip(of(1)).map(|(a, b)| [a, b]);
        found
    }
}

/// The cells of a map that count.
fn cells(score: &Score) -> Vec<f32> {
    let judged = score.map.cells.iter().zip(&score.ignored).filter(|(_, ignored)| !**ignored);
    judged.map(|(cell, _)| *cell).collect()
}
