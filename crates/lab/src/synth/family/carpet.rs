//! Tufted carpet: loops of yarn in two or three colours, mottled or in stripes.
//!
//! Missing part: tufts have come out, and the backing shows.

use super::Order;
use crate::synth::defect::Defect;
use crate::synth::random::{step, wave};
use crate::synth::relief::{Material, Relief, blend, rgb};
use crate::synth::shape::{Blob, Pose};

pub fn draw(order: Order) -> Relief {
    let bald = order.fault(Defect::MissingPart).map(|mut stream| {
        let centre = [stream.between(0.2, 0.8), stream.between(0.2, 0.8)];
        Blob::new(centre, stream.between(0.05, 0.08), &mut stream)
    });
    let Order { side, mut product, mut specimen, .. } = order;
    let yarns = [
        [rgb(126, 60, 52), rgb(176, 130, 96)],
        [rgb(70, 82, 104), rgb(120, 130, 146)],
        [rgb(98, 104, 72), rgb(150, 146, 104)],
        [rgb(190, 180, 160), rgb(150, 136, 114)],
        [rgb(66, 64, 68), rgb(106, 100, 100)],
    ];
    let [dark, light] = product.pick(&yarns);
    let (tufts, stretch) = (product.between(26.0, 46.0), product.between(0.7, 1.3));
    let (stripes, striped) = (product.between(4.0, 11.0), product.pick(&[0.0, 0.0, 1.0]));
    let mottled = product.between(2.0, 12.0);
    let pose = Pose::jittered(&mut specimen, 0.05, 0.05);
    let [loops, fibre, patch] = std::array::from_fn(|_| specimen.noise());
    let backing = rgb(112, 98, 76);
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point);
        let (bits, [near, next]) = loops.cell(u * tufts, v * tufts * stretch);
        let dome = (1.0 - near * near).max(0.0) * step(0.0, 0.3, next - near);
        let mix = 0.5 + 0.5 * striped * wave(u * stripes) + (1.0 - striped) * 0.8 * patch.at(u * mottled, v * mottled);
        let own = (bits & 0xff) as f32 / 255.0;
        let colour = blend(dark, light, step(0.2, 0.8, mix + 0.5 * (own - 0.5)));
        let fuzz = fibre.at(u * 190.0, v * 190.0);
        let tone = 0.62 + 0.38 * dome + 0.10 * fuzz + 0.14 * ((bits >> 8 & 0xff) as f32 / 255.0 - 0.5);
        let tuft = (0.009 * dome + 0.0012 * fuzz, Material::matt(colour).shaded(tone));
        let Some(bald) = bald else { return tuft };
        let bare = step(-0.006, 0.006, -bald.distance(point));
        let weave = wave(u * 60.0) * wave(v * 60.0);
        let floor = Material::matt(backing).shaded(0.85 + 0.2 * weave);
        (tuft.0 + (-0.008 + 0.001 * weave - tuft.0) * bare, tuft.1.towards(floor, bare))
    })
}
