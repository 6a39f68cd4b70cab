//! InCTRL's adapter and heads, equations 3 to 7.

use std::sync::Arc;

use inctrl::Result;
use inctrl::backend::{BankRole, BankTensor, Role};
use inctrl::methods::inctrl::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
use inctrl::tensor::Dense;

use super::comparison::{Comparison, places};
use super::inputs::{Input, dot, exact, numbers, output, sigmoid, unit_rows};
use super::{Case, Operation, Size, Sizes, Work};

const IMAGES: Size = Size::new("images", 1, "images of the batch");
const EMBED: Size = Size { least: 4, ..Size::row("embed", 640, 4, "width of the joint embedding") };
const CELLS: Size = Size::new("cells", 225, "cells of a map");

pub const INCTRL_ADAPTER: Operation = Operation {
    name: "inctrl_adapter",
    formula: "out = relu(W2 relu(W1 class)), the widths E, E / 4, E",
    sizes: &[IMAGES, EMBED],
};
pub const INCTRL_HEADS: Operation = Operation {
    name: "inctrl_heads",
    formula: "score, s_h, s_p, s_i, s_a of InCTRL's equations 3 to 7",
    sizes: &[IMAGES, EMBED, CELLS],
};

/// Of sigmoids of sums of some hundred terms of size 1.
const TOLERANCE: f64 = 1e-4;

fn dense(seed: u64, rows: usize, cols: usize) -> Dense {
    let scale = 1.5 / (cols as f32).sqrt();
    let weight = numbers(seed, rows * cols).iter().map(|x| scale * x).collect();
    Dense { rows, cols, weight, bias: numbers(seed + 1, rows) }
}

fn layers(embed: usize, cells: usize) -> HeadLayers {
    let head = |seed, inputs| [dense(seed, 128, inputs), dense(seed + 2, 64, 128), dense(seed + 4, 1, 64)];
    let mut adapter = [dense(10, embed / 4, embed), dense(12, embed, embed / 4)];
    adapter.iter_mut().for_each(|layer| layer.bias.clear());
    HeadLayers { adapter, image: head(20, embed), holistic: head(30, cells), alpha: 1.0 }
}

/// `relu(W x + b)` after each layer but, where `last_is_linear`, the last; in f64.
fn through(layers: &[Dense], x: &[f64], last_is_linear: bool) -> Vec<f64> {
    let mut x = x.to_vec();
    for (i, layer) in layers.iter().enumerate() {
        let row = |r: usize| {
            let weights = &layer.weight[r * layer.cols..][..layer.cols];
            let bias = layer.bias.get(r).map_or(0.0, |&b| b.into());
            weights.iter().zip(&x).map(|(&w, x)| f64::from(w) * x).sum::<f64>() + bias
        };
        let linear = last_is_linear && i + 1 == layers.len();
        x = (0..layer.rows).map(row).map(|y| if linear { y } else { y.max(0.0) }).collect();
    }
    x
}

pub struct Adapter<B: HeadOps> {
    images: usize,
    layers: HeadLayers,
    heads: B::Heads,
    class: Input<B>,
    out: B::Buffer,
}

impl<B: HeadOps> Adapter<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (images, embed) = (sizes.get("images"), sizes.get("embed"));
        let layers = layers(embed, 1);
        let heads = backend.head_weights(&layers)?;
        let class = Input::numbers(backend, Role::Stream, 1, images * embed)?;
        let out = backend.buffer(Role::Stream, images * embed)?;
        Ok(Box::new(Adapter { images, layers, heads, class, out }))
    }
}

