//! Methods: what each makes of the features of an image and of the prompts' features. One folder a method, readable beside
//! its paper; this file is all that the rest of the engine knows of them.
//!
//! A method comes in three parts. [`Method`] is what it is: its name, its outputs, what it wants of the encoder, and how it
//! makes a bank of prompts, on the host. [`Loaded`] is its own weights on a device, shared by all scorers. [`Compare`] is
//! what one scorer holds: memory, and the operations from features to outputs and map.
//!
//! Nothing below this folder (`encoder`, `backend`) knows a method's name; nothing above it names one, but for the default.

use std::ops::Range;
use std::sync::Arc;

use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::backend::{Backend, BankRole, Role, Search};
use crate::encoder::Wants;
use crate::encoder::vision::Features;
use crate::error::{Error, ErrorKind, Result};
use crate::view::{Fit, Grid};
use crate::weights::{Arch, Weights};

pub mod anomaly_dino;
mod groups;
pub mod inctrl;
mod options;
mod setup;
#[cfg(test)]
mod toy;

pub(crate) use groups::Nearest;
pub(crate) use options::Setting;
pub use options::{Opt, OptKind, Options};
pub use setup::{Setup, all_options};

/// Every method: a new one adds its line here.
pub static ALL: &[&dyn Method] = &[
    &inctrl::Inctrl,
    &anomaly_dino::AnomalyDino,
    #[cfg(test)]
    &toy::MeanNearest,
];

/// The method called `name`.
///
/// # Errors
/// [`ErrorKind::Argument`] for a name that no method has, with those that there are.
pub fn by_name(name: &str) -> Result<&'static dyn Method> {
    ALL.iter().copied().find(|method| method.name() == name).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|method| method.name()).collect();
        Error::new(ErrorKind::Argument, format!("there is no method `{name}`: use {}", known.join(" or ")))
    })
}

/// The methods that a model can serve.
pub fn able(weights: &Weights) -> impl Iterator<Item = &'static dyn Method> + '_ {
    ALL.iter().copied().filter(|method| method.check_model(weights).is_ok())
}

/// The method of a bank where none is named: the first, where the model can serve it.
///
/// # Errors
/// As [`Method::check_model`] of the first, with the methods that the model can serve, where there are any.
pub fn default_for(weights: &Weights) -> Result<&'static dyn Method> {
    let Err(error) = ALL[0].check_model(weights) else { return Ok(ALL[0]) };
    let able: Vec<&str> = able(weights).map(|method| method.name()).collect();
    if able.is_empty() {
        return Err(error);
    }
    let message = format!(
        "no method is named, and the model cannot serve `{}`: name one that it can: {}",
        ALL[0].name(),
        able.join(", ")
    );
    Err(Error::new(ErrorKind::Argument, message).because(error))
}

/// A number that a method gives for an image, and the range in which it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Its name in files, rows and calls.
    pub name: &'static str,
    /// The smallest value that it can have.
    pub low: f32,
    /// The largest; infinity where there is none.
    pub high: f32,
}

/// A tensor by name, in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name in a bank's file.
    pub name: &'static str,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub values: Arc<[f32]>,
}

/// What a bank remembers of one prompt image.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Content hash of the image.
    pub hash: [u8; 32],
    /// What [`Compare::prompt`] made of it.
    pub tensors: Vec<NamedTensor>,
}

/// The content of a bank.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The tensors of its file, in their order there.
    pub tensors: Vec<NamedTensor>,
    /// How many rows each prompt has in the tensors of rows; empty where prompts cannot be told apart.
    pub rows: Vec<usize>,
}

