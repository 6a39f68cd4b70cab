//! SDD, AITEX, MNIST and CIFAR-10 as they are downloaded: miniatures with their quirks, and stand-ins of full size with the
//! published names and counts.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{GrayImage, ImageFormat, Luma};
use inctrl_lab::datasets::{Dataset, Label, Layout, Split, check};

use crate::data_folder::{Folder, counts, names, says};

fn one(class: &str, counts: [usize; 4]) -> Vec<(String, [usize; 4])> {
    vec![(class.to_owned(), counts)]
}

fn save(f: &Folder, name: &str, image: &GrayImage) {
    let format = ImageFormat::from_path(name).unwrap();
    image.save_with_format(f.path(name), format).unwrap();
}

/// A picture in which every pixel has another value than its neighbours.
fn busy(width: u32, height: u32, seed: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([(seed * 41 + 7 * x + 13 * y) as u8]))
}

/// Marks one pixel, if any.
fn marked(width: u32, height: u32, pixels: &[[u32; 2]]) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([if pixels.contains(&[x, y]) { 255 } else { 0 }]))
}

#[test]
fn sdd_is_judged_by_thirds() {
    let f = Folder::new();
    for (part, pixels) in [(0, vec![]), (1, vec![[3, 5], [3, 6]]), (2, vec![[1, 2]])] {
        save(&f, &format!("KolektorSDD/kos01/Part{part}.png"), &busy(8, 10, part));
        save(&f, &format!("KolektorSDD/kos01/Part{part}_label.bmp"), &marked(8, 10, &pixels));
    }
    save(&f, "KolektorSDD/kos02/Part0.png", &busy(8, 10, 9));
    save(&f, "KolektorSDD/kos02/Part7_label.bmp", &marked(8, 10, &[]));
    save(&f, "KolektorSDD/kos03/Part0.png", &busy(8, 10, 10));
    f.write("KolektorSDD/kos03/Part0_label.bmp", "BM, and no more");
    f.write("KolektorSDD/readme.txt", "");
    let dataset = f.open();
    // Rows 0 to 2, 3 to 5, 6 to 9: the defect of Part1 lies in two thirds.
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Sdd, one("SDD", [4, 2, 3, 3])));
    let defects = names(&dataset, Split::Test, Label::Anomalous);
    let expected = ["Part1.png#third=1", "Part1.png#third=2", "Part2.png#third=0"];
    assert_eq!(defects, expected.map(|name| format!("KolektorSDD/kos01/{name}")));
    let item = dataset.items.iter().find(|item| item.name.ends_with("Part1.png#third=2")).unwrap();
    let sample = item.open().unwrap();
    assert_eq!((sample.image.width(), sample.image.height()), (8, 4));
    assert_eq!(sample.image.frame().row(0), busy(8, 10, 1).rows().nth(6).unwrap().map(|p| p.0[0]).collect::<Vec<_>>());
    let inside: Vec<usize> = sample.mask.unwrap().iter().enumerate().filter(|(_, m)| **m).map(|(at, _)| at).collect();
    assert_eq!(inside, [3]);
    let report = check(&dataset, &[], || ());
    for (fault, name, message) in [
        (true, "kos02/Part0.png", "its label Part0_label.bmp is missing"),
        (true, "kos02/Part7_label.bmp", "a label of no image"),
        (true, "kos03/Part0.png", "it is not known whether it is good"),
        (false, "readme.txt", "no folder of a commutator"),
    ] {
        says(&report, fault, name, message);
    }
    // A third that is damaged later is named with its number.
    f.write("KolektorSDD/kos01/Part1.png", "torn");
    says(&check(&dataset, &[], || ()), true, "kos01/Part1.png#third=1", "not one of PNG");
}

