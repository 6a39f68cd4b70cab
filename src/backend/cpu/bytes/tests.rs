//! Products of bytes against exact sums, each instruction set for itself.

use super::*;

/// One vector times another, added to a third.
struct Fma<'a>([&'a [i32]; 3], &'a mut [i32]);

impl ByteKernel for Fma<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let [a, b, c] = self.0.map(|x| bytes.load(x));
        bytes.store(bytes.fma(a, b, c), self.1);
    }
}

#[test]
fn products_of_bytes_are_exact() {
    for isa in ByteIsa::available() {
        let zero = isa.levels();
        let left = [1, zero, 2 * zero, zero - 1].map(|x| x as u8);
        let right = [-127i8, -1, 0, 1, 126, 127];
        for i in 0..4usize.pow(4) {
            let a: [u8; 4] = std::array::from_fn(|k| left[i / 4usize.pow(k as u32) % 4]);
            for j in 0..6usize.pow(4) {
                let b: [i8; 4] = std::array::from_fn(|k| right[j / 6usize.pow(k as u32) % 6]);
                let words = [i32::from_le_bytes(a), i32::from_le_bytes(b.map(|x| x as u8)), -7].map(|x| [x; 16]);
                let mut sums = [0; 16];
                isa.run(Fma([&words[0], &words[1], &words[2]], &mut sums));
                let expected = a.into_iter().zip(b).map(|(a, b)| i32::from(a) * i32::from(b)).sum::<i32>() - 7;
                assert!(sums[..isa.panel_width() / 2].iter().all(|sum| *sum == expected), "{isa:?}: {a:?} {b:?}");
            }
        }
    }
}

/// The first row with columns above.
struct Above<'a>(&'a [i32], Columns<'a>, [&'a [f32]; 2], &'a mut Option<(usize, u32)>);

impl ByteKernel for Above<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        *self.3 = bytes.above(self.0, self.1, self.2[0], self.2[1]);
    }
}

#[test]
fn columns_above_the_floor_are_told() {
    let sums: Vec<i32> = (0..32).map(|c| (c * 7 % 32 - 16) * 1000).collect();
    let scale: Vec<f32> = (0..32).map(|c| 0.25 + c as f32).collect();
    let slope: Vec<f32> = (0..32).map(|c| (c * 5 % 32) as f32 - 16.0).collect();
    let mut offset: Vec<f32> = (0..32).map(|c| (c * 3 % 32) as f32).collect();
    offset[3] = f32::NEG_INFINITY;
    let columns = Columns { scale: &scale, slope: &slope, offset: &offset };
    // Small numbers of quarters: exact.
    for (q, floor) in [(0.0, 0.0), (2.0, 100.0), (-64.0, -3000.25), (1.0, f32::NEG_INFINITY), (1.0, f32::INFINITY)] {
        for isa in ByteIsa::available() {
            let width = isa.panel_width();
            let number = |c: usize| sums[c] as f32 * scale[c] + offset[c] + slope[c] * q;
            let mask = (0..width).fold(0u32, |mask, c| mask | u32::from(number(c) > floor) << c);
            // Two rows of which none is above, then this one.
            let rows = [&sums[..width], &sums[..width], &sums[..width]].concat();
            let mut found = None;
            let floors = [f32::INFINITY, f32::INFINITY, floor];
            isa.run(Above(&rows, columns, [&[q; 3], &floors], &mut found));
            assert_eq!(found, (mask != 0).then_some((2, mask)), "{isa:?}: {q}, {floor}");
        }
    }
}

/// Bytes of words as numbers, and numbers as bytes of words.
struct Convert<'a>(&'a [i32], &'a mut [f32], &'a [f32], &'a mut [i32]);

impl ByteKernel for Convert<'_> {
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let (simd, lanes) = (bytes.floats(), B::LANES);
        let words = bytes.load(self.0);
        for (place, out) in self.1.chunks_exact_mut(lanes).take(4).enumerate() {
            simd.store(bytes.byte(words, place), out);
        }
        simd.store(bytes.to_floats(words), &mut self.1[4 * lanes..]);
        let x = [0, 1, 2, 3].map(|i| simd.load(&self.2[i * lanes..]));
        bytes.store(bytes.round_row(x), self.3);
    }
}

#[test]
fn bytes_become_numbers_and_numbers_the_nearest_bytes() {
    let words: Vec<i32> =
        (0..16).map(|i: i32| i32::from_le_bytes([i * 37, -i, 128 + i, 127 - i].map(|x| x as u8))).collect();
    // Ties to even, both ends, and what lies between.
    let x: Vec<f32> = (0..64).map(|i| [0.5, 1.5, 254.5, 255.0, 0.49, 127.51, 0.0][i % 7]).collect();
    for isa in ByteIsa::available() {
        let lanes = isa.panel_width() / 2;
        let (mut numbers, mut rounded) = (vec![f32::NAN; 80], vec![-1; 16]);
        isa.run(Convert(&words, &mut numbers, &x, &mut rounded));
        for (lane, word) in words.iter().enumerate().take(lanes) {
            for (place, byte) in word.to_le_bytes().into_iter().enumerate() {
                assert_eq!(numbers[place * lanes + lane], f32::from(byte as i8), "{isa:?}: byte {place} of {word:x}");
            }
            assert_eq!(numbers[4 * lanes + lane], *word as f32, "{isa:?}");
            let expected: [u8; 4] = std::array::from_fn(|k| x[4 * lane + k].round_ties_even() as u8);
            assert_eq!(rounded[lane].to_le_bytes(), expected, "{isa:?}: {:?}", &x[4 * lane..][..4]);
        }
    }
}
