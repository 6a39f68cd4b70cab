//! From features to scores: equations 1 and 2 by the device's nearest-neighbour search, 3 to 7 by the fused heads.

use std::sync::Arc;

use super::heads::{HeadInputs, HeadOps};
use super::{ADAPTED, OUTPUTS, TAPS, head_layers, vector};
use crate::backend::Role;
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::{
    AfterStep, Batch, Compare, Groups, Loaded, NamedTensor, Nearest, Options, Outputs, not_finite, valid_rows,
};
use crate::weights::Weights;

/// Indices of the bank's tensors on a device, in the order of [`super::ON_DEVICE`].
const ROWS: usize = 0;
const CLS_MEAN: usize = 1;
const TEXT_PROTOTYPES: usize = 2;

/// The scale of a cosine distance, as in [`equations::residual`](super::equations::residual).
const SCALE: f32 = 0.5;

/// The adapter and the heads on a device.
struct Heads<B: HeadOps> {
    heads: B::Heads,
    /// Taps, embedding width.
    sizes: [usize; 2],
}

/// One scorer's memory.
struct Comparer<B: HeadOps> {
    shared: Arc<Heads<B>>,
    /// Largest cosines, `[L, slots, N]`.
    cosines: B::Buffer,
    /// An adapted class embedding, `[E]`.
    adapted: B::Buffer,
    groups: Nearest,
}

pub(super) fn load<B: HeadOps>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    let arch = weights.arch();
    let heads = backend.head_weights(&head_layers(weights)?)?;
    Ok(Arc::new(Heads::<B> { heads, sizes: [arch.taps.len(), arch.embed_dim] }))
}

impl<B: HeadOps> Loaded<B> for Heads<B> {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        _: &Options,
        _views: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        let [taps, embedding] = self.sizes;
        Ok(Box::new(Comparer {
            cosines: backend.buffer(Role::Nearest, taps * slots * cells)?,
            adapted: backend.buffer(Role::Stream, embedding)?,
            groups: Nearest::default(),
            shared: self,
        }))
    }
}

impl<B: HeadOps> Comparer<B> {
    /// Equations 1 and 2 from the largest cosines, then 3 to 7.
    fn finish(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let [taps, _] = self.shared.sizes;
        backend.residual_mean(&self.cosines, taps, batch.slots() * batch.cells(), SCALE, batch.valid, &mut out.map)?;
        after(backend, "nearest neighbour")?;
        for run in batch.runs {
            let at = HeadInputs {
                views: run.views.clone(),
                first_slot: run.first_slot,
                cls_mean: CLS_MEAN,
                text_prototypes: TEXT_PROTOTYPES,
            };
            let (class, heads) = (&batch.features.class, &self.shared.heads);
            backend.heads(class, &out.map, at, heads, batch.banks[run.bank], &mut out.values)?;
        }
        after(backend, "heads")
    }
}

impl<B: HeadOps> Compare<B> for Comparer<B> {
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
        let [taps, _] = self.shared.sizes;
        self.groups.search(backend, batch, groups, taps, ROWS, &mut self.cosines)?;
        self.finish(backend, batch, out, &mut |_, _| Ok(()))
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let ([layers, embedding], patches) = (self.shared.sizes, features.grid.cells());
        let mut taps = memory::zeros("the features of a prompt", layers * patches * features.width)?;
        let mut adapted = vec![0.0; embedding];
        backend.download(&features.taps, &mut taps)?;
        backend.adapter(&features.class, 1, &self.shared.heads, &mut self.adapted)?;
        backend.download(&self.adapted, &mut adapted)?;
        if !taps.iter().chain(&adapted).all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let (taps, rows) = valid_rows(&taps, valid, features.width)?;
        let taps = NamedTensor { name: TAPS, shape: vec![layers, rows, features.width], values: taps.into() };
        Ok(vec![taps, vector(ADAPTED, adapted)])
    }
}

const _: () = assert!(OUTPUTS == 5, "the outputs of the method are those of the heads");
