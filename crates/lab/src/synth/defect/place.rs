//! Where a defect goes and what colour it has, so that it can be seen.

use crate::synth::random::Stream;
use crate::synth::relief::Relief;

/// Of several random paths the one that lies most on the product.
pub fn best(relief: &Relief, stream: &mut Stream, path: impl Fn(&mut Stream) -> Vec<[f32; 2]>) -> Vec<[f32; 2]> {
    let on_product = |path: &[[f32; 2]]| -> f32 {
        let inside = |p: &&[f32; 2]| p.iter().all(|at| (0.03..0.97).contains(at));
        path.iter().filter(inside).map(|p| relief.part[relief.index(*p)]).sum()
    };
    let mut found = path(stream);
    let mut most = on_product(&found);
    for _ in 0..40 {
        if most > found.len() as f32 - 0.5 {
            break;
        }
        let other = path(stream);
        let score = on_product(&other);
        if score > most {
            (found, most) = (other, score);
        }
    }
    found
}

/// A centre and the points on two rings around it, to ask whether all of a round defect lies on the product.
pub fn spread(centre: [f32; 2], radius: f32) -> Vec<[f32; 2]> {
    let around = [[1.0, 0.0], [0.7, 0.7], [0.0, 1.0], [-0.7, 0.7], [-1.0, 0.0], [-0.7, -0.7], [0.0, -1.0], [0.7, -0.7]];
    let ring = |r: f32| around.map(|[dx, dy]| [centre[0] + dx * r, centre[1] + dy * r]);
    std::iter::once(centre).chain(ring(radius * 0.5)).chain(ring(radius)).collect()
}

/// The mean colour at `points`.
pub fn mean(relief: &Relief, points: &[[f32; 2]]) -> [f32; 3] {
    let mut sum = [0.0; 3];
    for point in points {
        let colour = relief.material[relief.index(*point)].colour;
        (0..3).for_each(|c| sum[c] += colour[c] / points.len() as f32);
    }
    sum
}

/// How different two linear colours look.
pub fn contrast_of(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3).map(|c| (a[c].max(0.0).sqrt() - b[c].max(0.0).sqrt()).abs()).sum()
}

/// The one of two colours that stands out more from the colours at `points`.
pub fn contrast(relief: &Relief, points: &[[f32; 2]], [a, b]: [[f32; 3]; 2]) -> [f32; 3] {
    let here = mean(relief, points);
    if contrast_of(a, here) > contrast_of(b, here) { a } else { b }
}

/// A random one of `tints` among those that can be told from the colours at `points`.
pub fn distinct(relief: &Relief, points: &[[f32; 2]], tints: &[[f32; 3]], stream: &mut Stream) -> [f32; 3] {
    let here = mean(relief, points);
    let mut apart: Vec<[f32; 3]> = tints.to_vec();
    apart.sort_by(|a, b| contrast_of(*b, here).total_cmp(&contrast_of(*a, here)));
    let clear = apart.iter().filter(|tint| contrast_of(**tint, here) > 0.6).count().max(1);
    apart[stream.below(clear)]
}
