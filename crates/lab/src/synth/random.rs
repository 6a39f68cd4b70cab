//! Random numbers that are a function of a key and a counter, and smooth noise over the plane.
//!
//! Only integers and the operations that IEEE 754 rounds correctly (`+ - * / sqrt`) are used, so that the numbers are
//! the same on every machine.

use inctrl::internals::{STEP, mix};

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    count: u64,
}

impl Stream {
    /// The sequence named by `words` and `numbers`; different names give unrelated sequences.
    pub fn named(words: &[&str], numbers: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for word in words {
            hasher.update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
        }
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        let hash = *hasher.finalize().as_bytes();
        Stream { key: hash.iter().take(8).fold(0, |key, &byte| key << 8 | u64::from(byte)), count: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.count += 1;
        mix(self.key.wrapping_add(self.count.wrapping_mul(STEP)))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0 to `count - 1`.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A unit vector of any direction.
    pub fn direction(&mut self) -> [f32; 2] {
        loop {
            let [x, y] = [self.between(-1.0, 1.0), self.between(-1.0, 1.0)];
            let square = x * x + y * y;
            if (0.01..=1.0).contains(&square) {
                return [x / square.sqrt(), y / square.sqrt()];
            }
        }
    }

    /// New noise.
    pub fn noise(&mut self) -> Noise {
        Noise(self.bits() as u32)
    }
}

/// Smooth random functions of the plane whose features are about one unit large.
#[derive(Clone, Copy, Debug)]
pub struct Noise(u32);

impl Noise {
    /// 32 random bits for a point of the integer lattice.
    #[inline]
    pub fn lattice(self, x: i32, y: i32) -> u32 {
        let mut h =
            self.0 ^ (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77).rotate_left(15);
        h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
        h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
        h ^ (h >> 16)
    }

    /// Gradient noise, nearly always within -1 to 1, 0 on average.
    #[inline]
    pub fn at(self, x: f32, y: f32) -> f32 {
        let ((i, u), (j, v)) = (split(x), split(y));
        let corner = |di: i32, dj: i32| {
            let bits = self.lattice(i + di, j + dj);
            let component = |bits: u32| f32::from(bits as u16) * (1.0 / 32_767.5) - 1.0;
            component(bits) * (u - di as f32) + component(bits >> 16) * (v - dj as f32)
        };
        let (s, t) = (smooth(u), smooth(v));
        2.0 * lerp(lerp(corner(0, 0), corner(1, 0), s), lerp(corner(0, 1), corner(1, 1), s), t)
    }

    /// The sum of `octaves` noises, each twice as fine and half as strong as the one before.
    pub fn cloud(self, x: f32, y: f32, octaves: u32) -> f32 {
        (0..octaves)
            .fold((0.0, 1.0), |(sum, scale), o| (sum + Noise(self.0 ^ o).at(x * scale, y * scale) / scale, 2.0 * scale))
            .0
    }

    /// Distances to the nearest and second nearest of points strewn one to a unit square.
    pub fn nearest(self, x: f32, y: f32) -> [f32; 2] {
        self.cell(x, y).1
    }

    /// The same with 32 random bits of the nearest point.
    #[inline]
    pub fn cell(self, x: f32, y: f32) -> (u32, [f32; 2]) {
        let ((i, u), (j, v)) = (split(x), split(y));
        let ([mut first, mut second], mut owner) = ([f32::MAX; 2], 0);
        for dj in -1..=1 {
            for di in -1..=1 {
                let bits = self.lattice(i + di, j + dj);
                let dx = di as f32 + f32::from(bits as u16) * (1.0 / 65_535.0) - u;
                let dy = dj as f32 + f32::from((bits >> 16) as u16) * (1.0 / 65_535.0) - v;
                let square = dx * dx + dy * dy;
                if square < first {
                    (first, second, owner) = (square, first, bits);
                } else if square < second {
                    second = square;
                }
            }
        }
        // The bits of a point say where it lies: others are needed for what it looks like.
        (mix(u64::from(owner)) as u32, [first.sqrt(), second.sqrt()])
    }
}

/// The integer below `x` and the rest.
pub fn split(x: f32) -> (i32, f32) {
    let below = x as i32 - i32::from(x < 0.0);
    (below, x - below as f32)
}

/// A smooth step from 0 to 1 as `t` goes from 0 to 1.
pub fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A smooth step from 0 to 1 as `x` goes from `from` to `to`.
pub fn step(from: f32, to: f32, x: f32) -> f32 {
    smooth((x - from) / (to - from))
}

/// From `a` to `b` as `t` goes from 0 to 1.
pub fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// A wave of period 1 between -1 and 1, made of parabolas, close to a sine.
pub fn wave(t: f32) -> f32 {
    let x = 2.0 * split(t).1 - 1.0;
    -4.0 * x * (1.0 - x.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_every_word_and_number() {
        let names: [(&[&str], &[u64]); 5] =
            [(&["ab", "c"], &[1, 2]), (&["a", "bc"], &[1, 2]), (&["ab", "c"], &[2, 1]), (&["ab"], &[1, 2]), (&[], &[])];
        let mut firsts: Vec<u64> = names.iter().map(|(words, numbers)| Stream::named(words, numbers).bits()).collect();
        assert_eq!(firsts[0], Stream::named(&["ab", "c"], &[1, 2]).bits());
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), names.len());
    }

    #[test]
    fn numbers_fill_their_range() {
        let mut stream = Stream::named(&["range"], &[]);
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[stream.below(7)] += 1;
            assert!((0.0..1.0).contains(&stream.unit()));
            let [x, y] = stream.direction();
            assert!((x * x + y * y - 1.0).abs() <= 4.0 * f32::EPSILON);
        }
        // Six standard deviations of a binomial count around 1000.
        assert!(seen.iter().all(|&count: &i32| (count - 1000).abs() < 180), "{seen:?}");
    }

    #[test]
    fn noise_is_continuous_bounded_and_not_flat() {
        let noise = Stream::named(&["noise"], &[]).noise();
        let values: Vec<f32> = (0..4000).map(|i| noise.at(i as f32 * 0.01 - 20.0, 0.37)).collect();
        // The slope is at most 2 (two gradient components of 1 and the change of the weights).
        assert!(values.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.12));
        let (least, most) = values.iter().fold((0.0f32, 0.0f32), |(a, b), &v| (a.min(v), b.max(v)));
        assert!(least < -0.3 && most > 0.3 && least > -2.0 && most < 2.0, "{least} {most}");
    }
}
