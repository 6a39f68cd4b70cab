//! Where the device is chosen: everything below is generic over it, everything above does not know it.

use std::sync::Arc;

use super::PromptBank;
use super::engine::{Device, EngineOptions};
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::backend::{Backend, BankVectors};
use crate::error::{Error, ErrorKind, Result};
use crate::method::{Detector, Lane, Parts, text_prototypes};
use crate::preprocess::{Frame, Plan};
use crate::text::Tokeniser;
use crate::weights::Weights;

/// A model's weights on a device.
pub(super) enum Model {
    Cpu(Loaded<Cpu>),
    #[cfg(feature = "cuda")]
    Cuda(Loaded<Cuda>),
}

/// One thread's lane of a device, with the bank that it scores against.
pub(super) enum Session {
    Cpu(Bound<Cpu>),
    #[cfg(feature = "cuda")]
    Cuda(Bound<Cuda>),
}

pub(super) struct Loaded<B: Backend> {
    backend: B,
    detector: Arc<Detector<B>>,
    /// Why this device, where the user left the choice.
    reason: String,
}

pub(super) struct Bound<B: Backend> {
    lane: Lane<B>,
    bank: Option<B::Bank>,
    panel: Panel<B>,
}

/// What a panel compares images with.
struct Panel<B: Backend> {
    /// A bank of each prompt alone.
    prompts: Vec<B::Bank>,
    /// The banks, for what their heads need.
    banks: Vec<B::Bank>,
    /// Largest cosines of the image with each prompt, `[P, L, N]`, and with one bank, `[L, N]`.
    cosines: Vec<f32>,
    best: Vec<f32>,
}

impl<B: Backend> Default for Panel<B> {
    fn default() -> Self {
        Panel { prompts: Vec::new(), banks: Vec::new(), cosines: Vec::new(), best: Vec::new() }
    }
}

/// `$call` on whichever device `$either` is.
macro_rules! on_device {
    ($kind:ident, $either:expr, $inner:ident => $call:expr) => {
        match $either {
            $kind::Cpu($inner) => $call,
            #[cfg(feature = "cuda")]
            $kind::Cuda($inner) => $call,
        }
    };
}

impl<B: Backend> Loaded<B> {
    fn new(mut backend: B, weights: &Weights, reason: String) -> Result<Self> {
        let detector = Arc::new(Detector::load(&mut backend, weights)?);
        Ok(Loaded { backend, detector, reason })
    }

    fn bind(&self, capacity: usize) -> Result<Bound<B>> {
        Ok(Bound {
            lane: Lane::new(self.backend.fork()?, Arc::clone(&self.detector), capacity)?,
            bank: None,
            panel: Panel::default(),
        })
    }
}

impl<B: Backend> Bound<B> {
    fn score_panel(&mut self, members: &[Vec<usize>], mut each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        let Panel { prompts, banks, cosines, best } = &mut self.panel;
        self.lane.encode(1, |_, _| ())?;
        for (prompt, cosines) in prompts.iter().zip(cosines.chunks_exact_mut(best.len())) {
            self.lane.nearest(prompt, cosines)?;
        }
        let len = best.len();
        for (index, (bank, members)) in banks.iter().zip(members).enumerate() {
            let mut rows = members.iter().map(|&prompt| &cosines[prompt * len..][..len]);
            let Some(first) = rows.next() else { continue };
            best.copy_from_slice(first);
            // A maximum has no order: the bits are those of all prompts at once.
            rows.for_each(|row| best.iter_mut().zip(row).for_each(|(best, cosine)| *best = best.max(*cosine)));
            self.lane.judge(best, bank, |_, parts, map| each(index, parts, map))?;
        }
        Ok(())
    }
}

