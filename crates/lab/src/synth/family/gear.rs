//! A spur gear: teeth, a web with holes or spokes, a hub with a keyway.
//!
//! Missing part: a tooth has broken off.

use super::{Order, belt, steel};
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, step};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, length, rounded_box};

/// Cosine and sine of a turn shared among the teeth, and their number.
const TEETH: [([f32; 2], usize); 4] = [
    ([0.923_879_5, 0.382_683_43], 16),
    ([0.951_056_5, 0.309_017], 20),
    ([0.965_925_8, 0.258_819_04], 24),
    ([0.978_147_6, 0.207_911_69], 30),
];
/// The same for the holes in the web.
const HOLES: [([f32; 2], usize); 4] =
    [([0.0, 1.0], 4), ([0.309_017, 0.951_056_5], 5), ([0.5, 0.866_025_4], 6), ([1.0, 0.0], 0)];

pub fn draw(order: Order) -> Relief {
    let broken = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let plastic = product.pick(&[rgb(226, 222, 208), rgb(58, 60, 64), rgb(190, 80, 60)]);
    let metal = steel(&mut product);
    let metal = if product.below(3) == 0 { Material::glossy(plastic, 0.4) } else { metal };
    let (turn, count) = product.pick(&TEETH);
    let tip = product.between(0.34, 0.42);
    let root = tip - (tip * 1.9 / count as f32).clamp(0.03, 0.055);
    let (web, hub) = (root * product.between(0.78, 0.86), root * product.between(0.34, 0.42));
    let (shaft, key) = (hub * product.between(0.5, 0.66), product.pick(&[0.0, 1.0]));
    let (pierce, holes) = product.pick(&HOLES);
    let gap = 0.36 * (web - hub);
    let broken = broken.map(|mut stream| (stream.below(count), stream.between(0.0, 0.25)));
    let pose = Pose::jittered(&mut specimen, 0.025, 0.35);
    let (lay, haze, grit) = (specimen.noise(), specimen.noise(), specimen.noise());
    let edge = relief.edge();
    let around_axis = |step: [f32; 2], count: usize| {
        let mut directions = vec![[1.0, 0.0]; count];
        for i in 1..count {
            directions[i] = compose(directions[i - 1], step);
        }
        directions
    };
    let (teeth, bores) = (around_axis(turn, count), around_axis(pierce, holes));
    // Half the width of a tooth at its root: half of its share of the way around.
    let broad = 0.5 * std::f32::consts::PI * root / count as f32;
    relief.paint(around(pose.global([0.0; 2]), tip + 0.01), |point| {
        let [u, v] = pose.local(point);
        let radius = length([u, v]);
        let mut outline = radius - root;
        if radius > root - 0.01 {
            for (number, [c, s]) in teeth.iter().enumerate() {
                let [along, across] = [u * c + v * s, (v * c - u * s).abs()];
                if along < 0.0 || across > 2.0 * broad {
                    continue;
                }
                let mut top = tip;
                if let Some((_, stump)) = broken.filter(|fault| fault.0 == number) {
                    top = root + (tip - root) * stump + 0.006 * grit.at(u * 60.0, v * 60.0);
                }
                let flank = across - broad * (1.15 - 0.62 * (along - root) / (tip - root));
                outline = outline.min(flank.max(along - top));
            }
        }
        outline = outline.max(shaft - radius).max(
            -(rounded_box([u - shaft, v], [shaft * 0.32, shaft * 0.26], 0.002) + if key > 0.0 { 0.0 } else { 1.0 }),
        );
        for [c, s] in &bores {
            let far = 0.5 * (web + hub);
            outline = outline.max(gap - length([u - c * far, v - s * far]));
        }
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        let turned = lay.at(radius * 160.0, 0.5) * 0.05;
        let tone = 0.94 + turned + 0.06 * haze.at(u * 6.0, v * 6.0);
        let sunk = step(hub, hub + 0.012, radius) * (1.0 - step(web - 0.012, web, radius));
        let rim = smooth(1.0 + outline / 0.012);
        Some(Spot { cover, height: 0.07 - 0.025 * sunk - 0.016 * rim, material: metal.shaded(tone - 0.08 * sunk) })
    });
    // The belt seen through the bores lies in shade.
    for (i, point) in relief.points(around(pose.global([0.0; 2]), web)) {
        if length(pose.local(point)) < web {
            let shade = 0.3 * (1.0 - relief.part[i]);
            relief.material[i] = relief.material[i].towards(Material::matt(rgb(30, 32, 36)), shade);
        }
    }
    relief
}
