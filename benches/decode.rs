//! Decoding of a JPEG file to pixels, beside the decoder of the `image` crate: groups `decode/size`, in pixels a second.
//!
//!     cargo bench --bench decode      INCTRL_BENCH_PICTURE=photo.jpg cargo bench --bench decode
//!
//! Without a picture one of 12 megapixels is drawn. Before anything is timed, the two results are compared.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use inctrl::Image;

/// Two correct decoders differ by the rounding of their inverse transforms and by how they enlarge colours.
const MEAN_DIFFERENCE: f64 = 2.0;

/// A photograph: smooth shades with the noise of a camera.
fn drawn(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 24) / 16.0
    };
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (f64::from(y), f64::from(x)))) {
        pixels.extend([0.0, 1.0, 2.0].map(|c| {
            let shade = 110.0 + 60.0 * (x / 50.0 + c).sin() + 40.0 * (y / 37.0 - c).cos();
            (shade + noise()).clamp(0.0, 255.0) as u8
        }));
    }
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 90);
    encoder.encode(&pixels, width, height, ExtendedColorType::Rgb8).expect("a JPEG file");
    file
}

fn decode(c: &mut Criterion) {
    let file = match std::env::var_os("INCTRL_BENCH_PICTURE") {
        Some(path) => {
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", std::path::Path::new(&path).display()))
        }
        None => drawn(4000, 3000),
    };
    let of_image = || image::load_from_memory_with_format(&file, ImageFormat::Jpeg).expect("a picture");
    let ours = Image::decode(&file).expect("a picture");
    let theirs = match ours.frame().format().channels() {
        1 => of_image().into_luma8().into_raw(),
        _ => of_image().into_rgb8().into_raw(),
    };
    let pixels = (0..ours.height()).flat_map(|y| ours.frame().row(y));
    let difference: f64 = pixels.zip(&theirs).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    let difference = difference / theirs.len() as f64;
    assert!(difference <= MEAN_DIFFERENCE, "the decoders differ by {difference} of 255 levels on average");

    let mut group = c.benchmark_group(format!("decode/{}x{}", ours.width(), ours.height()));
    group.throughput(Throughput::Elements((ours.width() * ours.height()) as u64)).sample_size(20);
    group.bench_function("inctrl", |b| b.iter(|| Image::decode(&file).expect("a picture")));
    group.bench_function("image", |b| b.iter(of_image));
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
