//! WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814): windows of an image, encoded one by one, compared with texts
//! ([`WinclipZero`]) or with the windows of a few normal images ([`Winclip`]).
//!
//! | What | Where |
//! |---|---|
//! | windows of 2 x 2 and 3 x 3 patches at every place, each a short sequence through the tower | [`crate::encoder`] |
//! | text prototypes: states times templates, a unit mean for each side | `texts.rs` beside this folder |
//! | zero-shot score: softmax of the cosines with both prototypes, times 100 | `scores/` |
//! | distance of a window or patch: `0.5 (1 - cosine)` to the nearest of its kind in any normal image, anywhere | `compare.rs` |
//! | from windows to patches: the harmonic mean over the windows that cover a patch | `scores/` |
//! | zero-shot map: harmonic mean of both sizes and the image's score | `scores/` |
//! | few-shot map: arithmetic mean of both sizes and the patch's own distance; score: mean of its maximum and the zero-shot score | `compare.rs` |
//!
//! Numbers are those of mala-lab/WinCLIP, the code behind the rows in InCTRL's paper; the zero-shot map, which it
//! lacks, is that of other public code. Pictures that are not square are fitted to the model as for other methods, or, as
//! published, cut into squares (the option `squares` of tiles).
//!
//! A bank of `winclip` holds `windows_2`, `windows_3` `[R, E]`, `patches` `[R, W]`, all unit rows, `text_prototypes`
//! `[2, E]`, and `window_counts` `[K, 2]`, the rows of each prompt. A bank of `winclip-zero` holds `text_prototypes`
//! alone.

use super::vit_options::{self, SIZE};
use super::{
    BankContent, Fitting, Method, NamedTensor, Opt, Options, Output, Prompt, Setting, find, load_on_every_device, rows,
    texts,
};
use crate::backend::BankRole;
use crate::backend::cpu::Cpu;
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::text::{Tokeniser, ensemble};
use crate::view::Grid;
use crate::weights::{Arch, Weights};

mod compare;
mod scores;

pub use scores::{Cover, Parts, TextScores, WinclipOps};

/// Patches along the sides of windows.
pub const SIDES: [usize; 2] = [2, 3];

/// Names of the bank's tensors.
const WINDOWS: [&str; SIDES.len()] = ["windows_2", "windows_3"];
const PATCHES: &str = "patches";
const TEXT_PROTOTYPES: &str = "text_prototypes";
const WINDOW_COUNTS: &str = "window_counts";

/// The zero-shot method: texts only.
pub struct WinclipZero;

/// The few-shot method: texts and normal images.
pub struct Winclip;

const fn share(name: &'static str) -> Output {
    Output { name, low: 0.0, high: 1.0 }
}

impl Method for WinclipZero {
    fn name(&self) -> &'static str {
        "winclip-zero"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &[share("score"), share("patch_max")] }
    }

    fn options(&self) -> &'static [Opt] {
        const { &[vit_options::size(USUAL_SIZE)] }
    }

    fn reads_class(&self) -> bool {
        true
    }

    fn cuts_squares(&self) -> bool {
        true
    }

    fn takes_prompts(&self) -> bool {
        false
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        settle(arch, options);
    }

    fn size(&self, options: &Options) -> Result<Option<usize>> {
        options.count(SIZE).map(Some)
    }

    fn wants(&self, _: &Arch, _: &Options) -> Result<Wants> {
        Ok(Wants { class: true, windows: SIDES.to_vec(), ..Wants::default() })
    }

    fn prompt_bytes(&self, _: &Arch, _: &Options, _: usize) -> usize {
        0
    }

    fn slot_bytes(&self, _: &Arch, _: &Options, cells: usize) -> usize {
        compare::slot_bytes(cells)
    }

    fn check_prompts(&self, prompts: usize, _: &Options) -> Result<()> {
        if prompts == 0 {
            return Ok(());
        }
        let message = "the method `winclip-zero` compares with texts only and takes no normal images: give none, or use the method \
                       `winclip`";
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn check_grid(&self, _: &Arch, grid: Grid) -> Result<()> {
        check_grid(self.name(), grid)
    }

    fn check_model(&self, weights: &Weights) -> Result<()> {
        check_model(self.name(), weights)
    }

    fn class_tensors(&self, cpu: &mut Cpu, weights: &Weights, class: &str) -> Result<Vec<NamedTensor>> {
        class_tensors(cpu, weights, class)
    }

    fn fit(&self, prompts: &[Prompt], class: Vec<NamedTensor>, with: &mut Fitting<'_>) -> Result<BankContent> {
        self.check_prompts(prompts.len(), with.options)?;
        Ok(BankContent { tensors: class, rows: Vec::new() })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        _: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        if !places.is_empty() {
            return Err(Error::new(ErrorKind::Internal, "a bank of texts was split into prompts"));
        }
        Ok((Vec::new(), bank.tensors.clone()))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, options: &Options) -> Result<()> {
        rows::check_shape(bank, TEXT_PROTOTYPES, &[2, arch.embed_dim])?;
        self.check_prompts(prompts, options).map_err(|error| {
            Error::new(ErrorKind::Bank, "the bank lists normal images: build the bank again").because(error)
        })
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        &[(TEXT_PROTOTYPES, BankRole::Numbers)]
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[TEXT_PROTOTYPES]
    }

    load_on_every_device!(compare::load_zero);
}

