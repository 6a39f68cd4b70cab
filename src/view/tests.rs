//! The folder as a whole: against Pillow's results (made by scripts/fixtures/preprocess.py), and properties that hold
//! for every size.

use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;
use crate::image::*;

const FITS: [Fit; 4] = [Fit::Crop, Fit::Letterbox, Fit::Stretch, Fit::Trim];

pub(crate) fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/preprocess", name].iter().collect()
}

pub(crate) fn fixture_bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn format_of(channels: usize) -> PixelFormat {
    if channels == 1 { PixelFormat::Grey8 } else { PixelFormat::Rgb8 }
}

fn packed_pixels(image: &Image) -> Vec<u8> {
    (0..image.height()).flat_map(|y| image.frame().row(y)).copied().collect()
}

#[test]
fn files_decode_to_the_pixels_that_they_were_made_from() {
    let bytes = fixture_bytes("expected.safetensors");
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut seen = 0;
    for (key, view) in expected.tensors() {
        let Some(name) = key.strip_prefix("decode/") else { continue };
        if cfg!(not(feature = "libjpeg")) && name.ends_with(".jpg") {
            assert!(Image::open(fixture(name)).unwrap_err().to_string().contains("feature `libjpeg`"));
            seen += 1;
            continue;
        }
        let image = Image::open(fixture(name)).unwrap();
        let [height, width, channels] = *view.shape() else { panic!("{key}") };
        assert_eq!((image.width(), image.height()), (width, height), "{name}");
        assert_eq!(image.frame().format(), format_of(channels), "{name}");
        let wrong = packed_pixels(&image).iter().zip(view.data()).position(|(a, b)| a != b);
        assert!(wrong.is_none() && view.data().len() == width * height * channels, "{name}: byte {wrong:?} differs");
        seen += 1;
    }
    assert_eq!(seen, 29);
}

#[test]
fn resized_pixels_are_those_of_pillow() {
    for (file, filter, cases) in [
        ("expected.safetensors", Filter::Bicubic, 32),
        ("bilinear.safetensors", Filter::Bilinear, 32),
        ("trim.safetensors", Filter::Bicubic, 6),
    ] {
        let bytes = fixture_bytes(file);
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let preprocessing = Preprocessing { filter, ..Preprocessing::CLIP };
        let mut seen = 0;
        for (key, view) in expected.tensors() {
            let &[fit, size, name] = &key.split('/').collect::<Vec<_>>()[..] else { continue };
            let image = Image::open(fixture(name)).unwrap();
            let (width, height, size) = (image.width(), image.height(), size.parse().unwrap());
            let plan = Plan::with(width, height, size, fit.parse().unwrap(), &preprocessing).unwrap();
            assert_eq!(view.shape()[..2], [plan.height(), plan.width()], "{key}");
            let out = plan.run(&image.frame());
            assert_eq!(out.len(), view.data().len(), "{key}");
            let wrong = out.iter().zip(view.data()).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "{filter:?}, {key}: first byte that differs");
            seen += 1;
        }
        assert_eq!(seen, cases);
    }
}

#[test]
fn turned_pixels_are_those_of_opencv_and_of_pillow() {
    for (file, corners, count) in
        [("rotate.safetensors", Corners::Reflected, 22), ("rotate_black.safetensors", Corners::Black, 10)]
    {
        turned_pixels_are_those_of(file, corners, count);
    }
}

fn turned_pixels_are_those_of(file: &str, corners: Corners, count: usize) {
    let bytes = std::fs::read([env!("CARGO_MANIFEST_DIR"), "tests/fixtures", file].iter().collect::<PathBuf>());
    let bytes = bytes.unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let mut memory = Vec::new();
    for (key, view) in expected.tensors() {
        let (name, degrees) = key.split_once('/').unwrap();
        let image = Image::open(fixture(name)).unwrap();
        let turn = Turn { degrees: degrees.parse().unwrap(), corners };
        let turned = rotate(&image.frame(), turn, &mut memory).unwrap();
        let pixels = (0..turned.height()).flat_map(|y| turned.row(y)).copied();
        let wrong = pixels.zip(view.data()).position(|(found, expected)| found != *expected);
        assert_eq!(
            (wrong, view.data().len()),
            (None, image.width() * image.height() * turned.format().channels()),
            "{key}"
        );
    }
    assert_eq!(expected.len(), count);
}

