//! The token rows of an image: class embedding, patches, positions, layer norm.

use inctrl::backend::{Backend, Embedding};

use super::{Real, Stored, accurate, finish, input, layer_norm, output, random, real};

on_every_backend! {
    embed => embed_cpu,
}

struct Case {
    images: usize,
    patches: usize,
    width: usize,
}

const CASES: &[Case] = &[
    Case { images: 1, patches: 1, width: 2 },
    Case { images: 2, patches: 225, width: 896 },
    Case { images: 3, patches: 4, width: 7 },
    Case { images: 5, patches: 9, width: 17 },
    Case { images: 2, patches: 16, width: 33 },
    Case { images: 1, patches: 36, width: 64 },
];

/// `layer_norm([class; patches] + position)` of every image.
fn formula<T: Real>(patches: &[f32], class: &[f32], position: &[f32], norm: &(Vec<f32>, Vec<f32>)) -> Vec<T> {
    let image = position.len() - class.len();
    let mut tokens = Vec::new();
    for patches in patches.chunks(image) {
        let content = [class, patches].concat();
        tokens.extend(real::<T>(&content).into_iter().zip(real::<T>(position)).map(|(x, p)| x + p));
    }
    layer_norm::formula(&tokens, &norm.0, &norm.1)
}

fn embed<B: Backend>(backends: &mut [B]) {
    for &Case { images, patches, width } in CASES {
        let host = random(1, images * patches * width, 1.0);
        let (class, position) = (random(2, width, 1.0), random(3, (1 + patches) * width, 1.0));
        let parameters = layer_norm::parameters(width);
        let exact = formula::<f64>(&host, &class, &position, &parameters);
        let naive = formula::<f32>(&host, &class, &position, &parameters);
        for backend in &mut *backends {
            let norm = layer_norm::norm(backend, &parameters);
            let embedding = Embedding {
                class: backend.constant(&Stored::f32(&[width], &class).view()).unwrap(),
                position: backend.constant(&Stored::f32(&[1 + patches, width], &position).view()).unwrap(),
                norm,
                tokens: 1 + patches,
            };
            let (x, mut out) = (input(backend, &host), output(backend, exact.len()));
            backend.embed(&x, images, &embedding, &mut out).unwrap();
            let found = finish(backend, &out, exact.len());
            let what = format!("embed, {}, {images} x {patches} x {width}", backend.describe());
            accurate(&what, &found, &exact, &naive);
        }
    }
}
