//! A rubber sealing ring, round or oval, perhaps with lugs.
//!
//! Missing part: the ring is torn and a piece of it gone.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::wave;
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Blob, Pose, length, rounded_box};

pub fn draw(order: Order) -> Relief {
    let torn = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let colours = [rgb(44, 44, 46), rgb(150, 62, 44), rgb(92, 110, 140), rgb(196, 190, 176), rgb(70, 116, 84)];
    let rubber = Material::glossy(product.pick(&colours), product.between(0.05, 0.35));
    let thick = product.between(0.042, 0.072);
    let reach = product.between(0.27, 0.34);
    let half = [reach, reach * product.pick(&[1.0, 1.0, 0.72])];
    let corner = half[1] * product.pick(&[1.0, 1.0, 0.5]);
    let (lugs, flat) = (product.pick(&[0.0, 0.0, 1.0]), product.pick(&[false, false, true]));
    let pose = Pose::jittered(&mut specimen, 0.03, 0.4);
    let torn = torn.map(|mut stream| {
        let [dx, dy] = stream.direction();
        // The point of the outline in that direction, by halving.
        let (mut near, mut far) = (0.0f32, 0.6f32);
        for _ in 0..12 {
            let middle = 0.5 * (near + far);
            let inside = rounded_box([dx * middle, dy * middle], half, corner) < 0.0;
            if inside { near = middle } else { far = middle }
        }
        Blob::new([dx * near, dy * near], thick * stream.between(1.15, 1.5), &mut stream)
    });
    let (skin, dust) = (specimen.noise(), specimen.noise());
    let bend = [specimen.between(-0.02, 0.02), specimen.between(-0.02, 0.02)];
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), 0.48), |point| {
        let [u, v] = pose.local(point);
        // Rubber is never quite in shape.
        let p = [u + bend[0] * (4.0 * v * v - 0.2), v + bend[1] * (4.0 * u * u - 0.2)];
        let line = rounded_box(p, half, corner).abs();
        let lug = length([p[0].abs() - half[0] - 0.01, p[1]]) - thick * 0.95;
        let mut outline = line - thick;
        if lugs > 0.0 {
            outline = outline.min(lug);
        }
        if let Some(torn) = torn.filter(|_| outline < 0.01) {
            outline = outline.max(-torn.distance(p));
        }
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        let across = (line / thick).min(1.0);
        let round = if flat { 0.75 } else { (1.0 - across * across).max(0.0).sqrt() };
        let seam = if flat { 0.0 } else { 0.0012 * wave(line / thick * 3.0) };
        let tone = 1.0 + 0.07 * skin.at(u * 70.0, v * 70.0) + 0.10 * dust.at(u * 7.0, v * 7.0);
        Some(Spot { cover, height: thick * (0.3 + 0.8 * round) + seam, material: rubber.shaded(tone) })
    });
    relief
}
