//! A keypad: a moulded housing with rows of keys that bear printed marks.
//!
//! Missing part: a key is not there. Misplaced part: a key sits askew.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, smooth};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, length, rounded_box, segment, turned};
use inctrl::internals::mix;

/// Columns and rows of keys.
const GRIDS: [[usize; 2]; 4] = [[3, 4], [4, 4], [4, 5], [3, 3]];

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let [columns, rows] = product.pick(&GRIDS);
    let choose = |stream: &mut Stream| [stream.below(columns), stream.below(rows)];
    let missing = missing.map(|mut stream| choose(&mut stream));
    let misplaced = misplaced.map(|mut stream| {
        let turn = stream.pick(&[-1.0, 1.0]) * stream.between(0.2, 0.35);
        (choose(&mut stream), turn, stream.direction().map(|d| d * 0.022))
    });
    let housings = [rgb(52, 54, 60), rgb(206, 202, 190), rgb(150, 154, 160), rgb(60, 76, 104)];
    let housing = Material::glossy(product.pick(&housings), 0.2);
    let keys = [rgb(226, 224, 216), rgb(78, 80, 86), rgb(120, 132, 150), rgb(206, 180, 130)];
    let cap = Material::glossy(product.pick(&keys), product.between(0.15, 0.5));
    let accent = Material::glossy(product.pick(&[rgb(200, 84, 52), rgb(66, 124, 88), rgb(58, 92, 160)]), 0.3);
    let pitch = [0.80 / columns as f32, 0.80 / rows as f32];
    let share = product.between(0.34, 0.40);
    let half = pitch.map(|p| p * share);
    let corner = half[0].min(half[1]) * product.pick(&[0.15, 0.4, 1.0]);
    // Some keys are of another colour, and each has its mark.
    let keyed: Vec<(bool, u64)> = (0..columns * rows).map(|_| (product.below(6) == 0, product.bits())).collect();
    let pose = Pose::jittered(&mut specimen, 0.012, 0.04);
    let (grain, wear) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    relief.paint(around(pose.global([0.0; 2]), 0.65), |point| {
        let [u, v] = pose.local(point);
        let outline = rounded_box([u, v], [0.45, 0.45], 0.06);
        let cover = edge.cover(outline);
        let rim = smooth(1.0 + outline / 0.02);
        let fine = grain.at(u * 130.0, v * 130.0);
        let material = housing.shaded(1.0 + 0.05 * fine + 0.04 * wear.at(u * 4.0, v * 4.0));
        (cover > 0.0).then_some(Spot { cover, height: 0.04 - 0.014 * rim + 0.0004 * fine, material })
    });
    for (number, (other, mark)) in keyed.into_iter().enumerate() {
        let place = [number % columns, number / columns];
        let at = [
            (place[0] as f32 - 0.5 * (columns - 1) as f32) * pitch[0],
            (place[1] as f32 - 0.5 * (rows - 1) as f32) * pitch[1],
        ];
        let bounds = around(pose.global(at), length(half) + 0.04);
        // The opening that the key sits in.
        relief.paint(bounds, |point| {
            let [u, v] = pose.local(point);
            let outline = rounded_box([u - at[0], v - at[1]], half.map(|h| h + 0.007), corner);
            let cover = edge.cover(outline);
            let floor = Material::glossy(rgb(30, 30, 32), 0.1);
            (cover > 0.0).then_some(Spot { cover, height: 0.012, material: floor })
        });
        let lean = specimen.between(-0.012, 0.012);
        if missing == Some(place) {
            continue;
        }
        let (mut offset, mut turn) = (at, lean);
        if let Some((_, by, shift)) = misplaced.filter(|fault| fault.0 == place) {
            (offset, turn) = ([at[0] + shift[0], at[1] + shift[1]], by);
        }
        let lies = Pose::new(pose.global(offset), compose(pose.axis(), turned(turn)));
        let material = if other { accent } else { cap };
        let dark = material.colour.iter().sum::<f32>() < 0.6;
        let print = Material::matt(if dark { rgb(226, 226, 220) } else { rgb(40, 40, 44) });
        relief.paint(bounds, |point| {
            let p = lies.local(point);
            let outline = rounded_box(p, half, corner);
            let cover = edge.cover(outline);
            if cover == 0.0 {
                return None;
            }
            let dish = (length(p) / length(half)).min(1.0);
            let rim = smooth(1.0 + outline / 0.018);
            let on = edge.cover(glyph(p, half[0].min(half[1]) * 0.5, mark) - 0.0055);
            let worn = material.shaded(1.0 + 0.04 * wear.at(point[0] * 9.0, point[1] * 9.0));
            let height = 0.062 + 0.006 * dish * dish - 0.02 * rim;
            Some(Spot { cover, height, material: worn.towards(print, 0.9 * on) })
        });
    }
    relief
}

/// Distance to a mark of three strokes between nine points, `size` to each side.
fn glyph(p: [f32; 2], size: f32, mark: u64) -> f32 {
    let point = |bits: u64| {
        let place = (mix(bits) % 9) as usize;
        [(place % 3) as f32 - 1.0, (place / 3) as f32 - 1.0].map(|at| at * size)
    };
    let ends: [[f32; 2]; 4] = std::array::from_fn(|i| point(mark.wrapping_add(i as u64)));
    ends.windows(2).map(|pair| segment(p, pair[0], pair[1]).0).fold(f32::MAX, f32::min)
}
