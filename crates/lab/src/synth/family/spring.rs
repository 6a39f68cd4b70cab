//! A coil spring lying on a belt: turns of wire, each over the one below it.
//!
//! Missing part: half a turn has broken off at an end. Misplaced part: two turns are bent apart.

use super::{Order, belt, steel};
use crate::synth::defect::Defect;
use crate::synth::random::{step, wave};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, segment, turned};

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let painted = product.pick(&[rgb(50, 52, 58), rgb(168, 50, 44), rgb(48, 92, 150)]);
    let metal = steel(&mut product);
    let metal = if product.below(4) == 0 { Material::glossy(painted, 0.5) } else { metal };
    let turns = 6 + product.below(6);
    let (length, half) = (product.between(0.58, 0.76), product.between(0.10, 0.17));
    let pitch = length / turns as f32;
    let wire = pitch * product.between(0.20, 0.30);
    // A spring may be narrower at one end.
    let taper = product.pick(&[0.0, 0.0, 0.35]);
    let missing = missing.map(|mut stream| stream.below(2) == 0);
    let misplaced =
        misplaced.map(|mut stream| (1 + stream.below(turns - 3), stream.pick(&[-1.0, 1.0]) * stream.between(0.4, 0.6)));
    let lying = turned(specimen.between(-0.15, 0.15));
    let shift = [0.5 + specimen.between(-0.03, 0.03), 0.5 + specimen.between(-0.03, 0.03)];
    let pose = Pose::new(shift, lying);
    let (lay, haze) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    // Half turns from the far side, which lie low and dark, and then those on the near side, as zigzags across.
    for near in [false, true] {
        for number in 0..turns {
            let at = |turn: f32| {
                let bent = misplaced.map_or(0.0, |(where_, by)| {
                    by * pitch * step(0.0, 1.0, turn - where_ as f32) * (1.0 - step(1.5, 2.5, turn - where_ as f32))
                });
                -0.5 * length + turn * pitch + bent
            };
            let gone = match missing {
                Some(true) => number == 0,
                Some(false) => number + 1 == turns,
                None => false,
            };
            if gone {
                continue;
            }
            let turn = number as f32;
            let wide = half * (1.0 - taper * turn / turns as f32);
            let ends = if near {
                [[at(turn), -wide], [at(turn + 0.5), wide]]
            } else {
                [[at(turn + 0.5), wide], [at(turn + 1.0), -wide]]
            };
            let middle = pose.global([0.5 * (ends[0][0] + ends[1][0]), 0.0]);
            let base = if near { 0.075 } else { 0.012 };
            relief.paint(around(middle, wide + pitch), |point| {
                let p = pose.local(point);
                let (distance, along) = segment(p, ends[0], ends[1]);
                let cover = edge.cover(distance - wire);
                if cover == 0.0 {
                    return None;
                }
                let across = (distance / wire).min(1.0);
                let round = (1.0 - across * across).max(0.0).sqrt();
                // A turn bows towards the camera in its middle and dips at its sides.
                let bow = 4.0 * along * (1.0 - along);
                let lift = if near { base * (0.45 + 0.55 * bow) } else { base };
                let tone = 0.96
                    + 0.04 * lay.at(p[0] * 90.0, p[1] * 20.0)
                    + 0.06 * haze.at(p[0] * 6.0, p[1] * 6.0)
                    + 0.02 * wave(along * 3.0);
                let material = metal.shaded(if near { tone } else { 0.55 * tone });
                let material = material.towards(Material::matt(rgb(28, 28, 30)), if near { 0.0 } else { 0.25 });
                Some(Spot { cover, height: lift + wire * round, material })
            });
        }
    }
    relief
}
