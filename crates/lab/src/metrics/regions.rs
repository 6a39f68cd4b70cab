//! Connected regions of a mask.

/// Numbers the connected regions of a mask with rows of `width` pixels: 0 outside, then 1, 2, ... in reading order.
/// Pixels that touch at a corner are connected, as in MVTec's evaluation.
///
/// Returns one number per pixel, and the number of regions. Pixels of an incomplete last row belong to no region.
pub fn regions(mask: &[bool], width: usize) -> (Vec<u32>, u32) {
    let mut numbers = vec![0; mask.len()];
    let (mut count, mut open) = (0, Vec::new());
    if width == 0 {
        return (numbers, 0);
    }
    let height = mask.len() / width;
    for start in 0..width * height {
        if !mask[start] || numbers[start] != 0 {
            continue;
        }
        count += 1;
        numbers[start] = count;
        open.push(start);
        while let Some(at) = open.pop() {
            let (x, y) = (at % width, at / width);
            for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let near = y * width + x;
                    if mask[near] && numbers[near] == 0 {
                        numbers[near] = count;
                        open.push(near);
                    }
                }
            }
        }
    }
    (numbers, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_connect_and_edges_of_the_picture_do_not() {
        let picture = "\
            #..#\
            .#..\
            ....\
            #..#";
        let mask: Vec<bool> = picture.chars().map(|c| c == '#').collect();
        let (numbers, count) = regions(&mask, 4);
        assert_eq!(count, 4);
        assert_eq!(numbers, [1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4]);
    }

    #[test]
    fn a_spiral_is_one_region_and_nothing_is_none() {
        let picture = "\
            #####\
            ....#\
            ###.#\
            #...#\
            #####";
        let mask: Vec<bool> = picture.chars().map(|c| c == '#').collect();
        assert_eq!(regions(&mask, 5).1, 1);
        assert_eq!(regions(&[false; 6], 3), (vec![0; 6], 0));
        assert_eq!(regions(&[], 0), (vec![], 0));
        assert_eq!(regions(&[true; 3], 0), (vec![0; 3], 0));
    }
}
