//! The bank rows of a bank as bytes, and the query patches of a search.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use super::axes::{Axes, Found};
use super::order;
use super::quantised::{self, Quantise, Quantised, chain_error};
use super::rescore::Dot;
use super::screen::{self, Screened, Table};
use super::seek::{self, Seek};
use super::{Queries, WHAT};
use crate::backend::cpu::Scratch;
use crate::backend::cpu::bytes::ByteIsa;
use crate::backend::cpu::packed::Aligned;
use crate::backend::cpu::pool::{Disjoint, Pool};
use crate::backend::cpu::simd::Isa;
use crate::backend::cpu::tile::Rows;
use crate::error::Result;
use crate::memory::{grow, zeros};

/// Query rows of a task that quantises.
pub(super) const ROWS: usize = 15;
/// Prompt patches whose mean is the centre, at most.
const SAMPLE: usize = 1024;
/// What single roundings of numbers of about 1 come to, beside the errors of sums.
const ROUNDING: f64 = 2e-6;

/// The bank rows of a bank as bytes.
pub(in crate::backend::cpu) struct Integers {
    isa: ByteIsa,
    width: usize,
    centres: Vec<Vec<f32>>,
    whole: Packed,
    /// What rules most of them out first, in a large bank.
    short: Option<Short>,
}

/// Bank rows along a few axes.
struct Short {
    axes: Vec<Axes>,
    rows: Packed,
    /// Of each layer, which bank row stands where, here and in the whole rows.
    order: Vec<Vec<u32>>,
    /// Of each layer, the bank rows that are looked at first.
    seeds: Vec<Vec<u32>>,
    seed_rows: Packed,
}

/// Rows as bytes, in panels.
struct Packed {
    /// Elements of a row.
    width: usize,
    /// `[layers, panels, words, panel_width]`.
    panels: Aligned<i32>,
    /// What makes estimates of sums: `[layers, panels, 3, panel_width]`, the fields of `Columns`.
    columns: Vec<f32>,
    /// Of each layer.
    layers: Vec<Layer>,
}

/// What bank rows of a layer have in common.
struct Layer {
    /// The largest [`Quantised::error`].
    error: f64,
    /// The largest length of what the bytes stand for.
    length: f64,
    /// The largest step.
    step: f64,
}

/// Working memory of a search, which grows to what the rows of a call need.
#[derive(Default)]
pub(super) struct Memory {
    whole: Written,
    short: Written,
    /// The largest cosine known of each row, as [`ordered`] bits.
    known: Vec<AtomicI32>,
}

/// Query rows as bytes.
#[derive(Default)]
struct Written {
    words: Vec<i32>,
    /// Estimates of a row are its scale times cosines less its base.
    scales: Vec<f32>,
    /// With what estimates can be off.
    bases: Vec<f32>,
}

impl Packed {
    /// `[panels, words, panel_width]` of a layer.
    fn panels_of(&self, layer: usize) -> &[i32] {
        let each = self.panels.as_slice().len() / self.layers.len();
        &self.panels.as_slice()[layer * each..][..each]
    }

    /// `[panels, 3, panel_width]` of a layer.
    fn columns_of(&self, layer: usize) -> &[f32] {
        let each = self.columns.len() / self.layers.len();
        &self.columns[layer * each..][..each]
    }
}

impl Memory {
    /// How many bytes it grows to for `rows` query rows.
    pub(super) fn bytes(rows: usize, width: usize) -> usize {
        let written = |width| quantised::words(width) * size_of::<i32>() + 2 * size_of::<f32>();
        rows.saturating_mul(written(width) + written(super::axes::longest(width)) + size_of::<AtomicI32>())
    }
}

impl Written {
    fn grow(&mut self, room: usize, width: usize) -> Result<()> {
        grow(WHAT, &mut self.words, room * quantised::words(width))?;
        grow(WHAT, &mut self.scales, room)?;
        grow(WHAT, &mut self.bases, room)
    }
}

