//! An order of a large bank's rows in which neighbours are alike, so that those that may be nearest to a query patch
//! lie in few panels.
//!
//! The rows are halved at the median of the coordinate that differs most, and the halves again, until a panel holds
//! them: a k-d tree (Bentley 1975), of which only the leaves are kept. One row of each leaf stands for it (`seek`).

use super::rescore::Dot;
use crate::backend::cpu::Scratch;
use crate::backend::cpu::packed::MAX_PANEL;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::simd::Isa;
use crate::error::Result;
use crate::memory::zeros;

/// Axes whose coordinates are looked at.
const AXES: usize = 8;
/// Rows of a leaf: a panel of every width is a whole number of leaves or lies in one.
const LEAF: usize = MAX_PANEL;

/// The order of `rows`, `[count, width]`, by their coordinates along the first few of `axes`, `[_, width]`.
///
/// # Errors
/// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
pub(super) fn of(pool: &mut Pool<Scratch>, isa: Isa, rows: &[f32], axes: &[f32], width: usize) -> Result<Vec<u32>> {
    const WHAT: &str = "the order of a bank's rows";
    let count = rows.len() / width;
    let mut along: Vec<[f32; AXES]> = zeros(WHAT, count)?;
    pool.run_chunks(&mut along, LEAF, |chunk, along, _| {
        for (i, along) in along.iter_mut().enumerate() {
            let row = &rows[(chunk * LEAF + i) * width..][..width];
            along.iter_mut().zip(axes.chunks_exact(width)).for_each(|(x, axis)| *x = isa.run(Dot(axis, row)));
        }
    });
    let mut order: Vec<u32> = zeros(WHAT, count)?;
    order.iter_mut().zip(0..).for_each(|(place, row)| *place = row);
    halve(&mut order, &along);
    Ok(order)
}

/// The rows that stand for the leaves of an order.
pub(super) fn of_leaves(order: &[u32]) -> Vec<u32> {
    order.chunks(LEAF).map(|leaf| leaf[leaf.len() / 2]).collect()
}

/// Sorts the rows of a node into its leaves.
fn halve(rows: &mut [u32], along: &[[f32; AXES]]) {
    if rows.len() <= LEAF {
        return;
    }
    let (mut sums, mut squares) = ([0.0_f64; AXES], [0.0_f64; AXES]);
    for row in &*rows {
        for (i, x) in along[*row as usize].iter().map(|x| f64::from(*x)).enumerate() {
            (sums[i], squares[i]) = (sums[i] + x, squares[i] + x * x);
        }
    }
    let spread = |i: usize| squares[i] - sums[i] * sums[i] / rows.len() as f64;
    let widest = (0..AXES).max_by(|a, b| spread(*a).total_cmp(&spread(*b))).unwrap_or(0);
    let middle = (rows.len() / 2).next_multiple_of(LEAF);
    let key = |row: &u32| along[*row as usize][widest];
    rows.select_nth_unstable_by(middle, |a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
    let (left, right) = rows.split_at_mut(middle);
    halve(left, along);
    halve(right, along);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::backend::cpu::Cpu;
    use crate::split_mix::{STEP, mix};

    #[test]
    fn every_row_has_one_place_and_leaves_are_alike() {
        const WIDTH: usize = 9;
        let mut state = 0u64;
        let mut random = || {
            state = state.wrapping_add(STEP);
            (mix(state) >> 40) as f32 / (1 << 24) as f32
        };
        let mut axes = vec![0.0; AXES * WIDTH];
        (0..AXES).for_each(|i| axes[i * WIDTH + i] = 1.0);
        for count in [0, 1, 31, 33, 1000, 4096] {
            let rows: Vec<f32> = (0..count * WIDTH).map(|_| random()).collect();
            for threads in [1, 3] {
                let mut cpu = Cpu::of_each_instruction_set(threads, Precision::F32).unwrap().remove(0);
                let order = of(&mut cpu.pool, cpu.isa, &rows, &axes, WIDTH).unwrap();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.iter().zip(0..).all(|(a, b)| *a == b) && sorted.len() == count, "{count}");
                assert_eq!(of_leaves(&order).len(), count.div_ceil(LEAF));
                let apart = |a: u32, b: u32| {
                    let [a, b] = [a, b].map(|x| &rows[x as usize * WIDTH..][..AXES]);
                    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
                };
                let near: f32 = order.windows(2).map(|pair| apart(pair[0], pair[1])).sum();
                let any: f32 = sorted.windows(2).map(|pair| apart(pair[0], pair[1])).sum();
                assert!(count < 1000 || near < 0.8 * any, "{count}: {near} of {any}");
            }
        }
    }
}
