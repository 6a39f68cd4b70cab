//! How far patch tokens lie from a mean, along a few directions and outside them.

use super::simd::{Kernel, Simd};
use super::{Bank, Cpu, reduce};
use crate::backend::{Search, Subspace, need};
use crate::error::{Error, ErrorKind, Result};

const OP: &str = "subspace_distance";
/// Rows that one walk through shared directions serves.
const TOGETHER: usize = 8;

impl Cpu {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn run_subspace_distance(
        &mut self,
        tokens: &[f32],
        [layers, cells, width]: [usize; 3],
        at: &Search,
        by: &Subspace,
        bank: &Bank,
        valid: &[f32],
        map: &mut [f32],
    ) -> Result<()> {
        let (mean, shape) = bank.any_numbers(OP, by.mean)?;
        let (places, depth) = (shape[0] * shape[1], shape[2]);
        let (directions, [_, count, _]) = bank.any_numbers(OP, at.tensor)?;
        by.check(OP, cells, [places, count, depth], directions.len())?;
        let weights = by.weights.map(|place| bank.any_numbers(OP, place)).transpose()?.map(|(weights, _)| weights);
        let channels = by.channels.map(|place| bank.any_numbers(OP, place)).transpose()?.map(|(channels, _)| channels);
        if let Some(weights) = weights {
            need(OP, "weights", weights.len(), places * count)?;
        }
        match channels {
            Some(channels)
                if channels.len() != depth || channels.iter().any(|c| !(0.0..(layers * width) as f32).contains(c)) =>
            {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!("{OP}: the bank names channels that tokens do not have"),
                ));
            }
            None => need(OP, "width", width, depth)?,
            Some(_) => {}
        }
        need(OP, "tokens", tokens.len(), at.query_len(layers) * width)?;
        need(OP, "valid", valid.len(), at.first_out + at.queries.len())?;
        need(OP, "map", map.len(), at.first_out + at.queries.len())?;
        let isa = self.isa;
        let together = if places == 1 { TOGETHER } else { 1 };
        let (valid, map) = (&valid[at.first_out..], &mut map[at.first_out..][..at.queries.len()]);
        let scratch = together * (depth + count);
        self.reserve(scratch)?;
        self.pool.run_chunks(map, together, |chunk, map, memory| {
            let (rows, coordinates) = memory.take(scratch).split_at_mut(together * depth);
            let first = chunk * together;
            let place = if places == 1 { 0 } else { (at.queries.start + first) % cells };
            let mean = &mean[place * depth..][..depth];
            for (r, row) in rows.chunks_exact_mut(depth).enumerate().take(map.len()) {
                let token =
                    |layer: usize| &tokens[(layer * at.query_pitch + at.queries.start + first + r) * width..][..width];
                match channels {
                    Some(channels) => {
                        for (x, channel) in row.iter_mut().zip(channels) {
                            let channel = *channel as usize;
                            *x = token(channel / width)[channel % width];
                        }
                    }
                    None => {
                        row.copy_from_slice(&token(0)[..depth]);
                        for layer in 1..layers {
                            row.iter_mut().zip(token(layer)).for_each(|(x, y)| *x += y);
                        }
                        row.iter_mut().for_each(|x| *x /= layers as f32);
                    }
                }
                row.iter_mut().zip(mean).for_each(|(x, mean)| *x -= mean);
            }
            let directions = &directions[place * count * depth..][..count * depth];
            let rows = &mut rows[..map.len() * depth];
            isa.run(Rest { rows, directions, coordinates: &mut *coordinates, depth, count });
            for (r, (cell, row)) in map.iter_mut().zip(rows.chunks_exact(depth)).enumerate() {
                let outside = by.outside * isa.run(Squares(row));
                let along: f32 = weights.map_or(0.0, |weights| {
                    let weights = &weights[place * count..][..count];
                    weights.iter().zip(&coordinates[r * count..]).map(|(weight, z)| weight * z * z).sum()
                });
                let distance = outside + along;
                let distance = if by.root { distance.sqrt() } else { distance };
                // A product, not a branch: what is not finite stays so, and is found.
                *cell = valid[first + r] * distance;
            }
        });
        Ok(())
    }
}

struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        reduce::squares(simd, self.0, 0.0)
    }
}

/// Takes from each of `rows` what lies along the directions, and keeps how much that is: all coordinates are those of the whole
/// row, before anything is taken.
struct Rest<'a> {
    rows: &'a mut [f32],
    /// `[count, depth]`.
    directions: &'a [f32],
    /// `[rows, count]`.
    coordinates: &'a mut [f32],
    depth: usize,
    count: usize,
}

impl Kernel for Rest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (j, direction) in self.directions.chunks_exact(self.depth).enumerate() {
            for (r, row) in self.rows.chunks_exact(self.depth).enumerate() {
                self.coordinates[r * self.count + j] = reduce::dot(simd, direction, row);
            }
        }
        for (j, direction) in self.directions.chunks_exact(self.depth).enumerate() {
            for (r, row) in self.rows.chunks_exact_mut(self.depth).enumerate() {
                let z = self.coordinates[r * self.count + j];
                row.iter_mut().zip(direction).for_each(|(x, d)| *x -= z * d);
            }
        }
    }
}
