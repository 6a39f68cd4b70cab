//! Cotton with a motif printed on it in rows.
//!
//! Missing part: a motif is not printed. Misplaced part: a motif is printed beside its place.

use super::Order;
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, wave};
use crate::synth::relief::{Material, Relief, blend, rgb};
use crate::synth::shape::{Pose, length, rounded_box};

#[derive(Clone, Copy)]
enum Motif {
    Dot,
    Ring,
    Diamond,
    Flower,
    Cross,
}

/// Unit vectors to the five petals of a flower.
const PETALS: [[f32; 2]; 5] = [
    [1.0, 0.0],
    [0.309_017, 0.951_056_5],
    [-0.809_017, 0.587_785_25],
    [-0.809_017, -0.587_785_25],
    [0.309_017, -0.951_056_5],
];

impl Motif {
    /// Distance to its outline, its half width being 1.
    fn distance(self, [u, v]: [f32; 2]) -> f32 {
        match self {
            Motif::Dot => length([u, v]) - 0.8,
            Motif::Ring => (length([u, v]) - 0.72).abs() - 0.22,
            Motif::Diamond => (u.abs() + v.abs() - 1.0) * 0.7,
            Motif::Flower => PETALS
                .iter()
                .map(|[x, y]| length([u - 0.62 * x, v - 0.62 * y]) - 0.36)
                .fold(length([u, v]) - 0.3, f32::min),
            Motif::Cross => rounded_box([u, v], [0.9, 0.26], 0.08).min(rounded_box([u, v], [0.26, 0.9], 0.08)),
        }
    }
}

pub fn draw(order: Order) -> Relief {
    let choose = |stream: &mut Stream| [stream.below(3) as i32 - 1, stream.below(3) as i32 - 1];
    let missing = order.fault(Defect::MissingPart).map(|mut stream| choose(&mut stream));
    let misplaced = order
        .fault(Defect::MisplacedPart)
        .map(|mut stream| (choose(&mut stream), stream.direction().map(|d| d * stream.between(0.32, 0.44))));
    let Order { side, mut product, mut specimen, .. } = order;
    let palettes = [
        [rgb(232, 226, 212), rgb(176, 48, 56), rgb(62, 96, 70)],
        [rgb(46, 58, 96), rgb(228, 224, 214), rgb(206, 150, 62)],
        [rgb(226, 190, 184), rgb(126, 52, 86), rgb(236, 234, 226)],
        [rgb(112, 140, 120), rgb(236, 230, 200), rgb(60, 66, 62)],
        [rgb(64, 62, 66), rgb(214, 96, 52), rgb(190, 186, 176)],
    ];
    let [cloth, ink, heart] = product.pick(&palettes);
    let motif = product.pick(&[Motif::Dot, Motif::Ring, Motif::Diamond, Motif::Flower, Motif::Cross]);
    let (pitch, size) = (product.between(0.13, 0.24), product.between(0.24, 0.36));
    let staggered = product.pick(&[0.0, 0.5]);
    let threads = product.between(55.0, 75.0);
    let pose = Pose::jittered(&mut specimen, 0.03, 0.04);
    let (bend, yarn) = (specimen.noise(), specimen.noise());
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point);
        let u = u + 0.006 * bend.at(u * 4.0, v * 4.0);
        let v = v + 0.006 * bend.at(u * 4.0 + 30.0, v * 4.0);
        let soft = side as f32 * pitch * size;
        let row = (v / pitch).round();
        let mut colour = cloth;
        for j in [row - 1.0, row, row + 1.0] {
            let aside = if j as i32 & 1 == 0 { 0.0 } else { staggered };
            let column = (u / pitch - aside).round();
            for i in [column - 1.0, column, column + 1.0] {
                let place = [i as i32, j as i32];
                if missing == Some(place) {
                    continue;
                }
                let off = misplaced.filter(|fault| fault.0 == place).map_or([0.0; 2], |fault| fault.1);
                let at = [(u / pitch - i - aside - off[0]) / size, (v / pitch - j - off[1]) / size];
                let cover = |d: f32| (0.5 - d * soft).clamp(0.0, 1.0);
                colour = blend(colour, ink, 0.92 * cover(motif.distance(at)));
                colour = blend(colour, heart, 0.92 * cover(length(at) - 0.26));
            }
        }
        let weave = wave(u * threads) * wave(v * threads);
        let slub = yarn.at(u * 9.0, v * threads) + yarn.at(u * threads, v * 9.0 + 70.0);
        let tone = 0.97 + 0.06 * weave + 0.07 * slub;
        (0.0009 * weave, Material::matt(colour).shaded(tone))
    })
}
