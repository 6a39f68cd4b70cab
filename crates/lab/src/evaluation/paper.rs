//! Published figures, for comparison: Table 1 of the InCTRL paper, and what the authors of other methods report.

use serde::Serialize;

use crate::datasets::{Layout, Published};

/// Table 1 (AUROC) of Zhu & Pang, CVPR 2024.
const TABLE: &str = include_str!("paper_table1.csv");

/// Methods by their names in [`TABLE`], with the encoder that they have there.
const IN_TABLE: [(&str, &str, &str); 6] = [
    ("inctrl", "InCTRL", "InCTRL, CVPR 2024, table 1: CLIP ViT-B/16+, 240 pixels"),
    ("winclip", "WinCLIP", "InCTRL, CVPR 2024, table 1: CLIP ViT-B/16+, 240 pixels"),
    ("winclip-zero", "zero-shot baseline (WinCLIP-based)", "InCTRL, CVPR 2024, table 1: CLIP ViT-B/16+, 240 pixels"),
    ("patchcore", "Patchcore", "InCTRL, CVPR 2024, table 1: Wide ResNet-50, 224 pixels"),
    ("padim", "PaDiM", "InCTRL, CVPR 2024, table 1: Wide ResNet-50, 224 pixels"),
    ("spade", "SPADE", "InCTRL, CVPR 2024, table 1: Wide ResNet-50, 224 pixels"),
];

/// The mean AUROC of images that other authors report: method, data set, shots, mean.
const OTHERS: [(&str, &str, usize, f64); 12] = [
    ("anomaly-dino", "MVTec AD", 1, 0.966),
    ("anomaly-dino", "MVTec AD", 2, 0.969),
    ("anomaly-dino", "MVTec AD", 4, 0.977),
    ("anomaly-dino", "VisA", 1, 0.874),
    ("anomaly-dino", "VisA", 2, 0.897),
    ("anomaly-dino", "VisA", 4, 0.926),
    ("subspace", "MVTec AD", 1, 0.971),
    ("subspace", "MVTec AD", 2, 0.975),
    ("subspace", "MVTec AD", 4, 0.980),
    ("subspace", "VisA", 1, 0.932),
    ("subspace", "VisA", 2, 0.938),
    ("subspace", "VisA", 4, 0.947),
];
/// Their papers, with the encoders.
const SOURCES: [(&str, &str); 2] = [
    ("anomaly-dino", "AnomalyDINO, WACV 2025: DINOv2 ViT-S, 672 pixels"),
    ("subspace", "SubspaceAD, CVPR 2026: DINOv2 ViT-g, 672 pixels"),
];

/// A published figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PaperRow {
    /// The data set as the paper names it.
    pub dataset: &'static str,
    /// Prompts.
    pub shots: usize,
    /// Mean AUROC of the images over the draws.
    pub auroc_mean: f64,
    /// Its standard deviation, if it is known.
    pub auroc_std: Option<f64>,
    /// The paper, and the encoder that the method has in it.
    pub source: &'static str,
}

/// The published figures of a method on a data set with these classes; none for an unknown or partial data set.
///
/// A class may happen to have the name of a data set. So data sets of one class must also have the right layout.
pub fn paper_rows(method: &str, classes: &[&str], layout: Layout) -> Vec<PaperRow> {
    let known = Published::of(classes, layout).filter(|known| known.classes.len() == classes.len());
    let Some(Published { dataset, .. }) = known else { return Vec::new() };
    let of_table = |(_, listed, source): &(&str, &str, &'static str)| {
        let row = |line: &'static str| {
            let [shots, of, name, mean, std] = line.split(',').collect::<Vec<_>>()[..] else { return None };
            let figure = PaperRow {
                dataset,
                shots: shots.parse().ok()?,
                auroc_mean: mean.parse().ok()?,
                auroc_std: std.parse().ok(),
                source,
            };
            (of == *listed && name == dataset).then_some(figure)
        };
        TABLE.lines().filter_map(row).collect::<Vec<_>>()
    };
    let source = SOURCES.iter().find(|(of, _)| *of == method).map_or("", |(_, source)| source);
    let others = OTHERS.iter().filter(|(of, name, ..)| (*of, *name) == (method, dataset));
    let others =
        others.map(|&(_, _, shots, auroc_mean)| PaperRow { dataset, shots, auroc_mean, auroc_std: None, source });
    IN_TABLE.iter().filter(|(of, ..)| *of == method).flat_map(of_table).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_the_classes() {
        let rows = paper_rows("inctrl", &["elpv"], Layout::Elpv);
        let figures: Vec<_> = rows.iter().map(|row| (row.shots, row.auroc_mean, row.auroc_std)).collect();
        assert_eq!(figures, [(2, 0.839, Some(0.003)), (4, 0.846, Some(0.011)), (8, 0.872, Some(0.013))]);
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
        assert_eq!(paper_rows("inctrl", &mvtec, Layout::Mvtec)[2].dataset, "MVTec AD");
        assert_eq!(paper_rows("inctrl", &mvtec, Layout::Visa)[2].dataset, "MVTec AD");
        assert!(
            paper_rows("inctrl", &mvtec[1..], Layout::Mvtec).is_empty()
                && paper_rows("inctrl", &["nut"], Layout::Elpv).is_empty()
        );
        assert_eq!(paper_rows("inctrl", &["SDD"], Layout::Sdd)[0].auroc_mean, 0.972);
        assert_eq!(paper_rows("inctrl", &["animal"], Layout::Cifar10Multi)[0].dataset, "CIFAR-10 multi-class");
        for (class, layout) in [("elpv", Layout::Mvtec), ("brain", Layout::Folder), ("headct", Layout::Elpv)] {
            assert!(paper_rows("inctrl", &[class], layout).is_empty(), "{class}");
        }
    }

    /// Every method of the table is found under its own name, and those that it does not have by their own papers.
    #[test]
    fn every_method_has_its_own_figures() {
        for (method, shots, figure) in [
            ("winclip-zero", 0, 0.733),
            ("winclip", 2, 0.726),
            ("patchcore", 4, 0.756),
            ("padim", 8, 0.724),
            ("spade", 8, 0.567),
        ] {
            let rows = paper_rows(method, &["elpv"], Layout::Elpv);
            let found = rows.iter().find(|row| row.shots == shots).map(|row| row.auroc_mean);
            assert_eq!(found, Some(figure), "{method}");
        }
        assert!(IN_TABLE.iter().all(|(_, listed, _)| TABLE.contains(&format!(",{listed},"))));
        let visa = Published::of(&["candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1"], Layout::Visa);
        let classes: Vec<&str> = visa.unwrap().classes.iter().map(|(class, _)| *class).collect();
        let rows = paper_rows("anomaly-dino", &classes, Layout::Visa);
        let figures: Vec<(usize, f64)> = rows.iter().map(|row| (row.shots, row.auroc_mean)).collect();
        assert_eq!(figures, [(1, 0.874), (2, 0.897), (4, 0.926)]);
        for (method, ..) in OTHERS {
            let has_source = SOURCES.iter().any(|(of, _)| *of == method);
            assert!(inctrl::methods::by_name(method).is_ok() && has_source, "{method}");
        }
        assert!(paper_rows("toy", &["elpv"], Layout::Elpv).is_empty());
    }
}