#[test]
fn aitex_is_judged_by_squares() {
    let f = Folder::new();
    save(&f, "NODefect_images/2306881-210020u/0001_000_05.png", &busy(32, 4, 1));
    // Padding: squares 2 and 3 are white.
    let mut padded = busy(16, 4, 2);
    for x in 8..16 {
        (0..4).for_each(|y| padded.put_pixel(x, y, Luma([255])));
    }
    save(&f, "NODefect_images/2608691-202020u/0002_000_01.png", &padded);
    for (name, width) in
        [("0044_019_04", 16), ("0002_030_00", 18), ("0100_025_08", 16), ("0106_010_03", 16), ("0200_077_01", 16)]
    {
        save(&f, &format!("Defect_images/{name}.png"), &busy(width, 4, 3 + width));
    }
    save(&f, "Mask_images/0044_019_04_mask1.png", &marked(16, 4, &[[1, 1]]));
    save(&f, "Mask_images/0044_019_04_mask2.png", &marked(16, 4, &[[2, 3], [9, 0]]));
    save(&f, "Mask_images/0002_030_00_mask.png", &marked(18, 4, &[[17, 2]]));
    save(&f, "Mask_images/0106_010_03_mask.png", &marked(16, 4, &[]));
    save(&f, "Mask_images/0300_002_00_mask.png", &marked(16, 4, &[]));
    let dataset = f.open();
    assert_eq!((dataset.layout, counts(&dataset)), (Layout::Aitex, one("AITEX", [9, 3, 3, 3])));
    let defects: Vec<_> = dataset
        .items
        .iter()
        .filter(|item| item.label == Label::Anomalous)
        .map(|item| (&*item.name, &*item.kind))
        .collect();
    assert_eq!(
        defects,
        [
            ("Defect_images/0002_030_00.png#square=04", "nep"),
            ("Defect_images/0044_019_04.png#square=00", "fuzzyball"),
            ("Defect_images/0044_019_04.png#square=02", "fuzzyball"),
        ]
    );
    let open = |name: &str| dataset.items.iter().find(|item| item.name.ends_with(name)).unwrap().open().unwrap();
    let joined = open("0044_019_04.png#square=00");
    let inside: Vec<usize> = joined.mask.unwrap().iter().enumerate().filter(|(_, m)| **m).map(|(at, _)| at).collect();
    assert_eq!(inside, [5, 14]);
    // What is left at the right is an image, as narrow as it is.
    let last = open("0002_030_00.png#square=04");
    assert_eq!((last.image.width(), last.image.height()), (2, 4));
    let report = check(&dataset, &[], || ());
    for (fault, name, message) in [
        (false, "0100_025_08.png", "left out, as published"),
        (false, "0106_010_03.png", "its mask marks nothing"),
        (true, "0200_077_01.png", "there is no Mask_images/0200_077_01_mask.png"),
        (true, "0300_002_00_mask.png", "a mask of no image"),
        (false, "", "2 images of class `AITEX` are of one single colour"),
    ] {
        says(&report, fault, name, message);
    }
    fs::remove_dir_all(f.path("Defect_images")).unwrap();
    let report = check(&f.open(), &[], || ());
    says(&report, true, "Defect_images", "the folder is missing");
    says(&report, true, "", "class `AITEX` has no anomalous image to judge");
}

/// An idx file.
fn idx(extents: &[u32], values: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, extents.len() as u8];
    extents.iter().for_each(|extent| file.extend(extent.to_be_bytes()));
    file.extend(values);
    file
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// MNIST with these labels; picture i of either part has the value 16 i + its column, plus 1 in the part for testing.
fn mnist(f: &Folder, folder: &str, train: &[u8], test: &[u8]) {
    for (part, labels, plus) in [("train", train, 0), ("t10k", test, 1)] {
        let count = labels.len() as u32;
        let pixels: Vec<u8> =
            (0..count as u8).flat_map(|i| [0, 1, 2, 3, 4, 5].map(|at| 16 * i + at % 3 + plus)).collect();
        let images = idx(&[count, 2, 3], &pixels);
        fs::write(f.path(&format!("{folder}{part}-images-idx3-ubyte.gz")), gz(&images)).unwrap();
        fs::write(f.path(&format!("{folder}{part}-labels-idx1-ubyte")), idx(&[count], labels)).unwrap();
    }
}