impl Fitted {
    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`] if there is none.
    pub fn tensor(&self, name: &str) -> Result<&NamedTensor> {
        find(&self.tensors, name)
    }
}

/// The tensor called `name` among `tensors`.
pub fn find<'a>(tensors: &'a [NamedTensor], name: &str) -> Result<&'a NamedTensor> {
    tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
        Error::new(ErrorKind::Bank, format!("tensor `{name}` is missing from the bank; build the bank again"))
            .of_tensor(name)
    })
}

/// What a method is, apart from any device.
pub trait Method: Sync {
    /// Its name on the command line and in a bank's file: lower case, words joined by hyphens.
    fn name(&self) -> &'static str;

    /// The numbers that it gives for an image. The first is the score.
    fn outputs(&self) -> &'static [Output];

    /// What the cells of its maps are.
    fn cells(&self) -> Output {
        Output { name: "map", low: 0.0, high: 1.0 }
    }

    /// What its users choose.
    fn options(&self) -> &'static [Opt] {
        &[]
    }

    /// Whether it makes something of the name of a class; otherwise a name is for people.
    fn reads_class(&self) -> bool {
        false
    }

    /// The fit of a bank for which none is named; without one that of the model's training.
    fn usual_fit(&self) -> Option<Fit> {
        None
    }

    /// The size that views are brought to; without one the model's own.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for options of another method, here and below.
    fn size(&self, _options: &Options) -> Result<Option<usize>> {
        Ok(None)
    }

    /// How many views of each prompt it looks at, turned by equal parts of a circle; the first is not turned.
    ///
    /// # Errors
    /// As [`Method::size`].
    fn turns(&self, _options: &Options) -> Result<usize> {
        Ok(1)
    }

    /// What it reads of the encoder.
    ///
    /// # Errors
    /// As [`Method::size`].
    fn wants(&self, arch: &Arch, options: &Options) -> Result<Wants>;

    /// Bytes of what it remembers of a prompt of whose views each has `cells` cells.
    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize;

    /// Why it cannot judge views of `grid`, if it cannot.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a method that is bound to a grid, and another one.
    fn check_grid(&self, _arch: &Arch, _grid: Grid) -> Result<()> {
        Ok(())
    }

    /// Why a model cannot serve it, if it cannot.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] and [`ErrorKind::Config`] with what the model lacks.
    fn check_model(&self, weights: &Weights) -> Result<()>;

    /// What the name of a class contributes, for methods that read it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a name that makes no sense, [`ErrorKind::Numeric`] where the text tower overflows.
    fn class_tensors(&self, _cpu: &mut Cpu, _weights: &Weights, _class: &str) -> Result<Vec<NamedTensor>> {
        Ok(Vec::new())
    }

    /// What the views of one prompt leave together, in the order of [`Method::turns`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for another number of views than it looks at.
    fn join_views(&self, mut views: Vec<Vec<NamedTensor>>) -> Result<Vec<NamedTensor>> {
        match (views.pop(), views.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Error::new(ErrorKind::Internal, "a method of one view is given several, or none")),
        }
    }

    /// A bank from prompts in the order of their hashes, and from what the class name contributes.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for prompts that are not of this method.
    fn fit(&self, prompts: &[Prompt], class: Vec<NamedTensor>) -> Result<Fitted>;

    /// The prompts of a bank at `places`, as they were given to [`Method::fit`], and what its class name contributed. `hashes`
    /// are those of all prompts.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a method whose prompts cannot be told apart once they are in a bank.
    fn take_apart(
        &self,
        bank: &Fitted,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)>;

    /// An error where the tensors are not those of this method on this model.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`] with the tensor, its shape and the expected one.
    fn check_bank(&self, bank: &Fitted, prompts: usize, arch: &Arch) -> Result<()>;

    /// The tensors that go to the device, in the order by which operations name them.
    fn device_tensors(&self) -> &'static [(&'static str, BankRole)];

    /// The tensors of a bank's file.
    fn file_tensors(&self) -> &'static [&'static str];

    /// Its own weights on the processor.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where they are missing.
    fn load_cpu(&self, cpu: &mut Cpu, weights: &Weights) -> Result<Arc<dyn Loaded<Cpu>>>;

    /// Its own weights on a GPU.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where they are missing, [`ErrorKind::Device`] where the device has no memory.
    #[cfg(feature = "cuda")]
    fn load_cuda(&self, cuda: &mut Cuda, weights: &Weights) -> Result<Arc<dyn Loaded<Cuda>>>;
}

/// The two `load` functions of a [`Method`] from one that is generic over the device.
macro_rules! load_on_every_device {
    ($load:path) => {
        fn load_cpu(
            &self,
            cpu: &mut $crate::backend::cpu::Cpu,
            weights: &$crate::weights::Weights,
        ) -> $crate::Result<std::sync::Arc<dyn $crate::methods::Loaded<$crate::backend::cpu::Cpu>>> {
            $load(cpu, weights)
        }

        #[cfg(feature = "cuda")]
        fn load_cuda(
            &self,
            cuda: &mut $crate::backend::cuda::Cuda,
            weights: &$crate::weights::Weights,
        ) -> $crate::Result<std::sync::Arc<dyn $crate::methods::Loaded<$crate::backend::cuda::Cuda>>> {
            $load(cuda, weights)
        }
    };
}
pub(crate) use load_on_every_device;

