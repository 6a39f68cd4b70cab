//! From features to distances and scores.

use std::sync::Arc;

use super::reweight::{ReweightOps, Reweighted};
use super::{FEATURES, PATCHES, REWEIGHT, TAPS, join};
use crate::backend::{Role, Search};
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::distances::{OUTPUTS, largest_cell};
use crate::methods::levels::Joined;
use crate::methods::{AfterStep, Batch, Compare, Loaded, NamedTensor, Options, Outputs, Run, not_finite, valid_rows};
use crate::weights::{Arch, Weights};

/// Places of the bank's tensors on a device.
const ROWS: usize = 0;
const AROUND: usize = 1;

/// What all scorers share; the method has no weights of its own.
struct Shared<B: ReweightOps> {
    arch: Arch,
    reweight: B::Reweight,
}

pub(super) fn load<B: ReweightOps>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    Ok(Arc::new(Shared::<B> { arch: weights.arch().clone(), reweight: backend.reweight_ops()? }))
}

/// One scorer's memory.
struct Comparer<B: ReweightOps> {
    shared: Arc<Shared<B>>,
    taps: usize,
    reweight: bool,
    /// The tokens of all taps side by side, `[views N, L W]`; empty for one tap.
    joined: B::Buffer,
    /// The rows of a ResNet.
    levels: Option<Joined<B>>,
    /// The nearest rows, `[slots, N]`.
    found: B::Buffer,
}

impl<B: ReweightOps> Loaded<B> for Shared<B> {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        views: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        let levels = match self.arch.vision.resnet {
            Some(_) => Some(Joined::new(backend, &self.arch, options, join(options), [views, cells])?),
            None => None,
        };
        // The stages of a ResNet become one tap.
        let taps = if levels.is_some() { 1 } else { options.counts(TAPS)?.len() };
        let width = if taps > 1 { taps * self.arch.vision.width } else { 0 };
        Ok(Box::new(Comparer::<B> {
            taps,
            reweight: options.switch(REWEIGHT)?,
            // No batch has more views than slots.
            joined: backend.buffer(Role::UnitRows, slots * cells * width)?,
            found: backend.buffer(Role::Nearest, slots * cells)?,
            levels,
            shared: self,
        }))
    }
}

impl<B: ReweightOps> Compare<B> for Comparer<B> {
    fn record(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let (slots, cells, taps) = (batch.slots(), batch.cells(), self.taps as f32);
        let features = &batch.features;
        let is_unit = self.levels.is_none();
        let queries = if let Some(levels) = &mut self.levels {
            levels.record(backend, features)?
        } else if self.taps > 1 {
            let shape = [self.taps, features.views * cells, features.width];
            backend.join_layers(&features.taps, shape, 1.0 / taps.sqrt(), &mut self.joined)?;
            &self.joined
        } else {
            &features.taps
        };
        for run in batch.runs {
            let (at, bank) = (search(batch, run), batch.banks[run.bank]);
            if !is_unit {
                let (found, map) = (&mut self.found, &mut out.map);
                backend.levels().nearest_euclidean(queries, &at, bank, found, Some(batch.valid), map)?;
                continue;
            }
            backend.nearest_distance(
                queries,
                &at,
                bank,
                &mut self.found,
                taps.sqrt(),
                Some(batch.valid),
                &mut out.map,
            )?;
        }
        after(backend, "nearest neighbour")?;
        // No map has so many cells that the largest of them would be two.
        for column in 0..OUTPUTS {
            let at = largest_cell(slots, cells, column);
            backend.mean_of_largest(&out.map, batch.valid, &at, &mut out.values)?;
        }
        if self.reweight {
            for run in batch.runs {
                let at = Reweighted {
                    search: search(batch, run),
                    cells,
                    neighbours: AROUND,
                    scale: taps.sqrt(),
                    out_pitch: OUTPUTS,
                    column: 0,
                };
                let bank = batch.banks[run.bank];
                let with = &self.shared.reweight;
                backend.reweight(with, queries, &at, bank, &self.found, &out.map, &mut out.values)?;
            }
        }
        after(backend, "score")
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let cells = features.grid.cells();
        if let Some(levels) = &mut self.levels {
            let width = levels.width;
            let mut found = memory::zeros("the features of a prompt", cells * width)?;
            let rows = levels.record(backend, features)?;
            backend.download(rows, &mut found)?;
            if !found.iter().all(|x| x.is_finite()) {
                return Err(not_finite("the features of a prompt"));
            }
            let (values, rows) = valid_rows(&found, valid, width)?;
            return Ok(vec![NamedTensor { name: FEATURES, shape: vec![rows, width], values: values.into() }]);
        }
        let width = features.width;
        let mut taps = memory::zeros("the features of a prompt", self.taps * cells * width)?;
        backend.download(&features.taps, &mut taps)?;
        if !taps.iter().all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let scale = 1.0 / (self.taps as f32).sqrt();
        let row = |cell: usize| {
            let taps = &taps;
            (0..self.taps).flat_map(move |tap| &taps[(tap * cells + cell) * width..][..width])
        };
        // One tap is as it is: times one.
        let joined: Vec<f32> = (0..cells).flat_map(row).map(|x| scale * x).collect();
        let (values, rows) = valid_rows(&joined, valid, self.taps * width)?;
        Ok(vec![NamedTensor { name: PATCHES, shape: vec![rows, self.taps * width], values: values.into() }])
    }
}

/// The search of a run's patches among the bank's.
fn search<B: ReweightOps>(batch: &Batch<'_, B>, run: &Run) -> Search {
    batch.search(run, ROWS)
}
