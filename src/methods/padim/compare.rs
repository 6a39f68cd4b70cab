//! From features to distances, and from their map to the score.

use std::sync::Arc;

use super::{CHANNELS, GRID, RIDGE, TAPS, TOKENS, channels};
use crate::backend::{Backend, Subspace};
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::distances::{OUTPUTS, largest_cell};
use crate::methods::levels::{Join, Joined};
use crate::methods::pixels::{Blur, Pixels};
use crate::methods::{AfterStep, Batch, Compare, Loaded, NamedTensor, Options, Outputs, not_finite};
use crate::weights::{Arch, Weights};

/// Places of the bank's tensors on a device.
const BY: Subspace =
    Subspace { mean: 0, weights: Some(2), channels: Some(3), outside: (1.0 / RIDGE) as f32, root: true };
const DIRECTIONS: usize = 1;

/// The blur reaches four deviations far.
const RADIUS: i32 = 16;

/// What all scorers share.
struct Shared<B: Backend> {
    blur: Arc<Blur<B>>,
    arch: Arch,
}

pub(super) fn load<B: Backend>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    let arch = weights.arch().clone();
    Ok(Arc::new(Shared { blur: Arc::new(Blur::new(backend, RADIUS, false)?), arch }))
}

/// One scorer's memory.
struct Comparer<B: Backend> {
    taps: usize,
    /// Which channels of the tokens side by side are compared.
    channels: Vec<f32>,
    pixels: Pixels<B>,
    /// The rows of a ResNet.
    levels: Option<Joined<B>>,
}

impl<B: Backend> Loaded<B> for Shared<B> {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        views: usize,
        _: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        let taps = options.counts(TAPS)?;
        let pixels = Pixels::new(backend, Arc::clone(&self.blur), self.arch.vision.cell(taps), cells)?;
        let levels = match self.arch.vision.resnet {
            Some(_) => Some(Joined::new(backend, &self.arch, options, Join::Nearest, [views, cells])?),
            None => None,
        };
        // The stages of a ResNet become one tap.
        let taps = if levels.is_some() { 1 } else { taps.len() };
        Ok(Box::new(Comparer { taps, channels: channels(&self.arch, options)?, pixels, levels }))
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
        let (tokens, width) = match &mut self.levels {
            Some(levels) => {
                let width = levels.width;
                (levels.record(backend, features)?, width)
            }
            None => (&features.taps, features.width),
        };
        for run in batch.runs {
            let (at, shape) = (batch.search(run, DIRECTIONS), [self.taps, cells, width]);
            let bank = batch.banks[run.bank];
            backend.subspace_distance(tokens, shape, &at, &BY, bank, batch.valid, &mut out.map)?;
        }
        after(backend, "Mahalanobis")?;
        self.pixels.mean_of_largest(backend, batch, None, out, [OUTPUTS, 0])?;
        let largest = largest_cell(batch.slots(), cells, 1);
        backend.mean_of_largest(&out.map, batch.valid, &largest, &mut out.values)?;
        after(backend, "score")
    }

    /// Every patch leaves its token, also those that are not valid: places are compared, and these are left out of
    /// every map.
    fn prompt(&mut self, backend: &mut B, features: &Features<B>, _: &[f32]) -> Result<Vec<NamedTensor>> {
        let grid = features.grid;
        let (tokens, width) = match &mut self.levels {
            Some(levels) => {
                let width = levels.width;
                (levels.record(backend, features)?, width)
            }
            None => (&features.taps, features.width),
        };
        let mut taps = memory::zeros("the features of a prompt", self.taps * grid.cells() * width)?;
        backend.download(tokens, &mut taps)?;
        if !taps.iter().all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let token = |cell: usize| {
            let taps = &taps;
            self.channels.iter().map(move |&channel| {
                let channel = channel as usize;
                taps[(channel / width * grid.cells() + cell) * width + channel % width]
            })
        };
        let tokens: Vec<f32> = (0..grid.cells()).flat_map(token).collect();
        Ok(vec![
            NamedTensor { name: TOKENS, shape: vec![grid.cells(), self.channels.len()], values: tokens.into() },
            NamedTensor { name: GRID, shape: vec![2], values: vec![grid.rows as f32, grid.cols as f32].into() },
            NamedTensor { name: CHANNELS, shape: vec![self.channels.len()], values: self.channels.clone().into() },
        ])
    }
}