#[test]
fn mnist_is_one_digit_against_all_or_the_even_ones_against_the_odd() {
    let f = Folder::new();
    mnist(&f, "MNIST/raw/", &[5, 0, 4, 5], &[7, 2, 5]);
    let dataset = f.open();
    assert_eq!(dataset.layout, Layout::Mnist);
    let found = counts(&dataset);
    assert_eq!(found.len(), 10);
    assert_eq!(found[5], ("5".to_owned(), [2, 1, 2, 0]));
    assert_eq!(found[4], ("4".to_owned(), [1, 0, 3, 0]));
    let item = dataset.of("5", Split::Train).last().unwrap();
    assert_eq!(item.name, "MNIST/raw/train-images-idx3-ubyte.gz#image=00003");
    let image = item.certain_image().unwrap();
    assert_eq!((image.width(), image.height(), image.frame().row(1)), (3, 2, &[48, 49, 50][..]));
    let report = check(&dataset, &["5"], || ());
    // It is much smaller than what is published, and nothing else is wrong with it.
    assert_eq!(report.faults(), 1, "{:#?}", report.problems);
    says(
        &report,
        true,
        "",
        "class `5` has 2 + 1 + 2 images (to train, normal and anomalous to test), MNIST one-vs-all publishes 5421",
    );
    // The same test picture is in ten classes, which is no copy.
    let report = check(&dataset, &[], || ());
    assert!(!report.problems.iter().any(|problem| problem.message.contains("same pixels")), "{:#?}", report.problems);
    says(&report, true, "", "class `9` has no normal image to draw prompts from");

    let even = Dataset::open(f.0.path(), Some(Layout::MnistMulti), 0).unwrap();
    assert_eq!(counts(&even), one("even_number", [2, 1, 2, 0]));
    assert_eq!(even.items.iter().map(|item| &*item.kind).collect::<Vec<_>>(), ["7", "2", "5", "0", "4"]);
    for layout in Layout::ALL {
        assert_eq!(layout.name().parse::<Layout>().unwrap(), layout);
        assert_eq!(serde_json::to_value(layout).unwrap(), layout.name());
    }
}

#[test]
fn a_damaged_half_of_mnist_leaves_the_other() {
    let f = Folder::new();
    mnist(&f, "", &[5, 0], &[5, 2]);
    let (images, labels) = (f.path("t10k-images-idx3-ubyte.gz"), f.path("t10k-labels-idx1-ubyte"));
    let whole = gz(&idx(&[2, 2, 3], &[7; 12]));
    let fault = |bytes: &[u8], message: &str| {
        fs::write(&images, bytes).unwrap();
        let dataset = f.open();
        assert_eq!(counts(&dataset), [one("0", [1, 0, 0, 0]), one("5", [1, 0, 0, 0])].concat(), "{message}");
        let report = check(&dataset, &[], || ());
        says(&report, true, "t10k-images-idx3-ubyte.gz", message);
        says(&report, true, "t10k-images-idx3-ubyte.gz", "there are no images to test");
    };
    fault(&whole[..whole.len() - 9], "the gz data is truncated");
    fault(&whole[..12], "the gz data is truncated");
    let mut flipped = whole.clone();
    // In the checksum at the end.
    flipped[whole.len() - 6] ^= 0xff;
    fault(&flipped, "the gz data is damaged");
    fault(&idx(&[2, 2, 3], &[7; 11]), "which is 12 values, but 11 are there");
    fault(&gz(&idx(&[2, 2, 3], &[7; 13])), "more are there");
    fault(&idx(&[2, 6], &[7; 12]), "expected [00, 00, 08, 03]");
    fault(&[0, 0, 8, 3, 0, 0], "the file ends in its header, after 6 bytes");
    fault(&idx(&[u32::MAX, u32::MAX, 9], &[7]), "at most");
    fault(b"", "after 0 bytes");
    fs::write(&images, &whole).unwrap();
    fs::write(&labels, idx(&[3], &[5, 2, 1])).unwrap();
    says(&check(&f.open(), &[], || ()), true, "t10k-labels-idx1-ubyte", "there are 3 labels of 2 pictures");
    fs::write(&labels, idx(&[2], &[5, 17])).unwrap();
    says(&check(&f.open(), &[], || ()), true, "t10k-images-idx3-ubyte.gz", "1 pictures have the label 17");
    fs::remove_file(&labels).unwrap();
    says(&check(&f.open(), &[], || ()), true, "t10k-labels-idx1-ubyte", "the file is missing");
    // With no half left there is no data set, and the first reason is told.
    fs::write(f.path("train-images-idx3-ubyte.gz"), &whole[..9]).unwrap();
    let error = Dataset::open(f.0.path(), None, 0).unwrap_err().to_string();
    assert!(error.contains("no image of layout mnist") && error.contains("the gz data is truncated"), "{error}");
}