#[test]
fn a_plan_tells_where_the_input_lies_on_the_picture() {
    let placement = |width, height, fit| Plan::new(width, height, 240, fit).unwrap().placement();
    assert_eq!(placement(1280, 1024, Fit::Crop), Placement { x: 128.0, y: 0.0, width: 1024.0, height: 1024.0 });
    assert_eq!(placement(1280, 1024, Fit::Letterbox), Placement { x: 0.0, y: -128.0, width: 1280.0, height: 1280.0 });
    assert_eq!(placement(1280, 1024, Fit::Stretch), Placement { x: 0.0, y: 0.0, width: 1280.0, height: 1024.0 });
    // 3 x 241 at 240 for the shorter side: 19280 rows, of which the middle 240, 9520 from the top, show three.
    let thin = placement(3, 241, Fit::Crop);
    assert_eq!((thin.x, thin.width), (0.0, 3.0));
    assert_eq!((thin.y, thin.height), (119.0, 3.0));
}

#[test]
fn the_grid_covers_the_whole_patches_only() {
    // Seven whole patches of 7 pixels, and one pixel beyond.
    let plan = Plan::new(120, 200, 50, Fit::Stretch).unwrap();
    assert_eq!(plan.placement_of_grid(7), Placement { x: 0.0, y: 0.0, width: 120.0 * 0.98, height: 196.0 });
    assert_eq!(plan.grid(7), Grid::square(7));
    // 448 x int(448 * 1000 / 700) = 640 pixels: 45 whole patches of 14 and 10 pixels that are not seen.
    let plan = Plan::new(1000, 700, 448, Fit::Trim).unwrap();
    assert_eq!((plan.width(), plan.height(), plan.grid(14)), (640, 448, Grid::new(32, 45)));
    let seen = plan.placement_of_grid(14);
    assert_eq!((seen.x, seen.y, seen.height), (0.0, 0.0, 700.0));
    assert!((seen.width - 1000.0 * 630.0 / 640.0).abs() <= 1e-9, "{seen:?}");
}

#[test]
fn only_rows_and_columns_that_survive_are_computed() {
    let plan = Plan::new(48, 83, 48, Fit::Crop).unwrap();
    // The width is kept, and of the height the middle: (83 - 48) / 2 = 17.5, to even 18.
    assert_eq!((plan.source_rows(), plan.columns(), plan.rows()), (18..66, 0..48, 0..48));
    assert_eq!((plan.horizontal_weights().row_len(), plan.vertical_weights().row_len()), (1, 1));
    let plan = Plan::new(1000, 100, 50, Fit::Crop).unwrap();
    let taps = plan.horizontal_weights();
    assert_eq!(taps.first().len(), 50);
    assert!(taps.first()[0] >= 445 && taps.first()[49] + taps.count()[49] <= 555, "{taps:?}");
    let plan = Plan::new(200, 100, 50, Fit::Letterbox).unwrap();
    assert_eq!((plan.columns(), plan.rows(), plan.source_rows()), (0..50, 12..37, 0..100));
}

#[test]
fn sizes_out_of_range_are_argument_errors() {
    for (width, height, size) in [(0, 5, 8), (5, 0, 8), (5, 5, 0), (65_536, 5, 8), (5, usize::MAX, 8), (5, 5, 65_536)] {
        let error = Plan::new(width, height, size, Fit::Crop).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Argument);
        assert!(error.to_string().contains("65535"), "{error}");
    }
    let error = Plan::new(1, 4000, 448, Fit::Trim).unwrap_err();
    assert!(error.kind() == crate::ErrorKind::Argument && error.to_string().contains("448 x 1792000"), "{error}");
    // The extreme aspect ratio costs no more than what is kept of it.
    let plan = Plan::new(1, 65_535, 240, Fit::Crop).unwrap();
    assert!(plan.intermediate_len(3) <= 240 * 5 * 3, "{}", plan.intermediate_len(3));
}

