//! Each layout against a miniature with the quirks of the real ones: found or named, never passed over in silence.

use std::fs;
use std::io::Cursor;

use image::{GrayImage, ImageBuffer, Luma};
use inctrl_lab::datasets::{Dataset, Label, Layout, Split, check};
use tiff::encoder::TiffEncoder;
use tiff::encoder::colortype::Gray8;
use tiff::tags::Tag;

use crate::data_folder::{Folder, counts, names, says};

#[test]
fn mvtec_with_its_quirks() {
    let f = Folder::new();
    f.pictures(&["nut/train/good/000.png", "nut/train/good/a b.PNG", "nut/train/good/deep/er/001.JPG"]);
    f.pictures(&["nut/test/good/000.png", "nut/test/bent pin/000.png", "nut/test/bent pin/001.png"]);
    f.pictures(&["nut/test/bent pin/002.png", "nut/test/bent pin/003.png", "nut/test/stray.png", "stray.png"]);
    f.mask("nut/ground_truth/bent pin/000_mask.png", 12, &[255, 255]);
    f.mask("nut/ground_truth/bent pin/001_mask.png", 24, &[0, 3, 0, 200]);
    f.mask("nut/ground_truth/bent pin/002_mask.png", 12, &[]);
    f.mask("nut/ground_truth/bent pin/999_mask.png", 12, &[255]);
    f.write("nut/train/good/notes.txt", "");
    f.write("nut/train/good/torn.png", "not a picture");
    f.write("nut/license.txt", "");
    f.pictures(&["half/test/good/000.png"]);
    let dataset = f.open();
    assert_eq!(dataset.layout, Layout::Mvtec);
    assert_eq!(counts(&dataset), [("nut".to_owned(), [4, 1, 4, 3])]);
    let train = names(&dataset, Split::Train, Label::Normal);
    assert_eq!(
        train,
        [
            "nut/train/good/000.png",
            "nut/train/good/a b.PNG",
            "nut/train/good/deep/er/001.JPG",
            "nut/train/good/torn.png",
        ]
    );
    let stretched = dataset.items.iter().find(|i| i.name.ends_with("bent pin/001.png")).unwrap().open().unwrap();
    let mask = stretched.mask.unwrap();
    assert_eq!((mask.len(), &mask[..3]), (120, &[true, true, false][..]));
    let report = check(&dataset, &[], || ());
    for (fault, name, message) in [
        (true, "bent pin/003.png", "no mask"),
        (true, "bent pin/002_mask.png", "all 0"),
        (true, "bent pin/999_mask.png", "of no image"),
        (false, "bent pin/001_mask.png", "24 x 10 pixels, its image 12 x 10"),
        (false, "bent pin/001_mask.png", "from 3 to 200"),
        (true, "good/torn.png", "not one of PNG"),
        (false, "good/notes.txt", "not a picture"),
        (false, "nut/license.txt", "passed over"),
        (true, "test/stray.png", "no folder that tells its kind"),
        (false, "stray.png", "beside the classes"),
        (true, "half", "not a class"),
    ] {
        says(&report, fault, name, message);
    }
    // The class folder alone is a data set as well, and so is one without masks.
    let class = Dataset::open(f.0.path().join("nut"), None, 0).unwrap();
    assert_eq!(counts(&class), [("nut".to_owned(), [4, 1, 4, 3])]);
    fs::remove_dir_all(f.path("nut/ground_truth")).unwrap();
    let bare = f.open();
    assert_eq!(counts(&bare)[0].1, [4, 1, 4, 0]);
    assert!(!bare.problems.iter().any(|problem| problem.message.contains("no mask")));
}

