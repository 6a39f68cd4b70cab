//! A blister pack: rows of pockets in foil, a capsule or tablet in each.
//!
//! Missing part: a pocket is empty. Misplaced part: a pill lies across the rim of its pocket.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, smooth, step, wave};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, rounded_box, turned};

/// Columns, rows and distances between pockets.
const GRIDS: [([usize; 2], [f32; 2]); 4] =
    [([3, 4], [0.235, 0.205]), ([3, 3], [0.245, 0.245]), ([2, 4], [0.270, 0.205]), ([3, 5], [0.235, 0.170])];

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let ([columns, rows], pitch) = product.pick(&GRIDS);
    let choose = |stream: &mut Stream| [stream.below(columns), stream.below(rows)];
    let missing = missing.map(|mut stream| choose(&mut stream));
    let misplaced = misplaced.map(|mut stream| {
        let shift = stream.direction().map(|d| d * 0.045);
        (choose(&mut stream), shift, stream.direction())
    });
    let mut relief = belt(side, &mut product, &mut specimen);
    let colours = [
        [rgb(208, 62, 52), rgb(238, 226, 206)],
        [rgb(52, 112, 158), rgb(230, 232, 234)],
        [rgb(226, 168, 52), rgb(238, 234, 222)],
        [rgb(238, 236, 230), rgb(238, 236, 230)],
        [rgb(96, 150, 92), rgb(214, 216, 150)],
        [rgb(206, 170, 160), rgb(206, 170, 160)],
    ];
    let [cap, body] = product.pick(&colours);
    let half = product.pick(&[[0.058, 0.058], [0.080, 0.046], [0.074, 0.036]]);
    let pose = Pose::jittered(&mut specimen, 0.02, 0.05);
    let (crinkle, foil_tone) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    let foil = Material::metal(rgb(196, 199, 205), 0.35);
    let sheet = [pitch[0] * columns as f32 / 2.0 + 0.045, pitch[1] * rows as f32 / 2.0 + 0.03];
    relief.paint(around(pose.global([0.0; 2]), 0.62), |point| {
        let [u, v] = pose.local(point);
        let cover = edge.cover(rounded_box([u, v], sheet, 0.04));
        if cover == 0.0 {
            return None;
        }
        // Embossed dots in rows, as the sealing roller leaves them.
        let dots = wave((u + v) * 30.0) * wave((u - v) * 30.0);
        let crease = crinkle.cloud(u * 7.0, v * 7.0, 2);
        let tone = 0.95 + 0.05 * dots + 0.06 * foil_tone.at(u * 4.0, v * 4.0);
        Some(Spot { cover, height: 0.014 + 0.0007 * dots + 0.0016 * crease, material: foil.shaded(tone) })
    });
    for number in 0..columns * rows {
        let (column, row) = (number % columns, number / columns);
        let at = [
            (column as f32 - (columns - 1) as f32 / 2.0) * pitch[0],
            (row as f32 - (rows - 1) as f32 / 2.0) * pitch[1],
        ];
        let pocket = [half[0] + 0.016, half[1] + 0.016];
        let wall = Material::glossy(rgb(150, 154, 160), 0.8);
        relief.paint(around(pose.global(at), pocket[0] + 0.02), |point| {
            let [u, v] = pose.local(point);
            let d = rounded_box([u - at[0], v - at[1]], pocket, pocket[1]);
            let cover = edge.cover(d);
            let lip = smooth(1.0 - (d + 0.006).abs() / 0.007);
            let hollow = step(0.0, 0.03, -d);
            let tone = 0.9 - 0.30 * hollow + 0.05 * crinkle.at(u * 40.0, v * 40.0);
            let height = 0.016 + 0.012 * lip - 0.010 * hollow;
            (cover > 0.0).then_some(Spot { cover, height, material: wall.shaded(tone) })
        });
        let (play, lean) =
            ([specimen.between(-0.005, 0.005), specimen.between(-0.005, 0.005)], specimen.between(-0.08, 0.08));
        let swap = specimen.below(2) == 0;
        if missing == Some([column, row]) {
            continue;
        }
        let (mut offset, mut axis) = ([at[0] + play[0], at[1] + play[1]], turned(lean));
        if let Some((_, shift, turn)) = misplaced.filter(|fault| fault.0 == [column, row]) {
            (offset, axis) = ([at[0] + shift[0], at[1] + shift[1]], turn);
        }
        let lies = Pose::new(pose.global(offset), compose(axis, pose.axis()));
        relief.paint(around(pose.global(offset), half[0] + 0.01), |point| {
            let [u, v] = lies.local(point);
            let d = rounded_box([u, v], half, half[1]);
            let cover = edge.cover(d);
            let inward = (-d / half[1]).clamp(0.0, 1.0);
            let dome = (inward * (2.0 - inward)).sqrt();
            let colour = if half[0] > half[1] && (u < 0.0) == swap { body } else { cap };
            let seam = if half[0] > half[1] { 1.0 - smooth(u.abs() / 0.005) } else { 0.0 };
            let height = 0.010 + 0.05 * dome + 0.001 * seam;
            (cover > 0.0).then_some(Spot {
                cover,
                height,
                material: Material::glossy(colour, 0.75).shaded(1.0 - 0.1 * seam),
            })
        });
    }
    relief
}
