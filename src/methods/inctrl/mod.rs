//! InCTRL (Zhu & Pang, CVPR 2024, arXiv 2403.06495): the equations of the paper, in its order.
//!
//! | Equation | What | Where |
//! |---|---|---|
//! | 1, 2 | patch residual per tap, residual map M_x | `compare.rs`, [`equations::residual`] |
//! | 3 | prompt prototype I_p: mean adapted class embedding | [`cls_mean`] |
//! | 4, 5 | image residual F_x and its score s_i | [`equations::score`] |
//! | 6 | text prior s_a, its prototypes | [`text_prototypes`], [`equations::text_prior`] |
//! | 7 | holistic map, its score, the final score | [`equations::score`] |
//!
//! A bank holds `taps` `[L, R, W]` (unit patch tokens of every prompt at every tap), `adapted_class` `[K, E]` with its
//! mean `class_mean` `[E]`, and `text_prototypes` `[2, E]`. Unlike in the published code, an image's score does not
//! depend on the others of its batch.

use super::{BankContent, Fitting, Method, NamedTensor, Options, Output, Prompt, find, load_on_every_device, rows};
use crate::backend::BankRole;
use crate::backend::cpu::Cpu;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::text::Tokeniser;
use crate::view::Grid;
use crate::weights::{Arch, Weights};

mod compare;
pub mod equations;
mod heads;
mod layers;
mod prototypes;

#[cfg(feature = "cuda")]
pub use heads::CudaHeads;
pub use heads::{HeadInputs, HeadLayers, HeadOps, OUTPUTS};
pub use layers::head_layers;
pub use prototypes::{cls_mean, text_prototypes};

/// Names of the bank's tensors.
const TAPS: &str = "taps";
const ADAPTED: &str = "adapted_class";
const CLS_MEAN: &str = "class_mean";
const TEXT_PROTOTYPES: &str = "text_prototypes";

/// The bank's tensors on a device, in order.
const ON_DEVICE: &[(&str, BankRole)] =
    &[(TAPS, BankRole::Rows), (CLS_MEAN, BankRole::Numbers), (TEXT_PROTOTYPES, BankRole::Numbers)];

/// The method.
pub struct Inctrl;

const fn share(name: &'static str) -> Output {
    Output { name, low: 0.0, high: 1.0 }
}

