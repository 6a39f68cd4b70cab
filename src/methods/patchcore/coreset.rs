//! The coreset: greedy k-centre in f64 by differences. Each step takes the row that is farthest from all rows taken
//! before, the first one of equals. The very first row is the one farthest from the mean, or drawn at random.
//!
//! The distance of a row to the taken rows can only shrink. So the distance to some of them is an upper bound, and for
//! most rows this bound is enough: rows wait in a heap by their bounds, and only those on top are compared with the
//! rows taken since. Of these most are too far to shrink the distance, which products of [`Short`] rows show. The choice
//! is the same as that of the plain algorithm, on any number of threads, in memory that grows with the rows.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::short::Short;
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::error::Result;
use crate::split_mix::{STEP, mix};

/// The place of a neighbour that is not there.
pub(super) const NOBODY: f32 = -1.0;
/// Rows that each thread measures at first in a step, and rows that all measure together at most.
const EACH: usize = 12;
const MOST: usize = 4096;
/// Steps between two words to who waits.
const TELL: usize = 64;

/// A row that is not taken, and at most how far it is from the first `seen` of those that are: squared.
#[derive(Clone, Copy)]
struct Bound {
    far: f64,
    row: u32,
    seen: u32,
}

impl Bound {
    /// Whether its distance from the first `taken` rows is known: what is zero does not shrink.
    fn is_known(&self, taken: usize) -> bool {
        self.seen as usize == taken || self.far == 0.0
    }
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

/// Bytes beside the rows that [`choose`] takes for `count` of `n` rows.
pub(super) fn bytes(n: usize, count: usize) -> usize {
    let taken = Short::columns_bytes(count).saturating_add(count.saturating_mul(size_of::<usize>()));
    n.saturating_mul(size_of::<Bound>()).saturating_add(Short::bytes(n)).saturating_add(taken)
}

/// The places of `count` of the rows `[n, width]`, in the order in which they are taken. `count` is from 1 to n. `seed`
/// 0 begins with the row that is farthest from the mean of all.
///
/// # Errors
/// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
pub(super) fn choose(
    cpu: &mut Cpu,
    rows: &[f32],
    width: usize,
    count: usize,
    seed: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<usize>> {
    let n = rows.len() / width;
    let row = |at: usize| &rows[at * width..][..width];
    let short = Short::of(cpu, rows, width)?;
    let first = if seed == 0 { short.farthest() } else { (mix((seed as u64).wrapping_mul(STEP)) % n as u64) as usize };
    let mut columns = short.columns(cpu, count)?;
    let mut taken = Vec::with_capacity(count);
    let mut bounds: Vec<Bound> = (0..n as u32)
        .filter(|&at| at as usize != first)
        .map(|row| Bound { far: f64::INFINITY, row, seen: 0 })
        .collect();
    let measure = |cpu: &mut Cpu, bounds: &mut [Bound], taken: &[usize], columns: &_| {
        // Rows that have seen alike numbers lie together, so that they are compared with the same columns.
        bounds.sort_unstable_by_key(|bound| (bound.seen, bound.row));
        cpu.each_above(
            bounds,
            columns,
            |bound| short.nearer_than(bound.far, bound.row as usize, bound.seen as usize),
            |bound, column, arithmetic| {
                let at = bound.row as usize;
                bound.far = bound.far.min(arithmetic.squared_distance(row(at), row(taken[column])));
                short.level(bound.far, at)
            },
        )?;
        bounds.iter_mut().for_each(|bound| bound.seen = taken.len() as u32);
        Result::Ok(())
    };
    let mut take = |taken: &mut Vec<usize>, columns: &mut _, row: usize| {
        taken.push(row);
        short.add_to(columns, row);
        if taken.len().is_multiple_of(TELL) {
            progress(taken.len(), count);
        }
    };
    take(&mut taken, &mut columns, first);
    measure(cpu, &mut bounds, &taken, &columns)?;
    let mut heap = BinaryHeap::from(bounds);
    let mut stale = Vec::with_capacity(MOST);
    while taken.len() < count {
        let mut together = MOST.min(EACH * cpu.threads());
        let next = loop {
            while stale.len() < together && heap.peek().is_some_and(|top| !top.is_known(taken.len())) {
                stale.extend(heap.pop());
            }
            if stale.is_empty() {
                // The distance of the top is known, and no bound below it is larger.
                break heap.pop();
            }
            measure(cpu, &mut stale, &taken, &columns)?;
            heap.extend(stale.drain(..));
            together = MOST.min(2 * together);
        };
        // There are more rows than are to be taken.
        let Some(next) = next else { break };
        take(&mut taken, &mut columns, next.row as usize);
    }
    progress(count, count);
    Ok(taken)
}

/// The places of the `count` rows nearest to each row, itself the first of equals, `[n, count]`; [`NOBODY`] where there
/// are fewer.
///
/// # Errors
/// As [`choose`].
pub(super) fn neighbours(cpu: &mut Cpu, rows: &[f32], width: usize, count: usize) -> Result<Vec<f32>> {
    /// Its nearest rows so far, by their distances and places.
    struct Found {
        at: usize,
        nearest: Vec<(f64, usize)>,
    }
    impl Found {
        /// A row that is as far is not among the nearest.
        fn far(&self, count: usize) -> f64 {
            if self.nearest.len() < count { f64::INFINITY } else { self.nearest[count - 1].0 }
        }
    }
    let n = rows.len() / width;
    let row = |at: usize| &rows[at * width..][..width];
    let short = Short::of(cpu, rows, width)?;
    let mut columns = short.columns(cpu, n)?;
    (0..n).for_each(|at| short.add_to(&mut columns, at));
    let mut all: Vec<Found> = (0..n).map(|at| Found { at, nearest: Vec::with_capacity(count + 1) }).collect();
    cpu.each_above(
        &mut all,
        &columns,
        |found| short.nearer_than(found.far(count), found.at, 0),
        |found, place, arithmetic| {
            let far = arithmetic.squared_distance(row(found.at), row(place));
            if far < found.far(count) {
                let before = found.nearest.partition_point(|(near, _)| *near <= far);
                found.nearest.insert(before, (far, place));
                found.nearest.truncate(count);
            }
            short.level(found.far(count), found.at)
        },
    )?;
    let places = all.into_iter().flat_map(|found| {
        let places = found.nearest.into_iter().map(|(_, place)| place as f32);
        places.chain(std::iter::repeat(NOBODY)).take(count)
    });
    Ok(places.collect())
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
                    let taken =
                        choose(&mut cpu, &rows, width, count, seed, &mut |done, of| told.push((done, of))).unwrap();
                    assert_eq!(taken, plain(&rows, width, count, taken[0]), "{n} x {width}, seed {seed}");
                    assert_eq!(told.last(), Some(&(count, count)));
                }
            }
        }
    }

    #[test]
    fn the_first_row_is_the_farthest_from_the_mean() {
        let rows = [0.0f32, 0.0, 1.0, 0.0, 4.0, 4.0, 4.0, 4.0];
        assert_eq!(choose(&mut Cpu::new(1).unwrap(), &rows, 2, 3, 0, &mut |_, _| ()).unwrap(), [0, 2, 1]);
    }

    #[test]
    fn neighbours_begin_with_the_row_itself_or_an_equal_before_it() {
        let rows = [0.0f32, 3.0, 1.0, 3.0];
        let found = neighbours(&mut Cpu::new(2).unwrap(), &rows, 1, 3).unwrap();
        assert_eq!(found, [0.0, 2.0, 1.0, 1.0, 3.0, 2.0, 2.0, 0.0, 1.0, 1.0, 3.0, 2.0]);
        assert_eq!(neighbours(&mut Cpu::new(1).unwrap(), &rows[..1], 1, 3).unwrap(), [0.0, NOBODY, NOBODY]);
    }
}
