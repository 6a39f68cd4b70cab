//! Lines: scratches and cracks.

use super::place::{best, contrast};
use crate::synth::random::{Stream, lerp, smooth};
use crate::synth::relief::{Material, Relief, rgb};
use crate::synth::shape::{length, segment};

/// A piece of a thin line.
pub struct Stroke {
    /// Where it begins and ends.
    pub ends: [[f32; 2]; 2],
    /// Half its width at each end.
    pub half: [f32; 2],
}

/// A thin groove, a little bent.
pub fn scratch(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let half = stream.between(0.0028, 0.0046) * (0.6 + 0.4 * size);
    let path = best(relief, stream, |stream| {
        let (start, [dx, dy]) = ([stream.unit(), stream.unit()], stream.direction());
        let (reach, bend) = (stream.between(0.18, 0.42) * size, stream.between(-0.16, 0.16));
        let at = |t: f32| {
            let aside = bend * reach * 4.0 * t * (1.0 - t);
            [start[0] + dx * reach * t - dy * aside, start[1] + dy * reach * t + dx * aside]
        };
        (0..=16).map(|i| at(i as f32 / 16.0)).collect()
    });
    let taper = |i: usize| half * (0.35 + 0.65 * smooth((i.min(16 - i)) as f32 / 4.0));
    let strokes: Vec<Stroke> =
        (0..16).map(|i| Stroke { ends: [path[i], path[i + 1]], half: [taper(i), taper(i + 1)] }).collect();
    let bare = contrast(relief, &path, [rgb(236, 236, 232), rgb(58, 54, 50)]);
    engrave(relief, &strokes, |height, material, depth| {
        let scraped = Material { colour: bare, gloss: material.gloss * 0.6, metal: material.metal * 0.3 };
        (height - 0.004 * depth, material.towards(scraped, 0.8 * depth))
    });
}

/// A jagged break with a few branches.
pub fn crack(relief: &mut Relief, size: f32, stream: &mut Stream) {
    let path = best(relief, stream, |stream| {
        let ([x, y], heading) = ([stream.unit(), stream.unit()], stream.direction());
        walk([x, y], heading, 14, 0.026 * size, stream)
    });
    let mut strokes = Vec::new();
    let half = stream.between(0.0028, 0.0048) * (0.6 + 0.4 * size);
    let mut split = |path: &[[f32; 2]], from: f32| {
        let last = (path.len() - 1) as f32;
        strokes.extend(path.windows(2).enumerate().map(|(i, ends)| {
            let width = |i: usize| from * (1.0 - 0.8 * i as f32 / last);
            Stroke { ends: [ends[0], ends[1]], half: [width(i), width(i + 1)] }
        }));
    };
    split(&path, half);
    for _ in 0..2 + stream.below(2) {
        let from = 2 + stream.below(9);
        let [dx, dy] = [path[from + 1][0] - path[from][0], path[from + 1][1] - path[from][1]];
        let side = stream.pick(&[-1.0, 1.0]) * stream.between(0.5, 1.1);
        let [hx, hy] = [dx - dy * side, dy + dx * side];
        let norm = length([hx, hy]).max(1e-6);
        let branch = walk(path[from], [hx / norm, hy / norm], 3 + stream.below(4), 0.024 * size, stream);
        split(&branch, half * 0.6);
    }
    let dark = rgb(26, 22, 20);
    engrave(relief, &strokes, |height, material, depth| {
        (height - 0.012 * depth, material.towards(Material::matt(dark), 0.92 * depth))
    });
}

/// A jagged path of `steps` steps about `stride` long.
pub fn walk(start: [f32; 2], mut heading: [f32; 2], steps: usize, stride: f32, stream: &mut Stream) -> Vec<[f32; 2]> {
    let mut path = vec![start];
    let mut at = start;
    for _ in 0..steps {
        let swerve = stream.between(-0.75, 0.75);
        let stride = stride * stream.between(0.5, 1.3);
        let [hx, hy] = heading;
        let [dx, dy] = [hx - hy * swerve, hy + hx * swerve];
        at = [at[0] + dx * stride, at[1] + dy * stride];
        path.push(at);
        // Half of each turn is taken back, so that the whole has a direction.
        let [kx, ky] = [hx - hy * swerve * 0.35, hy + hx * swerve * 0.35];
        heading = [kx / length([kx, ky]), ky / length([kx, ky])];
    }
    path
}

/// Changes height and material along `strokes`: `cut` gets the depth of the line there, 0 to 1.
pub fn engrave(relief: &mut Relief, strokes: &[Stroke], cut: impl Fn(f32, Material, f32) -> (f32, Material)) {
    let pixel = 1.0 / relief.side as f32;
    let mut depths = std::collections::BTreeMap::<usize, f32>::new();
    for Stroke { ends, half } in strokes {
        let margin = half[0].max(half[1]) + 2.0 * pixel;
        let [a, b] = *ends;
        let bounds =
            [a[0].min(b[0]) - margin, a[1].min(b[1]) - margin, a[0].max(b[0]) + margin, a[1].max(b[1]) + margin];
        for (i, point) in relief.points(bounds) {
            let (distance, along) = segment(point, a, b);
            // A line thinner than a pixel and a half would be lost in a small picture.
            let half = lerp(half[0], half[1], along).max(0.75 * pixel);
            let depth = ((half - distance) / pixel.max(half * 0.5) + 0.5).clamp(0.0, 1.0) * relief.part[i];
            if depth > 0.0 {
                let deepest = depths.entry(i).or_insert(0.0);
                *deepest = deepest.max(depth);
            }
        }
    }
    for (i, depth) in depths {
        (relief.height[i], relief.material[i]) = cut(relief.height[i], relief.material[i], depth);
    }
}
