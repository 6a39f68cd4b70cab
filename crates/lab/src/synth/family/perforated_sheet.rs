//! Perforated sheet metal: rows of punched holes, square or staggered, over a dark hollow.
//!
//! Missing part: a hole is not punched. Misplaced part: a hole is punched beside its place.

use super::Order;
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, smooth};
use crate::synth::relief::{Material, Relief, Spot, rgb};
use crate::synth::shape::{Pose, length, rounded_box};

pub fn draw(order: Order) -> Relief {
    // Any hole of the middle, whole in every pose.
    let choose = |stream: &mut Stream| [stream.below(3) as i32 - 1, stream.below(3) as i32 - 1];
    let missing = order.fault(Defect::MissingPart).map(|mut stream| choose(&mut stream));
    let misplaced = order
        .fault(Defect::MisplacedPart)
        .map(|mut stream| (choose(&mut stream), stream.direction().map(|d| d * stream.between(0.26, 0.36))));
    let Order { side, mut product, mut specimen, .. } = order;
    let metals = [
        Material { colour: rgb(190, 193, 198), gloss: 0.35, metal: 0.8 },
        Material { colour: rgb(206, 176, 120), gloss: 0.35, metal: 0.8 },
        Material::glossy(rgb(52, 56, 62), 0.3),
        Material::glossy(rgb(214, 212, 204), 0.3),
        Material::glossy(rgb(70, 104, 142), 0.35),
    ];
    let metal = product.pick(&metals);
    let pitch = product.between(0.085, 0.19);
    let staggered = product.pick(&[0.0, 0.5]);
    let half: [f32; 2] = product.pick(&[[0.30, 0.30], [0.26, 0.26], [0.36, 0.18]]);
    let corner = product.pick(&[0.2, 1.0, 1.0]);
    let pose = Pose::jittered(&mut specimen, 0.03, 0.04);
    let (haze, lay) = (specimen.noise(), specimen.noise());
    let mut relief = Relief::ground(side, |[x, y]| {
        (-0.06, Material::matt(rgb(26, 26, 28)).shaded(1.0 + 0.3 * haze.at(x * 9.0, y * 9.0)))
    });
    let edge = relief.edge();
    let round = half[0].min(half[1]) * corner;
    relief.paint([0.0, 0.0, 1.0, 1.0], |point| {
        let [u, v] = pose.local(point);
        let row = (v / pitch).round();
        let mut outline = f32::MAX;
        for j in [row - 1.0, row, row + 1.0] {
            let aside = if j as i32 & 1 == 0 { 0.0 } else { staggered };
            let column = (u / pitch - aside).round();
            for i in [column - 1.0, column, column + 1.0] {
                let place = [i as i32, j as i32];
                if missing == Some(place) {
                    continue;
                }
                let off = misplaced.filter(|fault| fault.0 == place).map_or([0.0; 2], |fault| fault.1);
                let at = [u / pitch - i - aside - off[0], v / pitch - j - off[1]];
                outline = outline.min(rounded_box(at, half, round) * pitch);
            }
        }
        let cover = edge.cover(-outline);
        let burr = smooth(1.0 - outline / 0.008);
        let tone = 0.94 + 0.06 * haze.at(u * 3.0, v * 5.0) + 0.06 * lay.at(u * 12.0, v * 180.0)
            - 0.05 * length([u, v])
            - 0.12 * burr;
        (cover > 0.0).then_some(Spot { cover, height: 0.012 - 0.004 * burr, material: metal.shaded(tone) })
    });
    relief
}
