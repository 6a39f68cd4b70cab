//! The few directions in which most of a layer's bank rows differ, and vectors cut to them.
//!
//! With orthonormal axes `V` and a centre `m`, a vector `x` becomes `x̃ = (V (x - m), r)`, where `r` is the length of
//! what lies across the axes. Then `(x - m) · (y - m) <= x̃ · ỹ`: along the axes both are equal, and across them the
//! Cauchy-Schwarz inequality holds. An estimate of `x̃ · ỹ` is a bound that costs a fraction of an estimate of the
//! whole product.
//!
//! The axes need not be the best ones, and they are orthonormal up to roundings only. With `e` at least 0 and the
//! largest eigenvalue of `V Vᵀ - 1`, `r² >= |x - m|² (1 + 2 e) - |V (x - m)|²` keeps the inequality.

use crate::backend::cpu::Scratch;
use crate::backend::cpu::blocks::{self, Panels, walk};
use crate::backend::cpu::packed::{Aligned, pack_transposed, packed_len};
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::reduce;
use crate::backend::cpu::simd::{Isa, Kernel, Simd};
use crate::backend::cpu::tile::{Lines, Rows};
use crate::error::Result;
use crate::memory::{grow, zeros};
use crate::split_mix::{STEP, mix};

use super::order;
use super::quantised::chain_error;
use super::rescore::Dot;

/// Elements of a shortened vector are a multiple of this.
const STEP_WIDTH: usize = 32;
/// Most elements of a shortened vector.
const LONGEST: usize = 256;
/// Share of the squared distances from the centre that lies along the axes, at least.
const SHARE: f64 = 0.97;
/// Prompt patches from which on shortening pays: what it takes at opening is the same for all.
const MANY: usize = 4096;
/// Prompt patches that the axes are found from, at most.
const SAMPLE: usize = 512;
/// Rounds of the power iteration.
const ROUNDS: usize = 3;

/// Axes of a layer.
pub(super) struct Axes {
    /// `[panels, width, panel_width]`.
    panels: Aligned,
    /// Each axis times the centre.
    shift: Vec<f32>,
    centre: Vec<f32>,
    /// Bound of the largest eigenvalue of `V Vᵀ - 1`.
    skew: f64,
}

/// The axes of all layers of a bank.
pub(super) struct Found {
    /// Elements of shortened vectors.
    pub short: usize,
    /// Those of each layer.
    pub axes: Vec<Axes>,
    /// Of each layer, the rows in an order in which neighbours are alike.
    pub order: Vec<Vec<u32>>,
}

/// The most elements of shortened vectors of this width; 0 for widths that stay whole.
pub(super) fn longest(width: usize) -> usize {
    LONGEST.min(width / 2) / STEP_WIDTH * STEP_WIDTH
}

/// Floats that [`Axes::shorten`] needs beside the result.
pub(super) fn scratch_floats(width: usize) -> usize {
    blocks::SCRATCH + width
}

