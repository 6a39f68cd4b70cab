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
            assert_ne!(first.pixels, sample(family, Some(defect.into()), 64, seed, index).unwrap().pixels, "{family:?}");
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
    assert_eq!(hasher.finalize().to_hex()[..16], *"c7cb42055b7b9b64");
}

#[test]
fn the_mask_is_where_a_sample_differs_from_its_clean_twin() {
    for (family, defect) in faults() {
        for (side, seed) in [(240, 1), (97, 2), (32, 3)] {
            let clean = sample(family, None, side, seed, 9).unwrap();
            assert!(!clean.is_anomalous() && clean.mask.iter().all(|&byte| byte == 0));
            let faulty = sample(family, Some(defect.into()), side, seed, 9).unwrap();
            assert!(faulty.is_anomalous());
            let inside = faulty.mask.iter().filter(|&&byte| byte == 255).count();
            assert_eq!(inside, faulty.mask.iter().filter(|&&byte| byte != 0).count());
            let share = inside as f64 / (side * side) as f64;
            assert!((0.0005..=0.4).contains(&share), "{family:?} {defect:?} at {side}: {share}");
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
        for seed in 100..140 {
            sample(family, Some(defect.into()), 48, seed, seed).unwrap();
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
