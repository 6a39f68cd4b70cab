//! Which of many columns have a product with a row above a level, for methods that compare rows with rows: a product in
//! f32 costs little, and most pairs need no more.

use std::cmp::Ordering;

use super::Cpu;
use super::packed::{Aligned, MAX_PANEL};
use super::rows::RowArithmetic;
use super::simd::{Isa, Kernel, Simd};
use super::tile::{Lines, MAX_TILE_ROWS, Product, Rows, Stored, multiply};
use crate::error::Result;
use crate::memory;

/// Items of a task, at most: their rows stay in the first cache while the columns pass by.
const TOGETHER: usize = 4 * MAX_TILE_ROWS;

/// Rows that are packed as the columns of products, in the order in which they are added.
pub(crate) struct Columns {
    isa: Isa,
    /// `[panels, depth, panel width]`.
    panels: Aligned,
    /// What is taken from a column's products.
    less: Vec<f32>,
    depth: usize,
}

impl Columns {
    /// Room for `most` columns of `depth` elements.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short, here and below.
    pub fn with_room(cpu: &Cpu, depth: usize, most: usize) -> Result<Self> {
        const WHAT: &str = "rows to compare with";
        let panels = Aligned::zeros(WHAT, super::packed::packed_len(cpu.isa, depth, most))?;
        let mut less = Vec::new();
        memory::reserve(WHAT, &mut less, most)?;
        Ok(Columns { isa: cpu.isa, panels, less, depth })
    }

    /// Bytes of `most` columns of `depth` elements, about.
    pub fn bytes(depth: usize, most: usize) -> usize {
        most.next_multiple_of(MAX_PANEL).saturating_mul(4 * (depth + 1))
    }

    /// Adds a column, for which there is room, and what is taken from its products.
    pub fn push(&mut self, column: &[f32], less: f32) {
        let width = self.isa.panel_width();
        let (panel, place) = (self.less.len() / width, self.less.len() % width);
        let panel = &mut self.panels.as_mut_slice()[panel * self.depth * width..][..self.depth * width];
        for (out, x) in panel.chunks_exact_mut(width).zip(column) {
            out[place] = *x;
        }
        self.less.push(less);
    }
}

/// What an item is compared with, and when a column is of interest.
pub(crate) struct Wanted<'a> {
    /// The row, as long as the columns.
    pub row: &'a [f32],
    /// The first column that it is compared with.
    pub from: usize,
    /// Columns are passed over whose product, less what is taken from it, is below.
    pub level: f32,
}

impl Cpu {
    /// Calls `each(item, column, arithmetic)` for the columns that an item wants, in their order; it returns the level
    /// from there on. A product that is not a number is not below any level. The order of f32 additions in a product is
    /// that of the elements.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(crate) fn each_above<'a, T: Send>(
        &mut self,
        items: &mut [T],
        columns: &Columns,
        wanted: impl Fn(&T) -> Wanted<'a> + Sync,
        each: impl Fn(&mut T, usize, RowArithmetic) -> f32 + Sync,
    ) -> Result<()> {
        let depth = columns.depth;
        let together = items.len().div_ceil(self.pool.threads()).clamp(1, TOGETHER);
        self.reserve(together * depth)?;
        let arithmetic = RowArithmetic::of(self.isa);
        self.pool.run_chunks(items, together, |_, items, scratch| {
            let rows = scratch.take(items.len() * depth);
            columns.isa.run(Above { items, columns, rows, arithmetic, wanted: &wanted, each: &each });
        });
        Ok(())
    }
}

/// [`Cpu::each_above`] for the items of a task. `rows` has room for theirs.
struct Above<'a, T, W, E> {
    items: &'a mut [T],
    columns: &'a Columns,
    rows: &'a mut [f32],
    arithmetic: RowArithmetic,
    wanted: &'a W,
    each: &'a E,
}

