//! Terrazzo or granite: polished chips of stone of several colours in a ground of another.

use super::Order;
use crate::synth::random::{Noise, step};
use crate::synth::relief::{Material, Relief, blend, rgb};
use crate::synth::shape::Pose;

pub fn draw(order: Order) -> Relief {
    let Order { side, mut product, mut specimen, .. } = order;
    let palettes = [
        [rgb(196, 190, 180), rgb(160, 144, 130), rgb(214, 210, 202), rgb(132, 128, 126)],
        [rgb(96, 94, 98), rgb(126, 120, 118), rgb(70, 68, 74), rgb(128, 100, 92)],
        [rgb(182, 150, 142), rgb(146, 104, 98), rgb(204, 188, 178), rgb(120, 106, 106)],
        [rgb(204, 204, 198), rgb(150, 170, 160), rgb(190, 178, 146), rgb(168, 172, 176)],
    ];
    let [ground, first_stone, second_stone, third_stone] = product.pick(&palettes);
    let (large, small) = (product.between(9.0, 20.0), product.between(30.0, 52.0));
    let (share, joint, gloss) = (product.between(0.35, 0.95), product.between(0.02, 0.10), product.between(0.2, 0.6));
    let pose = Pose::jittered(&mut specimen, 0.3, 0.8);
    let [stones, grit, warp, cloud] = std::array::from_fn(|_| specimen.noise());
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point);
        let [du, dv] = [warp.at(u * 24.0, v * 24.0), warp.at(u * 24.0 + 50.0, v * 24.0)];
        let chip = |noise: Noise, scale: f32, joint: f32, share: f32| {
            let (bits, [near, next]) = noise.cell(u * scale + 0.22 * du, v * scale + 0.22 * dv);
            let there = (bits & 0xff) as f32 / 255.0 < share;
            let colour = [first_stone, second_stone, third_stone][(bits >> 8) as usize % 3];
            let own = 0.90 + 0.2 * (bits >> 16 & 0xff) as f32 / 255.0;
            (if there { step(joint, joint + 0.06, next - near) } else { 0.0 }, colour.map(|c| c * own))
        };
        let (fine_cover, fine) = chip(grit, small, 0.10, 0.5);
        let (cover, stone) = chip(stones, large, joint, share);
        let tone = 1.0 + 0.05 * cloud.at(u * 60.0, v * 60.0) + 0.05 * cloud.at(u * 4.0, v * 4.0);
        let colour = blend(blend(ground, fine, 0.7 * fine_cover), stone, cover);
        (0.0006 * cover, Material::glossy(colour, gloss).shaded(tone))
    })
}