impl Axes {
    /// The axes of `layers` layers of `rows` unit vectors each; `None` where shortening does not pay.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub fn of(
        pool: &mut Pool<Scratch>,
        isa: Isa,
        rows: &[f32],
        centres: &[Vec<f32>],
        [layers, bank_rows, width]: [usize; 3],
    ) -> Result<Option<Found>> {
        const WHAT: &str = "the axes of a bank";
        let most = longest(width);
        if bank_rows < MANY || most == 0 {
            return Ok(None);
        }
        let every = bank_rows.div_ceil(SAMPLE);
        let count = bank_rows.div_ceil(every);
        let mut found: Vec<Vec<f32>> = Vec::with_capacity(layers);
        let mut short = 0;
        for layer in 0..layers {
            let mut sample = zeros(WHAT, count * width)?;
            let rows = rows[layer * bank_rows * width..][..bank_rows * width].chunks_exact(width).step_by(every);
            for (sample, row) in sample.chunks_exact_mut(width).zip(rows) {
                sample.iter_mut().zip(row.iter().zip(&centres[layer])).for_each(|(out, (x, centre))| *out = x - centre);
            }
            let mut axes = zeros(WHAT, (most - 1) * width)?;
            principal(pool, isa, &sample, &mut axes, width)?;
            let Some(needed) = along(isa, &sample, &axes, width) else { return Ok(None) };
            // One element more, for what lies across.
            short = short.max((needed + 1).next_multiple_of(STEP_WIDTH));
            found.push(axes);
        }
        if short > most {
            return Ok(None);
        }
        let axes = found.iter().zip(centres).map(|(axes, centre)| {
            let axes = &axes[..(short - 1) * width];
            let mut panels = Aligned::zeros(WHAT, packed_len(isa, width, short - 1))?;
            isa.run(Pack { axes, width, panels: panels.as_mut_slice() });
            let shift = axes.chunks_exact(width).map(|axis| exact(axis, centre) as f32).collect();
            Ok(Axes { panels, shift, centre: centre.clone(), skew: skew(axes, width) })
        });
        let axes = axes.collect::<Result<_>>()?;
        let order = |layer: usize| {
            order::of(pool, isa, &rows[layer * bank_rows * width..][..bank_rows * width], &found[layer], width)
        };
        Ok(Some(Found { short, axes, order: (0..layers).map(order).collect::<Result<_>>()? }))
    }

    /// Writes vectors `rows`, `[count, width]`, as `[count, axes + 1]`. `scratch` is [`scratch_floats`] uninitialised
    /// floats.
    pub fn shorten(&self, isa: Isa, rows: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        isa.run(Shorten { axes: self, rows, out, scratch });
    }

    /// Number of `rows`, `[count, width]`.
    pub fn rows(&self, rows: &[f32]) -> usize {
        rows.len() / self.centre.len()
    }

    /// How far the sum of products along the axes can be off, of vectors whose shortened lengths these are.
    pub fn off(&self, lengths: [f64; 2]) -> f64 {
        let off = self.coordinates_off();
        off * (lengths[0] + lengths[1] + off)
    }

    /// How far all coordinates of a vector together can be off.
    fn coordinates_off(&self) -> f64 {
        (self.shift.len() as f64).sqrt() * chain_error(self.centre.len())
    }
}

