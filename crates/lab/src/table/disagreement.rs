//! The images on which the rows of a table differ most.
//!
//! Scores of different methods are not comparable. So the share of the good test images of the class that score lower
//! than an image is compared: 1 if a method finds it more anomalous than every good image, 0.5 in their middle. The
//! page shows the images with the largest standard deviation of this share over the rows, by the scores of the first
//! run with the most shots.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::datasets::{Dataset, Label};
use crate::evaluation::{Entry, stored};
use crate::render::ColourScale;
use crate::report::{Look, pictures};
use crate::study::Study;

/// Images of a data set that are shown.
const SHOWN: usize = 3;

/// An image on which the rows differ.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The class.
    pub class: String,
    /// The image's name in the data set.
    pub name: String,
    /// Whether it is good.
    pub label: Label,
    /// Its kind, such as the defect.
    pub kind: String,
    /// Standard deviation over the rows of [`View::above`].
    pub deviation: f64,
    /// The picture, as data for a page.
    pub picture: Option<String>,
    /// By row; none if the row has no score for it.
    pub views: Vec<Option<View>>,
}

/// What a row says of an image.
#[derive(Clone, Debug)]
pub struct View {
    /// Its score.
    pub score: f32,
    /// The share of the good images of the class with smaller scores; equal scores count half.
    pub above: f64,
    /// The heat map over the picture, as data for a page.
    pub heat: Option<String>,
}

/// What is kept of a cell to find disagreements: its scores against one bank.
pub(super) struct Seen {
    /// The cell's folder.
    folder: PathBuf,
    /// The bank: the most shots in the first run.
    bank: usize,
    /// By class and image.
    scores: HashMap<(String, String), f32>,
    /// The upper end of its colour scale: twice the largest value in the maps of good images.
    scale: f32,
}

impl Seen {
    pub(super) fn of(study: &Study, dataset: &Dataset, folder: PathBuf) -> Self {
        let banks = study.options.banks();
        let most = study.options.shots.iter().copied().max().unwrap_or(0);
        let bank = banks.iter().position(|&bank| bank == (0, most)).unwrap_or(0);
        let (mut scores, mut largest) = (HashMap::new(), f32::MIN_POSITIVE);
        for entry in &study.entries {
            let Some(scored) = entry.scores.as_ref().ok().and_then(|scores| scores.get(bank)) else { continue };
            scores.insert((entry.class.clone(), entry.name.clone()), scored.score);
            if dataset.item(&entry.class, &entry.name).is_some_and(|item| item.label == Label::Normal) {
                largest = largest.max(scored.patch_max);
            }
        }
        Seen { folder, bank, scores, scale: 2.0 * largest }
    }

    /// For each image the share of the other good images of its class that score lower.
    fn shares(&self, dataset: &Dataset) -> HashMap<(&str, &str), f64> {
        let mut good: HashMap<&str, Vec<f32>> = HashMap::new();
        let known =
            || self.scores.iter().filter_map(|((class, name), score)| Some((dataset.item(class, name)?, *score)));
        for (item, score) in known().filter(|(item, _)| item.label == Label::Normal) {
            good.entry(&item.class).or_default().push(score);
        }
        good.values_mut().for_each(|scores| scores.sort_by(f32::total_cmp));
        let share = |(item, score): (&'_ crate::datasets::Item, f32)| {
            let of_class = good.get(item.class.as_str())?;
            let below = of_class.partition_point(|other| *other < score);
            let equal = of_class.partition_point(|other| *other <= score) - below;
            let own = usize::from(item.label == Label::Normal);
            let others = of_class.len() - own;
            (others > 0).then(|| (below as f64 + 0.5 * (equal - own) as f64) / others as f64)
        };
        let named = self.scores.iter().filter_map(|((class, name), score)| {
            let item = dataset.item(class, name)?;
            Some(((class.as_str(), name.as_str()), share((item, *score))?))
        });
        named.collect()
    }
}