/// MVTec LOCO keeps the masks of an image in a folder of its name, one for each defect, with values of their own.
#[test]
fn masks_at_any_depth_and_several_of_one_image_are_joined() {
    let f = Folder::new();
    f.pictures(&["nut/train/normal/0.png", "nut/test/OK/0.png", "nut/test/bad/000.png", "nut/test/bad/001.png"]);
    f.pictures(&["nut/test/bad/002.png"]);
    f.mask("nut/ground_truth/bad/000/000.png", 12, &[251, 0, 0]);
    f.mask("nut/ground_truth/bad/000/001.png", 12, &[0, 0, 238]);
    let wide = ImageBuffer::<Luma<u16>, _>::from_fn(12, 10, |x, y| Luma([u16::from(x == 1 && y == 0)]));
    wide.save(f.path("nut/ground_truth/bad/001_mask.png")).unwrap();
    GrayImage::from_fn(12, 10, |x, _| Luma([if x < 8 { 0 } else { 255 }]))
        .save(f.path("nut/ground_truth/bad/002.jpg"))
        .unwrap();
    let dataset = f.open();
    assert_eq!(counts(&dataset), [("nut".to_owned(), [1, 1, 3, 3])]);
    let mask = |name: &str| {
        let item = dataset.items.iter().find(|item| item.name.ends_with(name)).unwrap();
        item.read_mask(12, 10).unwrap().unwrap()
    };
    let first = |mask: Vec<bool>| -> Vec<usize> { (0..120).filter(|&pixel| mask[pixel]).collect() };
    assert_eq!(first(mask("bad/000.png")), [0, 2]);
    assert_eq!(first(mask("bad/001.png")), [1]);
    assert_eq!(mask("bad/002.png")[..12], [[false; 8], [true; 8]].concat()[..12]);
    let report = check(&dataset, &[], || ());
    assert_eq!(report.faults(), 0, "{:#?}", report.problems);
    says(&report, false, "000/001.png", "the value 238 in place of 255");
    says(&report, false, "001_mask.png", "the value 1 in place of 65535");
}

/// A grey TIFF file, with a page for each of `pages`, turned by half.
fn upside_down(pages: &[GrayImage]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap();
    for page in pages {
        let mut image = encoder.new_image::<Gray8>(page.width(), page.height()).unwrap();
        image.encoder().write_tag(Tag::Orientation, 3u16).unwrap();
        image.write_data(page).unwrap();
    }
    file.into_inner()
}

#[test]
fn a_mask_is_turned_with_its_picture_and_one_of_two_pages_is_a_fault() {
    let f = Folder::new();
    f.pictures(&["nut/train/good/0.png", "nut/test/good/0.png"]);
    let picture = GrayImage::from_fn(12, 10, |x, y| Luma([(7 * x + y) as u8]));
    let mask = GrayImage::from_fn(12, 10, |x, y| Luma([u8::from(x == 0 && y == 0)]));
    for name in ["0", "1"] {
        let shade = picture.pixels().map(|pixel| pixel.0[0] + name.as_bytes()[0]).collect();
        std::fs::write(
            f.path(&format!("nut/test/bad/{name}.tif")),
            upside_down(&[GrayImage::from_raw(12, 10, shade).unwrap()]),
        )
        .unwrap();
    }
    std::fs::write(f.path("nut/ground_truth/bad/0_mask.tif"), upside_down(std::slice::from_ref(&mask))).unwrap();
    std::fs::write(f.path("nut/ground_truth/bad/1_mask.tif"), upside_down(&[mask.clone(), mask])).unwrap();
    let dataset = f.open();
    let item = dataset.items.iter().find(|item| item.name.ends_with("bad/0.tif")).unwrap();
    let marked = item.read_mask(12, 10).unwrap().unwrap();
    assert_eq!((0..120).filter(|&pixel| marked[pixel]).collect::<Vec<_>>(), [119]);
    let report = check(&dataset, &[], || ());
    assert_eq!(report.faults(), 1, "{:#?}", report.problems);
    says(&report, true, "1_mask.tif", "2 pages");
}

