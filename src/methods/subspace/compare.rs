//! From features to residuals, and from their map to the score.

use std::sync::Arc;

use super::{TAPS, TOKENS};
use crate::backend::{Backend, Subspace};
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::distances::{OUTPUTS, largest_cell};
use crate::methods::pixels::{Blur, Pixels};
use crate::methods::{AfterStep, Batch, Compare, Loaded, NamedTensor, Options, Outputs, not_finite, valid_rows};
use crate::weights::Weights;

/// Places of the bank's tensors on a device.
const MEAN: usize = 0;
const COMPONENTS: usize = 1;

/// The blur takes in one pixel on either side: with a deviation of 4 almost a mean.
const RADIUS: i32 = 1;
/// One of so many pixels makes the score.
const ONE_IN: usize = 100;

/// What all scorers share.
struct Shared<B: Backend> {
    blur: Arc<Blur<B>>,
    /// Pixels of a patch.
    patch: usize,
}

pub(super) fn load<B: Backend>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    let blur = Arc::new(Blur::new(backend, RADIUS, true)?);
    Ok(Arc::new(Shared { blur, patch: weights.arch().vision.patch_size }))
}

/// One scorer's memory.
struct Comparer<B: Backend> {
    taps: usize,
    pixels: Pixels<B>,
}

impl<B: Backend> Loaded<B> for Shared<B> {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        _: usize,
        _: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        let pixels = Pixels::new(backend, Arc::clone(&self.blur), self.patch, cells)?;
        Ok(Box::new(Comparer { taps: options.counts(TAPS)?.len(), pixels }))
    }
}

impl<B: Backend> Compare<B> for Comparer<B> {
    fn record(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let (features, cells) = (batch.features, batch.cells());
        let by = Subspace { mean: MEAN, weights: None, channels: None, outside: 1.0, root: false };
        for run in batch.runs {
            let (at, shape) = (batch.search(run, COMPONENTS), [self.taps, cells, features.width]);
            let bank = batch.banks[run.bank];
            backend.subspace_distance(&features.taps, shape, &at, &by, bank, batch.valid, &mut out.map)?;
        }
        after(backend, "residual")?;
        self.pixels.mean_of_largest(backend, batch, Some(ONE_IN), out, [OUTPUTS, 0])?;
        let largest = largest_cell(batch.slots(), cells, 1);
        backend.mean_of_largest(&out.map, batch.valid, &largest, &mut out.values)?;
        after(backend, "score")
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let len = features.grid.cells() * features.width;
        let mut taps = memory::zeros("the features of a prompt", self.taps * len)?;
        backend.download(&features.taps, &mut taps)?;
        if !taps.iter().all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let (tokens, others) = taps.split_at_mut(len);
        for tap in others.chunks_exact(len) {
            tokens.iter_mut().zip(tap).for_each(|(x, y)| *x += y);
        }
        tokens.iter_mut().for_each(|x| *x /= self.taps as f32);
        let (values, rows) = valid_rows(tokens, valid, features.width)?;
        Ok(vec![NamedTensor { name: TOKENS, shape: vec![rows, features.width], values: values.into() }])
    }
}
