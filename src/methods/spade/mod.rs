//! SPADE (Cohen and Hoshen 2020, arXiv 2005.02357): the distance between each patch of an image and the nearest patch
//! of its nearest normal images, and between the whole image and these images.
//!
//! | What | Where |
//! |---|---|
//! | features of a ResNet: its stages, and the mean of the last one, as they are | `level_maps.rs` |
//! | features of a transformer: tokens of the tapped blocks after the final norm, and the class embedding, all of unit length | [`Spade`], `compare.rs` |
//! | the K nearest normal images, K = min(50, all): with at most 50 in a bank, all of them | [`MOST`] |
//! | distance of a patch: Euclidean, to the nearest of any of these images, the mean over blocks | `compare.rs` |
//! | score of an image: the mean distance of its class embedding to theirs | `image/` |
//!
//! A bank holds `patches` `[L, R, W]` and `classes` `[K, E]`; that of a ResNet `level_1` to `level_3`, each `[R, W]` of
//! its own, `classes`, and `counts` `[K, L]`, the cells of each normal image in each of them.

use super::distances;
use super::levels;
use super::vit_options::{self, SIZE, TAPS};
use super::{
    BankContent, Fitting, Method, NamedTensor, Opt, Options, Output, Prompt, find, load_on_every_device, rows,
};
use crate::backend::BankRole;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::shape_text;
use crate::view::Fit;
use crate::weights::{Arch, Weights};
use level_maps::{LEVELS, MOST_LEVELS};

mod compare;
mod image;
mod level_maps;

pub use image::{ImageDistance, SpadeOps};

/// Names of the bank's tensors.
const PATCHES: &str = "patches";
const CLASSES: &str = "classes";
const COUNTS: &str = "counts";

/// The largest number of normal images in a bank: the number of neighbours in the paper.
pub const MOST: usize = 50;

/// The method.
pub struct Spade;

