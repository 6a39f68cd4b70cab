//! A biscuit: baked dough with a stamped pattern, crumbs of chocolate or none.
//!
//! Missing part: a piece has been bitten or broken off.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, step, wave};
use crate::synth::relief::{Material, Relief, Spot, around, blend, rgb};
use crate::synth::shape::{Blob, Pose, length, rounded_box};

pub fn draw(order: Order) -> Relief {
    let bite = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let doughs = [
        [rgb(214, 164, 98), rgb(156, 96, 46)],
        [rgb(226, 192, 132), rgb(180, 124, 66)],
        [rgb(96, 62, 44), rgb(62, 38, 28)],
        [rgb(190, 138, 84), rgb(134, 84, 44)],
    ];
    let [pale, baked] = product.pick(&doughs);
    let half = product.pick(&[[0.35, 0.35], [0.38, 0.27], [0.33, 0.33]]);
    let scale = product.between(0.85, 1.1);
    let half: [f32; 2] = half.map(|h: f32| h * scale);
    let corner = half[1] * product.pick(&[1.0, 1.0, 0.25]);
    let (scallops, dimples) = (product.pick(&[0.0, 0.006]), product.between(0.075, 0.12));
    let (stamped, chips) = (product.below(2) == 0, product.pick(&[0.0, 0.0, 0.3]));
    let chip_scale = product.between(9.0, 14.0);
    let pose = Pose::jittered(&mut specimen, 0.025, 0.3);
    let bite = bite.map(|mut stream| {
        let (x, y) = (stream.pick(&[-1.0, 1.0]), stream.pick(&[-1.0, 1.0]));
        let at = [x * (half[0] - corner * 0.3), y * (half[1] - corner * 0.3)];
        Blob::new(at, stream.between(0.09, 0.13), &mut stream)
    });
    let [crumb, bumps, brown, bits] = std::array::from_fn(|_| specimen.noise());
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), length(half) + 0.02), |point| {
        let [u, v] = pose.local(point);
        let rim = scallops * (wave(u * 16.0) + wave(v * 16.0)) + 0.004 * bumps.at(u * 14.0, v * 14.0);
        let whole = rounded_box([u, v], half, corner) + rim;
        let mut outline = whole;
        let mut fresh = 0.0;
        if let Some(bite) = bite {
            let grit = 0.010 * crumb.at(u * 45.0, v * 45.0);
            outline = outline.max(-bite.distance([u, v]) + grit);
            fresh = step(-0.030, 0.0, -bite.distance([u, v]) + grit);
        }
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        let inward = (-whole / 0.07).clamp(0.0, 1.0);
        let mut height = 0.03 + 0.045 * (inward * (2.0 - inward)).sqrt() + 0.004 * bumps.cloud(u * 16.0, v * 16.0, 3);
        let browned = 0.85 * (1.0 - smooth(-whole / 0.10)) + 0.25 * brown.at(u * 5.0, v * 5.0);
        let mut colour = blend(pale, baked, browned.clamp(0.0, 1.0));
        if stamped {
            let near = [u, v].map(|at| at - (at / dimples).round() * dimples);
            let hole = (1.0 - smooth((length(near) - 0.006) / 0.008)) * step(0.05, 0.06, -whole);
            height -= 0.016 * hole;
            colour = blend(colour, baked.map(|c| c * 0.5), 0.7 * hole);
        }
        let (chip, [nearest, _]) = bits.cell(u * chip_scale, v * chip_scale);
        if ((chip & 0xff) as f32) < chips * 255.0 && -whole > 0.03 {
            let lump = 1.0 - smooth((nearest - 0.22) / 0.08);
            height += 0.008 * lump;
            colour = blend(colour, rgb(52, 32, 24), 0.95 * lump);
        }
        height -= 0.02 * fresh;
        colour = blend(colour, pale.map(|c| (c * 1.1).min(1.0)), 0.6 * fresh);
        let tone = 1.0 + 0.09 * crumb.cloud(u * 55.0, v * 55.0, 2);
        Some(Spot { cover, height, material: Material::glossy(colour, 0.06).shaded(tone) })
    });
    relief
}
