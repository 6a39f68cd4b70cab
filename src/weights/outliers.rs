//! Outliers for random models, as they were measured in trained ones.
//!
//! In the published CLIP and DINOv2 models a few fixed channels of the residual stream have values about a hundred
//! times as large as the others, from a block in the first half on, at a few tokens of an image (Sun et al. 2024,
//! "Massive Activations in Large Language Models"; Darcet et al. 2024, "Vision Transformers Need Registers"). The MLP
//! of one block writes them: a hidden unit that responds to few tokens has a large weight. Beside these, some channels
//! have gains of layer norms that are many times as large as the others', and so outliers at every token (Kovaleva et
//! al. 2021, "BERT Busters"). Rounding to few bits fails on both.

use super::arch::Arch;
use crate::split_mix::{STEP, mix};

/// Hidden units that write massive activations, each into a channel of its own.
const MASSIVE: usize = 2;
/// A unit's weights are so many times as large as others, and its bias is this: about one token in a hundred exceeds
/// it.
const SLOPE: f32 = 4.0;
const BIAS: f32 = -10.0;
/// The weight by which a unit writes.
const WRITES: f32 = 80.0;
/// Channels with large gains, in every norm of a block.
const LARGE_GAINS: usize = 3;
const GAIN: f32 = 10.0;

/// What is planted into some elements of a tensor.
pub(super) struct Planted {
    /// The elements: from the first on, so many.
    first: usize,
    count: usize,
    change: Change,
}

enum Change {
    Set(f32),
    Times(f32),
}

impl Planted {
    /// The element `index`, which would be `x`.
    pub(super) fn apply(&self, index: usize, x: f32) -> f32 {
        if !(self.first..self.first + self.count).contains(&index) {
            return x;
        }
        match self.change {
            Change::Set(value) => value,
            Change::Times(factor) => factor * x,
        }
    }
}

/// What is planted into the tensor `name` of a model of `arch`, which has these outliers for each seed.
pub(super) fn planted(arch: &Arch, seed: u64, name: &str) -> Vec<Planted> {
    let (vision, names) = (&arch.vision, arch.family.vit());
    let Some((block, tensor)) = name.strip_prefix(names.blocks).and_then(|rest| rest.split_once('.')) else {
        return Vec::new();
    };
    let place = |what: u64, i: usize, of: usize| {
        let hash = mix(seed.wrapping_mul(STEP) ^ mix(STEP.wrapping_mul(8 * i as u64 + what)));
        (hash % of.max(1) as u64) as usize
    };
    let one = |first, change| Planted { first, count: 1, change };
    let norms = [names.block.norm_1, names.block.norm_2].map(|norm| format!("{norm}.weight"));
    if norms.iter().any(|norm| norm == tensor) {
        let channels = (0..LARGE_GAINS).map(|i| place(0, i, vision.width));
        return channels.map(|channel| one(channel, Change::Set(GAIN))).collect();
    }
    if block != (vision.layers / 4).to_string() {
        return Vec::new();
    }
    let [expand, contract] = names.block.mlp(vision.mlp);
    let unit = |i: usize| place(1, i, vision.mlp_width);
    let each = |plant: &dyn Fn(usize) -> Planted| (0..MASSIVE).map(plant).collect();
    match tensor.strip_prefix(expand).or(tensor.strip_prefix(contract)) {
        Some(".weight") if tensor.starts_with(expand) => each(&|i| {
            let (first, count) = (unit(i) * vision.width, vision.width);
            Planted { first, count, change: Change::Times(SLOPE) }
        }),
        Some(".bias") if tensor.starts_with(expand) => each(&|i| one(unit(i), Change::Set(BIAS))),
        Some(".weight") => {
            let sign = |i: usize| if i.is_multiple_of(2) { WRITES } else { -WRITES };
            each(&|i| one(place(2, i, vision.width) * vision.mlp_width + unit(i), Change::Set(sign(i))))
        }
        _ => Vec::new(),
    }
}