impl Method for Inctrl {
    fn name(&self) -> &'static str {
        "inctrl"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &[share("score"), share("holistic"), share("patch_max"), share("image_residual"), share("text_prior")] }
    }

    fn reads_class(&self) -> bool {
        true
    }

    fn wants(&self, arch: &Arch, _: &Options) -> Result<Wants> {
        Ok(Wants::of(arch))
    }

    fn prompt_bytes(&self, arch: &Arch, _: &Options, cells: usize) -> usize {
        4 * (arch.taps.len() * cells * arch.vision.width + arch.embed_dim)
    }

    /// The holistic head takes exactly as many cells as a view of the model's own size has.
    fn check_grid(&self, arch: &Arch, grid: Grid) -> Result<()> {
        let own = Grid::square(arch.vision.grid());
        if grid == own {
            return Ok(());
        }
        let message = format!(
            "the heads of the method `inctrl` were trained for maps of {own} cells, but this frame has {grid}: use \
            the fit crop, letterbox or stretch and the model's own size"
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn check_model(&self, weights: &Weights) -> Result<()> {
        if weights.has_heads() {
            return Ok(());
        }
        weights
            .arch()
            .text_tower()
            .map_err(|error| error.prefixed("the method `inctrl` compares images with texts, but"))?;
        let message = "the method `inctrl` needs trained heads, but the file has no adapter.* or diff_head* tensors: \
            it is a plain CLIP model. Also give the file with InCTRL's heads (--heads FILE), or train them (inctrl \
            train)";
        Err(Error::new(ErrorKind::Weights, message))
    }

    fn class_tensors(&self, cpu: &mut Cpu, weights: &Weights, class: &str) -> Result<Vec<NamedTensor>> {
        let values = text_prototypes(cpu, weights, &Tokeniser::new()?, class)?;
        let shape = vec![2, weights.arch().embed_dim];
        Ok(vec![NamedTensor { name: TEXT_PROTOTYPES, shape, values: values.into() }])
    }

    /// Tiles of one prompt: the patches of all, and the mean of their class embeddings.
    fn join_views(&self, views: Vec<Vec<NamedTensor>>, _: &mut Fitting<'_>) -> Result<Vec<NamedTensor>> {
        let of = |name: &str| views.iter().map(|view| find(view, name)).collect::<Result<Vec<_>>>();
        let (taps, adapted) = (of(TAPS)?, of(ADAPTED)?);
        let [only] = &adapted[..] else {
            let all: Vec<f32> = adapted.iter().flat_map(|adapted| adapted.values.iter().copied()).collect();
            let mean = cls_mean(&all, all.len() / adapted.len().max(1));
            return Ok(vec![rows::joined(&taps)?, vector(ADAPTED, mean)]);
        };
        Ok(vec![taps[0].clone(), (*only).clone()])
    }

    fn fit(&self, prompts: &[Prompt], class: Vec<NamedTensor>, _: &mut Fitting<'_>) -> Result<BankContent> {
        let parts = |name: &str| prompts.iter().map(|p| find(&p.tensors, name)).collect::<Result<Vec<_>>>();
        let (taps, adapted) = (parts(TAPS)?, parts(ADAPTED)?);
        if prompts.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "the bank has no prompts: at least one is needed"));
        }
        let rows: Vec<usize> = taps.iter().map(|taps| taps.shape[1]).collect();
        let adapted: Vec<f32> = adapted.iter().flat_map(|adapted| adapted.values.iter().copied()).collect();
        let embedding = adapted.len() / prompts.len();
        let mean = cls_mean(&adapted, embedding);
        let mut tensors = vec![
            rows::joined(&taps)?,
            NamedTensor { name: ADAPTED, shape: vec![prompts.len(), embedding], values: adapted.into() },
            NamedTensor { name: CLS_MEAN, shape: vec![embedding], values: mean.into() },
        ];
        tensors.extend(class);
        Ok(BankContent { tensors, rows })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        let adapted = bank.tensor(ADAPTED)?;
        let embedding = adapted.shape.last().copied().unwrap_or(0);
        let mut prompts = rows::prompts(bank, TAPS, hashes, places)?;
        for (prompt, &k) in prompts.iter_mut().zip(places) {
            prompt.tensors.push(vector(ADAPTED, adapted.values[k * embedding..][..embedding].to_vec()));
        }
        Ok((prompts, vec![bank.tensor(TEXT_PROTOTYPES)?.clone()]))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, _: &Options) -> Result<()> {
        let rows: usize = bank.rows.iter().sum();
        let (layers, width, embedding) = (arch.taps.len(), arch.vision.width, arch.embed_dim);
        let wanted: [(&str, &[usize]); 4] = [
            (TAPS, &[layers, rows, width]),
            (ADAPTED, &[prompts, embedding]),
            (CLS_MEAN, &[embedding]),
            (TEXT_PROTOTYPES, &[2, embedding]),
        ];
        for (name, expected) in wanted {
            rows::check_shape(bank, name, expected)?;
        }
        rows::check_counts(bank, prompts)
    }

    fn shares_prompts(&self) -> bool {
        true
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        ON_DEVICE
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[TAPS, ADAPTED, CLS_MEAN, TEXT_PROTOTYPES]
    }

    load_on_every_device!(compare::load);
}

/// A one-dimensional tensor of `values`.
fn vector(name: &'static str, values: Vec<f32>) -> NamedTensor {
    NamedTensor { name, shape: vec![values.len()], values: values.into() }
}
