//! From features to distances of patches and of the whole image.

use std::sync::Arc;

use super::image::{ImageDistance, SpadeOps};
use super::level_maps::{self, LevelMaps};
use super::{CLASSES, PATCHES, TAPS};
use crate::backend::Role;
use crate::encoder::vision::Features;
use crate::error::Result;
use crate::memory;
use crate::methods::distances::{OUTPUTS, largest_cell};
use crate::methods::{AfterStep, Batch, Compare, Loaded, NamedTensor, Options, Outputs, not_finite, valid_rows};
use crate::weights::{Arch, Weights};

/// Places of the bank's tensors on a device.
const ROWS: usize = 0;
const IMAGES: usize = 1;

/// What all scorers share; the method has no weights of its own.
struct Shared<B: SpadeOps> {
    arch: Arch,
    images: B::Images,
}

pub(super) fn load<B: SpadeOps>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    Ok(Arc::new(Shared::<B> { arch: weights.arch().clone(), images: backend.image_ops()? }))
}

/// One scorer's memory.
struct Comparer<B: SpadeOps> {
    shared: Arc<Shared<B>>,
    taps: usize,
    /// The nearest rows, `[L, slots, N]`, of a transformer.
    found: B::Buffer,
    /// The distances of a ResNet's stages.
    levels: Option<LevelMaps<B>>,
}

impl<B: SpadeOps> Loaded<B> for Shared<B> {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        _: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        let taps = options.counts(TAPS)?.len();
        let levels = match self.arch.vision.resnet {
            Some(_) => Some(LevelMaps::new(backend, &self.arch, options, slots, cells)?),
            None => None,
        };
        let found = if levels.is_some() { 0 } else { taps * slots * cells };
        let found = backend.buffer(Role::Nearest, found)?;
        Ok(Box::new(Comparer::<B> { shared: self, taps, found, levels }))
    }
}

impl<B: SpadeOps> Compare<B> for Comparer<B> {
    fn record(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let (features, cells) = (batch.features, batch.cells());
        let is_unit = self.levels.is_none();
        if let Some(levels) = &mut self.levels {
            levels.record(backend, batch, out)?;
        }
        for run in batch.runs.iter().filter(|_| is_unit) {
            let (at, bank) = (batch.search(run, ROWS), batch.banks[run.bank]);
            backend.nearest_distance(
                &features.taps,
                &at,
                bank,
                &mut self.found,
                1.0,
                Some(batch.valid),
                &mut out.map,
            )?;
        }
        after(backend, "nearest neighbour")?;
        for run in batch.runs {
            let at = ImageDistance {
                views: run.views.clone(),
                first_slot: run.first_slot,
                // After the rows of one tensor, or of each stage.
                images: if is_unit { IMAGES } else { self.taps },
                embedding: self.shared.arch.embed_dim,
                unit: is_unit,
                out_pitch: OUTPUTS,
                column: 0,
            };
            backend.image_distance(
                &self.shared.images,
                &features.class,
                &at,
                batch.banks[run.bank],
                &mut out.values,
            )?;
        }
        let largest = largest_cell(batch.slots(), cells, 1);
        backend.mean_of_largest(&out.map, batch.valid, &largest, &mut out.values)?;
        after(backend, "score")
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let embedding = self.shared.arch.embed_dim;
        let mut class = vec![0.0; embedding];
        if self.levels.is_some() {
            let mut tensors = level_maps::rows(backend, features, valid)?;
            backend.download(&features.class, &mut class)?;
            if !class.iter().all(|x| x.is_finite()) {
                return Err(not_finite("the features of a prompt"));
            }
            tensors.push(NamedTensor { name: CLASSES, shape: vec![1, embedding], values: class.into() });
            return Ok(tensors);
        }
        let mut taps = memory::zeros("the features of a prompt", self.taps * features.grid.cells() * features.width)?;
        backend.download(&features.taps, &mut taps)?;
        backend.download(&features.class, &mut class)?;
        if !taps.iter().chain(&class).all(|x| x.is_finite()) {
            return Err(not_finite("the features of a prompt"));
        }
        let length = class.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12);
        let class: Vec<f32> = class.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        let (values, rows) = valid_rows(&taps, valid, features.width)?;
        Ok(vec![
            NamedTensor { name: PATCHES, shape: vec![self.taps, rows, features.width], values: values.into() },
            NamedTensor { name: CLASSES, shape: vec![1, embedding], values: class.into() },
        ])
    }
}