impl Model {
    /// Loads the weights on the device that the options ask for.
    pub fn load(options: &EngineOptions, weights: &Weights) -> Result<Self> {
        match options.device {
            Device::Cpu => Self::on_cpu(options, weights, String::new()),
            #[cfg(feature = "cuda")]
            Device::Cuda(ordinal) => {
                let cuda = Cuda::new(ordinal, options.cuda())?;
                cuda.check_arch(weights.arch())?;
                Ok(Model::Cuda(Loaded::new(cuda, weights, String::new())?))
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(Error::new(
                ErrorKind::Device,
                "this program was built without CUDA: build it with the feature `cuda`, or ask for the device `cpu`",
            )),
            Device::Auto => Self::auto(options, weights),
        }
    }

    #[cfg(feature = "cuda")]
    fn auto(options: &EngineOptions, weights: &Weights) -> Result<Self> {
        let found = Cuda::new(0, options.cuda()).and_then(|cuda| {
            cuda.check_arch(weights.arch())?;
            Ok(cuda)
        });
        match found {
            Ok(cuda) => Ok(Model::Cuda(Loaded::new(cuda, weights, "the first CUDA device".to_owned())?)),
            // A machine without an NVIDIA GPU is an ordinary one: what is missing there goes into the reason.
            Err(error) => Self::on_cpu(options, weights, format!("no CUDA device: {}", error.chain())),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn auto(options: &EngineOptions, weights: &Weights) -> Result<Self> {
        Self::on_cpu(options, weights, "built without CUDA".to_owned())
    }

    fn on_cpu(options: &EngineOptions, weights: &Weights, reason: String) -> Result<Self> {
        Ok(Model::Cpu(Loaded::new(options.cpu()?, weights, reason)?))
    }

    pub fn describe(&self) -> String {
        on_device!(Model, self, loaded => loaded.backend.describe())
    }

    pub fn reason(&self) -> &str {
        on_device!(Model, self, loaded => &loaded.reason)
    }

    /// A lane with memory for `capacity` images.
    pub fn session(&self, capacity: usize) -> Result<Session> {
        match self {
            Model::Cpu(loaded) => Ok(Session::Cpu(loaded.bind(capacity)?)),
            #[cfg(feature = "cuda")]
            Model::Cuda(loaded) => Ok(Session::Cuda(loaded.bind(capacity)?)),
        }
    }
}

impl Session {
    pub fn capacity(&self) -> usize {
        on_device!(Session, self, bound => bound.lane.capacity())
    }

    /// Text prototypes of a class, `[2, E]`. The text tower runs on the processor on every device: once a class, it is not
    /// worth the memory elsewhere.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "another device needs them"))]
    pub fn text_prototypes(&mut self, options: &EngineOptions, weights: &Weights, class: &str) -> Result<Vec<f32>> {
        let tokeniser = Tokeniser::new()?;
        match self {
            Session::Cpu(bound) => text_prototypes(bound.lane.backend(), weights, &tokeniser, class),
            #[cfg(feature = "cuda")]
            Session::Cuda(_) => text_prototypes(&mut options.cpu()?, weights, &tokeniser, class),
        }
    }

    /// Scores against `bank` from now on.
    pub fn set_bank(&mut self, bank: &PromptBank) -> Result<()> {
        on_device!(Session, self, bound => {
            bound.bank = Some(bank.upload(&mut bound.lane)?);
            Ok(())
        })
    }

    /// Compares with `banks` from now on, whose prompts are among `prompts`: unit taps `[L, N, W]` of each.
    pub fn set_panel(&mut self, prompts: &[Arc<[f32]>], banks: &[Arc<PromptBank>]) -> Result<()> {
        let Some(any) = banks.first() else { return Ok(()) };
        let vectors = BankVectors { class_mean: any.class_mean(), text_prototypes: any.text_prototypes() };
        let cosines = any.info().taps * any.info().patches;
        on_device!(Session, self, bound => {
            let alone = prompts.iter().map(|taps| bound.lane.bank(taps, 1, vectors.clone()));
            bound.panel.prompts = alone.collect::<Result<_>>()?;
            bound.panel.banks = banks.iter().map(|bank| bank.upload(&mut bound.lane)).collect::<Result<_>>()?;
            bound.panel.cosines = vec![0.0; prompts.len() * cosines];
            bound.panel.best = vec![0.0; cosines];
            Ok(())
        })
    }

    /// Encodes the one placed frame and scores it against each bank of the panel, whose prompts `members` tells.
    pub fn score_panel(&mut self, members: &[Vec<usize>], each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        on_device!(Session, self, bound => bound.score_panel(members, each))
    }

    pub fn place(&mut self, frame: Frame<'_>, plan: &Plan, image: usize) -> Result<()> {
        on_device!(Session, self, bound => bound.lane.place(frame, plan, image))
    }

    /// [`Lane::score`] against the bank in use.
    pub fn score(&mut self, images: usize, each: impl FnMut(usize, Parts, &[f32])) -> Result<()> {
        on_device!(Session, self, bound => {
            let Some(bank) = &bound.bank else {
                return Err(Error::new(ErrorKind::Internal, "a session scores before it has a bank"));
            };
            bound.lane.score(images, bank, each)
        })
    }

    /// Unit taps `[L, N, W]` and adapted class embedding `[E]` of the one placed frame.
    pub fn prompt_features(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        on_device!(Session, self, bound => {
            bound.lane.encode(1, |_, _| ())?;
            bound.lane.prompt_features()
        })
    }
}