impl<'r, T, W: Fn(&T) -> Wanted<'r>, E: Fn(&mut T, usize, RowArithmetic) -> f32> Kernel for Above<'_, T, W, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Above { items, columns, rows, arithmetic, wanted, each } = self;
        let (depth, width, count) = (columns.depth, 2 * S::LANES, items.len());
        let (mut levels, mut from) = ([0.0f32; TOGETHER], [0usize; TOGETHER]);
        for (i, item) in items.iter().enumerate() {
            let own = wanted(item);
            rows[i * depth..][..depth].copy_from_slice(own.row);
            (levels[i], from[i]) = (own.level, own.from);
        }
        let all = columns.panels.as_slice();
        let (first, last) =
            (from[..count].iter().min().map_or(0, |from| from / width), columns.less.len().div_ceil(width));
        let mut sums = [0.0f32; TOGETHER * MAX_PANEL];
        for panel in first..last {
            let packed = &all[panel * depth * width..][..depth * width];
            let next = all
                .get((panel + 1) * depth * width..)
                .map_or(Lines::NONE, |rest| Lines::of(&rest[..rest.len().min(depth * width)]));
            let product = Product { a: Rows::new(rows, depth, depth), rows: count, panel: packed, next };
            multiply(simd, product, &mut sums, width, false, Stored);
            let less = &columns.less[panel * width..columns.less.len().min((panel + 1) * width)];
            for (i, item) in items.iter_mut().enumerate() {
                let sums = &sums[i * width..][..less.len()];
                let passes =
                    |level: f32, (sum, less): (&f32, &f32)| (sum - less).partial_cmp(&level) != Some(Ordering::Less);
                // One look at all of them: most panels have none.
                if !sums.iter().zip(less).fold(false, |any, pair| any | passes(levels[i], pair)) {
                    continue;
                }
                for (place, pair) in sums.iter().zip(less).enumerate() {
                    let column = panel * width + place;
                    if column >= from[i] && passes(levels[i], pair) {
                        levels[i] = each(item, column, arithmetic);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;

    /// Small whole numbers, whose products are exact.
    fn number(i: usize) -> f32 {
        ((i * 7919 + i / 13) % 9) as f32 - 4.0
    }

    #[test]
    fn every_pair_above_its_level_is_visited_once_in_order_on_every_instruction_set() {
        struct Item {
            row: Vec<f32>,
            from: usize,
            level: f32,
            found: Vec<usize>,
        }
        for threads in [1, 3] {
            for mut cpu in Cpu::of_each_instruction_set(threads, Precision::F32).unwrap() {
                for (count, depth, items) in [(1, 1, 1), (31, 5, 7), (70, 64, 130), (200, 3, 49)] {
                    let column = |c: usize| -> Vec<f32> { (0..depth).map(|p| number(3 * c + 5 * p)).collect() };
                    let less = |c: usize| number(c) / 2.0;
                    let mut columns = Columns::with_room(&cpu, depth, count + 5).unwrap();
                    (0..count).for_each(|c| columns.push(&column(c), less(c)));
                    let item = |i: usize| Item {
                        row: (0..depth).map(|p| number(11 * i + p)).collect(),
                        from: i % 40,
                        level: if i.is_multiple_of(5) { f32::NEG_INFINITY } else { number(i) },
                        found: Vec::new(),
                    };
                    let mut all: Vec<Item> = (0..items).map(item).collect();
                    let rows: Vec<Vec<f32>> = all.iter().map(|item| item.row.clone()).collect();
                    let mut pairs: Vec<(usize, &mut Item)> = all.iter_mut().enumerate().collect();
                    // Each visit raises the level by one.
                    cpu.each_above(
                        &mut pairs,
                        &columns,
                        |(i, item)| Wanted { row: &rows[*i], from: item.from, level: item.level },
                        |(_, item), column, _| {
                            item.found.push(column);
                            item.level += 1.0;
                            item.level
                        },
                    )
                    .unwrap();
                    for (i, found) in all.iter().enumerate() {
                        let (mut level, mut expected) = (item(i).level, Vec::new());
                        for c in found.from..count {
                            let sum: f32 = found.row.iter().zip(column(c)).map(|(a, b)| a * b).sum();
                            if sum - less(c) >= level {
                                expected.push(c);
                                level += 1.0;
                            }
                        }
                        assert_eq!(found.found, expected, "{}, {count} x {depth}, item {i}", cpu.isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_not_passed_over() {
        let mut cpu = Cpu::new(1).unwrap();
        let mut columns = Columns::with_room(&cpu, 2, 2).unwrap();
        columns.push(&[f32::INFINITY, 0.0], f32::INFINITY);
        columns.push(&[0.0, 0.0], 0.0);
        let mut found = [Vec::new()];
        let wanted = |_: &Vec<usize>| Wanted { row: &[1.0, 0.0], from: 0, level: 5.0 };
        cpu.each_above(&mut found, &columns, wanted, |found, column, _| {
            found.push(column);
            5.0
        })
        .unwrap();
        assert_eq!(found, [[0]]);
    }
}
