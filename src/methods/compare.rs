//! A method on a device: its own weights, and one scorer's part, which records the operations of a batch.

use std::ops::Range;
use std::sync::Arc;

use super::{Method, NamedTensor, Options};
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::backend::{Backend, Role, Search};
use crate::encoder::vision::Features;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::weights::Weights;

/// A backend that knows which of a method's `load` functions it needs.
pub trait Runs: Backend {
    /// Loads the method's own weights onto this device.
    ///
    /// # Errors
    /// As [`Method::load_cpu`].
    fn load_method(&mut self, method: &dyn Method, weights: &Weights) -> Result<Arc<dyn Loaded<Self>>>;
}

impl Runs for Cpu {
    fn load_method(&mut self, method: &dyn Method, weights: &Weights) -> Result<Arc<dyn Loaded<Self>>> {
        method.load_cpu(self, weights)
    }
}

#[cfg(feature = "cuda")]
impl Runs for Cuda {
    fn load_method(&mut self, method: &dyn Method, weights: &Weights) -> Result<Arc<dyn Loaded<Self>>> {
        method.load_cuda(self, weights)
    }
}

/// A method's own weights on a device.
pub trait Loaded<B: Backend>: Send + Sync {
    /// Makes one scorer's part, with memory for `views` views and `slots` slots of up to `cells` cells.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has not enough memory.
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        views: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>>;
}

/// Consecutive views of a batch that are compared with the same bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Encoded views.
    pub views: Range<usize>,
    /// Slot of the first view's outputs and map. The others follow.
    pub first_slot: usize,
    /// Index of the bank in the batch.
    pub bank: usize,
}

impl Run {
    /// Slots of the outputs.
    pub fn slots(&self) -> Range<usize> {
        self.first_slot..self.first_slot + self.views.len()
    }
}

/// The inputs of a comparison: encoded views, banks, and which cells count.
pub struct Batch<'a, B: Backend> {
    /// The encoded views.
    pub features: &'a Features<B>,
    /// 0 where a cell is ignored, else 1, `[slots, N]`.
    pub valid: &'a B::Buffer,
    /// Views with their banks. Together they fill the first slots without gaps.
    pub runs: &'a [Run],
    /// The banks on the device.
    pub banks: &'a [&'a B::Bank],
}

impl<B: Backend> Batch<'_, B> {
    /// Slots of all runs together.
    pub fn slots(&self) -> usize {
        self.runs.iter().map(|run| run.slots().end).max().unwrap_or(0)
    }

    /// Patches of a view, N.
    pub fn cells(&self) -> usize {
        self.features.grid.cells()
    }

    /// The largest cosine between every patch of every run and the rows of its bank's tensor `tensor`, `[L, slots, N]`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device fails.
    pub fn nearest(&self, backend: &mut B, tensor: usize, cosines: &mut B::Buffer) -> Result<()> {
        self.runs.iter().try_for_each(|run| {
            backend.patch_nn(&self.features.taps, &self.search(run, tensor), self.banks[run.bank], cosines)
        })
    }

    /// The search for a run's patches in the bank's tensor `tensor`, with results in the run's slots.
    pub fn search(&self, run: &Run, tensor: usize) -> Search {
        self.search_of(run, tensor, self.cells())
    }

    /// The search for the rows of a run's views, `each` of them in every view.
    pub fn search_of(&self, run: &Run, tensor: usize, each: usize) -> Search {
        Search {
            query_pitch: self.features.views * each,
            queries: run.views.start * each..run.views.end * each,
            tensor,
            out_pitch: self.slots() * each,
            first_out: run.first_slot * each,
        }
    }
}

/// The results, in memory that the host reads after every batch.
pub struct Outputs<B: Backend> {
    /// The method's [`Method::outputs`] of each slot, `[slots, O]`.
    pub values: B::Buffer,
    /// The map of each slot, `[slots, N]`, before clamping.
    pub map: B::Buffer,
}

impl<B: Backend> Outputs<B> {
    /// Takes memory for `slots` slots of `cells` cells and `values` numbers.
    pub fn new(backend: &B, slots: usize, values: usize, cells: usize) -> Result<Self> {
        Ok(Outputs {
            values: backend.buffer(Role::Result, slots * values)?,
            map: backend.buffer(Role::Result, slots * cells)?,
        })
    }
}

/// Banks that share prompts, split into groups. Each prompt is in one group, and a bank consists of its groups.
pub struct Groups<'a, B: Backend> {
    /// The groups, each as a bank.
    pub groups: &'a [&'a B::Bank],
    /// The groups of each bank, as indices into `groups`.
    pub members: &'a [Vec<usize>],
}

/// Called after each named step of a comparison, to time it.
pub type AfterStep<'a, B> = dyn FnMut(&mut B, &'static str) -> Result<()> + 'a;

/// One scorer's part of a method.
pub trait Compare<B: Backend>: Send {
    /// From features to outputs and maps. It only queues operations, which a device may record, and allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device fails.
    fn record(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()>;

    /// As [`Compare::record`], for one view against every bank of `batch`. `groups` lists which prompts the banks
    /// share, so that shared prompts are compared once. The bits are the same.
    ///
    /// # Errors
    /// As [`Compare::record`].
    fn record_groups(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        _groups: &Groups<'_, B>,
        out: &mut Outputs<B>,
    ) -> Result<()> {
        self.record(backend, batch, out, &mut |_, _| Ok(()))
    }

    /// What the encoded view 0 contributes to a bank. Patches whose `valid`, `[N]`, is 0 contribute nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Numeric`] where the features are not finite, [`ErrorKind::Argument`] where no patch counts.
    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>>;
}
