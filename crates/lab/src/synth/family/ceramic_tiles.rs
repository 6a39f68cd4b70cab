//! Glazed tiles in a square bond with grout between.
//!
//! Missing part: a tile has come off its mortar bed. Misplaced part: a tile is laid shifted and askew.

use super::Order;
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, step, wave};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, rounded_box, turned};

/// Half the grout, as a share of a tile's pitch.
const JOINT: f32 = 0.028;

pub fn draw(order: Order) -> Relief {
    // Any tile of the middle, whole in every pose.
    let choose = |stream: &mut Stream| [3 + stream.below(2), 3 + stream.below(2)];
    let missing = order.fault(Defect::MissingPart).map(|mut stream| choose(&mut stream));
    let misplaced = order.fault(Defect::MisplacedPart).map(|mut stream| {
        let turn = stream.pick(&[-1.0, 1.0]) * stream.between(0.10, 0.17);
        (choose(&mut stream), turn, [stream.between(-0.09, 0.09), stream.between(-0.09, 0.09)])
    });
    let Order { side, mut product, mut specimen, .. } = order;
    let glazes = [
        [rgb(222, 216, 204), rgb(168, 156, 138)],
        [rgb(122, 158, 168), rgb(78, 112, 128)],
        [rgb(196, 120, 88), rgb(146, 82, 60)],
        [rgb(136, 158, 132), rgb(92, 116, 96)],
        [rgb(74, 76, 84), rgb(52, 54, 60)],
        [rgb(236, 234, 228), rgb(214, 212, 204)],
        [rgb(190, 160, 90), rgb(150, 116, 60)],
    ];
    let [light, dark] = product.pick(&glazes);
    let axis = turned(specimen.between(-0.02, 0.02));
    let origin = [0.5 + specimen.between(-0.03, 0.03), 0.5 + specimen.between(-0.03, 0.03)];
    let whole = Pose::new(origin, axis);
    let (mortar, glaze, tones) = (specimen.noise(), specimen.noise(), specimen.noise());
    let grout = Material::matt(product.pick(&[rgb(150, 146, 140), rgb(96, 92, 88), rgb(206, 202, 194)]));
    let (cloudy, gloss) = (product.between(0.2, 1.0), product.between(0.2, 0.7));
    let bed = Material::matt(rgb(148, 136, 120));
    let pitch = product.between(0.21, 0.34);
    // Rows may be laid half a tile aside.
    let bond = product.pick(&[0.0, 0.0, 0.5]);
    let mut relief = Relief::sheet(side, |[x, y]| {
        let rough = mortar.cloud(x * 60.0, y * 60.0, 2);
        (0.004 + 0.0015 * rough, grout.shaded(1.0 + 0.12 * rough))
    });
    let edge = relief.edge();
    for row in 0..8usize {
        for column in 0..8usize {
            let aside = if row % 2 == 0 { bond } else { 0.0 };
            let at = [(column as f32 - 3.5 + aside) * pitch, (row as f32 - 3.5) * pitch];
            let (mut offset, mut direction) = (at, axis);
            if let Some((_, turn, shift)) = misplaced.filter(|fault| fault.0 == [column, row]) {
                offset = [at[0] + shift[0] * pitch, at[1] + shift[1] * pitch];
                direction = compose(axis, turned(turn));
            }
            let pose = Pose::new(whole.global(offset), direction);
            let gone = missing == Some([column, row]);
            let bits = tones.lattice(column as i32, row as i32);
            let own = 0.94 + 0.12 * (bits & 0xff) as f32 / 255.0;
            let [far_x, far_y] = [(bits >> 8 & 0xff) as f32, (bits >> 16 & 0xff) as f32];
            let half = pitch * (0.5 - JOINT);
            relief.paint(around(whole.global(offset), 0.75 * pitch), |point| {
                let [u, v] = pose.local(point);
                let inside = rounded_box([u, v], [half, half], 0.012);
                let cover = edge.cover(inside);
                if cover == 0.0 {
                    return None;
                }
                if gone {
                    // The mortar shows the ridges of the trowel.
                    let rough = mortar.cloud(u * 50.0, v * 50.0, 3);
                    let ridge = wave(v * 34.0 + 0.3 * rough);
                    let (height, material) = (-0.004 + 0.003 * ridge + 0.002 * rough, bed.shaded(1.0 + 0.25 * rough));
                    return Some(Spot { cover, height, material });
                }
                let cloud = glaze.cloud(u * 9.0 + far_x, v * 9.0 + far_y, 3);
                let vein = 1.0 - step(0.0, 0.10, glaze.at(u * 6.0 + far_y, v * 6.0 + far_x).abs());
                let material = Material::glossy(light, gloss).towards(
                    Material::glossy(dark, gloss),
                    (0.30 + cloudy * (0.45 * cloud + 0.22 * vein)).clamp(0.0, 1.0),
                );
                let bevel = 1.0 - (1.0 + inside / 0.018).clamp(0.0, 1.0);
                let height = 0.012 + 0.008 * bevel * (2.0 - bevel);
                Some(Spot { cover, height, material: material.shaded(own) })
            });
        }
    }
    relief
}
