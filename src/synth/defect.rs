//! Defects of the surface: they change height, colour and finish where they are.
//!
//! Missing and misplaced parts are the business of the families, which know what their parts are.

use super::random::{Stream, lerp, smooth, step};
use super::relief::{Material, Relief, around, blend, rgb};
use super::shape::{Blob, length, segment};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// A thin groove.
    Scratch,
    /// A jagged, branching break.
    Crack,
    /// A blot of something spilt.
    Stain,
    /// A hollow in the surface.
    Dent,
    /// A part, or a piece of one, that is not there.
    MissingPart,
    /// A part in the wrong place.
    MisplacedPart,
    /// A change of colour with soft edges.
    Discolouration,
}

impl Defect {
    /// The identifier that files and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Defect::Scratch => "scratch",
            Defect::Crack => "crack",
            Defect::Stain => "stain",
            Defect::Dent => "dent",
            Defect::MissingPart => "missing_part",
            Defect::MisplacedPart => "misplaced_part",
            Defect::Discolouration => "discolouration",
        }
    }

    /// Damages the product on `relief`; a missing or misplaced part is already drawn and changes nothing here.
    pub(super) fn apply(self, relief: &mut Relief, stream: &mut Stream) {
        match self {
            Defect::Scratch => scratch(relief, stream),
            Defect::Crack => crack(relief, stream),
            Defect::Stain => stain(relief, stream),
            Defect::Dent => dent(relief, stream),
            Defect::Discolouration => discolouration(relief, stream),
            Defect::MissingPart | Defect::MisplacedPart => {}
        }
    }
}

/// A piece of a thin line: ends, and half width at each.
struct Stroke {
    ends: [[f32; 2]; 2],
    half: [f32; 2],
}

fn scratch(relief: &mut Relief, stream: &mut Stream) {
    let half = stream.between(0.0028, 0.0046);
    let path = best(relief, stream, |stream| {
        let (start, [dx, dy]) = ([stream.unit(), stream.unit()], stream.direction());
        let (reach, bend) = (stream.between(0.18, 0.42), stream.between(-0.16, 0.16));
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

fn crack(relief: &mut Relief, stream: &mut Stream) {
    let path = best(relief, stream, |stream| {
        let ([x, y], heading) = ([stream.unit(), stream.unit()], stream.direction());
        walk([x, y], heading, 14, 0.026, stream)
    });
    let mut strokes = Vec::new();
    let half = stream.between(0.0028, 0.0048);
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
        let branch = walk(path[from], [hx / norm, hy / norm], 3 + stream.below(4), 0.024, stream);
        split(&branch, half * 0.6);
    }
    let dark = rgb(26, 22, 20);
    engrave(relief, &strokes, |height, material, depth| {
        (height - 0.012 * depth, material.towards(Material::matt(dark), 0.92 * depth))
    });
}

/// A jagged path of `steps` steps about `stride` long.
fn walk(start: [f32; 2], mut heading: [f32; 2], steps: usize, stride: f32, stream: &mut Stream) -> Vec<[f32; 2]> {
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

fn stain(relief: &mut Relief, stream: &mut Stream) {
    let radius = stream.between(0.045, 0.085);
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
    let soft = 0.008;
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

fn dent(relief: &mut Relief, stream: &mut Stream) {
    let radius = stream.between(0.05, 0.075);
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

fn discolouration(relief: &mut Relief, stream: &mut Stream) {
    let radius = stream.between(0.07, 0.12);
    let centre = best(relief, stream, |stream| spread([stream.unit(), stream.unit()], radius * 0.8))[0];
    let (blob, speckle) = (Blob::new(centre, radius, stream), stream.noise());
    let tints = [rgb(158, 84, 36), rgb(226, 216, 178), rgb(66, 58, 52), rgb(120, 128, 74)];
    let tint = distinct(relief, &spread(centre, radius), &tints, stream);
    let strength = stream.between(0.6, 0.8);
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

/// Of several random paths the one that lies most on the product.
fn best(relief: &Relief, stream: &mut Stream, path: impl Fn(&mut Stream) -> Vec<[f32; 2]>) -> Vec<[f32; 2]> {
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
fn spread(centre: [f32; 2], radius: f32) -> Vec<[f32; 2]> {
    let around = [[1.0, 0.0], [0.7, 0.7], [0.0, 1.0], [-0.7, 0.7], [-1.0, 0.0], [-0.7, -0.7], [0.0, -1.0], [0.7, -0.7]];
    let ring = |r: f32| around.map(|[dx, dy]| [centre[0] + dx * r, centre[1] + dy * r]);
    std::iter::once(centre).chain(ring(radius * 0.5)).chain(ring(radius)).collect()
}

/// The mean colour at `points`.
fn mean(relief: &Relief, points: &[[f32; 2]]) -> [f32; 3] {
    let mut sum = [0.0; 3];
    for point in points {
        let colour = relief.material[relief.index(*point)].colour;
        (0..3).for_each(|c| sum[c] += colour[c] / points.len() as f32);
    }
    sum
}

/// How different two linear colours look.
fn contrast_of(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3).map(|c| (a[c].max(0.0).sqrt() - b[c].max(0.0).sqrt()).abs()).sum()
}

/// The one of two colours that stands out more from the colours at `points`.
fn contrast(relief: &Relief, points: &[[f32; 2]], [a, b]: [[f32; 3]; 2]) -> [f32; 3] {
    let here = mean(relief, points);
    if contrast_of(a, here) > contrast_of(b, here) { a } else { b }
}

/// A random one of `tints` among those that can be told from the colours at `points`.
fn distinct(relief: &Relief, points: &[[f32; 2]], tints: &[[f32; 3]], stream: &mut Stream) -> [f32; 3] {
    let here = mean(relief, points);
    let mut apart: Vec<[f32; 3]> = tints.to_vec();
    apart.sort_by(|a, b| contrast_of(*b, here).total_cmp(&contrast_of(*a, here)));
    let clear = apart.iter().filter(|tint| contrast_of(**tint, here) > 0.6).count().max(1);
    apart[stream.below(clear)]
}

/// Changes height and material along `strokes`: `cut` gets the depth of the line there, 0 to 1.
fn engrave(relief: &mut Relief, strokes: &[Stroke], cut: impl Fn(f32, Material, f32) -> (f32, Material)) {
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
