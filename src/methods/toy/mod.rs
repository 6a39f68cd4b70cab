//! A method for tests only: the mean over patches of the distance to the nearest prompt patch, at all taps. It shows
//! that beside its folder a method needs only one line in [`super::ALL`].

use std::sync::Arc;

use super::{
    AfterStep, BankContent, Batch, Compare, Fitting, Loaded, Method, NamedTensor, Options, Output, Outputs, Prompt,
    find, load_on_every_device, rows, valid_rows,
};
use crate::backend::{Backend, BankRole, Role};
use crate::encoder::Wants;
use crate::encoder::vision::Features;
use crate::error::{Error, ErrorKind, Result};
use crate::weights::{Arch, Weights};

mod tests;

const ROWS: &str = "rows";

pub struct MeanNearest;

impl Method for MeanNearest {
    fn name(&self) -> &'static str {
        "mean-nearest"
    }

    fn outputs(&self) -> &'static [Output] {
        &[Output { name: "score", low: 0.0, high: 1.0 }]
    }

    fn wants(&self, arch: &Arch, _: &Options) -> Result<Wants> {
        Ok(Wants { class: false, ..Wants::of(arch) })
    }

    fn prompt_bytes(&self, arch: &Arch, _: &Options, cells: usize) -> usize {
        4 * arch.taps.len() * cells * arch.vision.width
    }

    fn check_model(&self, _weights: &Weights) -> Result<()> {
        Ok(())
    }

    fn fit(&self, prompts: &[Prompt], _: Vec<NamedTensor>, _: &mut Fitting<'_>) -> Result<BankContent> {
        let rows = prompts.iter().map(|prompt| find(&prompt.tensors, ROWS)).collect::<Result<Vec<_>>>()?;
        Ok(BankContent { tensors: vec![rows::joined(&rows)?], rows: Vec::new() })
    }

    fn take_apart(
        &self,
        _bank: &BankContent,
        _hashes: &[[u8; 32]],
        _places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        Err(rows::inseparable(self.name()))
    }

    fn check_bank(&self, bank: &BankContent, _prompts: usize, arch: &Arch, _: &Options) -> Result<()> {
        match bank.tensor(ROWS)?.shape[..] {
            [layers, _, width] if layers == arch.taps.len() && width == arch.vision.width => Ok(()),
            _ => {
                let message = "the bank's rows do not fit this model: build the bank again";
                Err(Error::new(ErrorKind::Bank, message).of_tensor(ROWS))
            }
        }
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        &[(ROWS, BankRole::Rows)]
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[ROWS]
    }

    load_on_every_device!(load);
}

/// Taps.
struct Taps(usize);

fn load<B: Backend>(_: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    Ok(Arc::new(Taps(weights.arch().taps.len())))
}

struct Comparer<B: Backend> {
    taps: usize,
    cosines: B::Buffer,
}

impl<B: Backend> Loaded<B> for Taps {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        _: &Options,
        _views: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        Ok(Box::new(Comparer { taps: self.0, cosines: backend.buffer(Role::Nearest, self.0 * slots * cells)? }))
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
        let (patches, slots) = (batch.cells(), batch.slots());
        batch.nearest(backend, 0, &mut self.cosines)?;
        backend.residual_mean(&self.cosines, self.taps, slots * patches, 0.5, batch.valid, &mut out.map)?;
        // Computed on the host. A real method uses a device operation instead.
        let mut map = vec![0.0; slots * patches];
        backend.download(&out.map, &mut map)?;
        let means: Vec<f32> = map.chunks(patches).map(|map| map.iter().sum::<f32>() / patches as f32).collect();
        backend.upload(&means, &mut out.values)?;
        after(backend, "mean")
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let (layers, patches) = (self.taps, features.grid.cells());
        let mut taps = vec![0.0; layers * patches * features.width];
        backend.download(&features.taps, &mut taps)?;
        let (values, rows) = valid_rows(&taps, valid, features.width)?;
        Ok(vec![NamedTensor { name: ROWS, shape: vec![layers, rows, features.width], values: values.into() }])
    }
}
