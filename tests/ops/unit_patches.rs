//! Patch tokens with or without a norm, scaled to unit length, without the prefix tokens.

use inctrl::backend::{Backend, ImageTokens, Role};

use super::{
    Real, ULP, cases, coarseness, finish, input, is_marked, layer_norm, output, random, real, rounding, same_bits,
    unless, within,
};

on_every_device! {
    unit_patches,
    with_layer_norm,
    vectors_without_length,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    prefix: usize,
    patches: usize,
    width: usize,
    scale: f32,
    norm: bool,
}

const fn case(images: usize, patches: usize, width: usize) -> Case {
    Case { images, prefix: 1, patches, width, scale: 1.0, norm: false }
}

const CASES: &[Case] = &[
    case(1, 1, 1),
    case(2, 225, 896),
    case(3, 4, 7),
    case(2, 15, 15),
    case(1, 16, 16),
    case(2, 17, 17),
    case(1, 9, 33),
    Case { prefix: 5, ..case(3, 4, 7) },
    Case { prefix: 0, ..case(2, 15, 15) },
    Case { scale: 1e15, ..case(2, 4, 64) },
    Case { scale: 1e-8, ..case(2, 4, 64) },
    Case { norm: true, ..case(2, 9, 384) },
    Case { prefix: 0, ..case(1, 5, 1280) },
    case(3, 4, 128),
    Case { norm: true, prefix: 5, ..case(3, 4, 7) },
    Case { norm: true, scale: 1e-4, ..case(1, 9, 33) },
];

const EPSILON: f32 = 1e-6;

/// `x / max(‖x‖, 1e-12)` of every row, normalised where there is a norm, but the first `prefix` of each image.
fn formula<T: Real>(x: &[f32], tokens: ImageTokens, width: usize, norm: Option<&(Vec<f32>, Vec<f32>)>) -> Vec<T> {
    let mut y = Vec::new();
    let x = real::<T>(x);
    let x = norm.map_or(x.clone(), |(weight, bias)| layer_norm::formula(&x, weight, bias, EPSILON));
    for image in x.chunks(tokens.count() * width) {
        for row in image[tokens.prefix * width..].chunks(width) {
            let norm = row.iter().map(|&x| x * x).sum::<T>().sqrt().max(T::of(1e-12));
            y.extend(row.iter().map(|&x| x / norm));
        }
    }
    y
}

fn against(case: &Case) -> Option<&'static str> {
    unless(case.width, 64, 40 * case.images * case.patches * case.width)
}

fn unit_patches<B: Backend>(backends: &mut [B]) {
    const TAPS: usize = 3;
    for Case { images, prefix, patches, width, scale, norm } in cases(backends, CASES, against) {
        let tokens = ImageTokens { prefix, patches };
        let host = random(1, images * tokens.count() * width, scale);
        let parameters = layer_norm::parameters(width);
        let parameters = norm.then_some(&parameters);
        let exact = formula::<f64>(&host, tokens, width, parameters);
        let naive = formula::<f32>(&host, tokens, width, parameters);
        let coarse = coarseness(backends, Role::UnitRows);
        for backend in &mut *backends {
            let norm = parameters.map(|parameters| layer_norm::norm(backend, parameters, EPSILON));
            for tap in 0..TAPS {
                let (x, mut out) =
                    (input(backend, Role::Stream, &host), output(backend, Role::UnitRows, TAPS * exact.len()));
                backend.unit_patches(&x, images, tokens, width, norm.as_ref(), tap, &mut out).unwrap();
                let found = finish(backend, &out, TAPS * exact.len());
                let (before, rest) = found.split_at(tap * exact.len());
                let (found, after) = rest.split_at(exact.len());
                let what = format!(
                    "unit_patches, {}, {images} x {patches} x {width}, norm {}",
                    backend.describe(),
                    norm.is_some()
                );
                // One unit more than the formula: the reciprocal of the length is rounded before the product.
                let budget = rounding(&naive, &exact) + ULP + coarse;
                within(&what, found, &exact, |_| budget);
                assert!(before.iter().chain(after).all(|x| is_marked(*x)), "{what}: wrote beside tap {tap}");
            }
        }
    }
}

/// [`Backend::layer_norm_unit_patches`] is the two operations, to the bit.
fn with_layer_norm<B: Backend>(backends: &mut [B]) {
    for Case { images, prefix, patches, width, scale, .. } in cases(backends, CASES, against) {
        let tokens = ImageTokens { prefix, patches };
        let (rows, kept) = (images * tokens.count() * width, images * patches * width);
        let host = random(1, rows, scale);
        for backend in &mut *backends {
            let norm = layer_norm::norm(backend, &layer_norm::parameters(width), EPSILON);
            let x = input(backend, Role::Stream, &host);
            let (mut h, mut taps) = (output(backend, Role::Operand, rows), output(backend, Role::UnitRows, 2 * kept));
            backend.layer_norm_unit_patches(&x, images, tokens, width, &norm, &mut h, 1, &mut taps).unwrap();
            let (mut alone, mut unit) =
                (output(backend, Role::Operand, rows), output(backend, Role::UnitRows, 2 * kept));
            backend.layer_norm(&x, images * tokens.count(), &norm, &mut alone).unwrap();
            backend.unit_patches(&x, images, tokens, width, None, 1, &mut unit).unwrap();
            let what = format!("{}, {images} x {patches} x {width}", backend.describe());
            same_bits(&what, &finish(backend, &h, rows), &finish(backend, &alone, rows));
            same_bits(&what, &finish(backend, &taps, 2 * kept), &finish(backend, &unit, 2 * kept));
        }
    }
}

fn vectors_without_length<B: Backend>(backends: &mut [B]) {
    let width = if B::IN_HOST_MEMORY { 21 } else { 64 };
    // Class token, a zero patch, and one shorter than 1e-12.
    let host = [vec![1.0; width], vec![0.0; width], vec![1e-15; width]].concat();
    let coarse = coarseness(backends, Role::UnitRows);
    for backend in &mut *backends {
        let (x, mut out) = (input(backend, Role::Stream, &host), output(backend, Role::UnitRows, 2 * width));
        backend.unit_patches(&x, 1, ImageTokens { prefix: 1, patches: 2 }, width, None, 0, &mut out).unwrap();
        let found = finish(backend, &out, 2 * width);
        assert!(found[..width].iter().all(|x| *x == 0.0), "{}: a zero patch: {found:?}", backend.describe());
        let budget = (4.0 * ULP + coarse) * 1e-3;
        within("a short patch", &found[width..], &vec![1e-3; width], |_| budget);
    }
}
