//! Nearest neighbours in banks that share prompts: each group of prompts is searched once.

use super::{Batch, Groups};
use crate::backend::{Backend, Search};
use crate::error::Result;
use crate::memory::{grow, reserve};

/// Host memory for such searches. It serves methods that use a bank's rows only through a maximum over prompts.
#[derive(Default)]
pub(crate) struct Nearest {
    /// Largest cosines with each group, `[G, L, N]`.
    groups: Vec<f32>,
    /// Largest cosines with each bank, `[L, slots, N]`.
    best: Vec<f32>,
}

impl Nearest {
    /// The largest cosines between the one view of `batch` and each bank's rows at `tensor`, `[L, slots, N]`, with the
    /// bits of a search of whole banks: a maximum does not depend on the order or the grouping.
    pub fn search<B: Backend>(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        groups: &Groups<'_, B>,
        taps: usize,
        tensor: usize,
        cosines: &mut B::Buffer,
    ) -> Result<()> {
        let patches = batch.cells();
        let (len, slots) = (taps * patches, batch.slots());
        grow("a panel", &mut self.groups, groups.groups.len() * len)?;
        for (group, found) in groups.groups.iter().zip(self.groups.chunks_exact_mut(len)) {
            backend.patch_nn(&batch.features.taps, &Search::all(patches, tensor), group, cosines)?;
            backend.download(cosines, found)?;
        }
        self.best.clear();
        reserve("a panel", &mut self.best, slots * len)?;
        self.best.resize(slots * len, f32::NEG_INFINITY);
        for run in batch.runs {
            for &group in &groups.members[run.bank] {
                for tap in 0..taps {
                    let best = &mut self.best[(tap * slots + run.first_slot) * patches..][..patches];
                    let found = &self.groups[group * len + tap * patches..][..patches];
                    best.iter_mut().zip(found).for_each(|(best, cosine)| *best = best.max(*cosine));
                }
            }
        }
        backend.upload(&self.best, cosines)
    }
}
