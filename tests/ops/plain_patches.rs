//! Patch tokens of the length that they have, by a norm or as they are, prefix tokens dropped.

use inctrl::backend::{Backend, ImageTokens, Role};

use super::{cases, finish, input, is_marked, layer_norm, output, random, real, rounding, same_bits, unless, within};

on_every_device! {
    plain_patches,
}

const EPSILON: f32 = 1e-6;

fn plain_patches<B: Backend>(backends: &mut [B]) {
    const TAPS: usize = 3;
    let all = [
        (1, 1, 1, 1, false),
        (2, 1, 225, 96, true),
        (3, 5, 4, 7, true),
        (2, 0, 15, 15, false),
        (1, 1, 9, 33, true),
        (1, 1, 1, 64, false),
        (2, 5, 9, 128, true),
        (3, 1, 4, 1280, true),
        (2, 0, 25, 192, false),
    ];
    let against = |&(images, _, patches, width, _): &(usize, usize, usize, usize, bool)| {
        unless(width, 64, 40 * images * patches * width)
    };
    for (images, prefix, patches, width, normed) in cases(backends, &all, against) {
        let tokens = ImageTokens { prefix, patches };
        let host = random(1, images * tokens.count() * width, 2.0);
        let parameters = layer_norm::parameters(width);
        let kept = |rows: &[f64]| -> Vec<f64> {
            rows.chunks(tokens.count() * width).flat_map(|image| image[prefix * width..].to_vec()).collect()
        };
        let exact = if normed {
            kept(&layer_norm::formula::<f64>(&real(&host), &parameters.0, &parameters.1, EPSILON))
        } else {
            kept(&real::<f64>(&host))
        };
        let naive: Vec<f32> = if normed {
            let rows = layer_norm::formula::<f32>(&host, &parameters.0, &parameters.1, EPSILON);
            rows.chunks(tokens.count() * width).flat_map(|image| image[prefix * width..].to_vec()).collect()
        } else {
            exact.iter().map(|x| *x as f32).collect()
        };
        for backend in &mut *backends {
            let norm = normed.then(|| layer_norm::norm(backend, &parameters, EPSILON));
            let len = exact.len();
            for tap in 0..TAPS {
                let (x, mut out) = (input(backend, Role::Stream, &host), output(backend, Role::Stream, TAPS * len));
                backend.plain_patches(&x, images, tokens, width, norm.as_ref(), tap, &mut out).unwrap();
                let all = finish(backend, &out, TAPS * len);
                let what = format!("plain_patches, {}, {images} x {patches} x {width}", backend.describe());
                let found = &all[tap * len..][..len];
                if normed {
                    let budget = rounding(&naive, &exact);
                    within(&what, found, &exact, |_| budget);
                } else {
                    same_bits(&what, found, &naive);
                }
                let beside = all[..tap * len].iter().chain(&all[(tap + 1) * len..]);
                assert!(beside.copied().all(is_marked), "{what}: wrote beside tap {tap}");
            }
        }
    }
}
