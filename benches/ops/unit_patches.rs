use criterion::Criterion;
use inctrl::backend::{Backend, ImageTokens};

use super::common::{PATCHES, TAPS, TOKENS, WIDTH, bench, check, cpu, dot, floats, norm, normalised, numbers};

/// The tap that is written: neither the first nor the last.
const TAP: usize = 1;
const IMAGE: ImageTokens = ImageTokens { prefix: 1, patches: PATCHES };

/// Compares the tap's rows of one image with rows of length 1; `x` has the class token before them.
fn check_taps(name: &str, x: &[f32], taps: &[f32]) {
    for patch in [0, 100, PATCHES - 1] {
        let row = &x[(1 + patch) * WIDTH..][..WIDTH];
        let length = dot(row, row).sqrt();
        for (found, x) in taps[(TAP * PATCHES + patch) * WIDTH..].iter().zip(row) {
            check(name, *found, f64::from(*x) / length);
        }
    }
}

pub fn unit_patches(c: &mut Criterion) {
    let (shape, len) = (format!("{TOKENS}x{WIDTH}"), TOKENS * WIDTH);
    bench(c, "unit_patches", &shape, floats(2 * PATCHES * WIDTH), || {
        let mut cpu = cpu();
        let (x, mut taps) = (numbers(1, len), vec![0.0; TAPS * PATCHES * WIDTH]);
        cpu.unit_patches(&x, 1, IMAGE, WIDTH, None, TAP, &mut taps).expect("unit rows");
        check_taps("unit_patches", &x, &taps);
        move || cpu.unit_patches(&x, 1, IMAGE, WIDTH, None, TAP, &mut taps).expect("unit rows")
    });
    bench(c, "layer_norm_unit_patches", &shape, floats(3 * len), || {
        let mut cpu = cpu();
        let (x, norm, mut out) = (numbers(1, len), norm(2), vec![0.0; len]);
        let mut taps = vec![0.0; TAPS * PATCHES * WIDTH];
        cpu.layer_norm_unit_patches(&x, 1, IMAGE, WIDTH, &norm, &mut out, TAP, &mut taps).expect("rows");
        check_taps("layer_norm_unit_patches", &x, &taps);
        let last: Vec<f64> = x[(TOKENS - 1) * WIDTH..].iter().map(|&x| x.into()).collect();
        for (found, expected) in out[(TOKENS - 1) * WIDTH..].iter().zip(normalised(&last, &norm)) {
            check("layer_norm_unit_patches", *found, expected);
        }
        move || {
            cpu.layer_norm_unit_patches(&x, 1, IMAGE, WIDTH, &norm, &mut out, TAP, &mut taps).expect("rows");
        }
    });
}