#[test]
fn what_contradicts_itself_is_a_fault() {
    let f = Folder::new();
    f.pictures(&["nut/train/good/0.png", "nut/train/good/1.png", "nut/test/good/0.png", "nut/test/bad/0.png"]);
    f.pictures(&["nut/test/bad/1.png", "nut/test/bad/2.png"]);
    // One picture good and bad, in other formats; one to train and to test, grey in three channels.
    let copy = |from: &str, to: &str| image::open(f.path(from)).unwrap().save(f.path(to)).unwrap();
    copy("nut/test/bad/0.png", "nut/test/good/twin.bmp");
    let grey = GrayImage::from_fn(12, 10, |x, y| Luma([(9 * x + y) as u8]));
    grey.save(f.path("nut/train/good/grey.png")).unwrap();
    image::DynamicImage::from(grey).to_rgba8().save(f.path("nut/test/good/grey.webp")).unwrap();
    f.mask("nut/ground_truth/good/0_mask.png", 12, &[0, 255]);
    // Inverted masks; one of them turned.
    let inverted =
        |width: u32, height: u32| GrayImage::from_fn(width, height, |x, _| Luma([if x < 2 { 0 } else { 255 }]));
    for (name, width, height) in [("0", 12, 10), ("1", 10, 12), ("2", 12, 10)] {
        std::fs::create_dir_all(f.path("nut/ground_truth/bad")).unwrap();
        inverted(width, height).save(f.path(&format!("nut/ground_truth/bad/{name}_mask.png"))).unwrap();
    }
    f.mask("nut/ground_truth/scratch/0_mask.png", 12, &[1]);
    let report = check(&f.open(), &[], || ());
    for (fault, name, message) in [
        (true, "good/twin.bmp", "nut/test/bad/0.png, of which one is normal and one anomalous"),
        (true, "train/good/grey.png", "nut/test/good/grey.webp, of which one is to train and one to test"),
        (true, "good/0_mask.png", "marks a defect in an image that is called good"),
        (true, "bad/1_mask.png", "10 x 12 pixels, its image 12 x 10: one of them is turned"),
        (true, "ground_truth/scratch", "masks of no folder in test"),
        (false, "", "the masks of class `nut` cover 83 % of the picture on the median"),
    ] {
        says(&report, fault, name, message);
    }
    assert_eq!(report.faults(), 5, "{:#?}", report.problems);
}

/// Data sets of one class against the rest have the same pictures in several classes.
#[test]
fn a_picture_may_be_good_in_one_class_and_bad_in_another() {
    let f = Folder::new();
    f.pictures(&["cat/train/good/0.png", "cat/test/good/1.png", "cat/test/bad/dog.png"]);
    f.pictures(&["dog/train/good/0.png", "dog/test/bad/1.png"]);
    fs::copy(f.path("cat/test/bad/dog.png"), f.path("dog/test/good/2.png")).unwrap();
    let report = check(&f.open(), &[], || ());
    says(&report, false, "good/2.png", "the same pixels as cat/test/bad/dog.png of class `cat`");
    assert_eq!(report.faults(), 0, "{:#?}", report.problems);
}

/// A tree that only looks like folders of good and bad: the folder called test is no class.
#[test]
fn parts_of_a_data_set_are_no_classes() {
    for (good, bad) in [("normal", "abnormal"), ("good", "bad"), ("OK", "NG")] {
        let f = Folder::new();
        f.pictures(&[&format!("train/{good}/0.png"), &format!("test/{good}/1.png"), &format!("test/{bad}/2.png")]);
        let dataset = f.open();
        let class = f.0.path().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!((dataset.layout, counts(&dataset)), (Layout::Mvtec, vec![(class, [1, 1, 1, 0])]), "{good}");
    }
    let f = Folder::new();
    f.pictures(&["val/normal/1.png", "val/normal/2.png", "val/abnormal/3.png"]);
    let report = check(&f.open(), &[], || ());
    says(&report, true, "val", "named like a part of a data set");
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_dead_ones_named() {
    use std::os::unix::fs::symlink;
    let f = Folder::new();
    f.pictures(&["nut/test/good/000.png", "nut/test/bad/000.png", "elsewhere/1.png"]);
    fs::create_dir_all(f.path("nut/train/good/x")).unwrap();
    symlink(f.path("elsewhere/1.png"), f.path("nut/train/good/linked.png")).unwrap();
    symlink(f.path("elsewhere"), f.path("nut/train/good/folder")).unwrap();
    symlink(f.path("nut/train/good"), f.path("nut/train/good/x/loop")).unwrap();
    symlink(f.path("nowhere.png"), f.path("nut/train/good/dead.png")).unwrap();
    let dataset = f.open();
    let train = names(&dataset, Split::Train, Label::Normal);
    assert_eq!(train, ["nut/train/good/folder/1.png", "nut/train/good/linked.png"]);
    let report = check(&dataset, &[], || ());
    says(&report, true, "good/dead.png", "a broken link");
    says(&report, false, "x/loop", "already searched");
    says(&report, false, "good/linked.png", "the same pixels as");
}

#[test]
fn visa_and_what_its_table_may_have_wrong() {
    let f = Folder::new();
    f.pictures(&[
        "candle/Data/Images/Normal/1.JPG",
        "candle/Data/Images/Normal/2.JPG",
        "candle/Data/Images/Anomaly/1.JPG",
    ]);
    f.pictures(&["candle/Data/Images/Anomaly/2.JPG", "candle/Data/Images/Normal/unlisted.JPG"]);
    f.mask("candle/Data/Masks/Anomaly/1.png", 12, &[1, 1]);
    let table = "object,split,label,image,mask\n\
        candle,train,normal,candle/Data/Images/Normal/1.JPG,\n\
        candle,test,normal,candle/Data/Images/Normal/2.JPG,\n\
        candle,test,anomaly,candle/Data/Images/Anomaly/1.JPG,candle/Data/Masks/Anomaly/1.png\n\
        candle,test,anomaly,candle/Data/Images/Anomaly/2.JPG,candle/Data/Masks/Anomaly/2.png\n\
        candle,test,anomaly,candle/Data/Images/Anomaly/3.JPG,\n\
        candle,test,normal,candle/Data/Images/Normal/2.JPG,\n\
        candle,valid,normal,candle/Data/Images/Normal/2.JPG,\n\
        candle,test,odd,candle/Data/Images/Normal/2.JPG,\n";
    f.write("split_csv/1cls.csv", table);
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Visa, vec![("candle".to_owned(), [1, 1, 2, 1])]));
    let report = check(&dataset, &[], || ());
    for (fault, name, message) in [
        (true, "Anomaly/2.png", "mask is missing"),
        (true, "1cls.csv", "line 6: there is no image `candle/Data/Images/Anomaly/3.JPG`"),
        (true, "1cls.csv", "line 7: `candle/Data/Images/Normal/2.JPG` is listed twice"),
        (true, "1cls.csv", "line 8: split \"valid\""),
        (true, "1cls.csv", "line 9: \"odd\" is not a label"),
        (false, "Normal/unlisted.JPG", "not in 1cls.csv"),
        (false, "Anomaly/1.png", "the value 1 in place of 255"),
    ] {
        says(&report, fault, name, message);
    }
    f.write("split_csv/1cls.csv", "object,label\n");
    let error = Dataset::open(f.0.path(), None, 0).unwrap_err().to_string();
    assert!(error.contains("no column `split`") && error.contains("1cls.csv"), "{error}");
}