impl Method for Winclip {
    fn name(&self) -> &'static str {
        "winclip"
    }

    fn outputs(&self) -> &'static [Output] {
        const { &[share("score"), share("patch_max"), share("text_prior")] }
    }

    fn options(&self) -> &'static [Opt] {
        const { &[vit_options::size(USUAL_SIZE)] }
    }

    fn reads_class(&self) -> bool {
        true
    }

    fn cuts_squares(&self) -> bool {
        true
    }

    fn settle(&self, arch: &Arch, options: &mut Options) {
        settle(arch, options);
    }

    fn size(&self, options: &Options) -> Result<Option<usize>> {
        options.count(SIZE).map(Some)
    }

    fn wants(&self, arch: &Arch, _: &Options) -> Result<Wants> {
        let taps = vec![arch.vision.layers];
        Ok(Wants { taps, class: true, unit: true, windows: SIDES.to_vec(), ..Wants::default() })
    }

    fn prompt_bytes(&self, arch: &Arch, _: &Options, cells: usize) -> usize {
        4 * cells.saturating_mul(arch.vision.width + SIDES.len() * arch.embed_dim)
    }

    fn slot_bytes(&self, _: &Arch, _: &Options, cells: usize) -> usize {
        compare::slot_bytes(cells)
    }

    fn check_grid(&self, _: &Arch, grid: Grid) -> Result<()> {
        check_grid(self.name(), grid)
    }

    fn check_model(&self, weights: &Weights) -> Result<()> {
        check_model(self.name(), weights)
    }

    fn class_tensors(&self, cpu: &mut Cpu, weights: &Weights, class: &str) -> Result<Vec<NamedTensor>> {
        class_tensors(cpu, weights, class)
    }

    fn join_views(&self, views: Vec<Vec<NamedTensor>>, _: &mut Fitting<'_>) -> Result<Vec<NamedTensor>> {
        let joined =
            |name: &&str| rows::joined(&views.iter().map(|view| find(view, name)).collect::<Result<Vec<_>>>()?);
        [WINDOWS[0], WINDOWS[1], PATCHES].iter().map(joined).collect()
    }

    fn fit(&self, prompts: &[Prompt], class: Vec<NamedTensor>, _: &mut Fitting<'_>) -> Result<BankContent> {
        let of = |name: &str| prompts.iter().map(|prompt| find(&prompt.tensors, name)).collect::<Result<Vec<_>>>();
        let (small, large, patches) = (of(WINDOWS[0])?, of(WINDOWS[1])?, of(PATCHES)?);
        let counts = small.iter().zip(&large).flat_map(|(small, large)| [small.shape[0], large.shape[0]]);
        let counts: Vec<f32> = counts.map(|count| count as f32).collect();
        let rows = patches.iter().map(|patches| patches.shape[0]).collect();
        let mut tensors = vec![rows::joined(&small)?, rows::joined(&large)?, rows::joined(&patches)?];
        tensors.extend(class);
        let shape = vec![prompts.len(), SIDES.len()];
        tensors.push(NamedTensor { name: WINDOW_COUNTS, shape, values: counts.into() });
        Ok(BankContent { tensors, rows })
    }

    fn take_apart(
        &self,
        bank: &BankContent,
        hashes: &[[u8; 32]],
        places: &[usize],
    ) -> Result<(Vec<Prompt>, Vec<NamedTensor>)> {
        let mut prompts = rows::prompts(bank, PATCHES, hashes, places)?;
        for (side, name) in WINDOWS.into_iter().enumerate() {
            let parts = rows::parts(bank.tensor(name)?, &window_counts(bank, side)?, places)?;
            prompts.iter_mut().zip(parts).for_each(|(prompt, part)| prompt.tensors.push(part));
        }
        Ok((prompts, vec![bank.tensor(TEXT_PROTOTYPES)?.clone()]))
    }

    fn check_bank(&self, bank: &BankContent, prompts: usize, arch: &Arch, _: &Options) -> Result<()> {
        rows::check_counts(bank, prompts)?;
        rows::check_shape(bank, WINDOW_COUNTS, &[prompts, SIDES.len()])?;
        rows::check_shape(bank, PATCHES, &[bank.rows.iter().sum(), arch.vision.width])?;
        rows::check_shape(bank, TEXT_PROTOTYPES, &[2, arch.embed_dim])?;
        for (side, name) in WINDOWS.into_iter().enumerate() {
            let counts = window_counts(bank, side)?;
            // There are fewer windows than patches: a sum of larger numbers could overflow.
            if counts.iter().zip(&bank.rows).any(|(count, rows)| *count == 0 || count > rows) {
                let message = format!("tensor `{WINDOW_COUNTS}` does not count windows: build the bank again");
                return Err(Error::new(ErrorKind::Bank, message).of_tensor(WINDOW_COUNTS));
            }
            rows::check_shape(bank, name, &[counts.iter().sum(), arch.embed_dim])?;
        }
        Ok(())
    }

    fn device_tensors(&self, _: &BankContent) -> &'static [(&'static str, BankRole)] {
        &[
            (WINDOWS[0], BankRole::Rows),
            (WINDOWS[1], BankRole::Rows),
            (PATCHES, BankRole::Rows),
            (TEXT_PROTOTYPES, BankRole::Numbers),
        ]
    }

    fn file_tensors(&self, _: &dyn Fn(&str) -> bool) -> &'static [&'static str] {
        &[WINDOWS[0], WINDOWS[1], PATCHES, TEXT_PROTOTYPES, WINDOW_COUNTS]
    }

    load_on_every_device!(compare::load_few);
}

