//! Brightness where it should be even: burns, spots, and parts of another tone.
//!
//! Lamps differ by a few per cent between photographs of good specimens; what is here differs far more than that.

use super::place::{best, contrast, mean, spread};
use crate::synth::random::{Stream, smooth, step};
use crate::synth::relief::{Material, Relief, around, rgb};
use crate::synth::shape::Blob;

/// A charred place with a scorched halo; ash in place of char where the product is dark.
pub fn burn(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.050, 0.085) * size;
    let points = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.8));
    let (blob, soot) = (Blob::new(points[0], radius, stream), stream.noise());
    let (char, ash) = (rgb(20, 15, 12), rgb(176, 170, 162));
    let core = contrast(relief, &points, [char, ash]);
    let halo = if core == char { rgb(92, 54, 24) } else { rgb(60, 44, 36) };
    for (i, point) in relief.points(around(points[0], radius * 2.2)) {
        let inside = -blob.distance(point) + 0.10 * radius * soot.at(point[0] * 70.0, point[1] * 70.0);
        let scorched = step(-0.6 * radius, 0.1 * radius, inside) * 0.8 * relief.part[i];
        let charred = step(0.0, 0.5 * radius, inside) * 0.92 * relief.part[i];
        let material = relief.material[i].towards(Material::matt(halo), scorched);
        relief.material[i] = material.towards(Material::matt(core), charred);
        relief.height[i] -= 0.003 * charred;
    }
}

/// A round spot of the same colour, much darker or much brighter than around it.
pub fn spot(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.050, 0.095) * size;
    let points = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.8));
    let change = Change::new(relief, &points, 1.2, stream);
    let hard = stream.between(0.3, 0.9);
    for (i, [x, y]) in relief.points(around(points[0], radius)) {
        let [dx, dy] = [(x - points[0][0]) / radius, (y - points[0][1]) / radius];
        let cover = smooth((1.0 - (dx * dx + dy * dy).sqrt()) / hard);
        relief.material[i] = change.on(relief.material[i], cover * relief.part[i]);
    }
}

/// A region of the product, or all of it, darker or brighter than it should be: the larger, the more of it.
pub fn wrong_tone(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let whole: Vec<[f32; 2]> =
        (0..81).map(|k| [(k % 9) as f32 / 8.0, (k / 9) as f32 / 8.0]).filter(|at| on_part(relief, *at)).collect();
    let radius = stream.between(0.15, 0.20) * size;
    let centre = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.6))[0];
    let points = if whole.is_empty() { vec![centre] } else { whole };
    let change = Change::new(relief, &points, 0.8 + 0.1 * size, stream);
    let (blob, [ax, ay]) = (Blob::new(centre, radius, stream), stream.direction());
    let extent = if size > 1.3 { 2 } else { stream.below(2) };
    let soft = stream.between(0.01, 0.05);
    for (i, [x, y]) in relief.points([0.0, 0.0, 1.0, 1.0]) {
        let cover = match extent {
            0 => step(-soft, soft, -blob.distance([x, y])),
            // A band right across.
            1 => step(-soft, soft, 0.5 * radius - ((x - centre[0]) * ax + (y - centre[1]) * ay).abs()),
            _ => 1.0,
        };
        relief.material[i] = change.on(relief.material[i], cover * relief.part[i]);
    }
}

fn on_part(relief: &Relief, at: [f32; 2]) -> bool {
    relief.part[relief.index(at)] > 0.9
}

/// A change of brightness.
struct Change {
    factor: f32,
    lift: f32,
}

impl Change {
    /// Darker or brighter, whichever can be seen at `points`; `strength` is about 1.
    fn new(relief: &Relief, points: &[[f32; 2]], strength: f32, stream: &mut Stream) -> Self {
        let [red, green, blue] = mean(relief, points);
        let bright = ((red + green + blue) / 3.0).max(0.0).sqrt();
        let by = stream.between(0.8, 1.1) * strength;
        if stream.between(0.25, 0.75) < bright {
            Change { factor: 1.0 / (1.0 + 1.1 * by), lift: 0.0 }
        } else {
            Change { factor: 1.0 + 0.7 * by, lift: 0.045 * by }
        }
    }

    fn on(&self, material: Material, cover: f32) -> Material {
        let changed = Material { colour: material.colour.map(|c| (c * self.factor + self.lift).min(1.0)), ..material };
        material.towards(changed, cover)
    }
}
