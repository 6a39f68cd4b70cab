//! Copies of pictures, in every command that takes pictures.

use image::{DynamicImage, ImageFormat};

use crate::program::{Bench, Run};

const MODEL: [&str; 4] = ["--weights", "w.safetensors", "--threads", "1"];

fn bank(bench: &Bench, command: &str, args: &[&str]) -> Run {
    bench.run(&[&["bank", command], &MODEL[..], args].concat())
}

fn open(bench: &Bench, name: &str) -> DynamicImage {
    image::open(bench.path(name)).unwrap()
}

/// A camera's next frame of the same scene: every second pixel a level brighter.
fn next_frame(bench: &Bench, from: &str, to: &str) {
    let mut picture = open(bench, from).to_rgb8();
    picture.pixels_mut().step_by(2).for_each(|pixel| pixel.0[1] = pixel.0[1].saturating_add(1));
    picture.save(bench.path(to)).unwrap();
}

#[test]
fn one_picture_however_often_promises_nothing() {
    let bench = Bench::new();
    bank(&bench, "build", &["--normals", "good", "-o", "b"]).succeeded();
    bench.picture("copies/0.png", 40, 40, 77);
    for i in 1..99 {
        std::fs::copy(bench.path("copies/0.png"), bench.path(format!("copies/{i}.png"))).unwrap();
    }
    let run = bank(&bench, "calibrate", &["--bank", "b", "--normals", "copies"]);
    run.refused(&["1 distinct picture cannot", "copies among the 99 images", "99 are needed"]);
}

