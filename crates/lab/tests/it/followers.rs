//! Data sets that lie nearly as MVTec AD, Real-IAD's lists, and what is published of the known ones.

use std::fs;

use inctrl_lab::datasets::{Dataset, Label, Layout, Split, check};
use serde_json::json;

use crate::data_folder::{Folder, counts, names, says};

#[test]
fn mvtec_ad_2_is_judged_by_its_public_test() {
    let f = Folder::new();
    f.pictures(&["can/train/good/000_regular.png", "can/validation/good/100_regular.png"]);
    f.pictures(&["can/test_public/good/200_regular.png", "can/test_public/bad/300_regular.png"]);
    f.pictures(&["can/test_public/bad/301_overexposed.png", "can/test_private/400_regular.png"]);
    f.pictures(&["can/test_private_mixed/500_shift_1.png", "can/test_private_mixed/501_regular.png"]);
    f.mask("can/test_public/ground_truth/bad/300_regular_mask.png", 12, &[255]);
    f.pictures(&["half/test_public/good/0.png"]);
    f.write("license.txt", "");
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::MvtecAd2, vec![("can".to_owned(), [1, 1, 2, 1])]));
    assert_eq!(names(&dataset, Split::Test, Label::Normal), ["can/test_public/good/200_regular.png"]);
    let report = check(&dataset, &[], || ());
    for (fault, name, message) in [
        (false, "can/validation", "normal images to choose thresholds by"),
        (false, "can/test_private", "1 images whose labels are not published"),
        (false, "can/test_private_mixed", "2 images whose labels are not published"),
        (true, "301_overexposed.png", "has no mask in ground_truth"),
        (true, "half", "train/good or test_public is missing"),
        (false, "license.txt", "beside the classes"),
    ] {
        says(&report, fault, name, message);
    }
    assert_eq!(counts(&Dataset::open(f.0.path().join("can"), None, 0).unwrap()), counts(&dataset));
}

/// Several masks of an image, with values of their own; `validation` and a configuration beside.
#[test]
fn mvtec_loco_ad() {
    let f = Folder::new();
    f.pictures(&["screw_bag/train/good/000.png", "screw_bag/validation/good/000.png", "screw_bag/test/good/000.png"]);
    f.pictures(&["screw_bag/test/logical_anomalies/000.png", "screw_bag/test/structural_anomalies/000.png"]);
    f.mask("screw_bag/ground_truth/logical_anomalies/000/000.png", 12, &[255, 0, 0]);
    f.mask("screw_bag/ground_truth/logical_anomalies/000/001.png", 12, &[0, 0, 254]);
    f.mask("screw_bag/ground_truth/structural_anomalies/000/000.png", 12, &[0, 250, 0]);
    f.write("screw_bag/defects_config.json", "[]");
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Mvtec, vec![("screw_bag".to_owned(), [1, 1, 2, 2])]));
    let logical = dataset.items.iter().find(|item| item.kind == "logical_anomalies").unwrap();
    assert_eq!(logical.read_mask(12, 10).unwrap().unwrap()[..4], [true, false, true, false]);
    let report = check(&dataset, &[], || ());
    assert_eq!(report.faults(), 0, "{:#?}", report.problems);
    says(&report, false, "screw_bag/validation", "normal images to choose thresholds by");
}

/// `ok` and `ko`, pictures as BMP and masks as PNG, and the reverse.
#[test]
fn btad_and_mpdd() {
    let f = Folder::new();
    f.pictures(&["01/train/ok/0000.png", "01/test/ok/0001.png", "01/test/ko/0000.png"]);
    let bmp = image::open(f.path("01/test/ko/0000.png")).unwrap();
    bmp.save(f.path("01/test/ko/0002.bmp")).unwrap();
    f.mask("01/ground_truth/ko/0000.png", 12, &[255]);
    f.mask("01/ground_truth/ko/0002.png", 12, &[0, 255]);
    f.pictures(&["02/train/ok/0000.png", "02/test/ok/0001.png", "02/test/ko/0000.png"]);
    f.mask("02/ground_truth/ko/0000.png", 12, &[255]);
    image::open(f.path("02/ground_truth/ko/0000.png")).unwrap().save(f.path("02/ground_truth/ko/0000.bmp")).unwrap();
    fs::remove_file(f.path("02/ground_truth/ko/0000.png")).unwrap();
    let dataset = f.open();
    let expected = vec![("01".to_owned(), [1, 1, 2, 2]), ("02".to_owned(), [1, 1, 1, 1])];
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Mvtec, expected));
    let report = check(&dataset, &[], || ());
    // Folders named 01 and 02 may be anybody's: a remark.
    assert_eq!((report.known, report.faults()), (Some("BTAD"), 0), "{:#?}", report.problems);
    says(
        &report,
        false,
        "",
        "class `01` has 1 + 1 + 2 images (to train, normal and anomalous to test), BTAD publishes 400 + 21 + 49",
    );
    says(&report, false, "", "1 of the 3 classes of BTAD are not there: 03");

    let f = Folder::new();
    for class in ["bracket_black", "bracket_brown", "bracket_white"] {
        f.pictures(&[&format!("{class}/train/good/000.png"), &format!("{class}/test/good/000.png")]);
        f.picture(&format!("{class}/test/scratches/000.png"));
        f.mask(&format!("{class}/ground_truth/scratches/000_mask.png"), 12, &[255]);
    }
    let report = check(&f.open(), &["bracket_white"], || ());
    assert_eq!((report.known, report.classes.len(), report.faults()), (Some("MPDD"), 1, 1), "{:#?}", report.problems);
    assert_eq!(report.classes[0].published, Some([110, 30, 30]));
    says(&report, true, "", "class `bracket_white` has 1 + 1 + 1 images");
}