/// A number that orders like the float.
pub(super) fn ordered(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

/// The float of a number from [`ordered`].
pub(super) fn unordered(x: i32) -> f32 {
    f32::from_bits((x ^ (((x >> 31) as u32) >> 1) as i32) as u32)
}

/// What is packed: rows, whole or shortened.
struct Source<'a> {
    isa: Isa,
    /// `[layers, bank rows, width]`.
    taps: &'a [f32],
    shape: [usize; 3],
    centres: &'a [Vec<f32>],
    /// Of each layer, the rows that are packed, if not all as they stand.
    order: Option<&'a [Vec<u32>]>,
    /// What shortens the rows of each layer, and to how many elements.
    axes: Option<(&'a [Axes], usize)>,
}

impl Source<'_> {
    /// Elements of a row.
    fn width(&self) -> usize {
        self.axes.map_or(self.shape[2], |(_, short)| short)
    }

    /// As bytes for `bytes`, and whether all rows are unit vectors.
    fn pack(&self, pool: &mut Pool<Scratch>, bytes: ByteIsa) -> Result<(Packed, bool)> {
        const WHAT: &str = "the search in a bank";
        let ([layers, all, whole], width) = (self.shape, self.width());
        let bank_rows = self.order.map_or(all, |order| order.first().map_or(0, Vec::len));
        let (words, across) = (quantised::words(width), bytes.panel_width());
        let panels = bank_rows.div_ceil(across);
        let mut packed = Aligned::zeros(WHAT, layers * panels * words * across)?;
        let mut columns = zeros(WHAT, layers * panels * 3 * across)?;
        // Numbers that are not negative order as their bits do.
        let most: Vec<[AtomicU32; 3]> = (0..layers).map(|_| Default::default()).collect();
        let all_unit = AtomicBool::new(true);
        let numbers = Disjoint::new(&mut columns);
        pool.run_chunks(packed.as_mut_slice(), (words * across).max(1), |chunk, panel, scratch| {
            let (layer, first) = (chunk / panels, chunk % panels * across);
            let count = across.min(bank_rows - first);
            let Scratch { floats, words: row_words, .. } = scratch;
            let row_words = &mut row_words[..words];
            // SAFETY: each chunk has its own numbers, and is run once.
            #[allow(unsafe_code)]
            let numbers = unsafe { numbers.slice(chunk * 3 * across, 3 * across) };
            // What lies beyond the last bank row is never above a floor.
            numbers[2 * across..].fill(f32::NEG_INFINITY);
            let centre = &self.centres[layer];
            let (room, floats) = floats.split_at_mut(4 * quantised::words(whole));
            let (rows, floats) = floats.split_at_mut(count * whole);
            for (place, row) in (first..).zip(rows.chunks_exact_mut(whole)) {
                let from = self.order.map_or(place, |order| order[layer][place] as usize);
                row.copy_from_slice(&self.taps[(layer * all + from) * whole..][..whole]);
            }
            let rows = &*rows;
            let shortened = shortened(self.isa, self.axes.map(|(axes, _)| &axes[layer]), rows, width, floats);
            for (column, row) in rows.chunks_exact(whole).enumerate() {
                let (values, from): (&[f32], _) = match shortened {
                    Some(short) => (&short[column * width..][..width], None),
                    None => (row, Some(centre.as_slice())),
                };
                let room_of_row = &mut room[..4 * words];
                let quantise =
                    Quantise { row: values, centre: from, levels: 127, zero: 0, words: row_words, room: room_of_row };
                let found = self.isa.run(quantise);
                if !found.unit {
                    all_unit.store(false, Ordering::Relaxed);
                }
                for (packed, word) in panel.chunks_exact_mut(across).zip(&*row_words) {
                    packed[column] = *word;
                }
                room[..whole].iter_mut().zip(row.iter().zip(centre)).for_each(|(x, (row, centre))| *x = row - centre);
                numbers[column] = found.step;
                numbers[across + column] = self.isa.run(Dot(centre, &room[..whole]));
                numbers[2 * across + column] = -((bytes.levels() * found.sum) as f32) * found.step;
                for (most, x) in most[layer].iter().zip([found.error, found.length + found.error, found.step]) {
                    most.fetch_max(x.to_bits(), Ordering::Relaxed);
                }
            }
        });
        let layers = most.into_iter().map(|most| {
            let [error, length, step] = most.map(|most| f64::from(f32::from_bits(most.into_inner())));
            Layer { error, length, step }
        });
        let layers = layers.collect();
        Ok((Packed { width, panels: packed, columns, layers }, all_unit.into_inner()))
    }
}

/// `rows` along the axes of their layer, `[rows, width]`, in `floats`; `None` without axes.
fn shortened<'a>(
    isa: Isa,
    axes: Option<&Axes>,
    rows: &[f32],
    width: usize,
    floats: &'a mut [f32],
) -> Option<&'a [f32]> {
    let axes = axes?;
    let (out, scratch) = floats.split_at_mut(axes.rows(rows) * width);
    axes.shorten(isa, rows, out, scratch);
    Some(out)
}

