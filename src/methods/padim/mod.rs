//! PaDiM (Defard et al., ICPR 2020, arXiv 2011.08785): a Gaussian of the normal patches at each position in the image,
//! and the Mahalanobis distance of a patch from the Gaussian of its position.
//!
//! | What | Where |
//! |---|---|
//! | features of a ResNet: its stages, on the grid of the first by the nearest cell, side by side | `methods/levels.rs` |
//! | features of a transformer: concatenated tokens of the tapped blocks after the final norm, without scaling; a random subset of their channels | `compare.rs` |
//! | a Gaussian for each position: covariance with divisor n - 1, plus 0.01 I | `gaussian.rs` |
//! | distance of a patch: `sqrt((x - mean)ᵀ covariance⁻¹ (x - mean))` | `compare.rs` |
//! | score of an image: the largest pixel of its blurred map | `compare.rs` |
//!
//! With n images, the covariance has at most n - 1 directions besides the ridge. So a Gaussian is stored as its mean,
//! these directions and their weights: `1 / (variance + ridge)` along them, `1 / ridge` outside. No square matrix is
//! stored.
//!
//! A bank holds `mean` `[N, D]`, `directions` `[N, M, D]`, `weights` `[N, M]`, `channels` `[D]`, `grid` `[2]`, and
//! `tokens` `[K N, D]`, of which the others are made: prompts can be taken out, and others added. It is bound to one
//! grid.

use super::distances;
use super::levels::{self, Join, Joined};
use super::vit_options::{self, SIZE, TAPS};
use super::{
    BankContent, Fitting, Method, NamedTensor, Opt, OptKind, Options, Output, Prompt, Setting, find,
    load_on_every_device, pixels, rows,
};
use crate::backend::BankRole;
use crate::backend::cpu::Cpu;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::split_mix::{STEP, mix};
use crate::view::{Fit, Grid};
use crate::weights::{Arch, Weights};

mod compare;
mod gaussian;

/// Names of the bank's tensors.
const TOKENS: &str = "tokens";
const GRID: &str = "grid";
const CHANNELS: &str = "channels";
const MEAN: &str = "mean";
const DIRECTIONS: &str = "directions";
const WEIGHTS: &str = "weights";

/// Options.
const DIMS: &str = "dims";
const SEED: &str = "method-seed";
const SINGLE: &str = "single";

/// Added to each variance.
const RIDGE: f64 = 0.01;

/// The method.
pub struct Padim;

