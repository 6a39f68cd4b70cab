//! Equations 3 to 7 for one image: adapter, image-level head, text prior, holistic head, final score.

use super::simd::{Isa, Kernel, Simd};
use super::unit_patches::UnitRow;
use super::{Bank, Cpu, reduce};
use crate::backend::{HEAD_OUTPUTS, HeadLayers, need};
use crate::error::Result;
use crate::tensor::Dense;

/// CLIP's logit scale as the published code fixes it in the text prior.
const LOGIT_SCALE: f32 = 100.0;

impl Cpu {
    pub(super) fn adapt(&mut self, class: &[f32], rows: usize, layers: &HeadLayers, out: &mut [f32]) -> Result<()> {
        let width = layers.adapter[0].cols;
        need("adapter", "class", class.len(), rows * width)?;
        need("adapter", "out", out.len(), rows * width)?;
        let isa = self.isa;
        let hidden = layers.adapter[0].rows;
        self.reserve(hidden);
        self.pool.run_chunks(&mut out[..rows * width], width, |row, out, scratch| {
            adapter(isa, layers, &class[row * width..][..width], scratch.take(hidden), out);
        });
        Ok(())
    }

    pub(super) fn score(
        &mut self,
        class: &[f32],
        map: &[f32],
        images: usize,
        layers: &HeadLayers,
        bank: &Bank,
        out: &mut [f32],
    ) -> Result<()> {
        let (width, cells) = (layers.image[0].cols, layers.holistic[0].cols);
        need("heads", "class", class.len(), images * width)?;
        need("heads", "map", map.len(), images * cells)?;
        need("heads", "out", out.len(), images * HEAD_OUTPUTS)?;
        let isa = self.isa;
        let scratch_len = 2 * width.max(cells) + hidden_len(layers);
        self.reserve(scratch_len);
        self.pool.run_chunks(&mut out[..images * HEAD_OUTPUTS], HEAD_OUTPUTS, |image, out, scratch| {
            let class = &class[image * width..][..width];
            let map = &map[image * cells..][..cells];
            let floats = scratch.take(scratch_len);
            let (first, rest) = floats.split_at_mut(width.max(cells));
            let (second, hidden) = rest.split_at_mut(width.max(cells));

            // F_x = I_p - ψ(f_v(x))
            let residual = &mut first[..width];
            adapter(isa, layers, class, hidden, residual);
            residual.iter_mut().zip(&bank.class_mean).for_each(|(r, mean)| *r = mean - *r);
            let s_i = head(isa, &layers.image, residual, hidden);

            let unit = &mut second[..width];
            unit.copy_from_slice(class);
            isa.run(UnitRow(unit));
            let (normal, anomaly) = bank.text_prototypes.split_at(width);
            // A softmax over two is the sigmoid of their difference.
            let s_a = sigmoid(LOGIT_SCALE * dot(isa, unit, anomaly) - LOGIT_SCALE * dot(isa, unit, normal));

            let s_p = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let holistic = &mut first[..cells];
            holistic.iter_mut().zip(map).for_each(|(h, m)| *h = m + s_i + s_a);
            let s_h = head(isa, &layers.holistic, holistic, hidden);

            let score = (s_h + layers.alpha * s_p) / (1.0 + layers.alpha);
            out.copy_from_slice(&[score, s_h, s_p, s_i, s_a]);
        });
        Ok(())
    }
}

/// Floats that the hidden layers of the adapter or of a head need.
fn hidden_len(layers: &HeadLayers) -> usize {
    let head = |layers: &[Dense; 3]| layers[0].rows + layers[1].rows;
    layers.adapter[0].rows.max(head(&layers.image)).max(head(&layers.holistic))
}

/// ψ: two layers without bias, ReLU after both.
fn adapter(isa: Isa, layers: &HeadLayers, class: &[f32], hidden: &mut [f32], out: &mut [f32]) {
    let hidden = &mut hidden[..layers.adapter[0].rows];
    dense(isa, &layers.adapter[0], class, hidden);
    relu(hidden);
    dense(isa, &layers.adapter[1], hidden, out);
    relu(out);
}

/// η or φ: three layers, ReLU between (batch normalisation is folded into the second and third), sigmoid after.
fn head(isa: Isa, layers: &[Dense; 3], x: &[f32], hidden: &mut [f32]) -> f32 {
    let (first, rest) = hidden.split_at_mut(layers[0].rows);
    let second = &mut rest[..layers[1].rows];
    dense(isa, &layers[0], x, first);
    relu(first);
    dense(isa, &layers[1], first, second);
    relu(second);
    let mut logit = [0.0];
    dense(isa, &layers[2], second, &mut logit);
    sigmoid(logit[0])
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `max(x, 0)` that keeps NaN, as PyTorch's does: a feature that overflowed must not become a score.
fn relu(x: &mut [f32]) {
    x.iter_mut().filter(|x| **x < 0.0).for_each(|x| *x = 0.0);
}

fn dense(isa: Isa, layer: &Dense, x: &[f32], out: &mut [f32]) {
    struct Product<'a>(&'a Dense, &'a [f32], &'a mut [f32]);
    impl Kernel for Product<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Product(layer, x, out) = self;
            for (row, out) in layer.weight.chunks_exact(layer.cols).zip(out.iter_mut()) {
                *out = reduce::dot(simd, row, x);
            }
            for (out, bias) in out.iter_mut().zip(&layer.bias) {
                *out += bias;
            }
        }
    }
    isa.run(Product(layer, x, out));
}

fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl Kernel for Dot<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            reduce::dot(simd, self.0, self.1)
        }
    }
    isa.run(Dot(a, b))
}
