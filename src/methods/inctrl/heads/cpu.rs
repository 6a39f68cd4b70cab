//! Equations 3 to 7 for one image on the CPU: adapter, image-level head, text prior, holistic head, final score.

use super::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
use crate::backend::cpu::{Bank, Cpu, RowArithmetic};
use crate::backend::need;
use crate::error::Result;
use crate::methods::inctrl::equations::{self, Given, Heads};
use crate::tensor::Dense;

impl HeadOps for Cpu {
    type Heads = HeadLayers;

    fn head_weights(&mut self, layers: &HeadLayers) -> Result<HeadLayers> {
        Ok(layers.clone())
    }

    fn adapter(&mut self, class: &Vec<f32>, rows: usize, layers: &HeadLayers, out: &mut Vec<f32>) -> Result<()> {
        let width = layers.embedding();
        need("inctrl_adapter", "class", class.len(), rows * width)?;
        need("inctrl_adapter", "out", out.len(), rows * width)?;
        self.each_row(&mut out[..rows * width], width, hidden_len(layers), |row, out, hidden, arithmetic| {
            OneImage { layers, hidden, arithmetic }.adapt(&class[row * width..][..width], out);
        })
    }

    fn heads(
        &mut self,
        class: &Vec<f32>,
        map: &Vec<f32>,
        at: HeadInputs,
        layers: &HeadLayers,
        bank: &Bank,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (width, cells) = (layers.embedding(), layers.cells());
        let (views, slots) = (at.views.clone(), at.slots());
        need("inctrl_heads", "class", class.len(), views.end * width)?;
        need("inctrl_heads", "map", map.len(), slots.end * cells)?;
        need("inctrl_heads", "out", out.len(), slots.end * OUTPUTS)?;
        let cls_mean = bank.numbers("inctrl_heads", at.cls_mean, width)?;
        let prototypes = bank.numbers("inctrl_heads", at.text_prototypes, 2 * width)?;
        let (normal, anomaly) = prototypes.split_at(width);
        let room = width.max(cells);
        let scratch = width + room + hidden_len(layers);
        let rows = &mut out[slots.start * OUTPUTS..slots.end * OUTPUTS];
        self.each_row(rows, OUTPUTS, scratch, |row, out, scratch, arithmetic| {
            let class = &class[(views.start + row) * width..][..width];
            let (unit, scratch) = scratch.split_at_mut(width);
            let (room, hidden) = scratch.split_at_mut(room);
            unit.copy_from_slice(class);
            arithmetic.unit(unit);
            let text_prior = equations::text_prior(arithmetic.dot(unit, anomaly), arithmetic.dot(unit, normal));
            let map = &map[(slots.start + row) * cells..][..cells];
            let given = Given { map, class, cls_mean, text_prior, alpha: layers.alpha };
            let parts = equations::score(&mut OneImage { layers, hidden, arithmetic }, given, room);
            out.copy_from_slice(&[
                parts.score,
                parts.holistic,
                parts.patch_max,
                parts.image_residual,
                parts.text_prior,
            ]);
        })
    }
}

/// The layers, and one thread's scratch memory.
struct OneImage<'a> {
    layers: &'a HeadLayers,
    /// [`hidden_len`] floats.
    hidden: &'a mut [f32],
    arithmetic: RowArithmetic,
}

impl Heads<f32> for OneImage<'_> {
    /// ψ: two layers without bias, ReLU after both.
    fn adapt(&mut self, class: &[f32], out: &mut [f32]) {
        let [first, second] = &self.layers.adapter;
        let hidden = &mut self.hidden[..first.rows];
        self.arithmetic.dense(first, class, hidden);
        relu(hidden);
        self.arithmetic.dense(second, hidden, out);
        relu(out);
    }

    fn image_logit(&mut self, residual: &[f32]) -> f32 {
        self.head(&self.layers.image, residual)
    }

    fn holistic_logit(&mut self, map: &[f32]) -> f32 {
        self.head(&self.layers.holistic, map)
    }
}

impl OneImage<'_> {
    /// η or φ: three layers with ReLU between them. Batch normalisation is folded into the second and third.
    fn head(&mut self, layers: &[Dense; 3], x: &[f32]) -> f32 {
        let (first, rest) = self.hidden.split_at_mut(layers[0].rows);
        let second = &mut rest[..layers[1].rows];
        self.arithmetic.dense(&layers[0], x, first);
        relu(first);
        self.arithmetic.dense(&layers[1], first, second);
        relu(second);
        let mut logit = [0.0];
        self.arithmetic.dense(&layers[2], second, &mut logit);
        logit[0]
    }
}

/// Floats that the hidden layers of the adapter or of a head need.
fn hidden_len(layers: &HeadLayers) -> usize {
    let head = |layers: &[Dense; 3]| layers[0].rows + layers[1].rows;
    layers.adapter[0].rows.max(head(&layers.image)).max(head(&layers.holistic))
}

/// `max(x, 0)` that keeps NaN, as PyTorch's does: an overflowed feature must not become a score.
fn relu(x: &mut [f32]) {
    x.iter_mut().filter(|x| **x < 0.0).for_each(|x| *x = 0.0);
}
