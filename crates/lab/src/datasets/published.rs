//! The published numbers of images of known data sets.

use super::Layout;

/// `dataset,layout,class,train,normal,anomalous`. A data set without a layout is recognised by its class names.
///
/// The counts of ELPV, BrainMRI, HeadCT, SDD and AITEX are those of the paper's protocol, the others those of the data sets. Not
/// included: MVTec AD 2, because most of its test labels are not published, and Real-IAD, because its lists name every image.
const TABLE: &str = include_str!("published.csv");

/// With fewer classes the names do not prove which data set it is: anybody may have the folders `01`, `02` and `03`.
const ENOUGH_CLASSES: usize = 5;

/// The published counts of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its name in the paper's table, or by its authors.
    pub dataset: &'static str,
    /// By class: normal training images, normal test images, anomalous test images.
    pub classes: Vec<(&'static str, [usize; 3])>,
    /// Whether it cannot be another data set.
    pub certain: bool,
}

impl Published {
    /// The known data set with this layout and these classes. A layout that many data sets share needs at least half of the
    /// classes.
    pub fn of(classes: &[&str], layout: Layout) -> Option<Self> {
        let mut known: Vec<(&str, Published)> = Vec::new();
        for line in TABLE.lines().skip(1) {
            let [dataset, lies, class, counts @ ..] = &line.split(',').collect::<Vec<_>>()[..] else { continue };
            let counts: Vec<usize> = counts.iter().filter_map(|count| count.parse().ok()).collect();
            let Ok(counts) = <[usize; 3]>::try_from(counts) else { continue };
            if known.last().is_none_or(|(_, last)| last.dataset != *dataset) {
                known.push((lies, Published { dataset, classes: Vec::new(), certain: true }));
            }
            if let Some((_, last)) = known.last_mut() {
                last.classes.push((class, counts));
            }
        }
        let by_classes = matches!(layout, Layout::Mvtec | Layout::Visa | Layout::Lists);
        let fits = |(lies, published): &(&str, Published)| {
            let half = lies.is_empty() && by_classes && 2 * classes.len() >= published.classes.len();
            (half || *lies == layout.name()) && classes.iter().all(|class| published.counts(class).is_some())
        };
        let (lies, mut found) = known.into_iter().find(fits)?;
        found.certain = !lies.is_empty() || found.classes.len() >= ENOUGH_CLASSES;
        Some(found)
    }

    /// The counts of a class.
    pub fn counts(&self, class: &str) -> Option<[usize; 3]> {
        self.classes.iter().find(|(known, _)| *known == class).map(|(_, counts)| *counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_sums_are_the_published_ones() {
        let sums = |classes: &[&str], layout| {
            let found = Published::of(classes, layout).unwrap();
            let sum = |at: usize| found.classes.iter().map(|(_, counts)| counts[at]).sum::<usize>();
            (found.dataset, found.classes.len(), [sum(0), sum(1), sum(2)], found.certain)
        };
        let mvtec = ["bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"];
        assert_eq!(sums(&mvtec, Layout::Mvtec), ("MVTec AD", 15, [3629, 467, 1258], true));
        let visa = ["candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1"];
        assert_eq!(sums(&visa, Layout::Visa), ("VisA", 12, [8659, 962, 1200], true));
        let loco = ["breakfast_box", "juice_bottle", "pushpins"];
        assert_eq!(sums(&loco, Layout::Mvtec), ("MVTec LOCO AD", 5, [1772, 575, 993], true));
        assert_eq!(sums(&["01", "03"], Layout::Mvtec), ("BTAD", 3, [1799, 451, 290], false));
        assert_eq!(sums(&["bracket_black", "metal_plate", "tubes"], Layout::Lists), ("MPDD", 6, [888, 176, 282], true));
        let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
        let digits: Vec<&str> = digits.iter().map(String::as_str).collect();
        assert_eq!(sums(&digits, Layout::Mnist), ("MNIST one-vs-all", 10, [60_000, 10_000, 90_000], true));
        let lines = TABLE.lines().skip(1);
        let read = |line: &str| line.split(',').skip(3).filter(|count| count.parse::<usize>().is_ok()).count() == 3;
        assert!(lines.clone().all(read));
        assert_eq!(lines.count(), 15 + 12 + 5 + 3 + 6 + 5 + 2 * 11);
    }

    #[test]
    fn names_that_only_look_alike_are_no_data_set() {
        for (classes, layout) in [
            (&["bottle", "cable"][..], Layout::Mvtec),
            (&["bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "my_nut"], Layout::Mvtec),
            (&["elpv"], Layout::Mvtec),
            (&["01"], Layout::Mvtec),
            (&["01", "02", "03"], Layout::Folder),
        ] {
            assert_eq!(Published::of(classes, layout), None, "{classes:?}");
        }
    }
}
