//! A coated or speckled tablet, domed, with a score line.
//!
//! Missing part: a piece has chipped off the edge, and the rough core shows.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, step};
use crate::synth::relief::{Material, Relief, Spot, around, blend, rgb};
use crate::synth::shape::{Blob, Pose, rounded_box};

/// Thickness.
const HEIGHT: f32 = 0.10;

pub fn draw(order: Order) -> Relief {
    let chip = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let colours = [
        [rgb(236, 232, 224), rgb(204, 190, 172)],
        [rgb(232, 196, 188), rgb(206, 152, 146)],
        [rgb(226, 210, 150), rgb(196, 170, 98)],
        [rgb(176, 204, 218), rgb(128, 168, 190)],
        [rgb(196, 92, 70), rgb(160, 60, 48)],
        [rgb(120, 116, 112), rgb(80, 78, 76)],
    ];
    let [coat, speck] = product.pick(&colours);
    let half = product.pick(&[[0.31, 0.31], [0.37, 0.21], [0.36, 0.27], [0.30, 0.24]]);
    let scale = product.between(0.78, 1.06);
    let half = half.map(|h| h * scale);
    let round = half[1] * product.pick(&[1.0, 1.0, 0.55]);
    // A score line, none, or a cross.
    let [scored, crossed] = product.pick(&[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]);
    let (speckles, domed) = (product.between(0.0, 1.0), product.between(0.08, 0.20));
    let pose = Pose::jittered(&mut specimen, 0.03, 0.35);
    let chip = chip.map(|mut stream| {
        let (end, up) = (stream.pick(&[-1.0, 1.0]), stream.pick(&[-1.0, 1.0]));
        let [x, y] = [end * (half[0] - round * 0.4), up * round * stream.between(0.72, 0.9)];
        Blob::new([x, y], stream.between(0.08, 0.11), &mut stream)
    });
    let [specks, powder, rough] = std::array::from_fn(|_| specimen.noise());
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), half[0] + 0.02), |point| {
        let [u, v] = pose.local(point);
        let outline = rounded_box([u, v], half, round);
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        let inward = (-outline / domed).clamp(0.0, 1.0);
        let dome = (inward * (2.0 - inward)).sqrt();
        let groove = (scored * (1.0 - smooth(u.abs() / 0.016))).max(crossed * (1.0 - smooth(v.abs() / 0.016)));
        let fine = powder.at(u * 110.0, v * 110.0);
        let mut height = HEIGHT * (0.35 + 0.65 * dome) - 0.016 * groove + 0.0005 * fine;
        let spot = step(0.36, 0.5, specks.at(u * 42.0, v * 42.0));
        let mut material = Material::glossy(blend(coat, speck, speckles * spot), 0.22);
        material = material.shaded(1.0 + 0.035 * fine - 0.18 * groove);
        if let Some(chip) = chip {
            let broken = step(-0.004, 0.006, -chip.distance([u, v]));
            let grit = rough.cloud(u * 32.0, v * 32.0, 3);
            height += (HEIGHT * (0.22 + 0.10 * grit) - height) * broken;
            let core = Material::matt(blend(coat, rgb(196, 178, 150), 0.55)).shaded(0.92 + 0.25 * grit);
            material = material.towards(core, broken);
        }
        Some(Spot { cover, height, material })
    });
    relief
}
