//! SubspaceAD (Lendering et al., CVPR 2026): the part of a patch that the principal components of the normal patches do
//! not explain.
//!
//! | What | Where |
//! |---|---|
//! | feature of a patch: the mean of the raw outputs of some blocks in the middle | [`Subspace`], `compare.rs` |
//! | each normal image, also rotated by random angles, with black corners | `views` |
//! | principal components that hold 99 % of the variance, in f64 | `moments.rs` |
//! | distance of a patch: the squared length of `x - mean - C Cᵀ (x - mean)` | `compare.rs` |
//! | score of an image: the mean of the largest hundredth of the map's pixels, blurred a little | `compare.rs` |
//!
//! A bank holds `mean` `[W]`, `components` `[M, W]`, the variances along all axes `values` `[W]`, and of each prompt
//! what they are made of, `moments` `[K, 2, T]`: prompts can be taken out, and others added.

use super::distances;
use super::vit_options::{self, ROTATIONS, SIZE, TAPS};
use super::{
    BankContent, Fitting, Method, NamedTensor, Opt, OptKind, Options, Output, Prompt, Setting, find, levels,
    load_on_every_device, pixels, rows,
};
use crate::backend::BankRole;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::split_mix::{STEP, mix};
use crate::view::{Corners, Fit, Turn};
use crate::weights::{Arch, Family, Weights};

mod compare;
mod moments;

use moments::Moments;

/// Names of tensors: of a view, of a prompt and bank, and of a bank.
const TOKENS: &str = "tokens";
const MOMENTS: &str = "moments";
const MEAN: &str = "mean";
const COMPONENTS: &str = "components";
const VALUES: &str = "values";

/// Options.
const SEED: &str = "method-seed";
const VARIANCE: &str = "variance";

/// Angles are drawn below this.
const MOST_DEGREES: f64 = 345.0;

/// The method.
pub struct Subspace;

