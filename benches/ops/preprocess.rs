use criterion::{Criterion, Throughput};
use inctrl::backend::Backend;
use inctrl::view::Plan;
use inctrl::view::patches::{MEAN, STD};
use inctrl::{Fit, Frame, PixelFormat};

use super::common::{PATCHES, bench, cpu};

const SIZE: usize = 240;
const PATCH: usize = 16;

/// Weights of bicubic resampling (a = -0.5, widened by the scale) from `source` pixels to output `i` of `SIZE`.
fn weights(source: usize, i: usize) -> Vec<(usize, f64)> {
    let scale = source as f64 / SIZE as f64;
    let centre = (i as f64 + 0.5) * scale;
    let cubic = |x: f64| match x.abs() {
        x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    };
    let (first, last) = ((centre - 2.0 * scale + 0.5).max(0.0) as usize, (centre + 2.0 * scale + 0.5) as usize);
    let each: Vec<(usize, f64)> =
        (first..last.min(source)).map(|j| (j, cubic((j as f64 - centre + 0.5) / scale))).collect();
    let sum: f64 = each.iter().map(|(_, w)| w).sum();
    each.into_iter().map(|(j, w)| (j, w / sum)).collect()
}

/// The resized byte at (x, y): across, rounded, then down, rounded.
fn resized(pixel: impl Fn(usize, usize) -> u8, source: usize, x: usize, y: usize) -> f64 {
    let byte = |sum: f64| sum.clamp(0.0, 255.0).round();
    let across = |row: usize| byte(weights(source, x).iter().map(|(j, w)| w * f64::from(pixel(*j, row))).sum());
    byte(weights(source, y).iter().map(|(j, w)| w * across(*j)).sum())
}

pub fn preprocess(c: &mut Criterion) {
    for (side, format) in
        [(300, PixelFormat::Grey8), (300, PixelFormat::Rgb8), (1024, PixelFormat::Grey8), (1024, PixelFormat::Rgb8)]
    {
        let channels = format.channels();
        let bytes = side * side * channels + 4 * PATCHES * 3 * PATCH * PATCH;
        bench(c, "preprocess", format!("{side}x{side}x{channels}"), Throughput::Bytes(bytes as u64), || {
            let mut cpu = cpu();
            let pixels: Vec<u8> =
                (0..side * side * channels).map(|i| ((i * 7) ^ (i / side * 13) ^ (i / 5)) as u8).collect();
            let plan = Plan::new(side, side, SIZE, Fit::Crop).expect("a plan");
            let mut out = vec![0.0; PATCHES * 3 * PATCH * PATCH];
            let frame = Frame::packed(&pixels, side, side, format).expect("a frame");
            cpu.preprocess(frame, &plan, PATCH, 0, &mut out).expect("patches");
            for (x, y) in [(0, 0), (17, 100), (130, 61), (SIZE - 1, SIZE - 1)] {
                for channel in 0..3 {
                    let pixel = |x: usize, y: usize| pixels[(y * side + x) * channels + channel % channels];
                    let value = resized(pixel, side, x, y);
                    let expected = (value / 255.0 - f64::from(MEAN[channel])) / f64::from(STD[channel]);
                    let patch = y / PATCH * (SIZE / PATCH) + x / PATCH;
                    let place = ((patch * 3 + channel) * PATCH + y % PATCH) * PATCH + x % PATCH;
                    // Weights are fixed-point numbers: a sum near a half may be rounded the other way.
                    let step = 1.001 / 255.0 / f64::from(STD[channel]);
                    let error = (f64::from(out[place]) - expected).abs();
                    assert!(error <= step, "preprocess: ({x}, {y}) is {}, expected {expected}", out[place]);
                }
            }
            move || {
                let frame = Frame::packed(&pixels, side, side, format).expect("a frame");
                cpu.preprocess(frame, &plan, PATCH, 0, &mut out).expect("patches");
            }
        });
    }
}
