//! A paper label on a belt: a coloured band, a heading, lines of text and a bar code.
//!
//! Missing part: a line or the code is not printed. Misplaced part: a line or the code is printed beside its place.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, split};
use crate::synth::relief::{Material, Relief, Spot, around, blend, rgb};
use crate::synth::shape::{Pose, length, rounded_box};
use inctrl::internals::mix;

/// Something printed: a rectangle of text or bars.
#[derive(Clone, Copy)]
struct Block {
    centre: [f32; 2],
    half: [f32; 2],
    kind: Kind,
    /// Chooses its letters or bars.
    key: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Bars,
    Logo,
}

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let paper = product.pick(&[rgb(236, 234, 226), rgb(232, 222, 196), rgb(226, 208, 96), rgb(206, 220, 228)]);
    let band =
        product.pick(&[rgb(180, 44, 46), rgb(40, 84, 150), rgb(44, 120, 78), rgb(60, 58, 62), rgb(206, 120, 40)]);
    let ink = product.pick(&[rgb(34, 33, 36), rgb(34, 33, 36), rgb(36, 44, 90)]);
    let half = [product.between(0.36, 0.44), product.between(0.28, 0.42)];
    let (corner, gloss) = (product.pick(&[0.005, 0.03, 0.06]), product.pick(&[0.0, 0.25]));
    let blocks = layout(half, &mut product);
    let missing = missing.map(|mut stream| stream.below(blocks.len()));
    let misplaced = misplaced.map(|mut stream| {
        let shift = [stream.pick(&[-1.0, 1.0]) * stream.between(0.05, 0.08), stream.between(-0.02, 0.02)];
        (stream.below(blocks.len()), shift)
    });
    let pose = Pose::jittered(&mut specimen, 0.025, 0.06);
    let fibre = specimen.noise();
    let play = [specimen.between(-0.003, 0.003), specimen.between(-0.003, 0.003)];
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), length(half) + 0.02), |point| {
        let [u, v] = pose.local(point);
        let cover = edge.cover(rounded_box([u, v], half, corner));
        if cover == 0.0 {
            return None;
        }
        // The print as a whole sits a little differently on each label.
        let [u, v] = [u - play[0], v - play[1]];
        let mut colour = blend(paper, band, edge.cover(v + half[1] - 0.085));
        for (number, block) in blocks.iter().enumerate() {
            if missing == Some(number) {
                continue;
            }
            let [dx, dy] = misplaced.filter(|fault| fault.0 == number).map_or([0.0; 2], |fault| fault.1);
            let on = block.ink([u - block.centre[0] - dx, v - block.centre[1] - dy], side);
            colour = blend(colour, if block.kind == Kind::Logo { band } else { ink }, 0.94 * on);
        }
        let tone = 1.0 + 0.03 * fibre.cloud(u * 50.0, v * 50.0, 2);
        Some(Spot { cover, height: 0.006, material: Material::glossy(colour, gloss).shaded(tone) })
    });
    relief
}

/// A logo and lines of text below the band, and a bar code at the foot.
fn layout(half: [f32; 2], product: &mut Stream) -> Vec<Block> {
    let (left, mut top) = (-half[0] + 0.05, -half[1] + 0.135);
    let mut blocks = Vec::new();
    let mut add = |centre, half, kind, key| blocks.push(Block { centre, half, kind, key });
    let logo = product.between(0.045, 0.07);
    let right = half[0] - 0.05 - logo;
    add([right, top + logo - 0.02], [logo, logo], Kind::Logo, product.bits());
    let bars = product.between(0.05, 0.075);
    let foot = half[1] - 0.03 - bars;
    while top < foot - bars - 0.04 {
        let height = product.between(0.014, 0.026);
        let room = if top < -half[1] + 0.16 + 2.0 * logo { right - logo - left } else { half[0] * 2.0 - 0.1 };
        let width = room * product.between(0.45, 0.92) / 2.0;
        add([left + width, top], [width, height], Kind::Text, product.bits());
        top += 2.0 * height + product.between(0.018, 0.034);
    }
    let width = product.between(0.14, 0.24);
    add([left + width, foot], [width, bars], Kind::Bars, product.bits());
    blocks
}

impl Block {
    /// How much of the point `p`, from its centre, is printed.
    fn ink(&self, [u, v]: [f32; 2], side: usize) -> f32 {
        if u.abs() > self.half[0] || v.abs() > self.half[1] {
            return 0.0;
        }
        let inside = |d: f32| (0.5 - d * side as f32).clamp(0.0, 1.0);
        let along = u + self.half[0];
        match self.kind {
            Kind::Logo => {
                let radius = length([u, v]) / self.half[0];
                let wedge = if (self.key >> 8) & 1 == 0 { u.abs() - 0.25 * self.half[0] } else { u + v };
                inside((radius - 0.95) * self.half[0]) * inside(-(wedge.max((radius - 0.7) * self.half[0])))
            }
            Kind::Bars => {
                let (bar, within) = split(along / 0.011);
                let width = 0.25 + 0.7 * (mix(self.key ^ bar as u64) & 0xff) as f32 / 255.0;
                if within < width { 1.0 } else { 0.0 }
            }
            Kind::Text => {
                let size = self.half[1] * 1.1;
                let ((letter, within), (stroke, _)) = (split(along / size), split((v / self.half[1] + 1.0) * 2.5));
                let bits = mix(self.key ^ letter as u64);
                let space = bits & 7 == 0 || within > 0.72;
                // A letter is a stem or two and some of five bars.
                let stem = within < 0.24 || (bits >> 4 & 1 == 1 && within > 0.5);
                let bar = bits >> (8 + stroke.clamp(0, 4)) & 1 == 1;
                if !space && (stem || bar) { 1.0 } else { 0.0 }
            }
        }
    }
}
