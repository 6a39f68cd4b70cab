//! The token rows of an image: prefix tokens, patches with positions, layer norm.

use std::sync::Arc;

use inctrl::backend::{Backend, Embedding, ImageTokens};

use super::{Real, Stored, accurate, finish, input, layer_norm, output, random, real};

on_every_backend! {
    embed => embed_cpu,
}

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
    for &Case { images, prefix, patches, width, norm } in CASES {
        let host = random(1, images * patches * width, 1.0);
        let (first, position) = (random(2, prefix * width, 1.0), random(3, patches * width, 1.0));
        let parameters = layer_norm::parameters(width);
        let parameters = norm.then_some(&parameters);
        let exact = formula::<f64>(&host, &first, &position, parameters);
        let naive = formula::<f32>(&host, &first, &position, parameters);
        for backend in &mut *backends {
            let embedding = Embedding {
                prefix: Arc::new(backend.constant(&Stored::f32(&[prefix, width], &first).view()).unwrap()),
                position: backend.constant(&Stored::f32(&[patches, width], &position).view()).unwrap(),
                norm: parameters.map(|parameters| Arc::new(layer_norm::norm(backend, parameters, EPSILON))),
                tokens: ImageTokens { prefix, patches },
            };
            let (x, mut out) = (input(backend, &host), output(backend, exact.len()));
            backend.embed(&x, images, &embedding, &mut out).unwrap();
            let found = finish(backend, &out, exact.len());
            let what = format!("embed, {}, {images} x ({prefix} + {patches}) x {width}", backend.describe());
            accurate(&what, &found, &exact, &naive);
        }
    }
}
