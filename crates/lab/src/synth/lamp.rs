//! From a surface to a photograph: lamp, shadows, highlights, sensor.
//!
//! Everything but the sensor's noise is a function of the surface alone, and the noise does not depend on the surface:
//! two surfaces that agree somewhere give the same pixels there, shadows aside.

use super::random::{Stream, smooth, step};
use super::relief::Relief;
use inctrl::internals::{STEP, mix};

/// The greatest height above the ground that casts a shadow; products are lower.
const TALLEST: f32 = 0.17;

/// The lighting of one photograph.
#[derive(Clone, Debug)]
pub struct Lamp {
    /// Unit vector towards the lamp; z towards the camera.
    direction: [f32; 3],
    /// Unit vector between lamp and camera.
    half: [f32; 3],
    strength: f32,
    /// Change of the light across the picture.
    slope: [f32; 2],
    /// Key of the sensor's noise.
    grain: u64,
}

impl Lamp {
    /// A lamp at the upper left, a little different each time.
    pub fn new(stream: &mut Stream) -> Self {
        let mut jitter = |middle: f32, by: f32| middle + stream.between(-by, by);
        let direction = normalised([jitter(-0.52, 0.06), jitter(-0.56, 0.06), jitter(0.78, 0.04)]);
        let half = normalised([direction[0], direction[1], direction[2] + 1.0]);
        let strength = jitter(1.0, 0.08);
        let slope = [jitter(-0.05, 0.04), jitter(-0.05, 0.04)];
        Lamp { direction, half, strength, slope, grain: stream.bits() }
    }

    /// The photograph: RGB, rows packed.
    pub fn photograph(&self, relief: &Relief) -> Vec<u8> {
        let side = relief.side;
        let (shadow, hollow) = (self.shadows(relief), hollows(relief));
        let mut pixels = Vec::with_capacity(side * side * 3);
        for y in 0..side {
            let (above, below) = (y.saturating_sub(1) * side, (y + 1).min(side - 1) * side);
            for x in 0..side {
                let i = y * side + x;
                let h = &relief.height;
                let dx = h[y * side + (x + 1).min(side - 1)] - h[y * side + x.saturating_sub(1)];
                let dy = h[below + x] - h[above + x];
                let steepness = 0.5 * side as f32;
                let normal = normalised([-dx * steepness, -dy * steepness, 1.0]);
                let place = [x as f32 / side as f32 - 0.5, y as f32 / side as f32 - 0.5];
                let light = self.strength * (1.0 + place[0] * self.slope[0] * 2.0 + place[1] * self.slope[1] * 2.0);
                let colour = self.shade(relief, i, normal, 1.0 - shadow[i], hollow[i]);
                let noise = mix(self.grain.wrapping_add((i as u64).wrapping_mul(STEP)));
                for (c, value) in colour.into_iter().enumerate() {
                    let grain = grain(noise >> (c * 21));
                    // The cast rounds down and stays within 0 to 255.
                    pixels.push(((value * light).max(0.0).sqrt() * 255.0 + grain + 0.5) as u8);
                }
            }
        }
        pixels
    }

    /// Linear light that point `i` sends to the camera.
    fn shade(&self, relief: &Relief, i: usize, normal: [f32; 3], lit: f32, open: f32) -> [f32; 3] {
        let material = &relief.material[i];
        let facing = dot(normal, self.direction).max(0.0);
        let scattered = 0.34 * open + 0.94 * facing * lit;
        // The ray mirrored into the camera comes from between the dark floor and a bright sky that is brightest around
        // the lamp.
        let mirrored = [2.0 * normal[2] * normal[0], 2.0 * normal[2] * normal[1], 2.0 * normal[2] * normal[2] - 1.0];
        let towards = dot(mirrored, self.direction);
        let sky = 0.16 + 0.72 * step(-0.5, 0.95, towards) + 0.55 * step(0.82, 1.0, towards);
        let reflected = sky * (0.45 + 0.55 * lit) * (0.35 + 0.65 * open);
        let diffuse = scattered + (reflected - scattered) * material.metal;
        let mut power = dot(normal, self.half).max(0.0);
        for _ in 0..5 {
            power *= power;
        }
        let highlight = material.gloss * 0.7 * power * lit;
        material.colour.map(|c| {
            let tint = 1.0 + (c - 1.0) * 0.6 * material.metal;
            c * diffuse + highlight * tint
        })
    }