#[test]
fn folders_of_good_and_bad() {
    let f = Folder::new();
    for i in 0..9 {
        f.picture(&format!("Good/{i}.png"));
    }
    f.pictures(&["bad/scratch/1.png", "bad/2.bmp.png", "other/3.png"]);
    f.mask("mask/scratch/1.png", 12, &[255]);
    let dataset = f.open();
    assert_eq!(dataset.layout, Layout::Folder);
    // A quarter of nine, rounded up, is for testing.
    assert_eq!(counts(&dataset)[0].1, [6, 3, 2, 1]);
    assert_eq!(dataset.items.iter().filter(|i| i.kind == "scratch").count(), 1);
    let report = check(&dataset, &[], || ());
    says(&report, true, "bad/2.bmp.png", "no mask");
    says(&report, false, "other", "no known meaning");
    let again = f.open();
    assert_eq!(again.items, dataset.items);
    let others = (1..20).map(|seed| Dataset::open(f.0.path(), None, seed).unwrap().items);
    assert!(others.into_iter().any(|items| items != dataset.items));

    // With test normals of its own nothing is drawn; several classes lie side by side.
    let f = Folder::new();
    f.pictures(&[
        "a/normal/1.png",
        "a/normal_test/2.png",
        "a/abnormal/3.png",
        "b/ok/1.png",
        "b/ng/2.png",
        "note.txt.png",
    ]);
    let dataset = f.open();
    assert_eq!(counts(&dataset), [("a".to_owned(), [1, 1, 1, 0]), ("b".to_owned(), [0, 1, 1, 0])]);
    let report = check(&dataset, &[], || ());
    assert!(report.problems.iter().any(|p| p.fault && p.message.contains("class `b` has no normal image to draw")));
}

#[test]
fn lists_of_inctrl_find_their_images_elsewhere() {
    let f = Folder::new();
    f.pictures(&["data/a/1.png", "data/a/2.png", "data/a/3.png"]);
    let entry = |name: &str, target: u8| {
        format!(r#"{{"image_path": "/home/author/{name}", "target": {target}, "type": "nut"}}"#)
    };
    f.write("nut_train_normal.json", &format!("[{}]", entry("data/a/1.png", 0)));
    let list = [entry("data/a/2.png", 0), entry("data/a/gone.png", 0), entry("data/a/3.png", 1)].join(",");
    f.write("nut_val_normal.json", &format!("[{list}]"));
    f.write("nut_val_outlier.json", &format!("[{}]", entry("data/a/3.png", 1)));
    f.write("bad_val_outlier.json", "{}");
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Lists, vec![("nut".to_owned(), [1, 1, 1, 0])]));
    let report = check(&dataset, &[], || ());
    says(&report, true, "nut_val_normal.json", "data/a/gone.png: there is no such image");
    says(&report, true, "nut_val_normal.json", "target 1 in a list of the other kind");
    says(&report, true, "bad_val_outlier.json", "not a list");
}

