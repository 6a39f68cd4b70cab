//! The token rows of an image: prefix tokens, patches with positions, layer norm.

use std::sync::Arc;

use inctrl::backend::{Backend, Embedding, ImageTokens, Role};

use super::{
    Real, Stored, accurate, cases, coarseness, finish, input, layer_norm, output, random, real, same_bits, unless,
};

on_every_device! {
    embed,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    images: usize,
    prefix: usize,
    patches: usize,
    width: usize,
    norm: bool,
}

const fn case(images: usize, patches: usize, width: usize) -> Case {
    Case { images, prefix: 1, patches, width, norm: true }
}

const CASES: &[Case] = &[
    case(1, 1, 2),
    case(2, 225, 896),
    case(3, 4, 7),
    case(5, 9, 17),
    case(2, 16, 33),
    case(1, 36, 64),
    // A class token and four registers, none at all, and no norm before the blocks.
    Case { prefix: 5, ..case(2, 9, 17) },
    Case { prefix: 0, ..case(2, 16, 33) },
    Case { norm: false, ..case(3, 4, 7) },
    Case { prefix: 5, norm: false, ..case(1, 36, 64) },
    case(3, 4, 896),
    Case { norm: false, ..case(1, 25, 192) },
    Case { prefix: 0, ..case(2, 4, 128) },
];

const EPSILON: f32 = 1e-6;

/// `[prefix; patches + position]` of every image, normalised where there is a norm.
fn formula<T: Real>(patches: &[f32], prefix: &[f32], position: &[f32], norm: Option<&(Vec<f32>, Vec<f32>)>) -> Vec<T> {
    let mut tokens = Vec::new();
    for patches in patches.chunks(position.len()) {
        tokens.extend(real::<T>(prefix));
        tokens.extend(real::<T>(patches).into_iter().zip(real::<T>(position)).map(|(x, p)| x + p));
    }
    match norm {
        Some((weight, bias)) => layer_norm::formula(&tokens, weight, bias, EPSILON),
        None => tokens,
    }
}

fn embed<B: Backend>(backends: &mut [B]) {
    let against = |case: &Case| unless(case.width, 64, 40 * case.images * case.patches * case.width);
    for Case { images, prefix, patches, width, norm } in cases(backends, CASES, against) {
        let host = random(1, images * patches * width, 1.0);
        let (first, position) = (random(2, prefix * width, 1.0), random(3, patches * width, 1.0));
        let parameters = layer_norm::parameters(width);
        let parameters = norm.then_some(&parameters);
        let exact = formula::<f64>(&host, &first, &position, parameters);
        let naive = formula::<f32>(&host, &first, &position, parameters);
        let coarse = coarseness(backends, Role::Operand);
        for backend in &mut *backends {
            let embedding = Embedding {
                prefix: Arc::new(backend.constant(&Stored::f32(&[prefix, width], &first).view()).unwrap()),
                position: backend.constant(&Stored::f32(&[patches, width], &position).view()).unwrap(),
                norm: parameters.map(|parameters| Arc::new(layer_norm::norm(backend, parameters, EPSILON))),
                tokens: ImageTokens { prefix, patches },
            };
            let (x, mut out) = (input(backend, Role::Stream, &host), output(backend, Role::Stream, exact.len()));
            backend.embed(&x, images, &embedding, &mut out).unwrap();
            let found = finish(backend, &out, exact.len());
            let what = format!("embed, {}, {images} x ({prefix} + {patches}) x {width}", backend.describe());
            accurate(&what, &found, &exact, &naive, 0.0);

            // With the norm of the first block.
            let next = layer_norm::norm(backend, &layer_norm::parameters(width), EPSILON);
            let (mut again, mut normalised) =
                (output(backend, Role::Stream, exact.len()), output(backend, Role::Operand, exact.len()));
            backend.embed_norm(&x, images, &embedding, &mut again, &next, &mut normalised).unwrap();
            same_bits(&what, &finish(backend, &again, exact.len()), &found);
            let mut composed = output(backend, Role::Operand, exact.len());
            let rows = images * (prefix + patches);
            backend.layer_norm(&out, rows, &next, &mut composed).unwrap();
            let normalised = finish(backend, &normalised, exact.len());
            same_bits(&format!("{what}, normalised"), &normalised, &finish(backend, &composed, exact.len()));
            let (weight, bias) = layer_norm::parameters(width);
            let exact = layer_norm::formula::<f64>(&real(&found), &weight, &bias, EPSILON);
            let naive = layer_norm::formula::<f32>(&found, &weight, &bias, EPSILON);
            accurate(&format!("{what}, normalised"), &normalised, &exact, &naive, coarse);
        }
    }
}