impl Method for Padim {
    fn name(&self) -> &'static str {
        "padim"
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
                vit_options::size(vit_options::USUAL_SIZE),
                vit_options::taps("the last; stages 1,2,3 of a ResNet"),
                Opt {
                    name: DIMS,
                    help: "number of randomly drawn channels of the tokens to compare; all channels if there are no more",
                    kind: OptKind::ModelCount {
                        low: 1,
                        high: 65_536,
                        default: "100; 550 of a ResNet with bottlenecks",
                    },
                    of_prompts: false,
                },
                Opt {
                    name: SEED,
                    help: "seed for the choice of channels",
                    kind: OptKind::Count { low: 0, high: u32::MAX as usize, default: 0 },
                    of_prompts: false,
                },
                Opt {
                    name: SINGLE,
                    help: "allow a bank of one normal image, which has no variance: distances are then ten times the Euclidean ones",
                    kind: OptKind::Switch { default: false },
                    of_prompts: true,
                },
            ]
        }
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        if arch.vision.resnet.is_some() {
            levels::settle(arch, options, &[1, 2, 3]);
        }
        vit_options::settle(arch, options);
        let bottlenecks = arch.vision.resnet.is_some_and(|resnet| resnet.inner.is_some());
        options.settle(DIMS, Setting::Count(if bottlenecks { 550 } else { 100 }));
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
        if arch.vision.resnet.is_some() {
            return levels::wants(options, false);
        }
        Ok(Wants {
            taps: vit_options::tapped(arch, options)?,
            norm: true,
            class: false,
            unit: false,
            ..Wants::default()
        })
    }

    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        // Its tokens, and the direction that it adds at each place.
        cells.saturating_mul(8 * depth(arch, options))
    }

    fn slot_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        let rows =
            if arch.vision.resnet.is_some() { Joined::<Cpu>::bytes(arch, options, Join::Nearest, cells) } else { 0 };
        let cell = arch.vision.cell(options.counts(TAPS).unwrap_or_default());
        pixels::bytes(cells, cell).saturating_add(rows)
    }

    fn announce(&self, arch: &Arch, options: &Options, prompts: usize, cells: usize) -> Option<String> {
        let depth = depth(arch, options);
        let directions = directions(prompts, depth);
        Some(format!(
            "{prompts} images of this shape give {cells} places of {depth} channels, each with a mean and {directions} directions; the bank \
             takes {:.1} MB",
            (cells * (depth * (1 + directions + prompts) + directions) * 4) as f64 / 1e6
        ))
    }

    fn check_prompts(&self, prompts: usize, options: &Options) -> Result<()> {
        if prompts > 1 || options.switch(SINGLE)? {
            return Ok(());
        }
        let message = "the method `padim` takes how patches vary from its normal images, and one image does not vary: give at least \
                       two, or say single=on to compare with this one alone";
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn bound_grid(&self, bank: &BankContent) -> Option<Grid> {
        bank.tensor(GRID).ok().and_then(grid_of)
    }

    fn check_model(&self, _: &Weights) -> Result<()> {
        Ok(())
    }

    fn fit(&self, prompts: &[Prompt], _: Vec<NamedTensor>, with: &mut Fitting<'_>) -> Result<BankContent> {
        let of = |name: &str| prompts.iter().map(|prompt| find(&prompt.tensors, name)).collect::<Result<Vec<_>>>();
        let (tokens, grids, channels) = (of(TOKENS)?, of(GRID)?, of(CHANNELS)?);
        let grid = grids.first().and_then(|grid| grid_of(grid)).unwrap_or_default();
        if let Some((i, other)) = grids.iter().enumerate().find(|(_, other)| grid_of(other) != Some(grid)) {
            let message = format!(
                "the method `padim` compares each place of an image with the same place of the normal ones, and these are of {grid} and \
                 of {} patches (image {i} in the order of their hashes): give images of one shape, or the fit stretch",
                grid_of(other).unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let all = rows::joined(&tokens)?;
        let (count, cells, depth) = (prompts.len(), grid.cells(), all.shape[1]);
        let directions = directions(count, depth);
        let found = gaussian::each_place(&mut (with.cpu)()?, &all.values, [count, cells, depth], directions)?;
        let tensors = vec![
            NamedTensor { name: MEAN, shape: vec![cells, depth], values: found.means.into() },
            NamedTensor { name: DIRECTIONS, shape: vec![cells, directions, depth], values: found.directions.into() },
            NamedTensor { name: WEIGHTS, shape: vec![cells, directions], values: found.weights.into() },
            (*channels[0]).clone(),
            (*grids[0]).clone(),
            all,
        ];
        Ok(BankContent { tensors, rows: vec![cells; count] })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        let mut prompts = rows::prompts(bank, TOKENS, hashes, places)?;
        for prompt in &mut prompts {
            prompt.tensors.extend([bank.tensor(GRID)?.clone(), bank.tensor(CHANNELS)?.clone()]);
        }
        Ok((prompts, Vec::new()))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, options: &Options) -> Result<()> {
        let grid = bank.tensor(GRID).ok().and_then(grid_of);
        let Some(cells) = grid.map(Grid::cells).filter(|cells| *cells > 0) else {
            let message = format!("tensor `{GRID}` is no grid; build the bank again");
            return Err(Error::new(ErrorKind::Bank, message).of_tensor(GRID));
        };
        let depth = depth(arch, options);
        let directions = directions(prompts, depth);
        rows::check_counts(bank, prompts)?;
        rows::check_shape(bank, TOKENS, &[prompts * cells, depth])?;
        rows::check_shape(bank, MEAN, &[cells, depth])?;
        rows::check_shape(bank, DIRECTIONS, &[cells, directions, depth])?;
        rows::check_shape(bank, WEIGHTS, &[cells, directions])?;
        rows::check_shape(bank, CHANNELS, &[depth])?;
        if *bank.tensor(CHANNELS)?.values != *channels(arch, options)? {
            let message = format!("tensor `{CHANNELS}` names others than its options draw; build the bank again");
            return Err(Error::new(ErrorKind::Bank, message).of_tensor(CHANNELS));
        }
        Ok(())
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        &[
            (MEAN, BankRole::Numbers),
            (DIRECTIONS, BankRole::Numbers),
            (WEIGHTS, BankRole::Numbers),
            (CHANNELS, BankRole::Numbers),
        ]
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[MEAN, DIRECTIONS, WEIGHTS, CHANNELS, GRID, TOKENS]
    }

    load_on_every_device!(compare::load);
}

/// All channels of the tokens side by side.
fn all_channels(arch: &Arch, options: &Options) -> usize {
    if arch.vision.resnet.is_some() {
        return levels::widths(arch, options).iter().sum();
    }
    options.counts(TAPS).map_or(1, <[usize]>::len) * arch.vision.width
}

/// How many of them are compared.
fn depth(arch: &Arch, options: &Options) -> usize {
    options.count(DIMS).unwrap_or(1).min(all_channels(arch, options))
}

/// Which are, ascending: those whose drawn numbers are the smallest.
fn channels(arch: &Arch, options: &Options) -> Result<Vec<f32>> {
    let (all, seed) = (all_channels(arch, options) as u64, options.count(SEED)? as u64);
    let number = |channel: u64| mix((seed.wrapping_mul(all).wrapping_add(channel + 1)).wrapping_mul(STEP));
    let mut drawn: Vec<(u64, u64)> = (0..all).map(|channel| (number(channel), channel)).collect();
    drawn.sort_unstable();
    let mut channels: Vec<u64> = drawn[..depth(arch, options)].iter().map(|(_, channel)| *channel).collect();
    channels.sort_unstable();
    Ok(channels.into_iter().map(|channel| channel as f32).collect())
}

/// Directions that are kept of the Gaussians of `prompts` images: those in which so many can vary, and one zero for a
/// single image.
fn directions(prompts: usize, depth: usize) -> usize {
    prompts.saturating_sub(1).clamp(1, depth.max(1))
}

/// The grid of a tensor of rows and columns.
fn grid_of(tensor: &NamedTensor) -> Option<Grid> {
    match tensor.values[..] {
        [rows, cols] if rows >= 0.0 && cols >= 0.0 => Some(Grid::new(rows as usize, cols as usize)),
        _ => None,
    }
}
