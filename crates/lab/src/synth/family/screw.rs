//! A machine screw lying on its side: domed head, threaded shank, pointed tip.
//!
//! Missing part: the thread is stripped over a stretch.

use super::{Order, belt, steel};
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, step, wave};
use crate::synth::relief::{Relief, Spot, around};
use crate::synth::shape::{Pose, compose, turned};

/// Ends along the axis: top of the head, below the head, first turn, start of the tip, its point.
const ENDS: [f32; 5] = [-0.40, -0.26, -0.20, 0.30, 0.42];
/// A direction of 0.6 radians, nearly, along which most screws lie.
const LYING: [f32; 2] = [0.8, 0.6];

pub fn draw(order: Order) -> Relief {
    let stripped = order.fault(Defect::MissingPart).map(|mut stream| {
        let from = stream.between(-0.12, 0.10);
        [from, from + stream.between(0.10, 0.18)]
    });
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let metal = steel(&mut product);
    let shift = [0.5 + specimen.between(-0.02, 0.02), 0.5 + specimen.between(-0.02, 0.02)];
    let pose = Pose::new(shift, compose(LYING, turned(specimen.between(-0.12, 0.12))));
    let phase = specimen.unit();
    let (haze, lay) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    // Distance between turns of the thread; half widths of head and shank; length against the usual one.
    let pitch = product.between(0.030, 0.058);
    let half_width = [product.between(0.12, 0.17), product.between(0.058, 0.088)];
    let scale = product.between(0.82, 1.0);
    let [top, neck, first, tip, point_end] = ENDS.map(|end| end * scale);
    relief.paint(around(pose.global([0.0; 2]), 0.46), |point| {
        let [u, v] = pose.local(point);
        let (half, thread) = if u < neck {
            // A dome that grows from the top to its full width.
            let t = ((u - top) / (neck - top)).clamp(0.0, 1.0);
            (half_width[0] * (t * (2.0 - t)).sqrt(), 0.0)
        } else {
            let threaded = step(first, first + 0.03, u) * (1.0 - step(tip + 0.04, point_end, u));
            let gone = stripped.map_or(0.0, |[from, to]| step(from, from + 0.01, u) * (1.0 - step(to - 0.01, to, u)));
            let turn = wave((u + 0.22 * v) / pitch + phase);
            let taper = ((point_end - u) / (point_end - tip)).clamp(0.0, 1.0);
            (half_width[1] * taper * (0.90 - 0.10 * gone), threaded * (1.0 - gone) * turn)
        };
        let half = half + 0.012 * thread * (half / half_width[1]).min(1.0);
        if half <= 0.0 {
            return None;
        }
        let cover = edge.cover((v.abs() - half).max(top - u).max(u - point_end));
        if cover == 0.0 {
            return None;
        }
        let across = (v / half).clamp(-1.0, 1.0);
        let round = (1.0 - across * across).max(0.0).sqrt();
        let collar = if u < neck { smooth((neck - u) / 0.012) } else { 0.0 };
        let height = half * (0.35 + 0.65 * round) * (0.75 + 0.25 * collar);
        let tone = 0.95 + 0.05 * haze.at(u * 8.0, v * 8.0) + 0.05 * lay.at(u * 90.0, v * 9.0) + 0.12 * thread;
        Some(Spot { cover, height, material: metal.shaded(tone) })
    });
    relief
}