impl Integers {
    /// Of unit vectors `[layers, bank rows, width]`; `None` if they are not, or if bytes are not faster beside `isa`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn new(
        pool: &mut Pool<Scratch>,
        isa: Isa,
        bytes: Option<ByteIsa>,
        taps: &[f32],
        shape: [usize; 3],
    ) -> Result<Option<Self>> {
        let [layers, bank_rows, width] = shape;
        let Some(bytes) = bytes.filter(|_| width > 0 && quantised::fits(width)) else { return Ok(None) };
        screen::reserve(pool, width)?;
        let layer = |layer| centre(&taps[layer * bank_rows * width..][..bank_rows * width], width);
        let centres: Vec<Vec<f32>> = (0..layers).map(layer).collect();
        let found = Axes::of(pool, isa, taps, &centres, shape)?;
        let order = found.as_ref().map(|found| found.order.as_slice());
        let source = Source { isa, taps, shape, centres: &centres, order, axes: None };
        let (whole, all_unit) = source.pack(pool, bytes)?;
        if !all_unit {
            return Ok(None);
        }
        let packed = match &found {
            Some(Found { short, axes, order }) => {
                let seeds: Vec<Vec<u32>> = order.iter().map(|order| order::of_leaves(order)).collect();
                let source = Source { axes: Some((axes, *short)), ..source };
                let (rows, _) = source.pack(pool, bytes)?;
                let (seed_rows, _) = Source { order: Some(&seeds), ..source }.pack(pool, bytes)?;
                Some((rows, seeds, seed_rows))
            }
            None => None,
        };
        let short = found.zip(packed).map(|(Found { axes, order, .. }, (rows, seeds, seed_rows))| Short {
            axes,
            rows,
            order,
            seeds,
            seed_rows,
        });
        Ok(Some(Integers { isa: bytes, width, centres, whole, short }))
    }

    /// Writes the query rows of a search as bytes, and looks at the first bank rows, of those that [`Integers::new`]
    /// got; `None` if a query row is not a unit vector.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(super) fn prepare<'a>(
        &'a self,
        pool: &mut Pool<Scratch>,
        isa: Isa,
        taps: &[f32],
        queries: Queries<'_>,
        [rows, room]: [usize; 2],
        memory: &'a mut Memory,
    ) -> Result<Option<Screened<'a>>> {
        let layers = self.centres.len();
        let short_width = self.short.as_ref().map_or(0, |short| short.rows.width);
        memory.whole.grow(room, self.width)?;
        memory.short.grow(if short_width > 0 { room } else { 0 }, short_width)?;
        grow(WHAT, &mut memory.known, room)?;
        memory.known[..layers * rows].iter_mut().for_each(|known| *known.get_mut() = ordered(f32::NEG_INFINITY));
        let (whole, short) = (Places::of(&mut memory.whole), Places::of(&mut memory.short));
        let (known, of_layer) = (memory.known.as_slice(), taps.len() / layers.max(1));
        let all_unit = AtomicBool::new(true);
        let blocks = rows.div_ceil(ROWS);
        pool.run(layers * blocks, |task, scratch| {
            let (layer, first) = (task / blocks, task % blocks * ROWS);
            let count = ROWS.min(rows - first);
            let values = &queries.from(layer, first)[..count * self.width];
            let (room, floats) = scratch.floats.split_at_mut(4 * quantised::words(self.width));
            let axes = self.short.as_ref().map(|short| &short.axes[layer]);
            let shortened = shortened(isa, axes, values, short_width, floats);
            for (i, row) in values.chunks_exact(self.width).enumerate() {
                let (at, centre) = (layer * rows + first + i, self.centres[layer].as_slice());
                let base = f64::from(isa.run(Dot(row, centre)));
                let found = whole.write(self.isa, isa, at, row, Some(centre), room);
                if !found.unit {
                    all_unit.store(false, Ordering::Relaxed);
                }
                whole.estimate(at, found, base + self.off(&self.whole.layers[layer], found, self.width));
                if let (Some(axes), Some(Short { rows: packed, .. }), Some(shortened)) = (axes, &self.short, shortened)
                {
                    let row = &shortened[i * short_width..][..short_width];
                    let found = short.write(self.isa, isa, at, row, None, room);
                    let (layer, lengths) =
                        (&packed.layers[layer], [f64::from(found.length), packed.layers[layer].length]);
                    short.estimate(at, found, base + self.off(layer, found, short_width) + axes.off(lengths));
                }
            }
            if let Some(Short { seeds, seed_rows, .. }) = &self.short {
                let mut nearest = [0; ROWS];
                let (words, scales) = short.written(layer * rows + first, count, short_width);
                self.isa.run(Seek {
                    panels: seed_rows.panels_of(layer),
                    columns: seed_rows.columns_of(layer),
                    words: Rows::new(words, words.len() / count, words.len() / count),
                    scales,
                    sums: &mut scratch.words[..seek::WORDS],
                    nearest: &mut nearest[..count],
                });
                for (i, (row, seed)) in values.chunks_exact(self.width).zip(nearest).enumerate() {
                    let at = layer * of_layer + seeds[layer][seed as usize] as usize * self.width;
                    let cosine = isa.run(Dot(row, &taps[at..][..self.width]));
                    known[layer * rows + first + i].store(ordered(cosine), Ordering::Relaxed);
                }
            }
        });
        let table = |packed: &'a Packed, written: &'a Written| Table {
            width: packed.width,
            panels: packed.panels.as_slice(),
            columns: &packed.columns,
            words: &written.words,
            scales: &written.scales,
            bases: &written.bases,
        };
        let Memory { whole, short, known } = memory;
        Ok(all_unit.into_inner().then_some(Screened {
            bytes: self.isa,
            isa,
            layers,
            rows,
            whole: table(&self.whole, whole),
            short: self.short.as_ref().map(|own| table(&own.rows, short)),
            order: self.short.as_ref().map(|short| short.order.as_slice()),
            known,
        }))
    }

    /// Whether bounds along few axes come first.
    #[cfg(test)]
    pub(super) fn has_axes(&self) -> bool {
        self.short.is_some()
    }

    /// How far a cosine can lie above its estimate and yet be thought the smaller one, by the chain, of it and a known
    /// one.
    fn off(&self, layer: &Layer, query: Quantised, width: usize) -> f64 {
        let [length, error, step] = [query.length, query.error, query.step].map(f64::from);
        // Of the bytes, as `quantised` says.
        let bytes = length * layer.error + error * layer.length;
        // A handful of roundings of a sum of products, at its largest.
        let sum = f64::from(2 * self.isa.levels() * 127) * width as f64;
        let roundings = 8.0 * 2f64.powi(-24) * sum * layer.step * step;
        // Both products with the centre, the known cosine, and two chains.
        bytes + roundings + 5.0 * chain_error(self.width) + ROUNDING
    }
}

