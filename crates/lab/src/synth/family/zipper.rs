//! A closed zip fastener: two woven tapes and a row of interlocking teeth.
//!
//! Missing part: a tooth is not there. Misplaced part: teeth stand open and askew.

use super::Order;
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, step, wave};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, rounded_box, turned};

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let colours = [rgb(52, 54, 60), rgb(40, 66, 112), rgb(148, 52, 50), rgb(196, 186, 160), rgb(84, 104, 76)];
    let tape = Material::matt(product.pick(&colours));
    let teeth_colour = product.pick(&colours);
    let brass = product.pick(&[rgb(206, 170, 96), rgb(204, 206, 210), rgb(140, 116, 86)]);
    let tooth = if product.below(3) > 0 { Material::metal(brass, 0.6) } else { Material::glossy(teeth_colour, 0.4) };
    let pitch = product.between(0.052, 0.084);
    let half = [pitch * product.between(0.62, 0.74), product.between(0.062, 0.088)];
    let threads = product.between(44.0, 64.0);
    let corner = pitch * product.between(0.05, 0.3);
    let pose = Pose::jittered(&mut specimen, 0.012, 0.03);
    let slide = specimen.between(-0.5, 0.5) * pitch;
    let count = (1.3 / pitch) as usize;
    // A tooth in the middle of the picture.
    let middle = count / 2;
    let missing = missing.map(|mut stream| middle - 3 + stream.below(6));
    let misplaced = misplaced.map(|mut stream| (middle - 3 + stream.below(5), stream.between(0.026, 0.040)));
    let (yarn, lay) = (specimen.noise(), specimen.noise());
    let mut relief = Relief::sheet(side, |point| {
        let [u, v] = pose.local(point);
        let rib = wave(u * threads) * 0.6 + 0.4 * wave(v * threads);
        let seam = smooth(1.0 - (v.abs() - 0.30).abs() / 0.008);
        let stitch = seam * step(-0.2, 0.2, wave(u * 24.0));
        let cord = smooth(1.0 - (v.abs() - half[1] * 0.9).abs() / 0.03);
        let tone = 0.94 + 0.07 * rib + 0.07 * yarn.at(u * 40.0, v * 90.0) + 0.30 * stitch;
        (0.001 * rib + 0.003 * stitch + 0.010 * cord, tape.shaded(tone))
    });
    let edge = relief.edge();
    for number in 0..count {
        let upper = if number % 2 == 0 { 1.0 } else { -1.0 };
        let lean = specimen.between(-0.03, 0.03);
        if missing == Some(number) {
            continue;
        }
        let mut at = [(number as f32 - middle as f32) * pitch + slide, upper * half[1] * 0.42];
        let mut turn = lean;
        if let Some((_, by)) = misplaced.filter(|fault| (fault.0..fault.0 + 3).contains(&number)) {
            at[1] += upper * by;
            turn += 0.5 * upper;
        }
        let lies = Pose::new(pose.global(at), compose(pose.axis(), turned(turn)));
        relief.paint(around(pose.global(at), half[1] + 0.03), |point| {
            let [u, v] = lies.local(point);
            let v = v * upper;
            // A tooth is broad where it clasps the tape and has a head where it grips the others.
            let neck = 1.0 - 0.30 * smooth(1.0 - (v + 0.2 * half[1]).abs() / (0.5 * half[1]));
            let outline = rounded_box([u / neck, v], half, corner) * 0.9;
            let cover = edge.cover(outline);
            if cover == 0.0 {
                return None;
            }
            let bevel = smooth(1.0 + outline / (0.35 * pitch));
            let dimple = smooth(1.0 - (u * u + (v + 0.5 * half[1]) * (v + 0.5 * half[1])).sqrt() / (0.4 * pitch));
            let tone = 0.96 + 0.06 * lay.at(u * 80.0 + number as f32 * 5.0, v * 30.0);
            let height = 0.034 - 0.014 * bevel - 0.006 * dimple;
            Some(Spot { cover, height, material: tooth.shaded(tone) })
        });
    }
    relief
}