/// A backend that knows which of a method's `load` functions is its own.
pub trait Runs: Backend {
    /// The method's own weights on this device.
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
    /// What one scorer holds, with memory for `slots` slots of up to `cells` cells.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has no memory.
    fn compare(
        self: Arc<Self>,
        backend: &B,
        options: &Options,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>>;
}

/// Consecutive views of a batch that are compared with the same bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Encoded views.
    pub views: Range<usize>,
    /// Where the first view's outputs and map go; the others' follow.
    pub first_slot: usize,
    /// Which of the batch's banks.
    pub bank: usize,
}

impl Run {
    /// Slots of the outputs.
    pub fn slots(&self) -> Range<usize> {
        self.first_slot..self.first_slot + self.views.len()
    }
}

/// What is compared with what: encoded views, banks, and which cells count.
pub struct Batch<'a, B: Backend> {
    /// The encoded views.
    pub features: &'a Features<B>,
    /// 1, or 0 where a cell is ignored, `[slots, N]`.
    pub judged: &'a B::Buffer,
    /// Views with their banks. Together they fill the first slots without a gap.
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

    /// The largest cosine of every patch of every run with the rows of its bank's tensor `tensor`, `[L, slots, N]`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device fails.
    pub fn nearest(&self, backend: &mut B, tensor: usize, cosines: &mut B::Buffer) -> Result<()> {
        self.runs.iter().try_for_each(|run| {
            backend.patch_nn(&self.features.taps, &self.search(run, tensor), self.banks[run.bank], cosines)
        })
    }

    /// The search of a run's patches in the bank's tensor `tensor`, to the run's slots.
    pub fn search(&self, run: &Run, tensor: usize) -> Search {
        let patches = self.cells();
        Search {
            query_pitch: self.features.views * patches,
            queries: run.views.start * patches..run.views.end * patches,
            tensor,
            out_pitch: self.slots() * patches,
            first_out: run.first_slot * patches,
        }
    }
}

/// Where results go, in memory that the host reads after every batch.
pub struct Outputs<B: Backend> {
    /// The method's [`Method::outputs`] of each slot, `[slots, O]`.
    pub values: B::Buffer,
    /// The map of each slot, `[slots, N]`, before clamping.
    pub map: B::Buffer,
}

impl<B: Backend> Outputs<B> {
    /// Memory for `slots` slots of `cells` cells and `values` numbers.
    pub fn new(backend: &B, slots: usize, values: usize, cells: usize) -> Result<Self> {
        Ok(Outputs {
            values: backend.buffer(Role::Result, slots * values)?,
            map: backend.buffer(Role::Result, slots * cells)?,
        })
    }
}

/// Several banks that share prompts, taken apart into groups: each prompt is in one group, and a bank's prompts are those of
/// its groups.
pub struct Groups<'a, B: Backend> {
    /// The groups as banks of their own.
    pub groups: &'a [&'a B::Bank],
    /// The groups of each bank, as indices.
    pub members: &'a [Vec<usize>],
}

/// Called after each named step of a comparison, to time it.
pub type AfterStep<'a, B> = dyn FnMut(&mut B, &'static str) -> Result<()> + 'a;

/// What one scorer holds of a method.
pub trait Compare<B: Backend>: Send {
    /// From features to outputs and maps: operations only, which a device may record. Allocates nothing.
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

    /// As [`Compare::record`], for one view against every bank of `batch`, whose prompts `groups` tells apart, so that what
    /// banks share is compared once. The bits are those of [`Compare::record`].
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

    /// What the encoded view 0 leaves in a bank. Patches whose `judged`, `[N]`, is 0 leave nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Numeric`] where the features are not finite, [`ErrorKind::Argument`] where no patch is left.
    fn prompt(&mut self, backend: &mut B, features: &Features<B>, judged: &[f32]) -> Result<Vec<NamedTensor>>;
}

/// The rows of `taps`, `[layers, judged.len(), width]`, whose patch counts, `[layers, rows, width]`, and how many they are.
///
/// # Errors
/// [`ErrorKind::Argument`] if no patch counts.
pub(crate) fn judged_rows(taps: &[f32], judged: &[f32], width: usize) -> Result<(Vec<f32>, usize)> {
    let rows = judged.iter().filter(|judged| **judged > 0.0).count();
    if rows == 0 {
        let message = "the ignore mask leaves no cell of this image to be judged: ignore less of it";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let kept = taps.chunks_exact(width).zip(judged.iter().cycle()).filter(|(_, judged)| **judged > 0.0);
    Ok((kept.flat_map(|(row, _)| row).copied().collect(), rows))
}

/// The error of numbers that overflowed.
pub(crate) fn not_finite(what: &str) -> Error {
    Error::new(
        ErrorKind::Numeric,
        format!(
            "{what} is not a finite number: the weights overflow on this input; make sure that they are what was trained"
        ),
    )
}
