//! Where two pictures differ.

/// Grey levels of a channel that count as a difference one can see.
pub const VISIBLE: u8 = 8;

/// 255 where any channel of the two RGB pictures differs by more than [`VISIBLE`], small gaps between such places closed.
pub fn difference(clean: &[u8], faulty: &[u8], side: usize) -> Vec<u8> {
    let differs = |(a, b): (&[u8], &[u8])| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > VISIBLE);
    let seen: Vec<bool> = clean.chunks_exact(3).zip(faulty.chunks_exact(3)).map(differs).collect();
    let radius = side.div_ceil(80);
    let mut grown = dilated(&seen, side, radius);
    grown.iter_mut().for_each(|inside| *inside = !*inside);
    dilated(&grown, side, radius).iter().map(|&outside| if outside { 0 } else { 255 }).collect()
}

/// The points at most `radius` away in x and in y from a set point.
fn dilated(set: &[bool], side: usize, radius: usize) -> Vec<bool> {
    // Each pass works along rows and transposes, so that the second works along columns and restores the order.
    let pass = |set: &[bool]| {
        let mut out = vec![false; set.len()];
        for (y, row) in set.chunks_exact(side).enumerate() {
            let mut since = usize::MAX;
            for x in 0..side + radius {
                since = if x < side && row[x] { 0 } else { since.saturating_add(1) };
                if x >= radius && since <= 2 * radius {
                    out[(x - radius) * side + y] = true;
                }
            }
        }
        out
    };
    pass(&pass(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dilation_is_a_square() {
        for (x, y) in [(4, 4), (0, 8), (8, 1)] {
            let mut set = vec![false; 81];
            set[y * 9 + x] = true;
            let grown = dilated(&set, 9, 2);
            let near = |i: usize| (i % 9).abs_diff(x) <= 2 && (i / 9).abs_diff(y) <= 2;
            assert!((0..81).all(|i| grown[i] == near(i)), "{x} {y}");
        }
    }

    #[test]
    fn gaps_are_closed_and_the_outline_kept() {
        let side = 160;
        let clean = vec![100; side * side * 3];
        let mut faulty = clean.clone();
        for y in 40..60 {
            for x in (40..60).filter(|x| *x != 50) {
                faulty[(y * side + x) * 3 + 1] = 100 + VISIBLE + 1;
            }
        }
        faulty[3] += VISIBLE;
        let mask = difference(&clean, &faulty, side);
        let square = |i: usize| (40..60).contains(&(i % side)) && (40..60).contains(&(i / side));
        assert!((0..side * side).all(|i| mask[i] == if square(i) { 255 } else { 0 }));
    }
}
