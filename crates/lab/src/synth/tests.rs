use super::mask::VISIBLE;
use super::*;

/// Every pair of a family and a defect that it can have.
fn faults() -> impl Iterator<Item = (Family, Defect)> {
    Family::ALL.iter().flat_map(|family| family.defects().iter().map(|defect| (*family, *defect)))
}

#[test]
fn names_are_unique_identifiers() {
    let mut names: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Family::ALL.len());
    assert!(Family::ALL.iter().all(|family| !family.defects().is_empty()));
}

#[test]
fn equal_arguments_give_equal_bytes_and_others_do_not() {
    for &family in Family::ALL {
        let defect = family.defects()[0];
        let first = sample(family, Some(defect.into()), 64, 3, 5).unwrap();
        assert_eq!(first, sample(family, Some(defect.into()), 64, 3, 5).unwrap());
        for (seed, index) in [(4, 5), (3, 6), (5, 3)] {
            assert_ne!(
                first.pixels,
                sample(family, Some(defect.into()), 64, seed, index).unwrap().pixels,
                "{family:?}"
            );
        }
    }
}

/// The generator's promise that a seed means the same picture everywhere. A deliberate change of the pictures changes
/// the hash, and every number that was measured on them.
#[test]
fn the_bytes_are_the_same_on_every_machine() {
    let mut hasher = blake3::Hasher::new();
    for &family in Family::ALL {
        hasher.update(&sample(family, None, 40, 7, 0).unwrap().pixels);
    }
    for (family, defect) in faults() {
        let sample = sample(family, Some(defect.into()), 40, 7, 1).unwrap();
        hasher.update(&sample.pixels).update(&sample.mask);
    }
    assert_eq!(hasher.finalize().to_hex()[..16], *"f751c4be58221be2");
}

#[test]
fn the_mask_is_where_a_sample_differs_from_its_clean_twin() {
    for (family, defect) in faults() {
        for (side, seed) in [(150, 1), (32, 3)] {
            let clean = sample(family, None, side, seed, 9).unwrap();
            assert!(!clean.is_anomalous() && clean.mask.iter().all(|&byte| byte == 0));
            let faulty = sample(family, Some(defect.into()), side, seed, 9).unwrap();
            assert!(faulty.is_anomalous());
            let inside = faulty.mask.iter().filter(|&&byte| byte == 255).count();
            assert_eq!(inside, faulty.mask.iter().filter(|&&byte| byte != 0).count());
            let share = inside as f64 / (side * side) as f64;
            assert!(
                (0.0005..=if defect == Defect::WrongTone { 1.0 } else { 0.4 }).contains(&share),
                "{family:?} {defect:?} at {side}: {share}"
            );
            let pairs = clean.pixels.iter().zip(&faulty.pixels).enumerate();
            let most = pairs.filter(|(i, _)| faulty.mask[i / 3] == 0).map(|(_, (a, b))| a.abs_diff(*b)).max();
            assert!(most.unwrap() <= VISIBLE, "{family:?} {defect:?} at {side}: {most:?} outside the mask");
        }
    }
}

/// Missing parts and the like must be found for any seed.
#[test]
fn every_fault_is_drawn_whatever_the_seed() {
    for (family, defect) in faults() {
        for seed in 100..124 {
            let severity = Severity::ALL[seed as usize % 3];
            sample(family, Some(Fault { defect, severity }), 48, seed, seed).unwrap();
        }
    }
}

#[test]
fn normal_specimens_vary_moderately() {
    for &family in Family::ALL {
        let specimens: Vec<Sample> = (0..4).map(|index| sample(family, None, 64, 1, index).unwrap()).collect();
        let mean = |s: &Sample| s.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / s.pixels.len() as f64;
        for pair in specimens.windows(2) {
            let changed = pair[0].pixels.iter().zip(&pair[1].pixels).filter(|(a, b)| a.abs_diff(**b) > VISIBLE).count();
            assert!(changed > 64, "{family:?}: {changed} bytes differ");
            assert!((mean(&pair[0]) - mean(&pair[1])).abs() < 25.0, "{family:?}");
        }
    }
}