/// Sizes that reach upscaling, downscaling and identity on either axis.
fn sizes() -> impl Strategy<Value = (usize, usize, usize, usize)> {
    (1..90usize, 1..90usize, prop_oneof![1..60usize, Just(32)], prop_oneof![Just(1usize), Just(3)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_constant_picture_stays_constant((width, height, size, channels) in sizes(), value: u8) {
        let data = vec![value; width * height * channels];
        let frame = Frame::packed(&data, width, height, format_of(channels)).unwrap();
        for fit in FITS {
            let plan = Plan::new(width, height, size, fit).unwrap();
            let out = plan.run(&frame);
            for y in plan.rows() {
                let filled = plan.columns();
                let first = y * plan.width();
                let row = &out[(first + filled.start) * channels..(first + filled.end) * channels];
                prop_assert!(row.iter().all(|&v| v == value), "{fit}, row {y}: {row:?}");
            }
            if fit != Fit::Letterbox {
                prop_assert_eq!((plan.rows(), plan.columns()), (0..plan.height(), 0..plan.width()));
            }
            let sides = [plan.width(), plan.height()];
            prop_assert_eq!(if fit == Fit::Trim { *sides.iter().min().unwrap() } else { sides[0].max(sides[1]) }, size);
        }
    }

    #[test]
    fn a_grey_picture_and_its_three_channel_copy_look_the_same((width, height, size, _) in sizes(), seed: u64) {
        let grey: Vec<u8> =
            (0..(width * height) as u64).map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect();
        let rgb: Vec<u8> = grey.iter().flat_map(|&v| [v; 3]).collect();
        for fit in FITS {
            let plan = Plan::new(width, height, size, fit).unwrap();
            let grey = plan.run(&Frame::packed(&grey, width, height, PixelFormat::Grey8).unwrap());
            let rgb = plan.run(&Frame::packed(&rgb, width, height, PixelFormat::Rgb8).unwrap());
            prop_assert!(grey.iter().flat_map(|&v| [v; 3]).eq(rgb), "{fit}");
        }
    }

    #[test]
    fn any_split_and_any_stride_give_the_same_bytes(
        (width, height, size, channels) in sizes(),
        padding in 0..7usize,
        step in 1..9usize,
        seed: u64,
    ) {
        let stride = width * channels + padding;
        let data: Vec<u8> = (0..(stride * height) as u64)
            .map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0])
            .collect();
        let strided = Frame::new(&data, width, height, stride, format_of(channels)).unwrap();
        let packed: Vec<u8> = (0..height).flat_map(|y| strided.row(y)).copied().collect();
        let packed = Frame::packed(&packed, width, height, format_of(channels)).unwrap();
        prop_assert_eq!(strided.content_hash().unwrap(), packed.content_hash().unwrap());
        for fit in FITS {
            let plan = Plan::new(width, height, size, fit).unwrap();
            let whole = plan.run(&packed);
            let mut intermediate = vec![0xa5; plan.intermediate_len(channels)];
            let row = plan.intermediate_len(channels) / plan.intermediate_rows();
            for (i, out) in intermediate.chunks_mut(step * row).enumerate() {
                plan.horizontal(&strided, i * step..i * step + out.len() / row, out);
            }
            let mut split = vec![0x5a; whole.len()];
            let row = plan.width() * channels;
            for (i, out) in split.chunks_mut(step * row).enumerate() {
                let rows = i * step..i * step + out.len() / row;
                plan.vertical(&intermediate, channels, rows, out);
            }
            prop_assert_eq!(&split, &whole, "{}", fit);
        }
    }

    #[test]
    fn placements_cover_what_the_fit_promises((width, height, size, _) in sizes()) {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + b.abs());
        let (w, h) = (width as f64, height as f64);
        for fit in FITS {
            let Placement { x, y, width, height } = Plan::new(width, height, size, fit).unwrap().placement();
            let (right, bottom) = (x + width, y + height);
            prop_assert!(width > 0.0 && height > 0.0);
            match fit {
                Fit::Crop => {
                    prop_assert!(x >= 0.0 && y >= 0.0 && right <= w + 1e-9 && bottom <= h + 1e-9);
                    prop_assert!(near(width.min(height), w.min(h)) || near(width.max(height), w.min(h)));
                }
                Fit::Letterbox => {
                    prop_assert!(x <= 0.0 && y <= 0.0 && right >= w - 1e-9 && bottom >= h - 1e-9);
                }
                Fit::Stretch | Fit::Trim => prop_assert!(x == 0.0 && y == 0.0 && near(width, w) && near(height, h)),
            }
        }
    }
}