/// The bytes of picture `index` of `scripts/fixtures/cifar10.py`, plane by plane.
fn cifar_picture(index: usize) -> Vec<u8> {
    (0..3072).map(|byte| ((31 * index + 7 * byte + byte / 1024) % 256) as u8).collect()
}

/// A binary batch of those pictures.
fn cifar_batch(labels: &[u8]) -> Vec<u8> {
    labels.iter().enumerate().flat_map(|(index, label)| [vec![*label], cifar_picture(index)].concat()).collect()
}

fn cifar_fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{}/../../tests/fixtures/cifar10/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn cifar_10_binary_and_pickled_are_the_same_pictures() {
    let f = Folder::new();
    fs::write(f.path("bin/cifar-10-batches-bin/data_batch_1.bin"), cifar_batch(&[3, 0, 9, 3])).unwrap();
    fs::write(f.path("bin/cifar-10-batches-bin/test_batch.bin"), cifar_batch(&[3, 1])).unwrap();
    let open = |folder: &str, layout| Dataset::open(f.0.path().join(folder), layout, 0).unwrap();
    let binary = open("bin", None);
    assert_eq!(binary.layout, Layout::Cifar10);
    assert_eq!(counts(&binary)[3], ("cat".to_owned(), [2, 1, 1, 0]));
    let animals = open("bin", Some(Layout::Cifar10Multi));
    assert_eq!(counts(&animals), one("animal", [2, 1, 1, 0]));
    let report = check(&animals, &[], || ());
    says(&report, true, "data_batch_4.bin", "the file is missing: the 10000 images to train");
    // Planes of red, green and blue.
    let second = binary.of("airplane", Split::Train).next().unwrap().certain_image().unwrap();
    let bytes = cifar_picture(1);
    assert_eq!(second.frame().row(1)[3..6], [bytes[33], bytes[1024 + 33], bytes[2048 + 33]]);

    for name in ["python2", "protocol3", "protocol4"] {
        fs::write(f.path("py/cifar-10-batches-py/data_batch_1"), cifar_fixture(name)).unwrap();
        let pickled = open("py", None);
        let pixels = |dataset: &Dataset| -> Vec<Vec<u8>> {
            let train = dataset.items.iter().filter(|item| item.split == Split::Train);
            train.map(|item| item.image().unwrap().frame().row(31).to_vec()).collect()
        };
        assert_eq!(pixels(&pickled).len(), 4, "{name}");
        assert_eq!(pixels(&pickled), pixels(&binary), "{name}");
    }
}