impl<B: HeadOps> Case<B> for Adapter<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        backend.adapter(&self.class.buffer, self.images, &self.heads, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let embed = self.layers.embedding();
        let out = output(backend, &self.out, self.images * embed)?;
        for image in places(self.images, 16) {
            let class = exact(&self.class.values[image * embed..][..embed]);
            for (at, expected) in through(&self.layers.adapter, &class, false).iter().enumerate() {
                found.compare(image * embed + at, out[image * embed + at], *expected, TOLERANCE);
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let embed = self.layers.embedding();
        let weights = 2 * (embed / 4) * embed;
        Work { flop: 2 * self.images * weights, bytes: 4 * (weights + 2 * self.images * embed) }
    }

    fn shape(&self) -> String {
        format!("{} x {}", self.images, self.layers.embedding())
    }
}

pub struct InctrlHeads<B: HeadOps> {
    images: usize,
    layers: HeadLayers,
    heads: B::Heads,
    class: Input<B>,
    map: Input<B>,
    mean: Arc<Vec<f32>>,
    texts: Arc<Vec<f32>>,
    bank: B::Bank,
    out: B::Buffer,
}

impl<B: HeadOps> InctrlHeads<B> {
    pub fn case(backend: &mut B, sizes: &Sizes) -> Result<Box<dyn Case<B>>> {
        let (images, embed, cells) = (sizes.get("images"), sizes.get("embed"), sizes.get("cells"));
        let layers = layers(embed, cells);
        let heads = backend.head_weights(&layers)?;
        let class = Input::numbers(backend, Role::Stream, 1, images * embed)?;
        let map = numbers(3, images * cells).iter().map(|x| 0.5 + 0.5 * x).collect();
        let map = Input::new(backend, Role::Result, map)?;
        let (mean, texts): (Arc<Vec<f32>>, Arc<Vec<f32>>) = (numbers(2, embed).into(), unit_rows(4, 2, embed).into());
        let tensor = |values, rows| BankTensor { values, shape: [1, rows, embed], role: BankRole::Numbers };
        let bank = backend.bank(&[tensor(&mean, 1), tensor(&texts, 2)])?;
        let out = backend.buffer(Role::Result, images * OUTPUTS)?;
        Ok(Box::new(InctrlHeads { images, layers, heads, class, map, mean, texts, bank, out }))
    }

    /// Score, s_h, s_p, s_i, s_a of one image in f64.
    fn expected(&self, image: usize) -> [f64; OUTPUTS] {
        let (embed, cells) = (self.layers.embedding(), self.layers.cells());
        let class = &self.class.values[image * embed..][..embed];
        let map = &self.map.values[image * cells..][..cells];
        let adapted = through(&self.layers.adapter, &exact(class), false);
        let residual: Vec<f64> = self.mean.iter().zip(&adapted).map(|(&m, a)| f64::from(m) - a).collect();
        let s_i = sigmoid(through(&self.layers.image, &residual, true)[0]);
        let logit = |text: usize| 100.0 * dot(class, &self.texts[text * embed..][..embed]) / dot(class, class).sqrt();
        let s_a = sigmoid(logit(1) - logit(0));
        let s_p = map.iter().copied().fold(f32::NEG_INFINITY, f32::max).into();
        let holistic: Vec<f64> = map.iter().map(|&m| f64::from(m) + s_i + s_a).collect();
        let s_h = sigmoid(through(&self.layers.holistic, &holistic, true)[0]);
        [(s_h + s_p) / 2.0, s_h, s_p, s_i, s_a]
    }
}

impl<B: HeadOps> Case<B> for InctrlHeads<B> {
    fn run(&mut self, backend: &mut B) -> Result<()> {
        let at = HeadInputs { views: 0..self.images, first_slot: 0, cls_mean: 0, text_prototypes: 1 };
        backend.heads(&self.class.buffer, &self.map.buffer, at, &self.heads, &self.bank, &mut self.out)
    }

    fn compare(&mut self, backend: &mut B, found: &mut Comparison) -> Result<()> {
        let out = output(backend, &self.out, self.images * OUTPUTS)?;
        found.all_finite(&out);
        for image in places(self.images, 16) {
            for (at, expected) in self.expected(image).iter().enumerate() {
                found.compare(image * OUTPUTS + at, out[image * OUTPUTS + at], *expected, TOLERANCE);
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        let (embed, cells) = (self.layers.embedding(), self.layers.cells());
        let weights = 2 * (embed / 4) * embed + 128 * (embed + cells) + 2 * 64 * 129;
        Work { flop: 2 * self.images * weights, bytes: 4 * (weights + self.images * (embed + cells + OUTPUTS)) }
    }

    fn shape(&self) -> String {
        format!("{} x ({} + {})", self.images, self.layers.embedding(), self.layers.cells())
    }
}
