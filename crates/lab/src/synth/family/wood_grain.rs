//! Planed wood: wavering growth rings, each darkening slowly and ending sharply, with pores along the grain.

use super::Order;
use crate::synth::random::{smooth, split, step};
use crate::synth::relief::{Material, Relief, blend, rgb};
use crate::synth::shape::Pose;

pub fn draw(order: Order) -> Relief {
    let Order { side, mut product, mut specimen, .. } = order;
    let woods = [
        [rgb(214, 172, 122), rgb(150, 100, 58)],
        [rgb(188, 132, 84), rgb(112, 66, 36)],
        [rgb(222, 190, 148), rgb(172, 128, 84)],
        [rgb(150, 104, 72), rgb(82, 52, 34)],
        [rgb(206, 150, 110), rgb(140, 74, 50)],
        [rgb(228, 212, 180), rgb(196, 168, 128)],
    ];
    let [early, late] = product.pick(&woods);
    let rings = product.between(5.0, 14.0);
    let (waviness, pores) = (product.between(0.5, 1.6), product.between(0.3, 0.65));
    let pose = Pose::jittered(&mut specimen, 0.0, 0.03);
    let (drift, [warp, fibre, pore, hue]) = (specimen.between(0.0, 9.0), std::array::from_fn(|_| specimen.noise()));
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point);
        let ring =
            v * rings + drift + 1.5 * waviness * warp.at(u * 0.8, v * 1.5) + 0.22 * warp.at(u * 3.1 + 9.0, v * 9.0);
        let (number, age) = split(ring);
        let strength = 0.55 + 0.45 * ((hue.lattice(number, 3) & 0xff) as f32 / 255.0);
        // Late wood grows dark towards the end of the year; the fall back takes a tenth of it.
        let dark = strength * smooth(age * 1.05) * (1.0 - step(0.9, 1.0, age));
        let fine = fibre.at(u * 9.0, v * 160.0) + 0.6 * fibre.at(u * 22.0 + 5.0, v * 310.0);
        let hole = step(0.42, 0.62, pore.at(u * 13.0, v * 150.0)) * (0.5 + 0.5 * dark);
        let tone = 1.0 + 0.10 * fine + 0.08 * hue.at(u * 1.2, v * 2.5) - pores * hole;
        let colour = blend(early, late, dark);
        (0.0006 * fine - 0.002 * hole - 0.0008 * dark, Material::glossy(colour, 0.10).shaded(tone))
    })
}
