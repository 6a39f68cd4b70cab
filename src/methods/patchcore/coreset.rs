//! The coreset: greedy k-centre in f64 by differences. Each step takes the row that is farthest from all rows taken
//! before, the first one of equals. The very first row is the one farthest from the mean, or drawn at random.
//!
//! The distance of a row to the taken rows can only shrink. So the distance to some of them is an upper bound, and for
//! most rows this bound is enough: rows wait in a heap by their bounds, and only those on top are compared with the
//! rows taken since, in f32 if that shows that they are too far to shrink it. The choice is the same as that of the
//! plain algorithm, on any number of threads, in memory that grows with the rows.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::backend::cpu::Cpu;
use crate::split_mix::{STEP, mix};

/// The place of a neighbour that is not there.
pub(super) const NOBODY: f32 = -1.0;
/// Rows that are measured together at first in a step, and at most.
const TOGETHER: usize = 16;
const MOST: usize = 4096;
/// Steps between two words to who waits.
const TELL: usize = 64;

/// A row that is not taken, and at most how far it is from the first `seen` of those that are: squared.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    far: f64,
    row: u32,
    seen: u32,
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.far.total_cmp(&other.far).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bound {}

/// The places of `count` of the rows `[n, width]`, in the order in which they are taken. `count` is from 1 to n. `seed`
/// 0 begins with the row that is farthest from the mean of all.
pub(super) fn choose(
    cpu: &mut Cpu,
    rows: &[f32],
    width: usize,
    count: usize,
    seed: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<usize> {
    let n = rows.len() / width;
    let row = |at: usize| &rows[at * width..][..width];
    let first = if seed == 0 {
        farthest_from_mean(cpu, rows, width)
    } else {
        (mix((seed as u64).wrapping_mul(STEP)) % n as u64) as usize
    };
    let mut taken = vec![first];
    let mut bounds: Vec<Bound> = (0..n as u32)
        .filter(|&at| at as usize != first)
        .map(|row| Bound { far: f64::INFINITY, row, seen: 0 })
        .collect();
    let squares: Vec<f64> =
        rows.chunks_exact(width).map(|row| row.iter().map(|x| f64::from(*x).powi(2)).sum()).collect();
    // A product in f32 errs by as many roundings as a lane has elements, of which there are at least four, and a few
    // more.
    let error = (width as f64 / 4.0 + 32.0) * f64::from(f32::EPSILON);
    let measure = |cpu: &mut Cpu, bounds: &mut [Bound], taken: &[usize]| {
        cpu.each_item(bounds, |bound, arithmetic| {
            let (own, square) = (row(bound.row as usize), squares[bound.row as usize]);
            for &other in &taken[bound.seen as usize..] {
                // Most rows are too far for sure.
                let sum = square + squares[other];
                let about = sum - 2.0 * f64::from(arithmetic.dot(own, row(other)));
                if about - error * sum < bound.far {
                    bound.far = bound.far.min(arithmetic.squared_distance(own, row(other)));
                }
            }
            bound.seen = taken.len() as u32;
        });
    };
    measure(cpu, &mut bounds, &taken);
    let mut heap = BinaryHeap::from(bounds);
    let mut stale = Vec::with_capacity(MOST);
    while taken.len() < count {
        let mut together = TOGETHER;
        let next = loop {
            while stale.len() < together && heap.peek().is_some_and(|top| (top.seen as usize) < taken.len()) {
                stale.extend(heap.pop());
            }
            if stale.is_empty() {
                // The top has seen all, and no bound below it is larger.
                break heap.pop();
            }
            measure(cpu, &mut stale, &taken);
            heap.extend(stale.drain(..));
            together = MOST.min(2 * together);
        };
        // There are more rows than are to be taken.
        let Some(next) = next else { break };
        taken.push(next.row as usize);
        if taken.len().is_multiple_of(TELL) {
            progress(taken.len(), count);
        }
    }
    progress(count, count);
    taken
}

/// The first of the rows that are farthest from the mean of all.
fn farthest_from_mean(cpu: &mut Cpu, rows: &[f32], width: usize) -> usize {
    let mut mean = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
    }
    let n = rows.len() / width;
    mean.iter_mut().for_each(|mean| *mean /= n as f64);
    let mut bounds: Vec<Bound> = (0..n as u32).map(|row| Bound { far: 0.0, row, seen: 0 }).collect();
    cpu.each_item(&mut bounds, |bound, _| {
        let row = &rows[bound.row as usize * width..][..width];
        bound.far = row.iter().zip(&mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum();
    });
    bounds.iter().max().map_or(0, |bound| bound.row as usize)
}

/// The places of the `count` rows nearest to each row, itself the first of equals, `[n, count]`; [`NOBODY`] where there
/// are fewer.
pub(super) fn neighbours(cpu: &mut Cpu, rows: &[f32], width: usize, count: usize) -> Vec<f32> {
    let n = rows.len() / width;
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); n];
    let mut numbered: Vec<(usize, &mut Vec<f32>)> = found.iter_mut().enumerate().collect();
    cpu.each_item(&mut numbered, |(at, found), arithmetic| {
        let row = &rows[*at * width..][..width];
        let mut nearest: Vec<(f64, usize)> = Vec::with_capacity(count + 1);
        for (place, other) in rows.chunks_exact(width).enumerate() {
            let far = arithmetic.squared_distance(row, other);
            if nearest.len() < count || far < nearest[count - 1].0 {
                let before = nearest.partition_point(|(near, _)| *near <= far);
                nearest.insert(before, (far, place));
                nearest.truncate(count);
            }
        }
        found.extend(nearest.iter().map(|(_, place)| *place as f32));
        found.resize(count, NOBODY);
    });
    found.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers with many equal distances.
    fn rows(seed: u64, n: usize, width: usize, levels: u64) -> Vec<f32> {
        let number = |i: u64| (mix((seed * 1_000_003 + i).wrapping_mul(STEP)) % levels) as f32 / levels as f32;
        (0..(n * width) as u64).map(number).collect()
    }

    /// As the formula reads: every distance at every step.
    fn plain(rows: &[f32], width: usize, count: usize, first: usize) -> Vec<usize> {
        let all: Vec<&[f32]> = rows.chunks(width).collect();
        let square = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let mut taken = vec![first];
        while taken.len() < count {
            let far = |row: usize| taken.iter().map(|&t| square(all[row], all[t])).fold(f64::INFINITY, f64::min);
            let rest = (0..all.len()).filter(|row| !taken.contains(row)).map(|row| (far(row), row));
            let next = rest.fold((-1.0, 0), |best, (far, row)| if far > best.0 { (far, row) } else { best });
            taken.push(next.1);
        }
        taken
    }

    #[test]
    fn the_choice_is_that_of_the_plain_algorithm_on_any_number_of_threads() {
        for threads in [1, 3] {
            let mut cpu = Cpu::new(threads).unwrap();
            // Sums of squares of so few levels are exact, so that equals are equal.
            for (n, width, levels, count) in
                [(1, 3, 4, 1), (40, 2, 4, 40), (150, 7, 8, 60), (300, 16, 2, 299), (90, 64, 64, 30)]
            {
                for seed in [0, 1, 7] {
                    let rows = rows(seed as u64 + 1, n, width, levels);
                    let mut told = Vec::new();
                    let taken = choose(&mut cpu, &rows, width, count, seed, &mut |done, of| told.push((done, of)));
                    assert_eq!(taken, plain(&rows, width, count, taken[0]), "{n} x {width}, seed {seed}");
                    assert_eq!(told.last(), Some(&(count, count)));
                }
            }
        }
    }

    #[test]
    fn the_first_row_is_the_farthest_from_the_mean() {
        let rows = [0.0f32, 0.0, 1.0, 0.0, 4.0, 4.0, 4.0, 4.0];
        assert_eq!(choose(&mut Cpu::new(1).unwrap(), &rows, 2, 3, 0, &mut |_, _| ()), [0, 2, 1]);
    }

    #[test]
    fn neighbours_begin_with_the_row_itself_or_an_equal_before_it() {
        let rows = [0.0f32, 3.0, 1.0, 3.0];
        let found = neighbours(&mut Cpu::new(2).unwrap(), &rows, 1, 3);
        assert_eq!(found, [0.0, 2.0, 1.0, 1.0, 3.0, 2.0, 2.0, 0.0, 1.0, 1.0, 3.0, 2.0]);
        assert_eq!(neighbours(&mut Cpu::new(1).unwrap(), &rows[..1], 1, 3), [0.0, NOBODY, NOBODY]);
    }
}