#[test]
fn copies_in_other_files_and_other_colours_are_copies() {
    let bench = Bench::new();
    bank(&bench, "build", &["--normals", "good", "-o", "b"]).succeeded();
    for i in 0..9 {
        bench.picture(&format!("more/{i}.png"), 40, 40, 50 + i);
    }
    // Another format, another depth, an alpha channel; and a prompt saved again as BMP.
    let picture = open(&bench, "more/0.png");
    picture.save_with_format(bench.path("more/9.bmp"), ImageFormat::Bmp).unwrap();
    DynamicImage::from(picture.to_rgb16()).save_with_format(bench.path("more/10.tif"), ImageFormat::Tiff).unwrap();
    DynamicImage::from(picture.to_rgba8()).save_with_format(bench.path("more/11.webp"), ImageFormat::WebP).unwrap();
    open(&bench, "good/a.png").save_with_format(bench.path("more/12.bmp"), ImageFormat::Bmp).unwrap();
    let args = ["--bank", "b", "--normals", "more", "-o", "c", "--max-false-reject"];
    let run = bank(&bench, "calibrate", &[&args[..], &["0.09"]].concat());
    assert_eq!(run.code, 1, "{}", run.stdout);
    for part in ["9 distinct pictures cannot", "copies among the 12 images", "11 are needed"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    let run = bank(&bench, "calibrate", &[&args[..], &["0.1"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("calibrated on 9 held-out images"), "{}", run.stdout);
    for note in ["note: 1 images are prompts", "note: 3 images are copies"] {
        assert!(run.stderr.contains(note), "{}", run.stderr);
    }
    assert!(!run.stderr.contains("near-copies"), "{}", run.stderr);
}

#[test]
fn a_grey_prompt_and_its_copy_in_three_channels_are_one_picture() {
    let bench = Bench::new();
    for i in 0..4 {
        bench.picture(&format!("x/{i}.png"), 40, 40, 60 + i);
        let grey = DynamicImage::from(open(&bench, &format!("x/{i}.png")).to_luma8());
        std::fs::create_dir_all(bench.path("grey")).unwrap();
        std::fs::create_dir_all(bench.path("three")).unwrap();
        grey.save(bench.path(format!("grey/{i}.png"))).unwrap();
        grey.to_rgb8().save(bench.path(format!("three/{i}.png"))).unwrap();
    }
    for (prompts, others) in [("grey", "three"), ("three", "grey")] {
        bank(&bench, "build", &["--normals", prompts, "-o", "b"]).succeeded();
        let args = ["--bank", "b", "--normals", others, "--max-false-reject", "0.2", "-o", "c"];
        let run = bank(&bench, "calibrate", &args);
        assert!(run.stdout.contains("4 prompts, each against the others"), "{}{}", run.stdout, run.stderr);
        bank(&bench, "report", &["--bank", "b", "--normals", others]).succeeded();
    }
}

#[test]
fn frames_of_a_part_that_stands_still_are_said_as_a_share() {
    let bench = Bench::new();
    bank(&bench, "build", &["--normals", "good", "-o", "b"]).succeeded();
    for i in 0..3 {
        bench.picture(&format!("line/{i}.png"), 40, 40, 50 + i);
        next_frame(&bench, &format!("line/{i}.png"), &format!("line/{i}-next.png"));
    }
    let run = bank(&bench, "calibrate", &["--bank", "b", "--normals", "line", "--max-false-reject", "0.2", "-o", "c"]);
    assert!(run.stdout.contains("calibrated on 6 held-out"), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("3 of 6 pictures (50 %) are near-copies"), "{}", run.stderr);
    assert!(run.stderr.contains("there are 3 parts"), "{}", run.stderr);
}

#[test]
fn a_bank_says_how_many_of_its_prompts_are_copies() {
    let bench = Bench::new();
    bank(&bench, "build", &["--normals", "good", "-o", "b"]).succeeded();
    let few = ["--bank", "b", "--normals", "good", "--max-false-reject", "0.25"];
    assert_eq!(bank(&bench, "calibrate", &few).code, 0);
    open(&bench, "good/a.png").save_with_format(bench.path("again.bmp"), ImageFormat::Bmp).unwrap();
    let run = bank(&bench, "append", &["--bank", "b", "--normals", "again.bmp", "-o", "longer"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("1 of the 4 normal images are copies"), "{}", run.stderr);
    assert!(run.stderr.contains("calibrate it again"), "{}", run.stderr);
    let report = bank(&bench, "report", &["--bank", "longer", "--normals", "good", "again.bmp", "--format", "json"]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    assert!(report.stderr.contains("1 of the bank's 4 prompts are copies"), "{}", report.stderr);
    assert_eq!(report.rows()[0]["prompts"].as_array().unwrap().len(), 3);
    // Four prompts of which two are one: three judge each other.
    let args = ["--bank", "longer", "--normals", "good", "again.bmp", "--max-false-reject", "0.2"];
    bank(&bench, "calibrate", &args).refused(&["3 distinct pictures cannot", "copies among the 4 images"]);
}

/// The hash of a bank's prompt tells the two apart, and the picture is the same.
#[test]
fn a_grey_picture_in_three_channels_is_a_copy_in_a_bank() {
    let bench = Bench::new();
    let grey = open(&bench, "good/a.png").to_luma8();
    grey.save(bench.path("grey.png")).unwrap();
    DynamicImage::from(grey).to_rgb8().save(bench.path("rgb.bmp")).unwrap();
    let build = |normals: &[&str], out: &str| {
        let run = bank(&bench, "build", &[&["--normals"], normals, &["-o", out]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr
    };
    let both = build(&["grey.png", "good/b.png", "rgb.bmp"], "both");
    assert!(both.contains("1 of the 3 normal images are copies"), "{both}");
    let one = build(&["grey.png", "good/a.png"], "one");
    assert!(!one.contains("copies"), "{one}");
    for (name, copies) in [("rgb.bmp", true), ("good/b.png", false)] {
        let run = bank(&bench, "append", &["--bank", "one", "--normals", name, "-o", "longer"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(run.stderr.contains("1 of the 3 normal images are copies"), copies, "{name}: {}", run.stderr);
    }
}
