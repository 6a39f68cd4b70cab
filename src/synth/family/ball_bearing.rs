//! A ball bearing along its axis: outer and inner ring, the balls between them, a brass cage behind.
//!
//! Missing part: a ball is not there. Misplaced part: a ball has left its pocket and touches the next.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::smooth;
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, length, turned};

/// Cosine and sine of a ninth of a turn.
const NINTH: [f32; 2] = [0.766_044_44, 0.642_787_6];
const BALLS: usize = 9;
/// Radii from outside: outer ring, its bore, path of the balls, inner ring, its bore.
const RADII: [f32; 5] = [0.41, 0.325, 0.2675, 0.21, 0.135];
const BALL: f32 = 0.064;

pub fn draw(order: Order) -> Relief {
    let missing = order.fault(Defect::MissingPart).map(|mut stream| stream.below(BALLS));
    let misplaced = order
        .fault(Defect::MisplacedPart)
        .map(|mut stream| (stream.below(BALLS), stream.pick(&[-1.0, 1.0]) * stream.between(0.16, 0.2)));
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let steel = Material::metal(product.pick(&[rgb(204, 207, 212), rgb(192, 197, 206), rgb(208, 204, 198)]), 0.6);
    let cage = Material::metal(product.pick(&[rgb(206, 166, 88), rgb(150, 154, 160)]), 0.3);
    let pose = Pose::jittered(&mut specimen, 0.025, 0.3);
    let (marks, haze) = (specimen.noise(), specimen.noise());
    let phase = specimen.direction();
    let sheen = specimen.direction();
    let edge = relief.edge();
    let [outer, outer_bore, path, inner, inner_bore] = RADII;
    relief.paint(around(pose.global([0.0; 2]), outer + 0.01), |point| {
        let [u, v] = pose.local(point);
        let radius = length([u, v]);
        let cover = edge.cover((radius - outer).max(inner_bore - radius));
        if cover == 0.0 {
            return None;
        }
        let inside = if radius > path {
            (radius - outer).max(outer_bore - radius)
        } else {
            (radius - inner).max(inner_bore - radius)
        };
        if inside > 0.0 {
            let ring = (radius - path).abs() - 0.021;
            let material = if ring < 0.0 { cage } else { Material::glossy(rgb(34, 33, 34), 0.2) };
            return Some(Spot { cover, height: if ring < 0.0 { 0.035 } else { 0.012 }, material });
        }
        let along = (u * sheen[0] + v * sheen[1]) / radius;
        let mark = marks.at(radius * 170.0, 0.5 + u);
        let tone = 0.88 + 0.2 * along * along * along * along + 0.05 * mark + 0.04 * haze.at(u * 5.0, v * 5.0);
        let bevel = smooth(1.0 + inside / 0.014);
        Some(Spot { cover, height: 0.078 - 0.022 * bevel + 0.0001 * mark, material: steel.shaded(tone) })
    });
    let mut direction = phase;
    for number in 0..BALLS {
        direction = compose(direction, NINTH);
        if missing == Some(number) {
            continue;
        }
        let astray = misplaced.filter(|fault| fault.0 == number).map_or(0.0, |fault| fault.1);
        let [c, s] = compose(direction, turned(astray));
        let centre = pose.global([path * c, path * s]);
        relief.paint(around(centre, BALL + 0.01), |[x, y]| {
            let (dx, dy) = (x - centre[0], y - centre[1]);
            let distance = length([dx, dy]);
            let cover = edge.cover(distance - BALL);
            let up = (BALL * BALL - distance * distance).max(0.0).sqrt();
            (cover > 0.0).then_some(Spot { cover, height: 0.018 + 0.9 * up, material: steel.shaded(1.06) })
        });
    }
    relief
}