fn real_iad(f: &Folder, folder: &str, class: &str, train: &[(&str, &str)], test: &[(&str, &str)]) {
    let entry = |(path, kind): &(&str, &str)| {
        let mask = (*kind != "OK").then(|| path.replace(".jpg", ".png"));
        json!({"category": class, "anomaly_class": kind, "image_path": path, "mask_path": mask})
    };
    let list = json!({
        "meta": {"prefix": format!("{class}/"), "normal_class": "OK", "pre_transform": null},
        "train": train.iter().map(entry).collect::<Vec<_>>(),
        "test": test.iter().map(entry).collect::<Vec<_>>(),
    });
    f.write(&format!("{folder}/{class}.json"), &list.to_string());
}

#[test]
fn real_iad_finds_the_images_of_its_lists() {
    let f = Folder::new();
    f.pictures(&["realiad_256/toy/OK/S1/0.jpg", "realiad_256/toy/OK/S2/1.jpg", "realiad_256/toy/NG/BX/S3/2.jpg"]);
    f.pictures(&["realiad_256/toy/NG/BX/S4/3.jpg"]);
    f.mask("realiad_256/toy/NG/BX/S3/2.png", 12, &[255]);
    let test = [
        ("OK/S2/1.jpg", "OK"),
        ("NG/BX/S3/2.jpg", "BX"),
        ("NG/BX/S4/3.jpg", "BX"),
        ("NG/QS/9.jpg", "QS"),
        ("OK/S9/9.jpg", "OK"),
    ];
    let lists = "realiad_jsons/realiad_jsons";
    real_iad(&f, lists, "toy", &[("OK/S1/0.jpg", "OK"), ("NG/BX/S3/2.jpg", "BX")], &test);
    real_iad(&f, lists, "absent", &[], &[]);
    f.write(&format!("{lists}/torn.json"), r#"{"meta": {"prefix": "t/", "normal_class": "OK"}, "train": ["#);
    real_iad(&f, "realiad_jsons_sv", "toy", &[("OK/S2/1.jpg", "OK")], &test[1..2]);
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::RealIad, vec![("toy".to_owned(), [1, 1, 2, 1])]));
    assert_eq!(names(&dataset, Split::Train, Label::Normal), ["realiad_256/toy/OK/S1/0.jpg"]);
    assert_eq!(dataset.items.iter().filter(|item| item.kind == "BX").count(), 2);
    let report = check(&dataset, &[], || ());
    for (fault, name, message) in [
        (true, "toy.json", "2 of 7 images are not there: passed over, the first `NG/QS/9.jpg`"),
        (true, "toy.json", "1 of 7 images are anomalous and have no mask"),
        (false, "toy.json", "1 of 7 images are to train and anomalous: passed over, the first `NG/BX/S3/2.jpg`"),
        (true, "absent.json", "the folder of its images is missing"),
        (true, "torn.json", "not a list with meta, train and test"),
        (false, "realiad_jsons_sv", "give this folder in place of the data set's"),
    ] {
        says(&report, fault, name, message);
    }
    let single = Dataset::open(f.0.path().join("realiad_jsons_sv"), None, 0).unwrap();
    assert_eq!((single.layout, counts(&single)), (Layout::RealIad, vec![("toy".to_owned(), [1, 0, 1, 1])]));
    assert_eq!(check(&single, &[], || ()).faults(), 1, "{:#?}", single.problems);
}