    /// How much of the lamp is hidden from each point, 0 to 1.
    fn shadows(&self, relief: &Relief) -> Vec<f32> {
        let side = relief.side;
        let [lx, ly, lz] = self.direction;
        let flat = (lx * lx + ly * ly).sqrt();
        let rise = lz / flat;
        // Points towards the lamp, up and to the left: offsets, height of the ray, and the half shadow's steepness
        // there.
        let reach = TALLEST / rise * side as f32;
        let count = (reach as usize).clamp(2, 48);
        let ray: Vec<(usize, usize, f32, f32)> = (1..=count)
            .map(|k| {
                let far = k as f32 * (reach / count as f32).max(1.0);
                let [x, y] = [-lx / flat * far, -ly / flat * far].map(|at| (at + 0.5).max(0.0) as usize);
                let far = far / side as f32;
                (x, y, far * rise, 1.0 / (0.5 * far + 0.6 / side as f32))
            })
            .collect();
        let margin = ray.iter().map(|step| step.0).max().unwrap_or(0);
        // The picture's left column goes on to the left, and its top row upwards.
        let wide: Vec<f32> = relief
            .height
            .chunks_exact(side)
            .flat_map(|row| std::iter::repeat_n(row[0], margin).chain(row.iter().copied()))
            .collect();
        let highest = relief.height.iter().copied().fold(f32::MIN, f32::max);
        let mut shadow = vec![0.0f32; side * side];
        for (y, (row, hidden)) in relief.height.chunks_exact(side).zip(shadow.chunks_exact_mut(side)).enumerate() {
            let lowest = row.iter().copied().fold(f32::MAX, f32::min);
            for &(dx, dy, up, steepness) in ray.iter().take_while(|step| step.2 < highest - lowest) {
                let start = y.saturating_sub(dy) * (side + margin) + margin - dx;
                for ((hidden, here), there) in hidden.iter_mut().zip(row).zip(&wide[start..start + side]) {
                    *hidden = hidden.max((there - here - up) * steepness);
                }
            }
            hidden.iter_mut().for_each(|hidden| *hidden = smooth(*hidden) * 0.9);
        }
        shadow
    }
}

/// How much of the sky each point sees, 1 on open ground: less where the surroundings stand higher.
fn hollows(relief: &Relief) -> Vec<f32> {
    let radius = (relief.side / 50).max(1);
    let around = box_mean(&box_mean(&relief.height, relief.side, radius), relief.side, radius);
    around.iter().zip(&relief.height).map(|(mean, h)| 1.0 / (1.0 + 26.0 * (mean - h).max(0.0))).collect()
}

/// The mean over the square of `radius` pixels around each pixel; the result is transposed, twice gives the order back.
fn box_mean(values: &[f32], side: usize, radius: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let mut line = Vec::with_capacity(side + 1);
    for (y, row) in values.chunks_exact(side).enumerate() {
        line.clear();
        line.push(0.0f64);
        line.extend(row.iter().scan(0.0f64, |sum, &v| {
            *sum += f64::from(v);
            Some(*sum)
        }));
        for x in 0..side {
            let (from, to) = (x.saturating_sub(radius), (x + radius + 1).min(side));
            out[x * side + y] = ((line[to] - line[from]) / (to - from) as f64) as f32;
        }
    }
    out
}

/// Noise of a few grey levels from 21 bits: three uniform numbers added up.
fn grain(bits: u64) -> f32 {
    let sum = (bits & 0x7f) + (bits >> 7 & 0x7f) + (bits >> 14 & 0x7f);
    (sum as f32 / 190.5 - 1.0) * 3.2
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn normalised(v: [f32; 3]) -> [f32; 3] {
    let scale = 1.0 / dot(v, v).sqrt();
    v.map(|x| x * scale)
}