/// `Σ a b` in f64.
fn exact(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Orthonormal axes of most of the squared lengths of `sample`, roughly the largest first: a power iteration from
/// random directions.
fn principal(pool: &mut Pool<Scratch>, isa: Isa, sample: &[f32], axes: &mut [f32], width: usize) -> Result<()> {
    const CHUNK: usize = 8;
    let samples = sample.len() / width;
    let mut state = 0u64;
    axes.iter_mut().for_each(|x| {
        state = state.wrapping_add(STEP);
        *x = (mix(state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    });
    pool.scratch_mut().try_for_each(|scratch| grow("the axes of a bank", &mut scratch.floats, samples * CHUNK))?;
    for _ in 0..ROUNDS {
        orthonormalise(axes, width);
        // Each axis becomes the sample's sum of squares times it.
        pool.run_chunks(axes, CHUNK * width, |_, axes, scratch| {
            let along = scratch.take(samples * CHUNK);
            for (axis, along) in axes.chunks_exact(width).zip(along.chunks_exact_mut(samples)) {
                for (along, x) in along.iter_mut().zip(sample.chunks_exact(width)) {
                    *along = isa.run(Dot(axis, x));
                }
            }
            axes.fill(0.0);
            for (axis, along) in axes.chunks_exact_mut(width).zip(along.chunks_exact(samples)) {
                for (along, x) in along.iter().zip(sample.chunks_exact(width)) {
                    axis.iter_mut().zip(x).for_each(|(sum, x)| *sum += along * x);
                }
            }
        });
    }
    orthonormalise(axes, width);
    Ok(())
}

/// Makes rows orthonormal, in their order; rows that depend on those before become zero.
fn orthonormalise(axes: &mut [f32], width: usize) {
    for i in 0..axes.len() / width {
        let (before, rest) = axes.split_at_mut(i * width);
        let axis = &mut rest[..width];
        // Twice: the first time leaves roundings of what it takes away.
        for _ in 0..2 {
            let length = exact(axis, axis).sqrt();
            for other in before.chunks_exact(width) {
                let along = exact(axis, other);
                axis.iter_mut()
                    .zip(other)
                    .for_each(|(x, other)| *x = (f64::from(*x) - along * f64::from(*other)) as f32);
            }
            let left = exact(axis, axis).sqrt();
            let scale = if left > 1e-5 * length { 1.0 / left } else { 0.0 };
            axis.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
        }
    }
}

/// How many of the axes hold [`SHARE`] of the squared lengths of `sample`; `None` if all do not.
fn along(isa: Isa, sample: &[f32], axes: &[f32], width: usize) -> Option<usize> {
    let enough = SHARE * exact(sample, sample);
    let mut held = 0.0;
    axes.chunks_exact(width).position(|axis| {
        held += sample.chunks_exact(width).map(|x| f64::from(isa.run(Dot(axis, x))).powi(2)).sum::<f64>();
        held >= enough
    })
}

/// A bound of the largest eigenvalue of `V Vᵀ - 1`, by Gershgorin's circles, or 0.
fn skew(axes: &[f32], width: usize) -> f64 {
    let row = |(i, a): (usize, &[f32])| {
        let others = axes.chunks_exact(width).enumerate();
        others.map(|(j, b)| if i == j { exact(a, a) - 1.0 } else { exact(a, b).abs() }).sum::<f64>()
    };
    axes.chunks_exact(width).enumerate().map(row).fold(0.0, f64::max)
}

/// Packs the axes as the right operand of a product.
struct Pack<'a> {
    axes: &'a [f32],
    width: usize,
    panels: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let panels = self.panels.chunks_exact_mut(2 * S::LANES * self.width);
        for (axes, panel) in self.axes.chunks(2 * S::LANES * self.width).zip(panels) {
            pack_transposed(simd, Rows::new(axes, self.width, self.width), axes.len() / self.width, panel);
        }
    }
}

/// [`Axes::shorten`].
struct Shorten<'a> {
    axes: &'a Axes,
    rows: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Kernel for Shorten<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Axes { centre, shift, skew, .. } = self.axes;
        let (width, short) = (centre.len(), shift.len() + 1);
        let (rows, panels) = (self.rows.len() / width, shift.len().div_ceil(2 * S::LANES));
        let (sums, distance) = self.scratch.split_at_mut(blocks::SCRATCH);
        let mut operand = Coordinates { axes: self.axes, width, out: self.out };
        for first in (0..panels).step_by(blocks::BLOCK_PANELS) {
            let group = first..panels.min(first + blocks::BLOCK_PANELS);
            walk(simd, Rows::new(self.rows, width, width), rows, group, sums, &mut operand);
        }
        // Sums of squares err by less than half of this, relatively.
        let more = 1.0 + width as f64 * 2f64.powi(-23);
        let off = self.axes.coordinates_off();
        for (row, out) in self.rows.chunks_exact(width).zip(self.out.chunks_exact_mut(short)) {
            let distance = &mut distance[..width];
            distance.iter_mut().zip(row.iter().zip(centre)).for_each(|(out, (x, centre))| *out = x - centre);
            let whole = f64::from(reduce::squares(simd, distance, 0.0)) * more * (1.0 + 2.0 * skew);
            let along = (f64::from(reduce::squares(simd, &out[..short - 1], 0.0)) / more).sqrt() - off;
            let across = (whole - along.max(0.0).powi(2)).max(0.0).sqrt();
            out[short - 1] = (across * (1.0 + 1e-6)) as f32;
        }
    }
}

/// Coordinates of rows along the axes.
struct Coordinates<'a> {
    axes: &'a Axes,
    width: usize,
    /// `[rows, axes + 1]`.
    out: &'a mut [f32],
}

impl Coordinates<'_> {
    #[inline(always)]
    fn strip<S: Simd>(&self, panel: usize, from: usize, length: usize) -> &[f32] {
        let across = 2 * S::LANES;
        &self.axes.panels.as_slice()[(panel * self.width + from) * across..][..length * across]
    }
}

