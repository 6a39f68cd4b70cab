//! PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265): the distance between each patch of an image and the nearest of
//! a few patches that represent those of the normal images.
//!
//! | What | Where |
//! |---|---|
//! | features of a transformer: tokens of the tapped blocks after the final norm, each scaled to unit length, concatenated, and divided by the root of their number | [`PatchCore`], `compare.rs` |
//! | features of a ResNet, as the official code has them: the 3 x 3 neighbourhoods of a stage, averaged to `level-dims` numbers, enlarged to the grid of the first of the stages, side by side, averaged to `dims` | `methods/levels.rs` |
//! | the bank: a coreset of all patches of the prompts, by greedy k-centre | `coreset.rs` |
//! | distance of a patch: Euclidean, to the nearest row; of an image: the largest | `compare.rs` |
//! | optional weight of the image's distance, from the neighbours of the nearest row | `reweight/` |
//!
//! A bank holds `patches` `[M, W]` of a transformer or `features` `[M, D]` of a ResNet, in the order in which they were
//! chosen, and `neighbours` `[M, 9]`, the rows nearest to each (-1 if there are fewer) if the option `reweight` is on,
//! and a single zero if it is off. Distances are those of the unit tokens side by side: the root of the number of
//! tapped blocks is multiplied back.

use super::distances;
use super::levels::{self, Join, Joined};
use super::vit_options::{self, ROTATIONS, SIZE, TAPS};
use super::{
    BankContent, Fitting, Method, NamedTensor, Opt, OptKind, Options, Output, Prompt, Setting, find,
    load_on_every_device, rows,
};
use crate::backend::BankRole;
use crate::backend::cpu::Cpu;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::view::Fit;
use crate::weights::{Arch, Weights};

mod compare;
mod coreset;
mod reweight;
mod short;
pub use reweight::{AROUND, ReweightOps, Reweighted};

/// Names of the bank's tensors.
const PATCHES: &str = "patches";
const FEATURES: &str = "features";
const NEIGHBOURS: &str = "neighbours";

/// Options.
const CORESET: &str = "coreset";
const ROWS: &str = "rows";
const SEED: &str = "method-seed";
const REWEIGHT: &str = "reweight";
const LEVEL_DIMS: &str = "level-dims";
const DIMS: &str = "dims";

/// Their defaults.
const USUAL_DIMS: &str = "1024 on a ResNet";
const OFFICIAL_DIMS: usize = 1024;

/// The method.
pub struct PatchCore;