impl Method for Subspace {
    fn name(&self) -> &'static str {
        "subspace"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &distances::outputs(f32::INFINITY) }
    }

    fn cells(&self) -> Output {
        distances::cells(f32::INFINITY)
    }

    fn options(&self) -> &'static [Opt] {
        const {
            &[
                vit_options::size("672 for DINOv2's ViT-g, 448 for other DINOv2 models, otherwise the model's"),
                vit_options::taps("8,9 of 12, 14 to 18 of 24, 23 to 29 of 40, otherwise about the same part"),
                Opt {
                    name: ROTATIONS,
                    help: "further views of each normal image, turned by angles that are drawn, with black corners; 0 for parts that \
                           must not lie another way",
                    kind: OptKind::Count { low: 0, high: 360, default: 30 },
                    of_prompts: true,
                },
                Opt {
                    name: SEED,
                    help: "seed for the angles",
                    kind: OptKind::Count { low: 0, high: u32::MAX as usize, default: 0 },
                    of_prompts: true,
                },
                Opt {
                    name: VARIANCE,
                    help: "share of the variance that the components hold, below 1",
                    kind: OptKind::Share { default: 0.99 },
                    of_prompts: true,
                },
            ]
        }
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        let layers = arch.vision.layers;
        let (first, last) = match layers {
            12 => (8, 9),
            24 => (14, 18),
            40 => (23, 29),
            _ => ((7 * layers).div_ceil(12).max(1), (3 * layers).div_ceil(4).max(1)),
        };
        options.settle(TAPS, Setting::Counts((first..=last).collect()));
        if arch.family == Family::Dinov2 && layers == 40 {
            options.settle(SIZE, Setting::Count(672));
        }
        vit_options::settle(arch, options);
    }

    fn usual_fit(&self, _: &Arch) -> Option<Fit> {
        Some(Fit::Stretch)
    }

    fn size(&self, options: &Options) -> Result<Option<usize>> {
        options.count(SIZE).map(Some)
    }

    fn turns(&self, options: &Options) -> Result<usize> {
        Ok(1 + options.count(ROTATIONS)?)
    }

    fn views(&self, options: &Options, hash: &[u8; 32]) -> Result<Vec<Turn>> {
        let (rotations, seed) = (options.count(ROTATIONS)? as u64, options.count(SEED)? as u64);
        // The image's own angles, so that the order of images does not matter.
        let own = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ mix(seed.wrapping_mul(STEP));
        let angle = |i: u64| {
            let share = (mix(own.wrapping_add(i.wrapping_mul(STEP))) >> 11) as f64 / (1u64 << 53) as f64;
            Turn { degrees: MOST_DEGREES * share, corners: Corners::Black }
        };
        let upright = Turn { degrees: 0.0, corners: Corners::Black };
        Ok(std::iter::once(upright).chain((1..=rotations).map(angle)).collect())
    }

    fn wants(&self, arch: &Arch, options: &Options) -> Result<Wants> {
        if options.share(VARIANCE)? >= 1.0 {
            let message = "variance=1 asks for components that hold all of the variance, and rounding would decide how many that \
                           are: ask for less, such as 0.99";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(Wants {
            taps: vit_options::tapped(arch, options)?,
            norm: false,
            class: false,
            unit: false,
            ..Wants::default()
        })
    }

    fn prompt_bytes(&self, arch: &Arch, _: &Options, _: usize) -> usize {
        8 * Moments::numbers(arch.vision.width)
    }

    fn slot_bytes(&self, arch: &Arch, _: &Options, cells: usize) -> usize {
        pixels::bytes(cells, arch.vision.patch_size)
    }

    fn announce(&self, arch: &Arch, options: &Options, prompts: usize, cells: usize) -> Option<String> {
        let (views, width) = (self.turns(options).ok()?, arch.vision.width);
        let megabytes = |bytes: usize| bytes as f64 / 1e6;
        Some(format!(
            "{prompts} images of this shape are encoded in {views} views each; the bank takes {:.1} MB, and while an image is encoded its \
             {} patches take {:.1} MB",
            megabytes(prompts * self.prompt_bytes(arch, options, cells) + 4 * width * width),
            views * cells,
            megabytes(views * cells * 8 * width)
        ))
    }

    fn prompt_rows(&self, prompt: &Prompt) -> Result<usize> {
        Ok(Moments::from_values(&find(&prompt.tensors, MOMENTS)?.values)?.count())
    }

    fn check_model(&self, weights: &Weights) -> Result<()> {
        levels::refuse(weights, self.name(), "averages the tokens of a transformer's blocks, which have one width")
    }

    fn join_views(&self, views: Vec<Vec<NamedTensor>>, with: &mut Fitting<'_>) -> Result<Vec<NamedTensor>> {
        let views = views.iter().map(|view| find(view, TOKENS)).collect::<Result<Vec<_>>>()?;
        let tokens = rows::joined(&views)?;
        let moments = Moments::of(&mut (with.cpu)()?, &tokens.values, tokens.shape[1]);
        Ok(vec![moments.to_tensor(MOMENTS)])
    }

    fn fit(&self, prompts: &[Prompt], _: Vec<NamedTensor>, with: &mut Fitting<'_>) -> Result<BankContent> {
        let tensors = prompts.iter().map(|prompt| find(&prompt.tensors, MOMENTS)).collect::<Result<Vec<_>>>()?;
        let each = tensors.iter().map(|tensor| Moments::from_values(&tensor.values)).collect::<Result<Vec<_>>>()?;
        let rows = each.iter().map(Moments::count).collect();
        let all = Moments::together(&each)?;
        let found = all.components(with.options.share(VARIANCE)?)?;
        let width = all.width();
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>().into();
        let mut shape = vec![prompts.len()];
        shape.extend(&tensors[0].shape);
        let moments: Vec<f32> = tensors.iter().flat_map(|tensor| tensor.values.iter().copied()).collect();
        let count = found.components.len() / width;
        let tensors = vec![
            NamedTensor { name: MEAN, shape: vec![width], values: narrow(all.mean()) },
            NamedTensor { name: COMPONENTS, shape: vec![count, width], values: narrow(&found.components) },
            NamedTensor { name: VALUES, shape: vec![width], values: narrow(&found.values) },
            NamedTensor { name: MOMENTS, shape, values: moments.into() },
        ];
        Ok(BankContent { tensors, rows })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        let moments = bank.tensor(MOMENTS)?;
        let len = moments.shape[1..].iter().product::<usize>();
        let prompt = |&place: &usize| Prompt {
            hash: hashes[place],
            tensors: vec![NamedTensor {
                name: MOMENTS,
                shape: moments.shape[1..].to_vec(),
                values: moments.values[place * len..][..len].to_vec().into(),
            }],
        };
        Ok((places.iter().map(prompt).collect(), Vec::new()))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, _: &Options) -> Result<()> {
        let width = arch.vision.width;
        let components = bank.tensor(COMPONENTS)?.shape.first().copied().unwrap_or(0).clamp(1, width);
        rows::check_counts(bank, prompts)?;
        rows::check_shape(bank, MEAN, &[width])?;
        rows::check_shape(bank, COMPONENTS, &[components, width])?;
        rows::check_shape(bank, VALUES, &[width])?;
        rows::check_shape(bank, MOMENTS, &[prompts, 2, Moments::numbers(width)])
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        &[(MEAN, BankRole::Numbers), (COMPONENTS, BankRole::Numbers)]
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[MEAN, COMPONENTS, VALUES, MOMENTS]
    }

    load_on_every_device!(compare::load);
}
