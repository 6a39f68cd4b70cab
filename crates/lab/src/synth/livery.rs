//! Differences between the products of a family beside their drawing: dyes, and orientation under the camera.

use super::random::Stream;
use super::relief::{Material, Relief, blend};

/// The looks of one product.
#[derive(Clone, Debug)]
pub struct Livery {
    /// Which channel of a dye becomes red, green and blue.
    channels: [usize; 3],
    /// Factors on the channels.
    gain: [f32; 3],
    /// Factor on the distance of a dye from grey.
    saturation: f32,
    /// One of the eight orientations of a square.
    way: usize,
}

impl Livery {
    /// Random looks; without `dyed` the colours stay close to those of the family.
    pub fn new(stream: &mut Stream, dyed: bool) -> Self {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let order = stream.pick(&orders);
        let bright = stream.between(0.72, 1.18);
        let cast = std::array::from_fn(|_| bright * stream.between(0.90, 1.10));
        let saturation = stream.between(0.55, 1.25);
        Livery { channels: if dyed { order } else { orders[0] }, gain: cast, saturation, way: stream.below(8) }
    }

    /// Dyes a surface.
    pub fn dye(&self, relief: &mut Relief) {
        for material in &mut relief.material {
            *material = self.dyed(*material);
        }
    }

    fn dyed(&self, material: Material) -> Material {
        let [red, green, blue] = material.colour;
        let grey = (red + green + blue) / 3.0;
        let swapped = self.channels.map(|c| grey + (material.colour[c] - grey) * self.saturation);
        // Metals keep their hue.
        let colour = blend(swapped, material.colour, material.metal);
        Material { colour: std::array::from_fn(|c| (colour[c] * self.gain[c]).clamp(0.0, 1.0)), ..material }
    }

    /// Turns a picture of `side * side` points with `N` bytes each to the product's orientation, which also decides the
    /// side of its lamp.
    pub fn laid<const N: usize>(&self, picture: &[u8], side: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(picture.len());
        for y in 0..side {
            for x in 0..side {
                let (x, y) = if self.way & 1 != 0 { (side - 1 - x, y) } else { (x, y) };
                let (x, y) = if self.way & 2 != 0 { (x, side - 1 - y) } else { (x, y) };
                let (x, y) = if self.way & 4 != 0 { (y, x) } else { (x, y) };
                let from = (y * side + x) * N;
                out.extend_from_slice(&picture[from..from + N]);
            }
        }
        out
    }
}
