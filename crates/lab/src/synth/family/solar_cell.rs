//! A photovoltaic cell: dark silicon, fine fingers of silver across, broad busbars along.
//!
//! Missing part: fingers are interrupted over a stretch.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::step;
use crate::synth::relief::{Material, Relief, Spot, around, blend, rgb};
use crate::synth::shape::{Pose, length, rounded_box};

/// Half the side.
const HALF: f32 = 0.455;

pub fn draw(order: Order) -> Relief {
    let gap = order.fault(Defect::MissingPart).map(|mut stream| {
        let middle = [stream.between(-0.3, 0.3), stream.between(-0.3, 0.3)];
        (middle, [stream.between(0.05, 0.10), stream.between(0.06, 0.12)])
    });
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let silicon = product.pick(&[rgb(44, 56, 104), rgb(38, 40, 56), rgb(60, 66, 92), rgb(70, 72, 78)]);
    let crystals = product.pick(&[0.0, 0.0, 0.6, 1.0]);
    let (busbars, fingers) = (2 + product.below(4), product.between(26.0, 42.0).round());
    let (chamfer, bright) = (product.pick(&[0.0, 0.07, 0.10]), product.between(0.55, 0.9));
    let scale = product.between(7.0, 15.0);
    let pose = Pose::jittered(&mut specimen, 0.012, 0.02);
    let (grain, cloud, warp) = (specimen.noise(), specimen.noise(), specimen.noise());
    let silver = Material { colour: rgb(206, 206, 206), gloss: 0.3, metal: 0.5 };
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), 0.66), |point| {
        let [u, v] = pose.local(point);
        let corners = (u.abs() + v.abs() - 2.0 * HALF + chamfer) * 0.707;
        let outline = rounded_box([u, v], [HALF, HALF], 0.006).max(corners);
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        let [du, dv] = [warp.at(u * 12.0, v * 12.0), warp.at(u * 12.0 + 40.0, v * 12.0)];
        let (bits, _) = grain.cell(u * scale + 0.3 * du, v * scale + 0.3 * dv);
        let facet = (bits & 0xff) as f32 / 255.0 - 0.5;
        let tone =
            1.0 + 0.9 * crystals * facet + 0.10 * cloud.at(u * 3.0, v * 3.0) + 0.03 * cloud.at(u * 60.0, v * 60.0);
        let mut material = Material::glossy(silicon, 0.35).shaded(tone);
        let margin = step(0.012, 0.016, -outline);
        // Fingers thinner than a pixel are drawn as a share of it.
        let along = v / (2.0 * HALF) * fingers;
        let off = (along - along.round()).abs() / fingers * 2.0 * HALF;
        let width = 0.0022f32;
        let share = edge.cover(off - width.max(0.4 / side as f32)) * bright.min(width * side as f32);
        let broken = gap.map_or(0.0, |([x, y], [a, b])| edge.cover((u - x).abs() - a) * edge.cover((v - y).abs() - b));
        material = material.towards(silver, 0.9 * share * margin * (1.0 - broken));
        let lane = (u / (2.0 * HALF) + 0.5) * busbars as f32;
        let off = (lane - lane.floor() - 0.5).abs() / busbars as f32 * 2.0 * HALF;
        let bar = edge.cover(off - 0.011) * margin;
        material = material.towards(silver.shaded(0.95 + 0.04 * cloud.at(u * 50.0, v * 9.0)), bar);
        material.colour = blend(material.colour, silicon, 0.1 * length([u, v]) * (1.0 - bar));
        Some(Spot { cover, height: 0.010 + 0.0012 * bar, material })
    });
    relief
}
