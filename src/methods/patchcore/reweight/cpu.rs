//! The weight on the processor: one image a task.

use super::{AROUND, ReweightOps, Reweighted};
use crate::backend::cpu::{Bank, Cpu};
use crate::backend::need;
use crate::error::Result;

const OP: &str = "patchcore_reweight";

impl ReweightOps for Cpu {
    type Reweight = ();

    fn reweight_ops(&mut self) -> Result<()> {
        Ok(())
    }

    fn reweight(
        &mut self,
        (): &(),
        queries: &Vec<f32>,
        at: &Reweighted,
        bank: &Bank,
        found: &Vec<f32>,
        map: &Vec<f32>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (rows, [_, _, width]) = bank.any_rows(OP, at.search.tensor)?;
        let (neighbours, [_, _, around]) = bank.any_numbers(OP, at.neighbours)?;
        need(OP, "queries", queries.len(), at.search.query_len(1) * width)?;
        need(OP, "found", found.len(), at.search.out_len(1))?;
        at.check(map.len(), out.len())?;
        let (cells, first) = (at.cells, at.first());
        let own = &mut out[first * at.out_pitch..][..at.images() * at.out_pitch];
        self.each_row(own, at.out_pitch, 0, |image, out, _, arithmetic| {
            let map = &map[at.search.first_out + image * cells..][..cells];
            let (worst, largest) = map
                .iter()
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (cell, x)| if *x > best.1 { (cell, *x) } else { best });
            let query = &queries[(at.search.queries.start + image * cells + worst) * width..][..width];
            let nearest = found[at.search.first_out + image * cells + worst].to_bits() as usize;
            let mut distances = [0.0; AROUND];
            let near = &neighbours[nearest * around..][..around];
            for (distance, row) in distances.iter_mut().zip(near) {
                // A neighbour that is not there counts nothing.
                *distance = f32::NEG_INFINITY;
                if *row >= 0.0 {
                    let row = &rows[*row as usize * width..][..width];
                    *distance = at.scale * arithmetic.squared_distance(query, row).sqrt() as f32;
                }
            }
            let distances = &distances[..around];
            let most = distances.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = distances.iter().map(|x| (x - most).exp()).sum();
            // As 1 - e / sum, without what cancels.
            let rest: f32 = distances[1..].iter().map(|x| (x - most).exp()).sum();
            out[at.column] = largest * (rest / sum);
        })
    }
}