/// Where query rows are written, each by one task.
struct Places<'a> {
    words: Disjoint<'a, i32>,
    scales: Disjoint<'a, f32>,
    bases: Disjoint<'a, f32>,
}

impl<'a> Places<'a> {
    fn of(written: &'a mut Written) -> Self {
        Places {
            words: Disjoint::new(&mut written.words),
            scales: Disjoint::new(&mut written.scales),
            bases: Disjoint::new(&mut written.bases),
        }
    }

    /// Writes the bytes of row `at`, the distance of `row` from the centre.
    fn write(
        &self,
        bytes: ByteIsa,
        isa: Isa,
        at: usize,
        row: &[f32],
        centre: Option<&[f32]>,
        room: &mut [f32],
    ) -> Quantised {
        let count = quantised::words(row.len());
        // SAFETY: each row has its own places, and is written by one task.
        #[allow(unsafe_code)]
        let words = unsafe { self.words.slice(at * count, count) };
        let levels = bytes.levels();
        isa.run(Quantise { row, centre, levels, zero: levels, words, room: &mut room[..4 * count] })
    }

    /// The words and scales of `count` rows from `at` on, which one task has written.
    fn written(&self, at: usize, count: usize, width: usize) -> (&[i32], &[f32]) {
        let words = quantised::words(width);
        // SAFETY: as in `write`; the task writes nothing more there.
        #[allow(unsafe_code)]
        unsafe {
            (self.words.slice(at * words, count * words), self.scales.slice(at, count))
        }
    }

    /// Writes what estimates of row `at` are compared by.
    fn estimate(&self, at: usize, found: Quantised, base: f64) {
        // SAFETY: as in `write`.
        #[allow(unsafe_code)]
        let (scale, place) = unsafe { (self.scales.slice(at, 1), self.bases.slice(at, 1)) };
        (scale[0], place[0]) = (1.0 / found.step, base as f32);
    }
}

/// The mean of some of the rows; any centre is right.
fn centre(rows: &[f32], width: usize) -> Vec<f32> {
    let mut centre = vec![0.0; width];
    let count = rows.len() / width.max(1);
    let every = count.div_ceil(SAMPLE).max(1);
    for row in rows.chunks_exact(width.max(1)).step_by(every) {
        centre.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let scale = 1.0 / count.div_ceil(every).max(1) as f32;
    centre.iter_mut().for_each(|x| *x *= scale);
    centre
}

#[cfg(test)]
mod tests {
    use super::{ordered, unordered};

    #[test]
    fn ordered_numbers_order_like_floats() {
        let floats = [f32::NEG_INFINITY, -2.0, -1e-30, 0.0, 1e-30, 0.5, 0.500_001, f32::INFINITY];
        assert!(floats.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert!(floats.iter().all(|x| unordered(ordered(*x)) == *x));
    }
}
