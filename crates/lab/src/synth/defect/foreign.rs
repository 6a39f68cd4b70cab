//! What does not belong on a product: foreign objects and specks of dirt.

use super::line::{Stroke, engrave, walk};
use super::place::{best, distinct, spread};
use crate::synth::random::{Stream, smooth, step};
use crate::synth::relief::{Material, Relief, around, rgb};
use crate::synth::shape::{Blob, Pose, length, rounded_box};

/// A chip of metal, a scrap of plastic or paper, or a fibre, lying on the product.
pub fn foreign_object(relief: &mut Relief, size: f32, stream: &mut Stream) {
    match stream.below(4) {
        0 => fibre(relief, size, stream),
        1 => chip(relief, size, stream),
        _ => scrap(relief, size, stream),
    }
}

/// A thread, thicker than a scratch, that lies on the surface in a bow.
fn fibre(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let path = best(relief, stream, |stream| {
        let (start, heading) = ([stream.unit(), stream.unit()], stream.direction());
        walk(start, heading, 12, 0.026 * size, stream)
    });
    let tints = [rgb(196, 40, 44), rgb(36, 66, 168), rgb(236, 234, 228), rgb(26, 26, 28), rgb(58, 150, 70)];
    let colour = distinct(relief, &path, &tints, stream);
    let half = stream.between(0.005, 0.0075) * (0.5 + 0.5 * size);
    let strokes: Vec<Stroke> =
        path.windows(2).map(|ends| Stroke { ends: [ends[0], ends[1]], half: [half, half] }).collect();
    engrave(relief, &strokes, |height, material, depth| {
        (height + 0.012 * depth, material.towards(Material::glossy(colour, 0.1), depth))
    });
}

/// An angular shard.
fn chip(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.032, 0.052) * size;
    let points = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.8));
    let sides: Vec<([f32; 2], f32)> =
        (0..6).map(|_| (stream.direction(), radius * stream.between(0.45, 0.95))).collect();
    let shards = [
        Material::metal(rgb(226, 226, 228), 0.7),
        Material::metal(rgb(196, 122, 74), 0.5),
        Material::glossy(rgb(38, 120, 66), 0.8),
        Material::glossy(rgb(40, 42, 48), 0.5),
    ];
    let colours: Vec<[f32; 3]> = shards.iter().map(|shard| shard.colour).collect();
    let colour = distinct(relief, &points, &colours, stream);
    let material = shards.into_iter().find(|shard| shard.colour == colour).unwrap_or(shards[0]);
    let tilt = stream.direction();
    let edge = relief.edge();
    let base = relief.height[relief.index(points[0])];
    for (i, [x, y]) in relief.points(around(points[0], radius * 1.1)) {
        let [dx, dy] = [x - points[0][0], y - points[0][1]];
        let outline = sides.iter().map(|([a, b], far)| dx * a + dy * b - far).fold(f32::MIN, f32::max);
        let cover = edge.cover(outline.max(length([dx, dy]) - radius));
        let top = base + 0.016 + 0.25 * (dx * tilt[0] + dy * tilt[1]) + 0.006 * step(0.0, 0.3 * radius, -outline);
        relief.height[i] += (top - relief.height[i]) * cover;
        relief.material[i] = relief.material[i].towards(material, cover);
    }
}

/// A flat piece with rounded corners or a ragged outline.
fn scrap(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let half = [stream.between(0.034, 0.06) * size, stream.between(0.020, 0.036) * size];
    let points = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], half[0]));
    let (pose, blob) = (Pose::new(points[0], stream.direction()), Blob::new(points[0], half[0], stream));
    let torn = stream.below(2) == 0;
    let tints = [rgb(228, 222, 208), rgb(214, 72, 52), rgb(44, 92, 178), rgb(232, 190, 60), rgb(30, 30, 34)];
    let colour = distinct(relief, &points, &tints, stream);
    let (gloss, curl) = (stream.pick(&[0.0, 0.3, 0.7]), stream.between(-0.5, 0.5));
    let edge = relief.edge();
    let base = relief.height[relief.index(points[0])];
    for (i, point) in relief.points(around(points[0], half[0] * 2.0)) {
        let [u, v] = pose.local(point);
        let outline = if torn { blob.distance(point) } else { rounded_box([u, v], half, 0.25 * half[1]) };
        let cover = edge.cover(outline);
        let top = base + 0.013 + curl * u * u / half[0].max(0.01) + 0.003 * smooth(-outline / 0.006);
        relief.height[i] += (top - relief.height[i]) * cover;
        relief.material[i] = relief.material[i].towards(Material::glossy(colour, gloss), cover);
    }
}

/// A swarm of specks.
pub fn contamination(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let radius = stream.between(0.08, 0.15) * (0.4 + 0.6 * size);
    let points = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius));
    let tints = [rgb(30, 26, 24), rgb(238, 236, 230), rgb(140, 74, 34), rgb(196, 170, 60)];
    let colour = distinct(relief, &points, &tints, stream);
    let count = 10 + stream.below(14) + (8.0 * size) as usize;
    let gloss = stream.pick(&[0.0, 0.6]);
    for _ in 0..count {
        let ([dx, dy], far) = (stream.direction(), radius * stream.unit().sqrt());
        let grain = stream.between(0.0045, 0.011) * (0.6 + 0.4 * size);
        let at = [points[0][0] + dx * far, points[0][1] + dy * far];
        let (shape, strength) = (Blob::new(at, grain, stream), stream.between(0.75, 1.0));
        let soft = 0.7 / relief.side as f32;
        for (i, point) in relief.points(around(at, grain * 1.8 + soft)) {
            let cover = step(-soft, soft, -shape.distance(point)) * strength * relief.part[i];
            relief.height[i] += 0.004 * cover;
            relief.material[i] = relief.material[i].towards(Material::glossy(colour, gloss), cover);
        }
    }
}
