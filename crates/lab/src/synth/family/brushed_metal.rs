//! Brushed sheet metal: fine streaks along one direction and a broad sheen across it.

use super::Order;
use crate::synth::relief::{Material, Relief, rgb};
use crate::synth::shape::Pose;

pub fn draw(order: Order) -> Relief {
    let Order { side, mut product, mut specimen, .. } = order;
    let colours = [rgb(188, 191, 196), rgb(176, 184, 194), rgb(200, 190, 176), rgb(212, 178, 112), rgb(126, 130, 138)];
    let colour = product.pick(&colours);
    let (fineness, length, depth) = (product.between(0.55, 1.3), product.between(0.6, 3.0), product.between(0.7, 1.5));
    let pose = Pose::jittered(&mut specimen, 0.0, 0.03);
    let (streaks, fine, sheen) = (specimen.noise(), specimen.noise(), specimen.noise());
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point);
        let streak =
            streaks.at(u * 2.5 * length, v * 110.0 * fineness) + 0.7 * fine.at(u * 7.0 * length, v * 230.0 * fineness);
        let tone = 0.92 + 0.15 * depth * streak + 0.09 * sheen.at(u * 0.9, v * 3.0);
        (0.00022 * depth * streak, Material { colour, gloss: 0.3, metal: 0.75 }.shaded(tone))
    })
}