impl<S: Simd> Panels<S> for Coordinates<'_> {
    #[inline(always)]
    fn piece<'a>(&'a self, _: S, panel: usize, from: usize, length: usize, _: &'a mut [f32]) -> &'a [f32] {
        self.strip::<S>(panel, from, length)
    }

    #[inline(always)]
    fn lines(&self, _: S, panel: usize, from: usize, length: usize) -> Lines<'_> {
        Lines::of(self.strip::<S>(panel, from, length))
    }

    #[inline(always)]
    fn finish(&mut self, _: S, panel: usize, sums: &[f32]) {
        let across = 2 * S::LANES;
        let shift = &self.axes.shift[panel * across..];
        let short = self.axes.shift.len() + 1;
        for (sums, out) in sums.chunks_exact(across).zip(self.out.chunks_exact_mut(short)) {
            let out = out[panel * across..short - 1].iter_mut();
            out.zip(sums.iter().zip(shift)).for_each(|(out, (sum, shift))| *out = sum - shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::backend::cpu::Cpu;

    /// Unit vectors, mostly along a few directions.
    fn rows(count: usize, width: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut random = || {
            state = state.wrapping_add(STEP);
            (mix(state) >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut rows: Vec<f32> = (0..count * width).map(|i| random() / (1 + i % width) as f32 + 0.02).collect();
        rows.chunks_exact_mut(width).for_each(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        });
        rows
    }

    #[test]
    fn products_of_shortened_vectors_are_bounds() {
        const WIDTH: usize = 72;
        let (bank, queries) = (rows(MANY, WIDTH, 1), rows(33, WIDTH, 2));
        let centre = vec![bank.iter().sum::<f32>() / bank.len() as f32; WIDTH];
        for mut cpu in Cpu::of_each_instruction_set(2, Precision::F32).unwrap() {
            let centres = [centre.clone()];
            let found = Axes::of(&mut cpu.pool, cpu.isa, &bank, &centres, [1, MANY, WIDTH]).unwrap();
            let Found { short, axes, .. } = found.expect("few directions hold most of it");
            assert_eq!(short, 32);
            let mut scratch = vec![f32::NAN; scratch_floats(WIDTH)];
            let mut shorten = |rows: &[f32]| {
                let mut out = vec![f32::NAN; rows.len() / WIDTH * short];
                axes[0].shorten(cpu.isa, rows, &mut out, &mut scratch);
                out
            };
            let (bank_rows, queries_short) = (shorten(&bank[..64 * WIDTH]), shorten(&queries));
            let mut tightest = f64::INFINITY;
            for (query, short_query) in queries.chunks_exact(WIDTH).zip(queries_short.chunks_exact(short)) {
                for (bank_row, short_prompt) in bank.chunks_exact(WIDTH).zip(bank_rows.chunks_exact(short)) {
                    let product = |i: usize| f64::from(query[i] - centre[i]) * f64::from(bank_row[i] - centre[i]);
                    let whole: f64 = (0..WIDTH).map(product).sum();
                    let lengths = [short_query, short_prompt].map(|x| exact(x, x).sqrt());
                    let above = exact(short_query, short_prompt) + axes[0].off(lengths) - whole;
                    assert!(above >= 0.0, "{}: {above}", cpu.isa.name());
                    tightest = tightest.min(above);
                }
            }
            // Some products are nearly as large as their bounds, so that these say something.
            assert!(tightest < 0.01, "{}: {tightest}", cpu.isa.name());
        }
    }

    #[test]
    fn axes_are_orthonormal_and_hold_what_they_promise() {
        const WIDTH: usize = 96;
        let bank = rows(MANY, WIDTH, 3);
        let mut cpu = Cpu::new(2).unwrap();
        let mut axes = vec![0.0; 47 * WIDTH];
        principal(&mut cpu.pool, cpu.isa, &bank[..SAMPLE * WIDTH], &mut axes, WIDTH).unwrap();
        assert!(skew(&axes, WIDTH) < 1e-5);
        let needed = along(cpu.isa, &bank[..SAMPLE * WIDTH], &axes, WIDTH).unwrap();
        assert!(needed < 32, "{needed}");
    }

    #[test]
    fn vectors_without_common_directions_stay_whole() {
        const WIDTH: usize = 128;
        let mut state = 5u64;
        let mut bank: Vec<f32> = (0..MANY * WIDTH)
            .map(|_| {
                state = state.wrapping_add(STEP);
                (mix(state) >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect();
        let mut cpu = Cpu::new(1).unwrap();
        let mut of = |bank: &[f32], rows| {
            Axes::of(&mut cpu.pool, cpu.isa, bank, &[vec![0.0; WIDTH]], [1, rows, WIDTH]).unwrap().is_some()
        };
        assert!(!of(&bank, MANY));
        // Along one direction, but of too few vectors.
        bank.chunks_exact_mut(WIDTH).for_each(|row| row[1..].fill(0.0));
        assert!(!of(&bank[..(MANY - 1) * WIDTH], MANY - 1));
        assert!(of(&bank, MANY));
    }
}
