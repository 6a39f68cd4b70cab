//! Hollows: dents, and holes through the surface.

use super::place::{best, contrast, spread};
use crate::synth::random::{Stream, smooth, step};
use crate::synth::relief::{Material, Relief, around, rgb};
use crate::synth::shape::Blob;

/// A bowl pressed into the surface.
pub fn dent(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.065, 0.09) * (0.4 + 0.6 * size);
    let [ax, ay] = stream.direction();
    let squeeze = stream.between(1.0, 1.5);
    let centre = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.8))[0];
    let depth = radius * stream.between(0.34, 0.46);
    for (i, [x, y]) in relief.points(around(centre, radius)) {
        let [dx, dy] = [(x - centre[0]) / radius, (y - centre[1]) / radius];
        let [u, v] = [dx * ax + dy * ay, (dy * ax - dx * ay) * squeeze];
        let bowl = (1.0 - u * u - v * v).max(0.0);
        relief.height[i] -= depth * bowl * bowl * relief.part[i];
        let worn = relief.material[i].shaded(0.8);
        relief.material[i] = relief.material[i].towards(worn, bowl.min(1.0) * relief.part[i]);
    }
}

/// A puncture: a ragged hole with a raised rim, dark inside, or pale where the product itself is dark.
pub fn hole(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.030, 0.052) * size;
    let points = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius));
    let (centre, blob) = (points[0], Blob::new(points[0], radius, stream));
    let ragged = stream.noise();
    let below = Material::matt(contrast(relief, &points, [rgb(14, 13, 14), rgb(168, 164, 154)]));
    let floor = relief.height[relief.index(centre)] - 0.05;
    let soft = 0.7 / relief.side as f32;
    for (i, point) in relief.points(around(centre, radius * 2.2)) {
        let tear = 0.12 * radius * ragged.at(point[0] * 140.0, point[1] * 140.0);
        let inside = tear - blob.distance(point);
        let open = step(-soft, soft, inside) * relief.part[i];
        let rim = smooth(1.0 + inside.min(0.0) / (0.012 * (0.5 + 0.5 * size))) * (1.0 - open) * relief.part[i];
        relief.height[i] += 0.007 * rim;
        relief.height[i] += (floor - relief.height[i]) * open;
        // The torn edge is bare and a little paler than the surface.
        let material = relief.material[i].towards(relief.material[i].shaded(1.25), rim);
        relief.material[i] = material.towards(below, open);
    }
}
