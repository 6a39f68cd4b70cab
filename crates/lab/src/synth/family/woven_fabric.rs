//! A plain weave: warp (upright) and weft (level) threads that go over and under each other by turns.
//!
//! Missing part: a stretch of a weft thread is pulled out.

use super::Order;
use crate::synth::defect::Defect;
use crate::synth::random::{Noise, split};
use crate::synth::relief::{Material, Relief, rgb};
use crate::synth::shape::Pose;

/// Height of a thread above the one that it crosses.
const THICKNESS: f32 = 0.012;

pub fn draw(order: Order) -> Relief {
    let fault = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    // Threads across the picture, and how often a thread goes over and under: one by one, or two by two.
    let (threads, group) = (product.between(20.0, 34.0), product.pick(&[0, 0, 1]));
    let gap = fault.map(|mut stream| {
        let thread = split(stream.between(-0.3, 0.3) * threads).0;
        let (middle, half) = (stream.between(-0.2, 0.2), stream.between(0.10, 0.22));
        (thread, (middle - half) * threads, (middle + half) * threads)
    });
    let pairs = [
        [rgb(172, 58, 48), rgb(206, 178, 140)],
        [rgb(54, 82, 132), rgb(176, 184, 196)],
        [rgb(70, 112, 84), rgb(190, 186, 150)],
        [rgb(196, 148, 62), rgb(110, 84, 62)],
        [rgb(60, 62, 68), rgb(96, 98, 104)],
        [rgb(222, 216, 202), rgb(198, 190, 172)],
        [rgb(150, 60, 110), rgb(70, 60, 100)],
    ];
    let [warp, weft] = product.pick(&pairs);
    let pose = Pose::jittered(&mut specimen, 0.03, 0.035);
    let (yarn, bend) = (specimen.noise(), specimen.noise());
    let ground = Material::matt(rgb(40, 36, 34));
    Relief::sheet(side, |point| {
        let [u, v] = pose.local(point).map(|at| at * threads);
        let (u, v) = (u + 0.12 * bend.at(u * 0.4, v * 0.4), v + 0.12 * bend.at(u * 0.4 + 50.0, v * 0.4));
        let ((column, across_warp), (row, across_weft)) = (split(u), split(v));
        let (p, q) = (2.0 * across_warp - 1.0, 2.0 * across_weft - 1.0);
        let warp_over = ((column >> group) + (row >> group)) & 1 == 0;
        let pulled = gap.is_some_and(|(thread, from, to)| row == thread && (from..to).contains(&u));
        // The thread on top is highest in the middle of its crossing; the other shows at its sides.
        let warp_height = thread(p, if warp_over && !pulled { 1.0 - q * q } else { 0.0 });
        let weft_height = if pulled { -1.0 } else { thread(q, if warp_over { 0.0 } else { 1.0 - p * p }) };
        let (height, colour, fibre) = if warp_height >= weft_height {
            (warp_height, warp, tone(yarn, column, v * 0.3, across_warp))
        } else {
            (weft_height, weft, tone(yarn, row + 1000, u * 0.3, across_weft))
        };
        if height <= 0.12 {
            return (0.0, ground);
        }
        (height * THICKNESS, Material::matt(colour).shaded(fibre))
    })
}

/// Height of a thread at `across`, -1 to 1 from edge to edge, `over` being how far it is on top, 0 to 1.
fn thread(across: f32, over: f32) -> f32 {
    let width = across / 0.93;
    (1.0 - width * width) * (0.62 + 0.38 * over)
}

/// Brightness of a yarn: each its own, with twisted fibres along it.
fn tone(noise: Noise, number: i32, along: f32, across: f32) -> f32 {
    let own = (noise.lattice(number, 7) & 0xff) as f32 / 255.0 - 0.5;
    let twist = noise.at(along * 6.0 + across * 2.2, number as f32 * 7.3 + across * 1.2);
    1.0 + 0.14 * own + 0.26 * twist
}
