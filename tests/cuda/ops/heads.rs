//! InCTRL's adapter and heads.

use std::sync::Arc;

use inctrl::backend::{Backend, BankRole, BankTensor, Role};
use inctrl::methods::inctrl::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
use inctrl::tensor::Dense;

use super::patch_nn::unit_rows;
use super::{Every, Operation, compare};
use crate::{filled, halves, read, turn};

/// A bank of a class mean and two text prototypes.
fn heads_bank<B: Backend>(backend: &mut B, mean: &[f32], text: &[f32]) -> B::Bank {
    let (cls_mean, text): (Arc<Vec<f32>>, Arc<Vec<f32>>) = (mean.to_vec().into(), text.to_vec().into());
    let numbers = |values, rows| BankTensor { values, shape: [1, rows, mean.len()], role: BankRole::Numbers };
    backend.bank(&[numbers(&cls_mean, 1), numbers(&text, 2)]).unwrap()
}

fn images_at(images: usize) -> HeadInputs {
    HeadInputs { views: 0..images, first_slot: 0, cls_mean: 0, text_prototypes: 1 }
}

fn dense(seed: u64, rows: usize, cols: usize, biased: bool) -> Dense {
    let scale = 1.0 / (cols as f32).sqrt();
    let bias = if biased { halves(seed + 1, rows, 0.1) } else { Vec::new() };
    Dense { rows, cols, weight: halves(seed, rows * cols, scale), bias }
}

#[test]
fn cuda_heads() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (images, embed, cells) in [(1, 24, 9), (3, 32, 25), (2, 640, 225)] {
                let layers = HeadLayers {
                    adapter: [dense(1, embed / 4, embed, false), dense(2, embed, embed / 4, false)],
                    image: [dense(3, 128, embed, true), dense(5, 64, 128, true), dense(7, 1, 64, true)],
                    holistic: [dense(9, 128, cells, true), dense(11, 64, 128, true), dense(13, 1, 64, true)],
                    alpha: 0.75,
                };
                let heads = backend.head_weights(&layers).unwrap();
                let (mean, text) = (halves(15, embed, 0.3), unit_rows(16, 2, embed));
                let bank = heads_bank(backend, &mean, &text);
                let class = filled(backend, Role::Stream, &halves(17, images * embed, 0.5));
                let map: Vec<f32> = halves(18, images * cells, 0.2).iter().map(|x| x.abs()).collect();
                let map = filled(backend, Role::Stream, &map);
                let mut adapted = backend.buffer(Role::Stream, images * embed).unwrap();
                backend.adapter(&class, images, &heads, &mut adapted).unwrap();
                results.push((format!("adapter {images} x {embed}"), read(backend, &adapted, images * embed)));
                let mut parts = backend.buffer(Role::Result, images * OUTPUTS).unwrap();
                backend.heads(&class, &map, images_at(images), &heads, &bank, &mut parts).unwrap();
                results.push((format!("heads {images} x {cells}"), read(backend, &parts, images * OUTPUTS)));
            }
            results
        }
    }
    // f32 throughout; the sigmoid of 100 times a cosine multiplies its rounding.
    compare(0.0, Op);
}

#[test]
fn cuda_heads_keep_nan() {
    let Some(turn) = turn() else { return };
    let mut cuda = turn.cuda(true);
    let (embed, cells) = (24, 9);
    let layers = HeadLayers {
        adapter: [dense(1, embed / 4, embed, false), dense(2, embed, embed / 4, false)],
        image: [dense(3, 128, embed, true), dense(5, 64, 128, true), dense(7, 1, 64, true)],
        holistic: [dense(9, 128, cells, true), dense(11, 64, 128, true), dense(13, 1, 64, true)],
        alpha: 1.0,
    };
    let heads = cuda.head_weights(&layers).unwrap();
    let bank = heads_bank(&mut cuda, &[0.1; 24], &[0.1; 48]);
    for place in [0, 4, 8] {
        let mut map = vec![0.1; cells];
        map[place] = f32::NAN;
        let class = filled(&mut cuda, Role::Stream, &halves(17, embed, 0.5));
        let map = filled(&mut cuda, Role::Stream, &map);
        let mut parts = cuda.buffer(Role::Result, OUTPUTS).unwrap();
        cuda.heads(&class, &map, images_at(1), &heads, &bank, &mut parts).unwrap();
        let parts = read(&mut cuda, &parts, OUTPUTS);
        assert!(parts[0].is_nan() && parts[2].is_nan(), "a NaN at {place} of the map was lost: {parts:?}");
    }
}
