//! A turned metal washer: a flat ring with bevelled edges and the circular marks of the lathe.
//!
//! Missing part: a piece has broken out of the rim.

use super::{Order, belt, steel};
use crate::synth::defect::Defect;
use crate::synth::relief::{Relief, Spot, around};
use crate::synth::shape::{Blob, Pose, length};

/// Thickness.
const HEIGHT: f32 = 0.05;

pub fn draw(order: Order) -> Relief {
    let bite = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let metal = steel(&mut product);
    let (outer, inner) = (product.between(0.27, 0.41), product.between(0.35, 0.62));
    let (inner, lathe) = (outer * inner, product.between(80.0, 170.0));
    let pose = Pose::jittered(&mut specimen, 0.03, 0.3);
    let bite = bite.map(|mut stream| {
        let [dx, dy] = stream.direction();
        Blob::new([dx * outer, dy * outer], stream.between(0.07, 0.10), &mut stream)
    });
    let (marks, haze) = (specimen.noise(), specimen.noise());
    let sheen = specimen.direction();
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), outer + 0.02), |point| {
        let [u, v] = pose.local(point);
        let radius = length([u, v]);
        let mut inside = (radius - outer).max(inner - radius);
        if let Some(bite) = bite.filter(|_| inside < 0.01) {
            inside = inside.max(-bite.distance([u, v]));
        }
        let cover = edge.cover(inside);
        if cover == 0.0 {
            return None;
        }
        let mark = marks.at(radius * lathe, 0.5) + 0.6 * marks.at(radius * 320.0, 8.5 + 2.0 * u);
        // Grooves around the axis mirror the lamp in a double fan.
        let along = (u * sheen[0] + v * sheen[1]) / radius.max(0.05);
        let fan = along * along;
        let tone = 0.86 + 0.22 * (fan * fan) + 0.05 * mark + 0.05 * haze.at(u * 6.0, v * 6.0);
        let bevel = (1.0 + inside / 0.016).clamp(0.0, 1.0);
        let height = HEIGHT * (1.0 - 0.4 * bevel * bevel) + 0.0001 * mark;
        Some(Spot { cover, height, material: metal.shaded(tone) })
    });
    relief
}
