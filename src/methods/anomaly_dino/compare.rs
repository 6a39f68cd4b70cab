//! From features to distances by the device's nearest-neighbour search, and from distances to the score.

use std::sync::Arc;

use super::foreground::{CutOut, Foreground, ForegroundOps, Tokens};
use super::{MASK, ONE_IN, PATCHES};
use crate::backend::{ImageTokens, Largest, Role};
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::distances::OUTPUTS;
use crate::methods::{
    AfterStep, Batch, Compare, Groups, Loaded, NamedTensor, Nearest, Options, Outputs, not_finite, valid_rows,
};

/// Index of the bank's rows on a device.
const ROWS: usize = 0;
/// How many blocks' tokens are compared: only the last block's.
const TAPS: usize = 1;

/// The method has no weights of its own.
pub(super) struct Nothing {
    /// Width of the encoder's tokens.
    pub width: usize,
}

/// One scorer's memory.
struct Comparer<B: ForegroundOps> {
    /// Largest cosines, `[slots, N]`.
    cosines: B::Buffer,
    groups: Nearest,
    /// Where the background is masked.
    foreground: Option<Foreground<B>>,
}

impl<B: ForegroundOps> Loaded<B> for Nothing {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        views: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        let foreground = || Foreground::new(backend, views, cells, self.width);
        Ok(Box::new(Comparer::<B> {
            cosines: backend.buffer(Role::Nearest, TAPS * slots * cells)?,
            groups: Nearest::default(),
            foreground: options.switch(MASK)?.then(foreground).transpose()?,
        }))
    }
}

impl<B: ForegroundOps> Comparer<B> {
    /// Computes distances from the largest cosines, and the outputs from the distances.
    fn finish(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let (slots, cells) = (batch.slots(), batch.cells());
        backend.residual_mean(&self.cosines, TAPS, slots * cells, 1.0, batch.valid, &mut out.map)?;
        after(backend, "nearest neighbour")?;
        if let Some(foreground) = &mut self.foreground {
            let features = batch.features;
            let tokens = Tokens {
                values: &features.tokens,
                images: features.views,
                each: ImageTokens { prefix: features.prefix, patches: cells },
                width: features.width,
            };
            let (components, kernels) = foreground.components(backend, &tokens)?;
            for run in batch.runs {
                let (images, first_slot) = (run.views.clone(), run.first_slot);
                let at = CutOut { components, images, first_slot, grid: features.grid, valid: batch.valid };
                backend.cut_out(kernels, &at, &mut out.map)?;
            }
            after(backend, "foreground")?;
        }
        // A map has fewer than twice that many cells, so the second number is its single largest cell.
        for (column, one_in) in [ONE_IN, cells + 1].into_iter().enumerate() {
            let at = Largest { maps: slots, cells, one_in, out_pitch: OUTPUTS, column };
            backend.mean_of_largest(&out.map, batch.valid, &at, &mut out.values)?;
        }
        after(backend, "score")
    }
}

impl<B: ForegroundOps> Compare<B> for Comparer<B> {
    fn record(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        batch.nearest(backend, ROWS, &mut self.cosines)?;
        self.finish(backend, batch, out, after)
    }

    fn record_groups(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        groups: &Groups<'_, B>,
        out: &mut Outputs<B>,
    ) -> Result<()> {
        self.groups.search(backend, batch, groups, TAPS, ROWS, &mut self.cosines)?;
        self.finish(backend, batch, out, &mut |_, _| Ok(()))
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let mut taps = memory::zeros("the features of a prompt", features.grid.cells() * features.width)?;
        backend.download(&features.taps, &mut taps)?;
        if !taps.iter().all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let (values, rows) = valid_rows(&taps, valid, features.width)?;
        Ok(vec![NamedTensor { name: PATCHES, shape: vec![rows, features.width], values: values.into() }])
    }
}