#[test]
fn impossible_orders_are_argument_errors() {
    for side in [0, 31, 4097, usize::MAX] {
        let error = sample(Family::Leather, None, side, 0, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
    }
    let error = sample(Family::Leather, Some(Defect::MissingPart.into()), 64, 0, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("scratch"), "{error}");
}

#[test]
fn a_severer_fault_is_larger() {
    for defect in Defect::ALL.iter().copied() {
        if matches!(defect, Defect::MissingPart | Defect::MisplacedPart) {
            continue;
        }
        let family = *Family::ALL.iter().find(|family| family.defects().contains(&defect)).unwrap();
        let area = |severity| -> usize {
            let drawn = (0..12).map(|seed| sample(family, Some(Fault { defect, severity }), 64, seed, 1).unwrap());
            drawn.map(|sample| sample.mask.iter().filter(|&&byte| byte != 0).count()).sum()
        };
        let [small, medium, large] = Severity::ALL.map(area);
        assert!(small < medium && medium < large, "{defect:?}: {small}, {medium}, {large}");
    }
}

#[test]
fn the_splits_share_no_family_and_no_product_and_some_defects_are_held_out() {
    let [train, held_out] = Split::ALL.map(Split::families);
    assert!(train.iter().all(|family| !held_out.contains(family)));
    assert_eq!(train.len() + held_out.len(), Family::ALL.len());
    // About a third is held out.
    assert!((0.28..0.40).contains(&(held_out.len() as f64 / Family::ALL.len() as f64)));
    let kept: Vec<Defect> = Defect::ALL.iter().copied().filter(|defect| defect.split() == Split::HeldOut).collect();
    assert!(kept.len() >= 2);
    for &family in &train {
        let learnt = Split::Train.defects(family);
        assert!(!learnt.is_empty() && learnt.iter().all(|defect| !kept.contains(defect)));
    }
    for &family in &held_out {
        assert_eq!(Split::HeldOut.defects(family), family.defects());
        assert!(kept.iter().all(|defect| family.defects().contains(defect)), "{family:?}");
    }
    let seeds = |split: Split| -> Vec<u64> {
        (0..40).flat_map(|seed| (0..40).map(move |product| split.product_seed(seed, product))).collect()
    };
    let [train, held_out] = Split::ALL.map(seeds);
    assert!(train.iter().all(|seed| seed & 1 == 0) && held_out.iter().all(|seed| seed & 1 == 1));
    let distinct: std::collections::HashSet<u64> = train.into_iter().chain(held_out).collect();
    assert_eq!(distinct.len(), 2 * 40 * 40);
    assert_eq!("held-out".parse::<Split>().unwrap(), Split::HeldOut);
    assert!("test".parse::<Split>().unwrap_err().to_string().contains("train or held-out"));
    assert!("nut".parse::<Family>().unwrap_err().to_string().contains("hex_nut"));
}

/// Products must differ by more than their specimens do.
#[test]
fn products_of_a_family_differ() {
    let apart = |a: &Sample, b: &Sample| -> f64 {
        let sum: u64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.pixels.len() as f64
    };
    for &family in Family::ALL {
        let draw = |product, index| sample(family, None, 48, Split::Train.product_seed(1, product), index).unwrap();
        let (mut within, mut between) = (0.0, 0.0);
        for product in 0..8 {
            let specimen = draw(product, 0);
            within += apart(&specimen, &draw(product, 1));
            between += apart(&specimen, &draw(product + 1, 0));
        }
        assert!(between > 1.3 * within, "{family:?}: {between} between products, {within} within");
    }
}

mod plans {
    use std::fs;
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::datasets::{self, Dataset, Label, Layout};

    fn recipe() -> Recipe {
        Recipe {
            split: Split::HeldOut,
            families: vec![Family::HexNut, Family::Cable],
            products: 2,
            normals: 2,
            test_normals: 3,
            defective: 3,
            side: 32,
            seed: 4,
        }
    }

    fn threads(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_data_set_is_read_back_and_does_not_depend_on_threads() {
        let bench = tempfile::tempdir().unwrap();
        let [first, second] = ["deep/first", "second"].map(|name| bench.path().join(name));
        let drawn = AtomicUsize::new(0);
        recipe()
            .write(&first, threads(1), || {
                drawn.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        assert_eq!(drawn.into_inner(), recipe().images());
        // An empty folder is no obstacle.
        fs::create_dir(&second).unwrap();
        recipe().write(&second, threads(5), || {}).unwrap();
        assert_eq!(names(bench.path()), ["deep", "second"]);
        let classes = ["cable_00", "cable_01", "class_texts.json", "hex_nut_00", "hex_nut_01", "synth.json"];
        assert_eq!(names(&first), classes);

        let data = Dataset::open(&first, None, 0).unwrap();
        assert_eq!(data.layout, Layout::Mvtec);
        assert_eq!(data.items.len(), recipe().images());
        let report = datasets::check(&data, &[], || {});
        assert!(report.problems.iter().all(|problem| !problem.fault), "{:?}", report.problems);
        for item in &data.items {
            assert_eq!(!item.masks.is_empty(), item.label == Label::Anomalous);
            let same = second.join(item.path.strip_prefix(&first).unwrap());
            assert_eq!(fs::read(&item.path).unwrap(), fs::read(same).unwrap());
        }

        // Hex nut 1, the large hole: behind the 5 normal images and the images of the defects before it.
        let seed = Split::HeldOut.product_seed(4, 1);
        let before = Family::HexNut.defects().iter().position(|defect| *defect == Defect::Hole).unwrap();
        let fault = Fault { defect: Defect::Hole, severity: Severity::Large };
        let hole = sample(Family::HexNut, Some(fault), 32, seed, 5 + 3 * before as u64 + 2).unwrap();
        let pixels = |name: &str| image::open(first.join("hex_nut_01").join(name)).unwrap();
        assert_eq!(pixels("test/hole/002.png").into_rgb8().into_raw(), hole.pixels);
        assert_eq!(pixels("ground_truth/hole/002_mask.png").into_luma8().into_raw(), hole.mask);

        let text = fs::read_to_string(first.join("synth.json")).unwrap();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["held_out_defects"], serde_json::json!(["hole", "foreign_object"]));
        let class = &told["classes"][1];
        assert_eq!((&class["folder"], &class["class"]), (&"hex_nut_01".into(), &"hex nut".into()));
        assert_eq!(class["product_seed"], seed);
    }

    #[test]
    fn a_folder_that_is_there_is_left_alone() {
        let bench = tempfile::tempdir().unwrap();
        let folder = bench.path().join("set");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mine"), "kept").unwrap();
        fs::write(bench.path().join("file"), "kept").unwrap();
        for name in ["set", "file", "file/below"] {
            let error = recipe().write(&bench.path().join(name), threads(1), || panic!("drawn")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(names(bench.path()), ["file", "set"]);
        assert_eq!(fs::read_to_string(folder.join("mine")).unwrap(), "kept");
    }

    #[test]
    fn impossible_plans_are_argument_errors() {
        let bench = tempfile::tempdir().unwrap();
        let folder = bench.path().join("set");
        let cases = [
            ("washer", Recipe { families: vec![Family::Cable, Family::Washer], ..recipe() }),
            ("family 2 is hex_nut again", Recipe { families: vec![Family::HexNut; 2], ..recipe() }),
            ("0 products", Recipe { products: 0, ..recipe() }),
            ("0 normals", Recipe { normals: 0, ..recipe() }),
            ("0 test normals", Recipe { test_normals: 0, ..recipe() }),
            ("31 pixels", Recipe { side: 31, ..recipe() }),
            ("4097 pixels", Recipe { side: 4097, ..recipe() }),
        ];
        for (part, recipe) in cases {
            let error = recipe.write(&folder, threads(1), || panic!("drawn")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(names(bench.path()).is_empty());
    }
}
