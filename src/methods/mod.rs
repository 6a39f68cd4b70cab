//! Methods: how features of an image and of its prompts become a score and a map. Each method has one folder that can
//! be read beside its paper. The rest of the engine knows only this file and `compare.rs`.
//!
//! A method has three parts. [`Method`] describes it on the host: its name, its outputs, what it wants from the
//! encoder, and how prompts become a bank. [`Loaded`] holds its own weights on a device, shared by all scorers.
//! [`Compare`] is one scorer's part: memory, and the operations from features to outputs and map.
//!
//! The folders below (`encoder`, `backend`) do not know any method. The folders above name none except the default.

use std::sync::Arc;

use crate::backend::BankRole;
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
pub use crate::view::{Corners, Turn};
use crate::view::{Fit, Grid};
use crate::weights::{Arch, Weights};

pub mod anomaly_dino;
mod compare;
mod distances;
mod groups;
pub mod inctrl;
mod levels;
mod options;
pub mod padim;
pub mod patchcore;
mod pixels;
mod rows;
mod setup;
pub mod spade;
pub mod subspace;
mod texts;
#[cfg(test)]
mod toy;
mod vit_options;
pub mod winclip;

pub use compare::{AfterStep, Batch, Compare, Groups, Loaded, Outputs, Run, Runs};
pub(crate) use groups::Nearest;
pub(crate) use options::Setting;
pub use options::{Opt, OptKind, Options};
pub use setup::{Setup, all_options};

/// All methods. A new one adds its line here.
pub static ALL: &[&dyn Method] = &[
    &inctrl::Inctrl,
    &anomaly_dino::AnomalyDino,
    &patchcore::PatchCore,
    &subspace::Subspace,
    &padim::Padim,
    &spade::Spade,
    &winclip::Winclip,
    &winclip::WinclipZero,
    #[cfg(test)]
    &toy::MeanNearest,
];

/// The method with this name.
///
/// # Errors
/// [`ErrorKind::Argument`] for an unknown name; the message lists the known ones.
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

/// The default method: the first of [`ALL`], if the model can serve it.
///
/// # Errors
/// As [`Method::check_model`] of the default method. The message lists the methods that the model can serve.
pub fn default_for(weights: &Weights) -> Result<&'static dyn Method> {
    let Err(error) = ALL[0].check_model(weights) else { return Ok(ALL[0]) };
    let able: Vec<&str> = able(weights).map(|method| method.name()).collect();
    if able.is_empty() {
        return Err(error);
    }
    let message = format!(
        "no method was named, and the model cannot serve the default `{}`: name one that it can serve: {}",
        ALL[0].name(),
        able.join(", ")
    );
    Err(Error::new(ErrorKind::Argument, message).because(error))
}

/// A number that a method gives for an image, and its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output {
    /// Its name in files, rows and calls.
    pub name: &'static str,
    /// The smallest possible value.
    pub low: f32,
    /// The largest possible value; infinity if there is no limit.
    pub high: f32,
}

/// A named tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its name in a bank's file.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub values: Arc<Vec<f32>>,
}

/// What a bank keeps of one prompt image.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Content hash of the image.
    pub hash: [u8; 32],
    /// The tensors that [`Compare::prompt`] made from it.
    pub tensors: Vec<NamedTensor>,
}

/// The content of a bank.
#[derive(Clone, Debug)]
pub struct BankContent {
    /// The tensors of its file, in the file's order.
    pub tensors: Vec<NamedTensor>,
    /// How many rows each prompt has in the row tensors; empty where the bank does not keep prompts apart.
    pub rows: Vec<usize>,
}

impl BankContent {
    /// The tensor with this name.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`] if there is none.
    pub fn tensor(&self, name: &str) -> Result<&NamedTensor> {
        find(&self.tensors, name)
    }
}

/// Finds the tensor `name` in `tensors`.
pub fn find<'a>(tensors: &'a [NamedTensor], name: &str) -> Result<&'a NamedTensor> {
    tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
        Error::new(ErrorKind::Bank, format!("tensor `{name}` is missing from the bank: build the bank again"))
            .of_tensor(name)
    })
}

/// What a method can use while it builds a bank.
pub struct Fitting<'a> {
    /// The values of its options.
    pub options: &'a Options,
    /// Starts threads.
    pub cpu: &'a mut dyn FnMut() -> Result<Cpu>,
    /// Called with the work done and the total.
    pub progress: &'a mut dyn FnMut(usize, usize),
}