/// The default of the option `size`.
const USUAL_SIZE: &str = "the model's";

fn settle(arch: &Arch, options: &mut Options) {
    options.settle(SIZE, Setting::Count(arch.vision.image_size));
}

/// Windows of every size need room.
fn check_grid(method: &str, grid: Grid) -> Result<()> {
    let most = SIDES[SIDES.len() - 1];
    if grid.rows >= most && grid.cols >= most {
        return Ok(());
    }
    let message = format!(
        "the method `{method}` looks at windows of up to {most} x {most} patches, but this frame has {grid}: use a larger size, or \
         the fit crop, letterbox or stretch"
    );
    Err(Error::new(ErrorKind::Argument, message))
}

fn check_model(method: &str, weights: &Weights) -> Result<()> {
    let tower = weights.arch().text_tower();
    tower.map_err(|error| error.prefixed(&format!("the method `{method}` compares images with texts, but")))?;
    Ok(())
}

fn class_tensors(cpu: &mut Cpu, weights: &Weights, class: &str) -> Result<Vec<NamedTensor>> {
    let values = texts::prototypes(cpu, weights, &Tokeniser::new()?, &ensemble::composed(class)?)?;
    let shape = vec![2, weights.arch().embed_dim];
    Ok(vec![NamedTensor { name: TEXT_PROTOTYPES, shape, values: values.into() }])
}

/// How many windows of a side each prompt has.
fn window_counts(bank: &BankContent, side: usize) -> Result<Vec<usize>> {
    let counts = bank.tensor(WINDOW_COUNTS)?.values.iter().skip(side).step_by(SIDES.len());
    Ok(counts.map(|count| *count as usize).collect())
}
