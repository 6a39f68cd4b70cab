//! From features to distances by the device's nearest-neighbour search, and from distances to the score.

use std::sync::Arc;

use super::{ONE_IN, OUTPUTS, PATCHES};
use crate::backend::{Backend, Largest, Role};
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::{
    AfterStep, Batch, Compare, Groups, Loaded, NamedTensor, Nearest, Options, Outputs, judged_rows, not_finite,
};

/// Index of the bank's rows on a device.
const ROWS: usize = 0;
/// How many blocks' tokens are compared: only the last block's.
const TAPS: usize = 1;

/// The method has no weights of its own.
pub(super) struct Nothing;

/// One scorer's memory.
struct Comparer<B: Backend> {
    /// Largest cosines, `[slots, N]`.
    cosines: B::Buffer,
    groups: Nearest,
}

impl<B: Backend> Loaded<B> for Nothing {
    fn compare(self: Arc<Self>, backend: &B, _: &Options, slots: usize, cells: usize) -> Result<Box<dyn Compare<B>>> {
        let cosines = backend.buffer(Role::Nearest, TAPS * slots * cells)?;
        Ok(Box::new(Comparer::<B> { cosines, groups: Nearest::default() }))
    }
}

impl<B: Backend> Comparer<B> {
    /// Computes distances from the largest cosines, and the outputs from the distances.
    fn finish(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let (slots, cells) = (batch.slots(), batch.cells());
        backend.residual_mean(&self.cosines, TAPS, slots * cells, 1.0, batch.judged, &mut out.map)?;
        after(backend, "nearest neighbour")?;
        // A map has fewer than twice that many cells, so the second number is its single largest cell.
        for (column, one_in) in [ONE_IN, cells + 1].into_iter().enumerate() {
            let at = Largest { maps: slots, cells, one_in, out_pitch: OUTPUTS, column };
            backend.mean_of_largest(&out.map, batch.judged, &at, &mut out.values)?;
        }
        after(backend, "score")
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

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, judged: &[f32]) -> Result<Vec<NamedTensor>> {
        let mut taps = memory::zeros("the features of a prompt", features.grid.cells() * features.width)?;
        backend.download(&features.taps, &mut taps)?;
        if !taps.iter().all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let (values, rows) = judged_rows(&taps, judged, features.width)?;
        Ok(vec![NamedTensor { name: PATCHES, shape: vec![rows, features.width], values: values.into() }])
    }
}