/// A method, independent of any device.
pub trait Method: Sync {
    /// Its name on the command line and in a bank's file: lower case, words joined by hyphens.
    fn name(&self) -> &'static str;

    /// The numbers that it gives for an image. The first is the score.
    fn outputs(&self) -> &'static [Output];

    /// The name and range of its maps' cells.
    fn cells(&self) -> Output {
        Output { name: "map", low: 0.0, high: 1.0 }
    }

    /// Its options.
    fn options(&self) -> &'static [Opt] {
        &[]
    }

    /// Whether it uses the class name. Otherwise the name is only a label.
    fn reads_class(&self) -> bool {
        false
    }

    /// Whether its banks are made from normal images. Otherwise a bank is made from the class name alone.
    fn takes_prompts(&self) -> bool {
        true
    }

    /// Sets the options whose defaults depend on the model.
    fn settle(&self, _arch: &Arch, _options: &mut Options) {}

    /// The default fit of its banks. `None` means the fit of the model's training.
    fn usual_fit(&self, _arch: &Arch) -> Option<Fit> {
        None
    }

    /// The size that views are resized to. `None` means the model's own size.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for options of another method, here and below.
    fn size(&self, _options: &Options) -> Result<Option<usize>> {
        Ok(None)
    }

    /// How many views of each prompt it uses. The first is not rotated.
    ///
    /// # Errors
    /// As [`Method::size`].
    fn turns(&self, _options: &Options) -> Result<usize> {
        Ok(1)
    }

    /// How each of the [`Method::turns`] views of the prompt with this content hash is rotated. By default in equal
    /// steps over the circle.
    ///
    /// # Errors
    /// As [`Method::size`].
    fn views(&self, options: &Options, _hash: &[u8; 32]) -> Result<Vec<Turn>> {
        let turns = self.turns(options)?;
        let turn = |turn| Turn { degrees: 360.0 * turn as f64 / turns as f64, corners: Corners::Reflected };
        Ok((0..turns).map(turn).collect())
    }

    /// Whether its bank is of one place or of a whole view, so that the tiles of a frame cannot share it.
    fn is_of_one_place(&self) -> bool {
        false
    }

    /// Whether pictures that are not square may be cut into squares, over which its outputs are means.
    fn cuts_squares(&self) -> bool {
        false
    }

    /// Refuses options with which it cannot look at tiles.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`], with the reason.
    fn check_tiled(&self, _options: &Options) -> Result<()> {
        Ok(())
    }

    /// The features that it wants from the encoder.
    ///
    /// # Errors
    /// As [`Method::size`].
    fn wants(&self, arch: &Arch, options: &Options) -> Result<Wants>;

    /// Bytes that it keeps of a prompt whose views have `cells` cells each.
    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize;

    /// How many rows of a bank a prompt makes: the patches of its views.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a prompt of another method.
    fn prompt_rows(&self, prompt: &Prompt) -> Result<usize> {
        let rows = |tensor: &NamedTensor| tensor.shape.len().checked_sub(2).map_or(0, |at| tensor.shape[at]);
        Ok(prompt.tensors.iter().map(rows).max().unwrap_or(0))
    }

    /// Whether the score of an image and every cell of its map can only fall when the bank gets more prompts. Limits
    /// from good images then keep their promise without a new calibration.
    fn scores_only_fall(&self) -> bool {
        false
    }

    /// Extra bytes for each slot of a scorer with maps of `cells` cells.
    fn slot_bytes(&self, _arch: &Arch, _options: &Options, _cells: usize) -> usize {
        0
    }

    /// The size of a bank of `prompts` prompts, in words, for methods where people should know it before they build
    /// one.
    fn announce(&self, _arch: &Arch, _options: &Options, _prompts: usize, _cells: usize) -> Option<String> {
        None
    }

    /// The only grid that a bank can score, if there is one.
    fn bound_grid(&self, _bank: &BankContent) -> Option<Grid> {
        None
    }

    /// Refuses a number of prompts that it cannot make a bank of.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`], with the reason.
    fn check_prompts(&self, _prompts: usize, _options: &Options) -> Result<()> {
        Ok(())
    }

    /// Refuses a grid that it cannot score.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a grid other than the one the method is bound to.
    fn check_grid(&self, _arch: &Arch, _grid: Grid) -> Result<()> {
        Ok(())
    }

    /// Refuses a model that cannot serve it.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] and [`ErrorKind::Config`] naming what the model lacks.
    fn check_model(&self, weights: &Weights) -> Result<()>;

    /// The bank tensors made from the class name, for methods that use it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an unusable name, [`ErrorKind::Numeric`] where the text tower overflows.
    fn class_tensors(&self, _cpu: &mut Cpu, _weights: &Weights, _class: &str) -> Result<Vec<NamedTensor>> {
        Ok(Vec::new())
    }

    /// Joins the tensors of one prompt's views, in the order of [`Method::turns`]; where tiles share a bank, the tiles
    /// of each.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a wrong number of views.
    fn join_views(&self, mut views: Vec<Vec<NamedTensor>>, _: &mut Fitting<'_>) -> Result<Vec<NamedTensor>> {
        match (views.pop(), views.is_empty()) {
            (Some(only), true) => Ok(only),
            _ => Err(Error::new(ErrorKind::Internal, "a method of one view was given several views, or none")),
        }
    }

    /// Makes a bank from prompts, in the order of their hashes, and from the tensors of the class name.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for prompts of another method, [`ErrorKind::Argument`] for prompts that do not make a bank.
    fn fit(&self, prompts: &[Prompt], class: Vec<NamedTensor>, with: &mut Fitting<'_>) -> Result<BankContent>;

    /// The inverse of [`Method::fit`]: the prompts of a bank at `places`, and the tensors of its class name. `hashes`
    /// are the hashes of all prompts.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a method whose banks do not keep prompts apart.
    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)>;

    /// Checks that a bank's tensors fit this method and this model.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`] with the tensor, its shape and the expected one.
    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, options: &Options) -> Result<()>;

    /// Whether [`Compare::record_groups`] uses the groups. If not, banks are not split for it.
    fn shares_prompts(&self) -> bool {
        false
    }

    /// Why the outputs of an image are no result, where the method says so by a number that no result is.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an image that the method cannot judge.
    fn check_values(&self, _values: &[f32]) -> Result<()> {
        Ok(())
    }

    /// The tensors of a bank that go to the device, in the order of the indices that operations use.
    fn device_tensors(&self, bank: &BankContent) -> &'static [(&'static str, BankRole)];

    /// The tensors of a bank's file; `has` says which tensors are there, for methods whose banks differ by the encoder.
    fn file_tensors(&self, has: &dyn Fn(&str) -> bool) -> &'static [&'static str];

    /// Loads its own weights onto the CPU.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where they are missing.
    fn load_cpu(&self, cpu: &mut Cpu, weights: &Weights) -> Result<Arc<dyn Loaded<Cpu>>>;

    /// Loads its own weights onto a GPU.
    ///
    /// # Errors
    /// [`ErrorKind::Weights`] where they are missing, [`ErrorKind::Device`] where the device has not enough memory.
    #[cfg(feature = "cuda")]
    fn load_cuda(&self, cuda: &mut Cuda, weights: &Weights) -> Result<Arc<dyn Loaded<Cuda>>>;
}

/// Makes both `load` functions of a [`Method`] from one that is generic over the device.
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

/// Selects the rows of `taps`, `[layers, valid.len(), width]`, whose patch counts. Returns them, `[layers, rows,
/// width]`, and the number of rows.
///
/// # Errors
/// [`ErrorKind::Argument`] if no patch counts.
pub(crate) fn valid_rows(taps: &[f32], valid: &[f32], width: usize) -> Result<(Vec<f32>, usize)> {
    let rows = valid.iter().filter(|valid| **valid > 0.0).count();
    if rows == 0 {
        let message = "the ignore mask leaves no cell of this image: ignore less of it";
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let kept = taps.chunks_exact(width).zip(valid.iter().cycle()).filter(|(_, valid)| **valid > 0.0);
    let layers = taps.len() / width.max(1) / valid.len().max(1);
    let kept = kept.flat_map(|(row, _)| row).copied();
    Ok((memory::collected("the valid patches of an image", layers * rows * width, kept)?, rows))
}

/// The error for numbers that overflowed.
pub(crate) fn not_finite(what: &str) -> Error {
    Error::new(
        ErrorKind::Numeric,
        format!("{what} is not finite: the weights overflow on this input; check that they are the trained weights"),
    )
}