#[test]
fn a_batch_of_cifar_10_that_is_none_costs_its_own_pictures() {
    let f = Folder::new();
    fs::write(f.path("test_batch.bin"), cifar_batch(&[3, 1])).unwrap();
    let long = [cifar_batch(&[3, 0]), vec![1]].concat();
    fs::write(f.path("data_batch_2.bin"), &long).unwrap();
    fs::write(f.path("data_batch_3.bin"), b"").unwrap();
    let dataset = f.open();
    assert_eq!(counts(&dataset)[3], ("cat".to_owned(), [0, 1, 1, 0]));
    let report = check(&dataset, &[], || ());
    says(&report, true, "data_batch_2.bin", "the file has 6147 bytes, expected 30730000 (10000 records of 3073)");
    says(&report, true, "data_batch_3.bin", "the file has 0 bytes");

    let f = Folder::new();
    fs::write(f.path("test_batch"), cifar_fixture("python2")).unwrap();
    let fault = |bytes: &[u8], message: &str| {
        fs::write(f.path("data_batch_1"), bytes).unwrap();
        let dataset = f.open();
        assert_eq!(counts(&dataset)[3], ("cat".to_owned(), [0, 2, 2, 0]), "{message}");
        says(&check(&dataset, &[], || ()), true, "data_batch_1", message);
    };
    let whole = cifar_fixture("protocol4");
    fault(&whole[..5000], "the file ends inside the value");
    fault(&cifar_fixture("column_major"), "the array `data` does not hold bytes, row by row");
    fault(
        b"\x80\x02cos\nsystem\n(X\x04\0\0\0echotR.",
        "refused global `os.system`, which is not among the few names that arrays need",
    );
    fault(b"\x80\x02].", "the pickle is no dictionary");
    fault(b"\x80\x02}.", "the batch has no list `labels`");
    // One label less than pictures.
    let python2 = cifar_fixture("python2");
    let at = python2.windows(4).position(|bytes| bytes == b"\x09K\x03e").unwrap();
    fault(&[&python2[..at + 1], &python2[at + 3..]].concat(), "`data` is an array of [4, 3072], expected [3, 3072]");
    // A torch name is none of an array's.
    fault(b"\x80\x02}X\x06\0\0\0labelsctorch\nFloatStorage\ns.", "refused global `torch.FloatStorage`");
}

/// Stand-ins of full size under the published names, of pictures that are as cheap as they can be.
mod full_size {
    use super::*;

    /// Fails unless the counts are those that `data check` compares them with.
    #[track_caller]
    fn as_published(dataset: &Dataset) {
        for counts in dataset.counts() {
            assert!(counts.published.is_some() && counts.is_as_published(), "{counts:?}");
        }
    }

    #[test]
    fn sdd_has_the_published_counts() {
        let f = Folder::new();
        let image = busy(2, 6, 1);
        image.save(f.path("first.png")).unwrap();
        let bytes = fs::read(f.path("first.png")).unwrap();
        // 399 pictures of 50 commutators; 52 have a defect in one third, one in two: 54 defective thirds.
        let mut number = 0;
        for kos in 1..=50 {
            for part in 0..if kos == 50 { 7 } else { 8 } {
                let pixels = match number {
                    0 => vec![[0, 1], [1, 2]],
                    1..=52 => vec![[0, 2 * (number % 3)]],
                    _ => vec![],
                };
                // The names are those of the download; what a file holds is told by its first bytes.
                fs::write(f.path(&format!("kos{kos:02}/Part{part}.jpg")), &bytes).unwrap();
                save(&f, &format!("kos{kos:02}/Part{part}_label.bmp"), &marked(2, 6, &pixels));
                number += 1;
            }
        }
        assert_eq!(number, 399);
        let dataset = f.open();
        assert_eq!((dataset.layout, counts(&dataset)), (Layout::Sdd, one("SDD", [857, 286, 54, 54])));
        as_published(&dataset);
        // Half of it is missing.
        (26..=50).for_each(|kos| fs::remove_dir_all(f.0.path().join(format!("kos{kos}"))).unwrap());
        let report = check(&f.open(), &[], || ());
        says(
            &report,
            true,
            "",
            "class `SDD` has 409 + 137 + 54 images (to train, normal and anomalous to test), SDD publishes 857 + 286 + 54: some are missing",
        );
    }

