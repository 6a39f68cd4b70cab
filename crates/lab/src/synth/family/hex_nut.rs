//! A hexagonal nut: chamfered corners around a threaded hole.
//!
//! Missing part: a corner has broken off.

use super::{Order, belt, steel};
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, wave};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Blob, Pose, length};

/// Thickness.
const HEIGHT: f32 = 0.085;
/// Half of the square root of three.
const SIN_60: f32 = 0.866_025_4;

pub fn draw(order: Order) -> Relief {
    let broken = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let metal = steel(&mut product);
    let (flat, hole) = (product.between(0.22, 0.34), product.between(0.44, 0.60));
    let hole = flat * hole;
    let (brushed, turns) = (product.between(60.0, 200.0), product.between(2.5, 4.5));
    let pose = Pose::jittered(&mut specimen, 0.03, 0.25);
    let broken = broken.map(|mut stream| {
        let corner = flat / SIN_60;
        let corners = [[corner, 0.0], [corner * 0.5, corner * SIN_60], [-corner * 0.5, corner * SIN_60]];
        let ([x, y], turn) = (stream.pick(&corners), stream.pick(&[-1.0, 1.0]));
        Blob::new([x * turn, y * turn], stream.between(0.075, 0.10), &mut stream)
    });
    let (face, haze) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), flat / SIN_60 + 0.02), |point| {
        let [u, v] = pose.local(point);
        let radius = length([u, v]);
        let hexagon = (v.abs()).max(u.abs() * SIN_60 + v.abs() * 0.5) - flat;
        let mut outline = hexagon;
        if let Some(broken) = broken.filter(|_| outline < 0.01) {
            outline = outline.max(-broken.distance([u, v]));
        }
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        if radius < hole {
            // The bore: the thread winds down its wall to the belt.
            let depth = (1.0 - radius / hole) / 0.26;
            if depth > 1.0 {
                return None;
            }
            let turn = wave(depth * turns);
            let height = HEIGHT * (0.9 - 0.75 * depth) + 0.008 * turn;
            let material = metal.shaded(0.62 + 0.28 * turn - 0.3 * depth);
            return Some(Spot { cover, height, material });
        }
        let chamfer = ((radius - flat * 0.96) / (flat * 0.2)).clamp(0.0, 1.0);
        let mouth = smooth(1.0 - (radius - hole) / 0.022);
        let rim = (1.0 + outline / 0.012).clamp(0.0, 1.0);
        let height = HEIGHT * (1.0 - 0.55 * chamfer - 0.3 * mouth - 0.12 * rim * rim);
        let tone = 0.93 + 0.07 * face.at(u * 30.0, v * brushed) + 0.07 * haze.at(u * 5.0, v * 5.0) - 0.08 * chamfer;
        Some(Spot { cover, height, material: metal.shaded(tone) })
    });
    // Seen through the hole, the belt lies in the nut's shade.
    for (i, point) in relief.points(around(pose.global([0.0; 2]), hole)) {
        if length(pose.local(point)) < hole * 0.74 {
            relief.material[i] = relief.material[i].towards(Material::matt(rgb(30, 32, 36)), 0.35);
        }
    }
    relief
}