impl Method for Spade {
    fn name(&self) -> &'static str {
        "spade"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &distances::outputs(f32::INFINITY) }
    }

    fn cells(&self) -> Output {
        distances::cells(f32::INFINITY)
    }

    fn options(&self) -> &'static [Opt] {
        const { &[vit_options::size(vit_options::USUAL_SIZE), vit_options::taps("the last; stages 1,2,3 of a ResNet")] }
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        if arch.vision.resnet.is_some() {
            levels::settle(arch, options, &[1, 2, 3]);
        }
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
        if arch.vision.resnet.is_none() {
            return vit_options::unit_tokens(arch, options, true);
        }
        let wants = levels::wants(options, true)?;
        if wants.taps.len() > MOST_LEVELS {
            let message = format!(
                "the option `taps` names {} stages, and the method `spade` compares at most {MOST_LEVELS}: name fewer",
                wants.taps.len()
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(wants)
    }

    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        if arch.vision.resnet.is_some() {
            let (widths, most) = (levels::widths(arch, options), levels::most(arch, options, cells));
            let numbers = widths.iter().zip(most).map(|(width, cells)| cells.saturating_mul(*width));
            return 4 * numbers.fold(arch.embed_dim, usize::saturating_add);
        }
        let taps = options.counts(TAPS).map_or(1, <[usize]>::len);
        4 * taps.saturating_mul(cells).saturating_mul(arch.vision.width) + 4 * arch.embed_dim
    }

    fn slot_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        if arch.vision.resnet.is_some() {
            return level_maps::bytes(arch, options, cells);
        }
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
        let named = prompts.first().map_or(&[][..], |prompt| &prompt.tensors);
        let levels: Vec<&str> = LEVELS.into_iter().filter(|level| find(named, level).is_ok()).collect();
        let classes = of(CLASSES)?;
        if !levels.is_empty() {
            let levels = levels.into_iter().map(of).collect::<Result<Vec<_>>>()?;
            let count = |k: usize| levels.iter().map(move |level| level[k].shape[0]);
            let counts: Vec<f32> = (0..prompts.len()).flat_map(count).map(|count| count as f32).collect();
            let counts = NamedTensor { name: COUNTS, shape: vec![prompts.len(), levels.len()], values: counts.into() };
            let rows = (0..prompts.len()).filter_map(|k| count(k).next()).collect();
            let mut tensors = levels.iter().map(|level| rows::joined(level)).collect::<Result<Vec<_>>>()?;
            tensors.extend([rows::joined(&classes)?, counts]);
            return Ok(BankContent { tensors, rows });
        }
        let patches = of(PATCHES)?;
        let counts = patches.iter().map(|patches| patches.shape[1]).collect();
        Ok(BankContent { tensors: vec![rows::joined(&patches)?, rows::joined(&classes)?], rows: counts })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        let classes = rows::parts(bank.tensor(CLASSES)?, &vec![1; hashes.len()], places)?;
        let mut prompts = match bank.tensor(COUNTS) {
            Err(_) => rows::prompts(bank, PATCHES, hashes, places)?,
            Ok(counts) => {
                let [_, levels @ 1..=MOST_LEVELS] = *counts.shape else {
                    let message = format!(
                        "tensor `{COUNTS}` has shape {}: [prompts, levels] is needed",
                        shape_text(&counts.shape)
                    );
                    return Err(Error::new(ErrorKind::Bank, message).of_tensor(COUNTS));
                };
                let mut prompts: Vec<Prompt> =
                    places.iter().map(|&k| Prompt { hash: hashes[k], tensors: Vec::new() }).collect();
                for (level, name) in LEVELS.into_iter().take(levels).enumerate() {
                    let own = counts.values.iter().skip(level).step_by(levels).map(|count| *count as usize);
                    let parts = rows::parts(bank.tensor(name)?, &own.collect::<Vec<_>>(), places)?;
                    prompts.iter_mut().zip(parts).for_each(|(prompt, part)| prompt.tensors.push(part));
                }
                prompts
            }
        };
        prompts.iter_mut().zip(classes).for_each(|(prompt, class)| prompt.tensors.push(class));
        Ok((prompts, Vec::new()))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, options: &Options) -> Result<()> {
        rows::check_counts(bank, prompts)?;
        let taps = options.counts(TAPS)?.len();
        if arch.vision.resnet.is_some() {
            rows::check_shape(bank, COUNTS, &[prompts, taps])?;
            if let Some(name) = LEVELS.get(taps).filter(|name| bank.tensor(name).is_ok()) {
                let message = format!("tensor `{name}` is of more levels than the bank's {taps}: build the bank again");
                return Err(Error::new(ErrorKind::Bank, message).of_tensor(*name));
            }
            let counts = &bank.tensor(COUNTS)?.values;
            for ((level, name), width) in LEVELS.into_iter().enumerate().zip(levels::widths(arch, options)) {
                let rows: f32 = counts.iter().skip(level).step_by(taps).sum();
                rows::check_shape(bank, name, &[rows as usize, width])?;
            }
            let first = counts.iter().step_by(taps).map(|count| *count as usize);
            if !first.eq(bank.rows.iter().copied()) || counts.iter().any(|count| *count < 1.0 || count.fract() != 0.0) {
                let message =
                    format!("tensor `{COUNTS}` has other numbers of cells than the bank: build the bank again");
                return Err(Error::new(ErrorKind::Bank, message).of_tensor(COUNTS));
            }
            return rows::check_shape(bank, CLASSES, &[prompts, arch.embed_dim]);
        }
        rows::check_shape(bank, PATCHES, &[taps, bank.rows.iter().sum(), arch.vision.width])?;
        rows::check_shape(bank, CLASSES, &[prompts, arch.embed_dim])
    }

    fn device_tensors(&self, bank: &BankContent) -> &'static [(&'static str, BankRole)] {
        const N: BankRole = BankRole::Numbers;
        const OF_LEVELS: [&[(&str, BankRole)]; MOST_LEVELS] = [
            &[(LEVELS[0], N), (CLASSES, N)],
            &[(LEVELS[0], N), (LEVELS[1], N), (CLASSES, N)],
            &[(LEVELS[0], N), (LEVELS[1], N), (LEVELS[2], N), (CLASSES, N)],
        ];
        let levels = LEVELS.into_iter().take_while(|level| bank.tensor(level).is_ok()).count();
        if levels > 0 {
            return OF_LEVELS[levels - 1];
        }
        &[(PATCHES, BankRole::Rows), (CLASSES, BankRole::Numbers)]
    }

    fn file_tensors(&self, has: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        match LEVELS.into_iter().take_while(|level| has(level)).count() {
            0 => &[PATCHES, CLASSES],
            1 => &[LEVELS[0], CLASSES, COUNTS],
            2 => &[LEVELS[0], LEVELS[1], CLASSES, COUNTS],
            _ => &[LEVELS[0], LEVELS[1], LEVELS[2], CLASSES, COUNTS],
        }
    }

    load_on_every_device!(compare::load);
}
