//! Residual maps of samples, equations 1 and 2, each on its own.
//!
//! The largest cosines of an image with one prompt do not change, so they are kept; those with K prompts are the largest of
//! the K, exactly.

use std::collections::{BTreeSet, HashMap};

use super::Step;
use super::draws::Sample;
use super::set::Set;
use crate::detector::Encoder;
use crate::error::Result;

/// Most bytes of cosines that are kept from one epoch to the next.
const BUDGET: usize = 1 << 30;

/// Largest cosines `[L, N]` of a member's patches with those of another.
pub(super) struct Maps {
    taps: usize,
    cells: usize,
    pairs: HashMap<(usize, usize), Box<[f32]>>,
}

impl Maps {
    pub fn new(taps: usize, cells: usize) -> Self {
        Maps { taps, cells, pairs: HashMap::new() }
    }

    /// Compares every sample with every prompt of its own, as far as that is not done.
    ///
    /// # Errors
    /// As [`Encoder::reference`] and [`Encoder::nearest`].
    pub fn prepare(
        &mut self,
        encoder: &mut Encoder<'_>,
        set: &Set,
        samples: &[Sample],
        observe: &mut impl FnMut(Step),
    ) -> Result<()> {
        // By prompt, so that each is brought to the device once.
        let wanted: BTreeSet<(usize, usize)> =
            samples.iter().flat_map(|sample| sample.prompts.iter().map(|&prompt| (prompt, sample.member))).collect();
        let len = self.taps * self.cells;
        if (self.pairs.len() + wanted.len()) * len * size_of::<f32>() > BUDGET {
            self.pairs.retain(|(member, prompt), _| wanted.contains(&(*prompt, *member)));
        }
        let missing: Vec<(usize, usize)> =
            wanted.into_iter().filter(|&(prompt, member)| !self.pairs.contains_key(&(member, prompt))).collect();
        observe(Step::Pairs(missing.len()));
        for pairs in missing.chunk_by(|a, b| a.0 == b.0) {
            let record = set.members[pairs[0].0].record;
            let reference = encoder.reference(set.store.taps(record), &set.store.judged(record))?;
            for &(prompt, member) in pairs {
                let mut cosines = vec![0.0; len].into_boxed_slice();
                encoder.nearest(&set.store.taps(set.members[member].record), &reference, &mut cosines)?;
                self.pairs.insert((member, prompt), cosines);
                observe(Step::Compared);
            }
        }
        Ok(())
    }

    /// M_x of a sample, `[N]`: the mean over taps of `0.5 (1 - cosine)`, 0 where a patch is not judged. Prepared before.
    pub fn map(&self, set: &Set, sample: &Sample) -> Vec<f64> {
        let mut best = vec![f32::NEG_INFINITY; self.taps * self.cells];
        for &prompt in &sample.prompts {
            if let Some(cosines) = self.pairs.get(&(sample.member, prompt)) {
                best.iter_mut().zip(cosines).for_each(|(best, cosine)| *best = best.max(*cosine));
            }
        }
        let judged = set.store.judged(set.members[sample.member].record);
        let cell = |(cell, judged): (usize, f32)| {
            let residuals = (0..self.taps).map(|tap| 0.5 * (1.0 - f64::from(best[tap * self.cells + cell])));
            f64::from(judged) * residuals.sum::<f64>() / self.taps as f64
        };
        judged.into_iter().enumerate().map(cell).collect()
    }
}