/// What `gen_train_json.py` and `gen_val_json.py` write: paths from the folder that they ran in, and one list of the normal images of
/// both folders, which has those of the list for validation as well.
#[test]
fn lists_as_the_scripts_write_them() {
    let f = Folder::new();
    let list = |names: &[&str], target: u8| {
        let entries: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"image_path": "datasets/elpv/{name}", "target": {target}, "type": "elpv"}}"#))
            .collect();
        format!("[{}]", entries.join(","))
    };
    let (train, test, bad) =
        (["train/good/1.png", "train/good/2.png"], ["test/good/1.png", "test/good/3.png"], ["test/bad/1.png"]);
    for name in train.iter().chain(&test).chain(&bad) {
        f.picture(&format!("datasets/elpv/{name}"));
    }
    let json = |name: &str| format!("datasets/AD_json/{name}.json");
    f.path(&json("elpv_normal"));
    // Windows programs put a byte order mark before it.
    f.write(&json("elpv_normal"), &format!("\u{feff}{}", list(&[train, test].concat(), 0)));
    f.write(&json("elpv_outlier"), &list(&bad, 1));
    f.write(&json("other_normal"), "[]");
    let open = || Dataset::open(f.0.path().join("datasets/AD_json"), None, 0).unwrap();
    let expected = vec![("elpv".to_owned(), [2, 2, 1, 0])];
    let dataset = open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Lists, expected.clone()));
    assert_eq!(check(&dataset, &[], || ()).faults(), 0, "{:?}", dataset.problems);

    // With lists for validation: what is in them is judged and no prompt, and the other list is as the script writes it.
    f.write(&json("elpv_val_normal"), &list(&test, 0));
    f.write(&json("elpv_val_outlier"), &list(&bad, 1));
    let dataset = open();
    assert_eq!(counts(&dataset), expected);
    let report = check(&dataset, &[], || ());
    says(
        &report,
        false,
        "elpv_normal.json",
        "2 images are in a list for validation as well: they are judged, and no prompts",
    );
    assert_eq!(report.faults(), 0, "{:?}", report.problems);
    // Beside those, one of its two lists is known as such without the other.
    std::fs::remove_file(f.path(&json("elpv_outlier"))).unwrap();
    assert_eq!(counts(&open()), expected);

    // A list that says that it is for training has no business with them.
    f.write(&json("elpv_train_normal"), &list(&[&train[..], &test[..1]].concat(), 0));
    std::fs::remove_file(f.path(&json("elpv_normal"))).unwrap();
    let dataset = open();
    assert_eq!(counts(&dataset), expected);
    says(&check(&dataset, &[], || ()), true, "elpv_train_normal.json", "1 images are in a list for validation as well");

    // Another class may call a good image an anomaly; in one class it is a fault.
    f.write(&json("b_val_normal"), &list(&bad, 0).replace(r#""elpv"}"#, r#""b"}"#));
    assert_eq!(counts(&open()).len(), 2);
    assert_eq!(open().problems.iter().filter(|problem| problem.fault).count(), 1, "{:?}", open().problems);
    f.write(&json("elpv_val_normal"), &list(&[&test[..], &bad].concat(), 0));
    says(&check(&open(), &[], || ()), true, "elpv_val_outlier.json", "a list of the other kind");
    f.write(&json("elpv_val_normal"), "");
    std::fs::write(f.path(&json("elpv_val_normal")), b"\xff\xfe[\0]\0").unwrap();
    says(&check(&open(), &[], || ()), true, "elpv_val_normal.json", "UTF-16");
}

/// The lists beside the images, without `train` or `test` in a path: a quarter of the good ones is for testing.
#[test]
fn lists_that_do_not_say_what_is_for_testing_are_divided() {
    let f = Folder::new();
    let names: Vec<String> = (0..8).map(|i| format!("images/{i}.png")).collect();
    names.iter().for_each(|name| f.picture(name));
    let list = |names: &[String], target: u8| {
        let entry = |name: &String| format!(r#"{{"image_path": "{}", "target": {target}}}"#, name.replace('/', "\\\\"));
        format!("[{}]", names.iter().map(entry).collect::<Vec<_>>().join(","))
    };
    f.write("nut_normal.json", &list(&names[..6], 0));
    f.write("nut_outlier.json", &list(&names[6..], 1));
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Lists, vec![("nut".to_owned(), [4, 2, 2, 0])]));
    assert_eq!(names_of(&dataset), names);
    // One of the two files alone is somebody else's.
    std::fs::remove_file(f.path("nut_outlier.json")).unwrap();
    assert!(Dataset::open(f.0.path(), None, 0).is_err());
}

