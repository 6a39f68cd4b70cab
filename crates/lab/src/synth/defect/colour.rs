//! Changes of colour: stains and discolouration.

use super::place::{best, distinct, spread};
use crate::synth::random::{Stream, lerp, step};
use crate::synth::relief::{Material, Relief, around, blend, rgb};
use crate::synth::shape::Blob;

/// A blot with a few drops, darkest at its rim.
pub fn stain(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.045, 0.085) * size;
    let centre = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius))[0];
    let mut blobs = vec![Blob::new(centre, radius, stream)];
    for _ in 0..stream.below(4) {
        let [dx, dy] = stream.direction();
        let far = radius * stream.between(1.3, 1.9);
        let drop = radius * stream.between(0.1, 0.22);
        blobs.push(Blob::new([centre[0] + dx * far, centre[1] + dy * far], drop, stream));
    }
    let tints = [rgb(70, 42, 18), rgb(24, 22, 24), rgb(30, 44, 92), rgb(96, 88, 30)];
    let liquid = distinct(relief, &spread(centre, radius), &tints, stream);
    let strength = stream.between(0.62, 0.85);
    let soft = 0.006;
    for (i, point) in relief.points(around(centre, radius * 2.6)) {
        let inside = blobs.iter().map(|blob| -blob.distance(point)).fold(f32::MIN, f32::max);
        let cover = step(-soft, soft, inside) * relief.part[i];
        if cover > 0.0 {
            // Liquid dries darkest at its rim.
            let rim = 1.0 - 0.35 * step(0.0, 0.025, inside);
            let material = relief.material[i];
            let wet = Material { colour: liquid, gloss: material.gloss.max(0.25), metal: material.metal * 0.4 };
            relief.material[i] = material.towards(wet, cover * strength * rim);
        }
    }
}

/// A change of colour with soft edges.
pub fn discolouration(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.07, 0.12) * size;
    let centre = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.8))[0];
    let (blob, speckle) = (Blob::new(centre, radius, stream), stream.noise());
    let tints = [rgb(150, 66, 18), rgb(226, 216, 178), rgb(66, 58, 52), rgb(120, 128, 74)];
    let tint = distinct(relief, &spread(centre, radius), &tints, stream);
    let strength = stream.between(0.7, 0.9);
    for (i, point) in relief.points(around(centre, radius * 1.8)) {
        let inside = step(-0.45 * radius, 0.55 * radius, -blob.distance(point));
        let patchy = 0.8 + 0.35 * speckle.cloud(point[0] * 45.0, point[1] * 45.0, 2);
        let cover = (inside * strength * patchy).clamp(0.0, 1.0) * relief.part[i];
        let material = relief.material[i];
        let changed = Material {
            colour: blend(material.colour, tint, cover),
            gloss: lerp(material.gloss, material.gloss * 0.4, cover),
            metal: lerp(material.metal, material.metal * 0.35, cover),
        };
        relief.material[i] = changed;
    }
}
