//! Grained leather: irregular pebbles between creases.

use super::Order;
use crate::synth::random::{smooth, step};
use crate::synth::relief::{Material, Relief, rgb};
use crate::synth::shape::Pose;

pub fn draw(order: Order) -> Relief {
    let Order { side, mut product, mut specimen, .. } = order;
    let colour = product.pick(&[
        rgb(150, 82, 46),
        rgb(112, 56, 40),
        rgb(84, 70, 62),
        rgb(164, 112, 66),
        rgb(60, 58, 60),
        rgb(206, 190, 164),
    ]);
    let size = product.between(20.0, 40.0);
    let (depth, stretch) = (product.between(0.6, 1.3), product.between(0.8, 1.5));
    let pose = Pose::jittered(&mut specimen, 0.1, 0.1);
    let [grain, warp, pores, hue] = std::array::from_fn(|_| specimen.noise());
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point).map(|at| at * size);
        let [du, dv] = [warp.at(u * 0.6, v * 0.6), warp.at(u * 0.6 + 40.0, v * 0.6)];
        let [first, second] = grain.nearest(u + 0.45 * du, (v + 0.45 * dv) * stretch);
        let pebble = smooth((second - first) * 2.0);
        let dome = 1.0 - 0.5 * first * first;
        let fine = pores.at(u * 5.0, v * 5.0);
        let height = 0.0052 * depth * pebble * dome + 0.0006 * fine;
        let tone = 0.74 + 0.26 * pebble + 0.07 * fine + 0.10 * hue.at(u * 0.12, v * 0.12)
            - 0.15 * step(0.45, 0.7, pores.at(u * 1.7 + 80.0, v * 1.7));
        (height, Material::glossy(colour, 0.30).shaded(tone))
    })
}
