//! A cable cut across: a sheath, three to five cores in it, and strands of copper in each.
//!
//! Missing part: a core is not there. Misplaced part: a core has slid out of its place.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, smooth};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, length};

/// Cosine and sine of a turn shared among the cores, their number, the radius of a core and of their ring.
const CORES: [([f32; 2], usize, f32, f32); 3] = [
    ([-0.5, 0.866_025_4], 3, 0.138, 0.168),
    ([0.0, 1.0], 4, 0.122, 0.180),
    ([0.309_017, 0.951_056_5], 5, 0.106, 0.192),
];
/// Outer radius of the sheath and its bore.
const SHEATH: [f32; 2] = [0.42, 0.335];
/// A sixth of a turn.
const SIXTH: [f32; 2] = [0.5, 0.866_025_4];
/// A twelfth of a turn.
const TWELFTH: [f32; 2] = [0.866_025_4, 0.5];

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let (turn, cores, core, ring) = product.pick(&CORES);
    let scale = product.between(0.82, 1.06);
    let (core, ring) = (core * scale, ring * scale);
    let [outer, bore] = SHEATH.map(|radius| radius * scale);
    let missing = missing.map(|mut stream| stream.below(cores));
    let misplaced = misplaced.map(|mut stream| {
        let inward = stream.between(0.45, 0.6);
        (stream.below(cores), inward, stream.pick(&[-0.035, 0.035]))
    });
    let sheath = product.pick(&[rgb(206, 202, 194), rgb(54, 54, 58), rgb(150, 152, 156), rgb(196, 110, 50)]);
    let mut insulation =
        [rgb(120, 74, 44), rgb(48, 92, 168), rgb(150, 160, 60), rgb(60, 62, 66), rgb(176, 176, 172), rgb(190, 52, 44)];
    // The colours of the cores, none twice.
    for i in 0..cores {
        let other = i + product.below(insulation.len() - i);
        insulation.swap(i, other);
    }
    let strand = product.between(0.0135, 0.018) * scale;
    let copper = Material::metal(product.pick(&[rgb(214, 140, 92), rgb(214, 140, 92), rgb(206, 204, 200)]), 0.5);
    let pose = Pose::new(
        [0.5 + specimen.between(-0.025, 0.025), 0.5 + specimen.between(-0.025, 0.025)],
        Pose::jittered(&mut specimen, 0.0, 0.35).axis(),
    );
    let (rough, saw) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    let cut = |colour: [f32; 3], [u, v]: [f32; 2]| {
        let tone = 1.0 + 0.06 * saw.at(u * 12.0, v * 120.0) + 0.05 * rough.at(u * 40.0, v * 40.0);
        Material::glossy(colour, 0.15).shaded(tone)
    };
    relief.paint(around(pose.global([0.0; 2]), outer), |point| {
        let p = pose.local(point);
        let radius = length(p);
        let cover = edge.cover(radius - outer);
        let filled = edge.cover(radius - bore);
        let material = cut(sheath, p).towards(Material::matt(rgb(36, 34, 34)), filled);
        let rim = smooth(1.0 + (radius - outer) / 0.014);
        (cover > 0.0).then_some(Spot { cover, height: 0.06 - 0.02 * rim - 0.03 * filled, material })
    });
    let mut direction = [1.0, 0.0];
    for (number, colour) in insulation.into_iter().take(cores).enumerate() {
        direction = compose(direction, turn);
        let play = [specimen.between(-0.004, 0.004), specimen.between(-0.004, 0.004)];
        let twist = specimen.direction();
        if missing == Some(number) {
            continue;
        }
        let (far, aside) = match misplaced.filter(|fault| fault.0 == number) {
            // Towards the middle, on top of the neighbours.
            Some((_, inward, aside)) => (ring * inward, aside),
            None => (ring, 0.0),
        };
        let [c, s] = direction;
        let at = [c * far - s * aside + play[0], s * far + c * aside + play[1]];
        let centre = pose.global(at);
        let wires = bundle(strand, core * 0.62, twist, &mut specimen);
        relief.paint(around(centre, core), |[x, y]| {
            let p = [x - centre[0], y - centre[1]];
            let radius = length(p);
            let cover = edge.cover(radius - core);
            if cover == 0.0 {
                return None;
            }
            let rim = smooth(1.0 + (radius - core) / 0.012);
            let mut spot = Spot { cover, height: 0.062 - 0.014 * rim, material: cut(colour, [x, y]) };
            let opening = edge.cover(radius - core * 0.68);
            spot.material = spot.material.towards(Material::matt(rgb(46, 30, 22)), opening);
            for wire in wires.iter().filter(|_| opening > 0.0) {
                let distance = length([p[0] - wire[0], p[1] - wire[1]]);
                let on = edge.cover(distance - strand);
                let end = copper.shaded(0.95 + 0.1 * saw.at(x * 60.0, y * 200.0));
                spot.material = spot.material.towards(end, on);
                spot.height += 0.004 * on * smooth(1.0 - distance / strand);
            }
            Some(spot)
        });
    }
    relief
}

/// The strands within `radius`: one in the middle, six around it, twelve around those, a little out of order.
fn bundle(strand: f32, radius: f32, twist: [f32; 2], specimen: &mut Stream) -> Vec<[f32; 2]> {
    let mut wires = vec![[0.0; 2]];
    for (count, step, far) in [(6, SIXTH, 2.06), (12, TWELFTH, 4.0)] {
        let mut direction = twist;
        for _ in 0..count {
            direction = compose(direction, step);
            let far = strand * far;
            let wobble = [specimen.between(-0.15, 0.15) * strand, specimen.between(-0.15, 0.15) * strand];
            if far + strand <= radius + 0.012 {
                wires.push([direction[0] * far + wobble[0], direction[1] * far + wobble[1]]);
            }
        }
    }
    wires
}