impl Method for PatchCore {
    fn name(&self) -> &'static str {
        "patchcore"
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
                vit_options::taps("the last; stages 2,3 of a ResNet"),
                vit_options::rotations(1),
                Opt {
                    name: CORESET,
                    help: "share of the patches of the normal images that the bank keeps; 1 keeps all, in their order",
                    kind: OptKind::Share { default: 0.1 },
                    of_prompts: true,
                },
                Opt {
                    name: ROWS,
                    help: "number of patches that the bank keeps, instead of a share; 0 means use the share",
                    kind: OptKind::Count { low: 0, high: 1 << 24, default: 0 },
                    of_prompts: true,
                },
                Opt {
                    name: SEED,
                    help: "the first chosen patch: 0 for the one farthest from the mean of all, another number draws one at random",
                    kind: OptKind::Count { low: 0, high: u32::MAX as usize, default: 0 },
                    of_prompts: true,
                },
                Opt {
                    name: REWEIGHT,
                    help: "weigh an image's distance by the neighbours of the nearest patch",
                    kind: OptKind::Switch { default: false },
                    of_prompts: false,
                },
                Opt {
                    name: LEVEL_DIMS,
                    help: "numbers that the neighbourhoods of each stage of a ResNet are averaged to",
                    kind: OptKind::ModelCount { low: 1, high: 65_536, default: USUAL_DIMS },
                    of_prompts: false,
                },
                Opt {
                    name: DIMS,
                    help: "numbers that the stages of a ResNet together are averaged to: the width of the bank",
                    kind: OptKind::ModelCount { low: 1, high: 65_536, default: USUAL_DIMS },
                    of_prompts: false,
                },
            ]
        }
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        if arch.vision.resnet.is_some() {
            levels::settle(arch, options, &[2, 3]);
            for name in [LEVEL_DIMS, DIMS] {
                options.settle(name, Setting::Count(OFFICIAL_DIMS));
            }
        }
        vit_options::settle(arch, options);
    }

    fn usual_fit(&self, arch: &Arch) -> Option<Fit> {
        vit_options::usual_fit(arch)
    }

    fn size(&self, options: &Options) -> Result<Option<usize>> {
        options.count(SIZE).map(Some)
    }

    fn turns(&self, options: &Options) -> Result<usize> {
        options.count(ROTATIONS)
    }

    fn wants(&self, arch: &Arch, options: &Options) -> Result<Wants> {
        if arch.vision.resnet.is_some() {
            return levels::wants(options, false);
        }
        if let Some(name) = [LEVEL_DIMS, DIMS].into_iter().find(|name| options.count(name).is_ok()) {
            let message =
                format!("the option `{name}` is for ResNets, and this encoder is a transformer: leave it out");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        vit_options::unit_tokens(arch, options, false)
    }

    fn prompt_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        let turns = options.count(ROTATIONS).unwrap_or(1);
        turns.saturating_mul(cells).saturating_mul(4 * width(arch, options))
    }

    fn slot_bytes(&self, arch: &Arch, options: &Options, cells: usize) -> usize {
        if arch.vision.resnet.is_some() {
            return Joined::<Cpu>::bytes(arch, options, join(options), cells).saturating_add(4 * cells);
        }
        // The tokens side by side, and the rows that were found.
        cells.saturating_mul(4 * width(arch, options) + 8)
    }

    fn announce(&self, arch: &Arch, options: &Options, prompts: usize, cells: usize) -> Option<String> {
        let all = prompts.saturating_mul(options.count(ROTATIONS).ok()?).saturating_mul(cells);
        let kept = kept(options, all).ok()?;
        let width = width(arch, options);
        let megabytes = |rows: usize| rows.saturating_mul(4 * width) as f64 / 1e6;
        let mut text = format!(
            "{prompts} images of this shape leave {all} patches of {width} numbers, {:.1} MB; the bank keeps {kept} of them, {:.1} MB",
            megabytes(all),
            megabytes(kept)
        );
        if kept < all {
            // All patches exist twice: those of each image, and side by side.
            let while_choosing = 2.0 * megabytes(all) + megabytes(kept) + coreset::bytes(all, kept) as f64 / 1e6;
            text += &format!(", and choosing them takes {while_choosing:.1} MB");
        }
        Some(text)
    }

    fn check_model(&self, _: &Weights) -> Result<()> {
        Ok(())
    }

    fn join_views(&self, views: Vec<Vec<NamedTensor>>, _: &mut Fitting<'_>) -> Result<Vec<NamedTensor>> {
        let views = views.iter().map(|view| rows_of(view)).collect::<Result<Vec<_>>>()?;
        Ok(vec![rows::joined(&views)?])
    }

    fn fit(&self, prompts: &[Prompt], _: Vec<NamedTensor>, with: &mut Fitting<'_>) -> Result<BankContent> {
        let parts = prompts.iter().map(|prompt| rows_of(&prompt.tensors)).collect::<Result<Vec<_>>>()?;
        let all = rows::joined(&parts)?;
        let &[count, width] = &all.shape[..] else {
            return Err(Error::new(ErrorKind::Internal, "patches of several layers"));
        };
        let kept = kept(with.options, count)?;
        let (patches, counts) = if kept == count && with.options.count(ROWS)? == 0 {
            (all, parts.iter().map(|part| part.shape[0]).collect())
        } else {
            memory::check("choosing patches", coreset::bytes(count, kept), "use fewer normal images")?;
            let seed = with.options.count(SEED)?;
            let chosen = coreset::choose(&mut (with.cpu)()?, &all.values, width, kept, seed, with.progress)?;
            let values = chosen.iter().flat_map(|&row| &all.values[row * width..][..width]).copied();
            let values = memory::collected("the coreset", kept * width, values)?.into();
            (NamedTensor { name: all.name, shape: vec![kept, width], values }, Vec::new())
        };
        let neighbours = if with.options.switch(REWEIGHT)? {
            coreset::neighbours(&mut (with.cpu)()?, &patches.values, width, AROUND)?
        } else {
            vec![0.0]
        };
        let shape = if neighbours.len() == 1 { vec![1, 1] } else { vec![patches.shape[0], AROUND] };
        let neighbours = NamedTensor { name: NEIGHBOURS, shape, values: neighbours.into() };
        Ok(BankContent { tensors: vec![patches, neighbours], rows: counts })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        if bank.rows.is_empty() {
            return Err(rows::inseparable(self.name()));
        }
        Ok((rows::prompts(bank, rows_of(&bank.tensors)?.name, hashes, places)?, Vec::new()))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, options: &Options) -> Result<()> {
        let name = if arch.vision.resnet.is_some() { FEATURES } else { PATCHES };
        let rows = bank.tensor(name)?.shape.first().copied().unwrap_or(0).max(1);
        rows::check_shape(bank, name, &[rows, width(arch, options)])?;
        if !bank.rows.is_empty() {
            rows::check_counts(bank, prompts)?;
            rows::check_shape(bank, name, &[bank.rows.iter().sum(), width(arch, options)])?;
        }
        let neighbours = bank.tensor(NEIGHBOURS)?;
        let expected = if options.switch(REWEIGHT)? { [rows, AROUND] } else { [1, 1] };
        rows::check_shape(bank, NEIGHBOURS, &expected)?;
        let is_row = |row: &f32| (0.0..rows as f32).contains(row) && row.fract() == 0.0;
        let columns = neighbours.shape[1];
        // The first is the row itself, or an equal.
        let wrong = |(i, row): (usize, &f32)| !is_row(row) && (i % columns == 0 || *row != coreset::NOBODY);
        if neighbours.values.iter().enumerate().any(wrong) {
            let message = format!("tensor `{NEIGHBOURS}` names rows that are not there; build the bank again");
            return Err(Error::new(ErrorKind::Bank, message).of_tensor(NEIGHBOURS));
        }
        Ok(())
    }

    fn device_tensors(&self, bank: &BankContent) -> &'static [(&'static str, BankRole)] {
        if bank.tensor(FEATURES).is_ok() {
            return &[(FEATURES, BankRole::Numbers), (NEIGHBOURS, BankRole::Numbers)];
        }
        &[(PATCHES, BankRole::Rows), (NEIGHBOURS, BankRole::Numbers)]
    }

    fn file_tensors(&self, has: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        if has(FEATURES) { &[FEATURES, NEIGHBOURS] } else { &[PATCHES, NEIGHBOURS] }
    }

    load_on_every_device!(compare::load);
}

