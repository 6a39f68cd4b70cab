//! Table 1 of the InCTRL paper, for comparison.

use serde::Serialize;

use crate::datasets::{Layout, Published};

/// Table 1 (AUROC) of Zhu & Pang, CVPR 2024.
const TABLE: &str = include_str!("paper_table1.csv");

/// The method of these figures.
pub const PAPER_METHOD: &str = "inctrl";

/// A figure reported in the paper.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PaperRow {
    /// The data set as the paper names it.
    pub dataset: &'static str,
    /// Prompts.
    pub shots: usize,
    /// Mean AUROC of the images over the draws.
    pub auroc_mean: f64,
    /// Its standard deviation.
    pub auroc_std: f64,
}

/// The paper's rows for a data set with these classes; none for an unknown or partial data set.
///
/// A class may happen to have the name of a data set. So data sets of one class must also have the right layout.
pub fn paper_rows(classes: &[&str], layout: Layout) -> Vec<PaperRow> {
    let known = Published::of(classes, layout).filter(|known| known.classes.len() == classes.len());
    let Some(Published { dataset, .. }) = known else { return Vec::new() };
    let row = |line: &'static str| {
        let [shots, "InCTRL", name, mean, std] = line.split(',').collect::<Vec<_>>()[..] else { return None };
        let [auroc_mean, auroc_std] = [mean.parse().ok()?, std.parse().ok()?];
        (name == dataset).then_some(PaperRow { dataset, shots: shots.parse().ok()?, auroc_mean, auroc_std })
    };
    TABLE.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_the_classes() {
        let rows = paper_rows(&["elpv"], Layout::Elpv);
        let figures: Vec<_> = rows.iter().map(|row| (row.shots, row.auroc_mean, row.auroc_std)).collect();
        assert_eq!(figures, [(2, 0.839, 0.003), (4, 0.846, 0.011), (8, 0.872, 0.013)]);
        let mvtec = [
            "bottle",
            "cable",
            "capsule",
            "carpet",
            "grid",
            "hazelnut",
            "leather",
            "metal_nut",
            "pill",
            "screw",
            "tile",
            "toothbrush",
            "transistor",
            "wood",
            "zipper",
        ];
        assert_eq!(paper_rows(&mvtec, Layout::Mvtec)[2].dataset, "MVTec AD");
        assert_eq!(paper_rows(&mvtec, Layout::Visa)[2].dataset, "MVTec AD");
        assert!(paper_rows(&mvtec[1..], Layout::Mvtec).is_empty() && paper_rows(&["nut"], Layout::Elpv).is_empty());
        assert_eq!(paper_rows(&["SDD"], Layout::Sdd)[0].auroc_mean, 0.972);
        assert_eq!(paper_rows(&["animal"], Layout::Cifar10Multi)[0].dataset, "CIFAR-10 multi-class");
        for (class, layout) in [("elpv", Layout::Mvtec), ("brain", Layout::Folder), ("headct", Layout::Elpv)] {
            assert!(paper_rows(&[class], layout).is_empty(), "{class}");
        }
    }
}
