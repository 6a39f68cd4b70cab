use std::sync::Arc;

use criterion::Criterion;
use inctrl::backend::cpu::Cpu;
use inctrl::backend::{Backend, Embedding, ImageTokens};

use super::common::{PATCHES, TOKENS, WIDTH, bench, check, cpu, floats, norm, normalised, numbers};

fn embedding() -> Embedding<Cpu> {
    let tokens = ImageTokens { prefix: 1, patches: PATCHES };
    let (prefix, norm) = (Arc::new(numbers(2, WIDTH)), Some(Arc::new(norm(4))));
    Embedding { prefix, position: numbers(3, PATCHES * WIDTH), norm, tokens }
}

/// Token `t` in f64.
fn token(t: usize, patches: &[f32], embedding: &Embedding<Cpu>) -> Vec<f64> {
    let sum: Vec<f64> = match t.checked_sub(1) {
        None => embedding.prefix.iter().map(|&x| x.into()).collect(),
        Some(patch) => {
            let (content, position) = (&patches[patch * WIDTH..][..WIDTH], &embedding.position[patch * WIDTH..]);
            content.iter().zip(position).map(|(&x, &p)| f64::from(x) + f64::from(p)).collect()
        }
    };
    normalised(&sum, embedding.norm.as_ref().expect("a norm"))
}

pub fn embed(c: &mut Criterion) {
    let (shape, len) = (format!("{TOKENS}x{WIDTH}"), TOKENS * WIDTH);
    bench(c, "embed", &shape, floats(3 * len), || {
        let mut cpu = cpu();
        let (patches, embedding, mut out) = (numbers(1, PATCHES * WIDTH), embedding(), vec![0.0; len]);
        cpu.embed(&patches, 1, &embedding, &mut out).expect("tokens");
        for t in [0, 1, TOKENS - 1] {
            for (found, expected) in out[t * WIDTH..].iter().zip(token(t, &patches, &embedding)) {
                check("embed", *found, expected);
            }
        }
        move || cpu.embed(&patches, 1, &embedding, &mut out).expect("tokens")
    });
    bench(c, "embed_norm", &shape, floats(4 * len), || {
        let mut cpu = cpu();
        let (patches, embedding, next) = (numbers(1, PATCHES * WIDTH), embedding(), norm(6));
        let (mut out, mut second) = (vec![0.0; len], vec![0.0; len]);
        cpu.embed_norm(&patches, 1, &embedding, &mut out, &next, &mut second).expect("tokens");
        for t in [0, 1, TOKENS - 1] {
            for (found, expected) in second[t * WIDTH..].iter().zip(normalised(&token(t, &patches, &embedding), &next))
            {
                check("embed_norm", *found, expected);
            }
        }
        move || cpu.embed_norm(&patches, 1, &embedding, &mut out, &next, &mut second).expect("tokens")
    });
}