fn names_of(dataset: &Dataset) -> Vec<String> {
    dataset.items.iter().map(|item| item.name.clone()).collect()
}

#[test]
fn tables_with_a_byte_order_mark_are_read_and_utf_16_is_named() {
    let f = Folder::new();
    f.pictures(&["images/cell0001.png", "images/cell0002.png", "images/cell0003.png"]);
    let table = "images/cell0001.png 0.0 mono\r\nimages/cell0002.png 0.0 mono\r\nimages/cell0003.png 1.0 poly\r\n";
    f.write("labels.csv", &format!("\u{feff}{table}"));
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Elpv, vec![("elpv".to_owned(), [1, 1, 1, 0])]));
    assert_eq!(dataset.problems, []);
    let wide: Vec<u8> = "\u{feff}".encode_utf16().chain(table.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(f.path("labels.csv"), wide).unwrap();
    let error = Dataset::open(f.0.path(), None, 0).unwrap_err().to_string();
    assert!(error.contains("labels.csv") && error.contains("UTF-16: save it as UTF-8"), "{error}");
}

#[test]
fn downloads_as_they_are() {
    let f = Folder::new();
    let mut table = String::new();
    for i in 0..8 {
        f.picture(&format!("images/cell{i:04}.png"));
        table += &format!("images/cell{i:04}.png  {}  mono\n", ["0.0", "1.0", "0.0", "0.3333333333333333"][i % 4]);
    }
    f.picture("images/cell9999.png");
    f.write("labels.csv", &(table + "images/gone.png 0.0 poly\nnonsense\n"));
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Elpv, vec![("elpv".to_owned(), [3, 1, 2, 0])]));
    let report = check(&dataset, &[], || ());
    says(&report, false, "labels.csv", "2 images with a probability between");
    says(&report, true, "labels.csv", "line 9: there is no image `images/gone.png`");
    says(&report, true, "labels.csv", "line 10");
    says(&report, false, "images/cell9999.png", "not in labels.csv");

    let f = Folder::new();
    f.pictures(&["yes/Y1.JPG", "yes/Y2.jpg", "no/1 no.jpeg", "no/2 no.jpg", "brain_tumor_dataset/no/1 no.jpg"]);
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::BrainMri, vec![("brain".to_owned(), [1, 1, 2, 0])]));
    says(&check(&dataset, &[], || ()), false, "brain_tumor_dataset", "neither yes nor no");

    let f = Folder::new();
    f.pictures(&[
        "head_ct/head_ct/000.png",
        "head_ct/head_ct/001.png",
        "head_ct/head_ct/002.png",
        "head_ct/head_ct/007.png",
    ]);
    f.write("labels.csv", "id, hemorrhage\n0,1\n1,0\n2,0\n3,1\n");
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::HeadCt, vec![("headct".to_owned(), [1, 1, 1, 0])]));
    let report = check(&dataset, &[], || ());
    says(&report, true, "labels.csv", "line 5: there is no image of id 3");
    says(&report, false, "head_ct/007.png", "not in labels.csv");
}

#[test]
fn no_data_set_is_an_error_that_lists_what_was_looked_for() {
    let f = Folder::new();
    f.picture("a/b/1.png");
    let error = Dataset::open(f.0.path(), None, 0).unwrap_err().to_string();
    for layout in Layout::ALL {
        assert!(error.contains(layout.name()) && error.contains(layout.signature()), "{error}");
        assert!(Dataset::open(f.0.path(), Some(layout), 0).is_err(), "{layout}");
        assert_eq!(layout.to_string().parse::<Layout>().unwrap(), layout);
    }
    assert!(Dataset::open(f.0.path().join("absent"), None, 0).is_err());
}
