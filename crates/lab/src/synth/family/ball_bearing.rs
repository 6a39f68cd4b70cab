//! A ball bearing along its axis: outer and inner ring, the balls between them, a brass cage behind.
//!
//! Missing part: a ball is not there. Misplaced part: a ball has left its pocket and touches the next.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::smooth;
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, length, turned};

/// Cosine and sine of an eighth, ninth, tenth and twelfth of a turn, with that number and the radius of a ball.
const BALLS: [([f32; 2], usize, f32); 4] = [
    ([0.707_106_77, 0.707_106_77], 8, 0.066),
    ([0.766_044_44, 0.642_787_6], 9, 0.064),
    ([0.809_017, 0.587_785_25], 10, 0.061),
    ([0.866_025_4, 0.5], 12, 0.056),
];
/// Radii from outside: outer ring, its bore, path of the balls, inner ring, its bore.
const RADII: [f32; 5] = [0.41, 0.325, 0.2675, 0.21, 0.135];

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let (step_on, balls, ball) = product.pick(&BALLS);
    let scale = product.between(0.80, 1.06);
    let ball = ball * scale;
    let missing = missing.map(|mut stream| stream.below(balls));
    let misplaced = misplaced
        .map(|mut stream| (stream.below(balls), stream.pick(&[-1.0, 1.0]) * stream.between(1.44, 1.8) / balls as f32));
    let mut relief = belt(side, &mut product, &mut specimen);
    let steel = Material::metal(product.pick(&[rgb(204, 207, 212), rgb(192, 197, 206), rgb(208, 204, 198)]), 0.6);
    let cage = Material::metal(product.pick(&[rgb(206, 166, 88), rgb(150, 154, 160), rgb(70, 64, 58)]), 0.3);
    let pose = Pose::jittered(&mut specimen, 0.025, 0.3);
    let (marks, haze) = (specimen.noise(), specimen.noise());
    let phase = specimen.direction();
    let sheen = specimen.direction();
    let edge = relief.edge();
    let [outer, outer_bore, path, inner, inner_bore] = RADII.map(|radius| radius * scale);
    let trench = Material::glossy(rgb(34, 33, 34), 0.2);
    relief.paint(around(pose.global([0.0; 2]), outer), |point| {
        let radius = length(pose.local(point));
        let cover = edge.cover((radius - outer_bore).max(inner - radius));
        let caged = edge.cover((radius - path).abs() - 0.021);
        let (height, material) = (0.012 + 0.023 * caged, trench.towards(cage, caged));
        (cover > 0.0).then_some(Spot { cover, height, material })
    });
    relief.paint(around(pose.global([0.0; 2]), outer + 0.01), |point| {
        let [u, v] = pose.local(point);
        let radius = length([u, v]);
        let [rim, bore] = if radius > path { [outer, outer_bore] } else { [inner, inner_bore] };
        let inside = (radius - rim).max(bore - radius);
        let cover = edge.cover(inside);
        if cover == 0.0 {
            return None;
        }
        let along = (u * sheen[0] + v * sheen[1]) / radius;
        let mark = marks.at(radius * 170.0, 0.5 + u);
        let tone = 0.88 + 0.2 * along * along * along * along + 0.05 * mark + 0.04 * haze.at(u * 5.0, v * 5.0);
        let bevel = smooth(1.0 + inside / 0.014);
        Some(Spot { cover, height: 0.078 - 0.022 * bevel + 0.0001 * mark, material: steel.shaded(tone) })
    });
    let mut direction = phase;
    for number in 0..balls {
        direction = compose(direction, step_on);
        if missing == Some(number) {
            continue;
        }
        let astray = misplaced.filter(|fault| fault.0 == number).map_or(0.0, |fault| fault.1);
        let [c, s] = compose(direction, turned(astray));
        let centre = pose.global([path * c, path * s]);
        relief.paint(around(centre, ball + 0.01), |[x, y]| {
            let (dx, dy) = (x - centre[0], y - centre[1]);
            let distance = length([dx, dy]);
            let cover = edge.cover(distance - ball);
            let up = (ball * ball - distance * distance).max(0.0).sqrt();
            (cover > 0.0).then_some(Spot { cover, height: 0.018 + 0.9 * up, material: steel.shaded(1.06) })
        });
    }
    relief
}
