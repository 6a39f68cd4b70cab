//! SPADE (Cohen and Hoshen 2020, arXiv 2005.02357): the distance between each patch of an image and the nearest patch
//! of its nearest normal images, and between the whole image and these images.
//!
//! | What | Where |
//! |---|---|
//! | features: tokens of the tapped blocks after the final norm, and the class embedding, all of unit length | [`Spade`], `compare.rs` |
//! | the K nearest normal images, K = min(50, all): with at most 50 in a bank, all of them | [`MOST`] |
//! | distance of a patch: Euclidean, to the nearest of any of these images, the mean over blocks | `compare.rs` |
//! | score of an image: the mean distance of its class embedding to theirs | `image/` |
//!
//! A bank holds `patches` `[L, R, W]` and `classes` `[K, E]`.

use super::distances::{self, FARTHEST};
use super::vit_options::{self, SIZE, TAPS};
use super::{
    BankContent, Fitting, Method, NamedTensor, Opt, Options, Output, Prompt, find, load_on_every_device, rows,
};
use crate::backend::BankRole;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::view::Fit;
use crate::weights::{Arch, Weights};

mod compare;
mod image;

pub use image::{ImageDistance, SpadeOps};

/// Names of the bank's tensors.
const PATCHES: &str = "patches";
const CLASSES: &str = "classes";

/// The largest number of normal images in a bank: the number of neighbours in the paper.
pub const MOST: usize = 50;

/// The method.
pub struct Spade;

impl Method for Spade {
    fn name(&self) -> &'static str {
        "spade"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &distances::outputs(FARTHEST) }
    }

    fn cells(&self) -> Output {
        distances::cells(FARTHEST)
    }

    fn options(&self) -> &'static [Opt] {
        const { &[vit_options::size(vit_options::USUAL_SIZE), vit_options::taps("the last")] }
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        vit_options::settle(arch, options);
    }

    fn usual_fit(&self, arch: &Arch) -> Option<Fit> {
        vit_options::usual_fit(arch)
    }

    fn size(&self, options: &Options) -> Result<Option<usize>> {
        options.count(SIZE).map(Some)
    }

    fn is_of_one_place(&self) -> bool {
        true
    }

    fn wants(&self, arch: &Arch, options: &Options) -> Result<Wants> {
        vit_options::unit_tokens(arch, options, true)
    }

    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        let taps = options.counts(TAPS).map_or(1, <[usize]>::len);
        4 * taps.saturating_mul(cells).saturating_mul(arch.vision.width) + 4 * arch.embed_dim
    }

    fn slot_bytes(&self, _: &Arch, options: &Options, cells: usize) -> usize {
        cells.saturating_mul(8 * options.counts(TAPS).map_or(1, <[usize]>::len))
    }

    fn check_prompts(&self, prompts: usize, _: &Options) -> Result<()> {
        if prompts <= MOST {
            return Ok(());
        }
        let message = format!(
            "{prompts} normal images for the method `spade`, which compares with the {MOST} nearest: with more in a bank each query \
             would have to select its own. Give at most {MOST}"
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn check_model(&self, _: &Weights) -> Result<()> {
        Ok(())
    }

    fn fit(&self, prompts: &[Prompt], _: Vec<NamedTensor>, _: &mut Fitting<'_>) -> Result<BankContent> {
        let of = |name: &str| prompts.iter().map(|prompt| find(&prompt.tensors, name)).collect::<Result<Vec<_>>>();
        let (patches, classes) = (of(PATCHES)?, of(CLASSES)?);
        let counts = patches.iter().map(|patches| patches.shape[1]).collect();
        Ok(BankContent { tensors: vec![rows::joined(&patches)?, rows::joined(&classes)?], rows: counts })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        let mut prompts = rows::prompts(bank, PATCHES, hashes, places)?;
        let classes = rows::parts(bank.tensor(CLASSES)?, &vec![1; hashes.len()], places)?;
        prompts.iter_mut().zip(classes).for_each(|(prompt, class)| prompt.tensors.push(class));
        Ok((prompts, Vec::new()))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, options: &Options) -> Result<()> {
        rows::check_counts(bank, prompts)?;
        let taps = options.counts(TAPS)?.len();
        rows::check_shape(bank, PATCHES, &[taps, bank.rows.iter().sum(), arch.vision.width])?;
        rows::check_shape(bank, CLASSES, &[prompts, arch.embed_dim])
    }

    fn device_tensors(&self) -> &'static [(&'static str, BankRole)] {
        &[(PATCHES, BankRole::Rows), (CLASSES, BankRole::Numbers)]
    }

    fn file_tensors(&self) -> &'static [&'static str] {
        &[PATCHES, CLASSES]
    }

    load_on_every_device!(compare::load);
}
