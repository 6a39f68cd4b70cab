//! Positions and outlines. Distances are negative inside.

use super::random::{Noise, Stream};

/// Where a product lies: points of the picture to points of the product.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    centre: [f32; 2],
    axis: [f32; 2],
}

impl Pose {
    /// At `centre`, turned so that the product's x axis has the direction `axis`, a unit vector.
    pub fn new(centre: [f32; 2], axis: [f32; 2]) -> Self {
        Pose { centre, axis }
    }

    /// Near the middle of the picture, at most `shift` off, turned by at most `turn` (radians, small).
    pub fn jittered(stream: &mut Stream, shift: f32, turn: f32) -> Self {
        let centre = [0.5 + stream.between(-shift, shift), 0.5 + stream.between(-shift, shift)];
        Pose { centre, axis: turned(stream.between(-turn, turn)) }
    }

    /// The direction of the product's x axis in the picture.
    pub fn axis(&self) -> [f32; 2] {
        self.axis
    }

    /// From the picture to the product.
    pub fn local(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [dx, dy] = [x - self.centre[0], y - self.centre[1]];
        let [c, s] = self.axis;
        [dx * c + dy * s, dy * c - dx * s]
    }

    /// From the product to the picture.
    pub fn global(&self, [u, v]: [f32; 2]) -> [f32; 2] {
        let [c, s] = self.axis;
        [self.centre[0] + u * c - v * s, self.centre[1] + u * s + v * c]
    }
}

/// The unit vector about `angle` radians from the x axis, without the platform's sine.
pub fn turned(angle: f32) -> [f32; 2] {
    let t = 0.5 * angle;
    let scale = 1.0 / (1.0 + t * t);
    [(1.0 - t * t) * scale, 2.0 * t * scale]
}

/// The product of two rotations given as unit vectors.
pub fn compose(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// Length of a vector.
pub fn length([x, y]: [f32; 2]) -> f32 {
    (x * x + y * y).sqrt()
}

/// Distance to a rectangle around the origin with rounded corners.
pub fn rounded_box([x, y]: [f32; 2], half: [f32; 2], radius: f32) -> f32 {
    let [dx, dy] = [x.abs() - half[0] + radius, y.abs() - half[1] + radius];
    length([dx.max(0.0), dy.max(0.0)]) + dx.max(dy).min(0.0) - radius
}

/// Distance to the segment from `a` to `b`, and how far along it the nearest point lies, 0 to 1.
pub fn segment(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> (f32, f32) {
    let [px, py] = [p[0] - a[0], p[1] - a[1]];
    let [bx, by] = [b[0] - a[0], b[1] - a[1]];
    let along = ((px * bx + py * by) / (bx * bx + by * by).max(1e-12)).clamp(0.0, 1.0);
    (length([px - bx * along, py - by * along]), along)
}

/// An irregular round piece.
#[derive(Clone, Copy, Debug)]
pub struct Blob {
    /// Its middle.
    pub centre: [f32; 2],
    /// Its mean radius.
    pub radius: f32,
    noise: Noise,
}

impl Blob {
    /// A random outline.
    pub fn new(centre: [f32; 2], radius: f32, stream: &mut Stream) -> Self {
        Blob { centre, radius, noise: stream.noise() }
    }

    /// About the distance to the outline.
    pub fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        let [dx, dy] = [(x - self.centre[0]) / self.radius, (y - self.centre[1]) / self.radius];
        let wobble = 0.27 * self.noise.cloud(dx * 1.6, dy * 1.6, 2);
        (length([dx, dy]) - 1.0 + wobble) * self.radius
    }
}
