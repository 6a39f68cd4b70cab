//! Masks of defects: from files to a truth for each pixel. An image may have several masks, which are joined.

pub(super) use inctrl::internals::Marks as Mask;

use inctrl::Roi;

/// The part of a mask inside `roi`, which lies in it.
pub(super) fn region(mask: &Mask, roi: Roi) -> Mask {
    let rows = mask.marked.chunks_exact(mask.width).skip(roi.y).take(roi.height);
    let marked: Vec<bool> = rows.flat_map(|row| &row[roi.x..][..roi.width]).copied().collect();
    // Which values the marks have is known of the whole mask alone.
    let values = mask.values.filter(|_| marked.contains(&true));
    Mask { width: roi.width, height: roi.height, marked, values, white: mask.white }
}

/// Joins a mask into `into`, of `width` x `height` pixels: stretched, each pixel the nearest one's.
pub(super) fn join(mask: &Mask, into: &mut [bool], width: usize, height: usize) {
    for (y, row) in into.chunks_exact_mut(width).enumerate() {
        let from = &mask.marked[(2 * y + 1) * mask.height / (2 * height) * mask.width..][..mask.width];
        for (x, inside) in row.iter_mut().enumerate() {
            *inside |= from[(2 * x + 1) * mask.width / (2 * width)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_other_sizes_are_stretched_and_joined() {
        let mask = |pixels: &[u8], width: usize| {
            let marked: Vec<bool> = pixels.iter().map(|pixel| *pixel > 0).collect();
            Mask { width, height: marked.len() / width, marked, values: None, white: 255 }
        };
        let mut joined = vec![false; 16];
        join(&mask(&[0, 7, 0, 0], 2), &mut joined, 4, 4);
        assert_eq!(joined[..8], [false, false, true, true, false, false, true, true]);
        assert!(joined[8..].iter().all(|inside| !inside));
        join(&mask(&[0, 0, 0, 0, 1, 0, 0, 0], 4), &mut joined, 4, 4);
        assert_eq!(joined[8..], [true, false, false, false, true, false, false, false]);
        assert_eq!(joined[..4], [false, false, true, true]);
        let mut small = vec![false; 2];
        join(&mask(&[0, 7, 0, 0], 2), &mut small, 2, 1);
        assert_eq!(small, [false, false]);
    }
}