/// The rows of a bank, or of a prompt.
fn rows_of(tensors: &[NamedTensor]) -> Result<&NamedTensor> {
    find(tensors, FEATURES).or_else(|_| find(tensors, PATCHES))
}

/// How the stages of a ResNet become rows.
fn join(options: &Options) -> Join {
    let count = |name: &str| options.count(name).unwrap_or(OFFICIAL_DIMS);
    Join::Neighbourhoods { each: count(LEVEL_DIMS), all: count(DIMS) }
}

/// Width of a row: the tapped blocks side by side.
fn width(arch: &Arch, options: &Options) -> usize {
    if arch.vision.resnet.is_some() {
        return join(options).width(&[]);
    }
    options.counts(TAPS).map_or(1, <[usize]>::len) * arch.vision.width
}

/// How many of `all` rows are kept: `max(1, floor(share))`, or as many as the option `rows` says.
fn kept(options: &Options, all: usize) -> Result<usize> {
    let rows = options.count(ROWS)?;
    if rows > all {
        let message = format!(
            "rows={rows} asks for more patches than the {all} of the normal images: ask for fewer, or give coreset=1, which keeps all"
        );
        return Err(Error::new(ErrorKind::Argument, message));
    }
    Ok(if rows > 0 { rows } else { ((all as f64 * options.share(CORESET)?) as usize).max(1) })
}