    #[test]
    fn aitex_has_the_published_counts() {
        let f = Folder::new();
        let image = busy(16, 1, 1);
        // 141 pictures of seven fabrics without a defect.
        for number in 0..141 {
            save(&f, &format!("NODefect_images/fabric{}/{number:04}_000_0{}.png", number % 7, number % 7), &image);
        }
        // 106 with one, of which one has no mask: 183 marked squares in 105.
        for number in 1..=106 {
            let code = [2, 6, 10, 16, 19, 22, 23, 25, 27, 29, 30, 36][number as usize % 12];
            let name = if number == 100 { "0100_025_08".to_owned() } else { format!("{number:04}_{code:03}_00") };
            save(&f, &format!("Defect_images/{name}.png"), &image);
            let pixels = if number <= 78 { vec![[1, 0], [number % 14 + 2, 0]] } else { vec![[number % 16, 0]] };
            if number != 100 {
                save(&f, &format!("Mask_images/{name}_mask.png"), &marked(16, 1, &pixels));
            }
        }
        let dataset = f.open();
        assert_eq!((dataset.layout, counts(&dataset)), (Layout::Aitex, one("AITEX", [1692, 564, 183, 183])));
        as_published(&dataset);
    }

    /// How many pictures of each digit MNIST has, to train and to test.
    const DIGITS: [[usize; 10]; 2] = [
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ];

    #[test]
    fn mnist_has_the_published_counts() {
        let f = Folder::new();
        for (part, of) in ["train", "t10k"].into_iter().zip(DIGITS) {
            let labels: Vec<u8> = (0..10).flat_map(|digit| vec![digit as u8; of[digit]]).collect();
            let count = labels.len() as u32;
            let images = gz(&idx(&[count, 28, 28], &vec![0; 784 * labels.len()]));
            fs::write(f.path(&format!("{part}-images-idx3-ubyte.gz")), images).unwrap();
            fs::write(f.path(&format!("{part}-labels-idx1-ubyte.gz")), gz(&idx(&[count], &labels))).unwrap();
        }
        let dataset = f.open();
        let expected: Vec<_> = (0..10)
            .map(|digit| (digit.to_string(), [DIGITS[0][digit], DIGITS[1][digit], 10_000 - DIGITS[1][digit], 0]))
            .collect();
        assert_eq!((dataset.layout, counts(&dataset)), (Layout::Mnist, expected));
        as_published(&dataset);
        let even = Dataset::open(f.0.path(), Some(Layout::MnistMulti), 0).unwrap();
        assert_eq!(counts(&even), one("even_number", [29_492, 4926, 5074, 0]));
        as_published(&even);
    }

    #[test]
    fn cifar_10_has_the_published_counts() {
        let f = Folder::new();
        for batch in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
            let file = File::create(f.path(&format!("cifar-10-batches-bin/{batch}.bin"))).unwrap();
            file.set_len(30_730_000).unwrap();
            for index in 0..10_000 {
                file.write_at(&[(index % 10) as u8], index * 3073).unwrap();
            }
        }
        let dataset = f.open();
        let kinds = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
        let expected = kinds.map(|kind| (kind.to_owned(), [5000, 1000, 9000, 0]));
        assert_eq!((dataset.layout, counts(&dataset)), (Layout::Cifar10, expected.to_vec()));
        as_published(&dataset);
        let animals = Dataset::open(f.0.path(), Some(Layout::Cifar10Multi), 0).unwrap();
        assert_eq!(counts(&animals), one("animal", [30_000, 6000, 4000, 0]));
        as_published(&animals);
    }
}