/// The images on which the rows differ most, the largest difference first.
pub(super) fn find(dataset: &Dataset, seen: &[Option<Seen>], with_pictures: bool) -> Vec<Disagreement> {
    let shares: Vec<Option<HashMap<(&str, &str), f64>>> =
        seen.iter().map(|seen| Some(seen.as_ref()?.shares(dataset))).collect();
    let mut found: Vec<Disagreement> = Vec::new();
    for item in &dataset.items {
        let key = (item.class.as_str(), item.name.as_str());
        let of_rows: Vec<Option<f64>> = shares.iter().map(|shares| shares.as_ref()?.get(&key).copied()).collect();
        let values: Vec<f64> = of_rows.iter().flatten().copied().collect();
        if values.len() < 2 {
            continue;
        }
        let view = |(share, seen): (&Option<f64>, &Option<Seen>)| {
            let score = *seen.as_ref()?.scores.get(&(item.class.clone(), item.name.clone()))?;
            Some(View { score, above: (*share)?, heat: None })
        };
        found.push(Disagreement {
            class: item.class.clone(),
            name: item.name.clone(),
            label: item.label,
            kind: item.kind.clone(),
            deviation: deviation(&values),
            picture: None,
            views: of_rows.iter().zip(seen).map(view).collect(),
        });
        // The sort is stable, so equal images keep their order.
        found.sort_by(|a, b| b.deviation.total_cmp(&a.deviation));
        found.truncate(SHOWN);
    }
    found.retain(|disagreement| disagreement.deviation > 0.0);
    if with_pictures {
        draw(dataset, seen, &mut found);
    }
    found
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// Adds pictures and heat maps. An image that can no longer be read has none.
fn draw(dataset: &Dataset, seen: &[Option<Seen>], found: &mut [Disagreement]) {
    let names: Vec<(String, String)> = found.iter().map(|shown| (shown.class.clone(), shown.name.clone())).collect();
    let wanted: HashSet<(&str, &str)> = names.iter().map(|(class, name)| (class.as_str(), name.as_str())).collect();
    for (row, seen) in seen.iter().enumerate() {
        let Some(seen) = seen else { continue };
        let (Ok(entries), Ok(scale)) = (stored(&seen.folder, &wanted), ColourScale::new(seen.scale)) else { continue };
        for shown in found.iter_mut() {
            let is_it = |entry: &&Entry| (&entry.class, &entry.name) == (&shown.class, &shown.name);
            let entry = entries.iter().find(is_it);
            let (Some(entry), Some(item)) = (entry, dataset.item(&shown.class, &shown.name)) else { continue };
            let Ok([picture, heat]) = pictures(item, entry, seen.bank, &scale, Look::SMALL) else { continue };
            shown.picture.get_or_insert(picture);
            if let Some(Some(view)) = shown.views.get_mut(row) {
                view.heat = Some(heat);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::{Layout, Split};

    /// Four good images and one bad one, each a picture of one grey.
    fn dataset(folder: &std::path::Path) -> Dataset {
        for (kind, name) in [("good", "0"), ("good", "1"), ("good", "2"), ("good", "3"), ("bent", "4")] {
            let path = folder.join(format!("nut/test/{kind}/{name}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::GrayImage::new(8, 8).save(path).unwrap();
        }
        let train = folder.join("nut/train/good");
        std::fs::create_dir_all(&train).unwrap();
        image::GrayImage::new(8, 8).save(train.join("0.png")).unwrap();
        Dataset::open(folder, Some(Layout::Mvtec), 0).unwrap()
    }

    fn seen(dataset: &Dataset, scores: [f32; 5]) -> Option<Seen> {
        let mut names: Vec<&str> = dataset.of("nut", Split::Test).map(|item| item.name.as_str()).collect();
        names.sort_by_key(|name| name.rsplit('/').next().map(str::to_owned));
        let scores = names.iter().zip(scores).map(|(name, score)| (("nut".to_owned(), (*name).to_owned()), score));
        Some(Seen { folder: PathBuf::new(), bank: 0, scores: scores.collect(), scale: 1.0 })
    }

    #[test]
    fn scores_are_compared_by_the_good_images_below_them() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path());
        // Of other magnitudes, and the last row finds the defect below all good images. 1 and 2 are equal for it.
        let rows = [
            seen(&dataset, [0.1, 0.2, 0.3, 0.4, 0.5]),
            seen(&dataset, [10.0, 20.0, 30.0, 40.0, 50.0]),
            None,
            seen(&dataset, [2.0, 3.0, 3.0, 4.0, 1.0]),
        ];
        let found = find(&dataset, &rows, false);
        assert_eq!((found[0].name.as_str(), found[0].label), ("nut/test/bent/4.png", Label::Anomalous));
        let above: Vec<Option<f64>> = found[0].views.iter().map(|view| view.as_ref().map(|view| view.above)).collect();
        assert_eq!(above, [Some(1.0), Some(1.0), None, Some(0.0)]);
        // Of 1, 1 and 0: the mean is 2/3, the variance 2/9.
        assert!((found[0].deviation - (2.0f64 / 9.0).sqrt()).abs() <= 1e-15);
        // 1 is above one of its three others for the first rows; above one, and level with one, for the last.
        let second = found.iter().find(|shown| shown.name.ends_with("good/1.png")).unwrap();
        let above: Vec<f64> = second.views.iter().flatten().map(|view| view.above).collect();
        assert_eq!(above, [1.0 / 3.0, 1.0 / 3.0, 0.5]);
        assert_eq!(found.len(), 3);
        // Rows that agree, and a row alone, have no disagreement.
        let one = || seen(&dataset, [0.1, 0.2, 0.3, 0.4, 0.5]);
        assert!(find(&dataset, &[one(), one()], false).is_empty() && find(&dataset, &[one()], false).is_empty());
    }
}
