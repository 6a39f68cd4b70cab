//! From 8-bit pixels to rows of the patch matrix: normalisation and the unfolding that makes the patch
//! convolution a matrix product.

use std::ops::Range;

use super::grid::Grid;

/// CLIP's mean per channel, in units of full scale.
pub const MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// CLIP's standard deviation per channel, in units of full scale.
#[expect(clippy::excessive_precision, reason = "the digits that CLIP publishes")]
pub const STD: [f32; 3] = [0.26862954, 0.26130258, 0.27577711];

/// `[channel][value]`: the normalised number for each 8-bit value of a channel.
pub type ValueTable = [[f32; 256]; 3];

/// The table of CLIP's mean and standard deviation.
pub static NORMALISED: ValueTable = value_table(MEAN, STD);

/// `[channel][value]`: `(value / 255 - mean) / std`, each step rounded to f32 as torch does.
pub const fn value_table(mean: [f32; 3], std: [f32; 3]) -> ValueTable {
    let mut table = [[0.0; 256]; 3];
    let mut c = 0;
    while c < 3 {
        let mut value = 0;
        while value < 256 {
            table[c][value] = (value as f32 / 255.0 - mean[c]) / std[c];
            value += 1;
        }
        c += 1;
    }
    table
}

/// The pixel value that CLIP's normalisation of a channel maps to exactly this number, if there is one.
pub(super) fn level(channel: usize, number: f32) -> Option<u8> {
    // The cast saturates: a number outside the range is compared with the end of the range and is not equal.
    let nearest = ((number * STD[channel] + MEAN[channel]) * 255.0).round() as u8;
    (NORMALISED[channel][usize::from(nearest)].to_bits() == number.to_bits()).then_some(nearest)
}

/// Writes patches `rows` of the picture `pixels` (`[height, width, channels]`, 8 bits, `size` its width and height)
/// into `out` (`[rows, 3 * patch * patch]`, f32), each value normalised by `table`.
///
/// Patches are counted row by row over the grid of whole patches; pixels beyond the last one are ignored, as a strided
/// convolution does. Values of a patch are in (channel, y, x) order, as in a flattened filter of `conv1.weight`. A grey
/// picture is repeated to three channels.
///
/// # Panics
/// If `channels` is neither 1 nor 3, `patch` is 0 or longer than a side, `rows` exceeds the grid, or a slice has the
/// wrong length.
pub fn write(
    pixels: &[u8],
    channels: usize,
    size: [usize; 2],
    patch: usize,
    rows: Range<usize>,
    table: &ValueTable,
    out: &mut [f32],
) {
    let [width, height] = size;
    assert!((1..=width.min(height)).contains(&patch), "patches of {patch} pixels in a picture of {width} x {height}");
    let grid = Grid::new(height / patch, width / patch);
    assert!(rows.start <= rows.end && rows.end <= grid.cells(), "patches {rows:?} of a grid of {grid}");
    assert_eq!(pixels.len(), width * height * channels, "bytes of a picture of {width} x {height} x {channels}");
    assert_eq!(out.len(), rows.len() * 3 * patch * patch, "elements for patches {rows:?} of {patch} x {patch}");
    match channels {
        1 => unfold::<1>(pixels, width, patch, rows, table, out),
        3 => unfold::<3>(pixels, width, patch, rows, table, out),
        _ => panic!("{channels} channels: only 1 and 3 are supported"),
    }
}

fn unfold<const C: usize>(
    pixels: &[u8],
    width: usize,
    patch: usize,
    rows: Range<usize>,
    table: &ValueTable,
    out: &mut [f32],
) {
    let pixels = pixels.as_chunks::<C>().0;
    let cols = width / patch;
    for (row, out) in rows.zip(out.chunks_exact_mut(3 * patch * patch)) {
        let corner = row / cols * patch * width + row % cols * patch;
        for (c, (plane, table)) in out.chunks_exact_mut(patch * patch).zip(table).enumerate() {
            for (y, line) in plane.chunks_exact_mut(patch).enumerate() {
                for (value, pixel) in line.iter_mut().zip(&pixels[corner + y * width..][..patch]) {
                    *value = table[usize::from(pixel[c % C])];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_the_luminance_of_the_mean_colour() {
        // ITU-R 601, Pillow's `L`.
        let luminance: f32 = MEAN.iter().zip([0.299, 0.587, 0.114]).map(|(mean, weight)| 255.0 * mean * weight).sum();
        assert_eq!(luminance.round() as u8, crate::image::PADDING);
    }

    #[test]
    fn values_are_those_of_torch() {
        // (torch.tensor([0, 1, 128, 255]) / 255 - mean) / std in float32, as bits, channel by channel.
        let expected = [
            [0xbfe568dc_u32, 0xbfe38a7f, 0x3d9c5620, 0x3ff71541],
            [0xbfe044b8, 0xbfde58f1, 0x3e2cf36b, 0x4004cae5],
            [0xbfbd77d8, 0xbfbba5e1, 0x3eae0dc4, 0x40095660],
        ];
        for (table, expected) in NORMALISED.iter().zip(expected) {
            assert_eq!([0, 1, 128, 255].map(|value: usize| table[value].to_bits()), expected);
        }
    }

    #[test]
    fn rows_follow_the_grid_and_ignore_the_remainder() {
        // 5 x 5 pixels in patches of 2: a grid of 2 x 2, the last row and column unused.
        let pixels: Vec<u8> = (0..75).collect();
        let mut all = vec![f32::NAN; 4 * 12];
        write(&pixels, 3, [5, 5], 2, 0..4, &NORMALISED, &mut all);
        for (row, corner) in [(0, 0), (1, 2), (2, 10), (3, 12)] {
            for c in 0..3 {
                let values = [0, 1, 5, 6].map(|step| NORMALISED[c][pixels[(corner + step) * 3 + c] as usize]);
                assert_eq!(all[row * 12 + c * 4..][..4], values, "patch {row}, channel {c}");
            }
        }
        let mut part = vec![f32::NAN; 2 * 12];
        write(&pixels, 3, [5, 5], 2, 1..3, &NORMALISED, &mut part);
        assert_eq!(part, all[12..36]);
    }

    #[test]
    fn grey_equals_its_three_channel_copy() {
        let grey: Vec<u8> = (0..64).map(|i| i * 3).collect();
        let colour: Vec<u8> = grey.iter().flat_map(|&value| [value; 3]).collect();
        let (mut a, mut b) = (vec![f32::NAN; 192], vec![f32::NAN; 192]);
        write(&grey, 1, [8, 8], 4, 0..4, &NORMALISED, &mut a);
        write(&colour, 3, [8, 8], 4, 0..4, &NORMALISED, &mut b);
        assert_eq!(a, b);
    }
}
