//! The contents of a bank: one, or one for each position of a tile. Every prompt contributes to each of them.

use std::num::NonZeroUsize;

use super::header::{Header, Positions};
use super::prompt_bank::PromptBank;
use super::prompt_facts::PromptsShown;
use crate::backend::BankTensor;
use crate::backend::cpu::Cpu;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Frame;
use crate::methods::{BankContent, Fitting, Method, NamedTensor, Prompt};
use crate::pictures::PictureId;

/// Lets the method make `count` contents of what the prompts contribute to each, `prompts[k][content]`.
///
/// # Errors
/// As [`Method::fit`]; [`ErrorKind::Internal`] for a prompt that does not contribute to each.
pub(super) fn fit_each(
    method: &dyn Method,
    count: usize,
    prompts: Vec<Vec<Prompt>>,
    class: &[NamedTensor],
    with: &mut Fitting<'_>,
) -> Result<Vec<BankContent>> {
    if prompts.iter().any(|prompt| prompt.len() != count) {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("a prompt does not contribute to each of {count} contents"),
        ));
    }
    let mut parts: Vec<_> = prompts.into_iter().map(Vec::into_iter).collect();
    (0..count)
        .map(|_| {
            let own: Vec<Prompt> = parts.iter_mut().filter_map(Iterator::next).collect();
            method.fit(&own, class.to_vec(), with)
        })
        .collect()
}

impl PromptBank {
    /// How many contents it has: 1, or one for each position of a tile.
    pub(crate) fn positions(&self) -> usize {
        self.contents.len()
    }

    /// The frames that it is for, where each position of a tile has its own content.
    pub(crate) fn frame_positions(&self) -> Option<Positions> {
        self.header.positions
    }

    /// The tensors of a content that go to a device, in the method's order.
    pub(crate) fn device_tensors(&self, position: usize) -> Result<Vec<BankTensor<'_>>> {
        let content = self.contents.get(position).ok_or_else(|| {
            let message = format!("content {position} of a bank that has {}", self.contents.len());
            Error::new(ErrorKind::Internal, message)
        })?;
        let tensor = |&(name, role)| {
            let NamedTensor { values, shape, .. } = content.tensor(name)?;
            let shape = match shape[..] {
                [width] => [1, 1, width],
                [rows, width] => [1, rows, width],
                [layers, rows, width] => [layers, rows, width],
                _ => {
                    let message = format!("tensor `{name}` has too many dimensions");
                    return Err(Error::new(ErrorKind::Internal, message).of_tensor(name));
                }
            };
            Ok(BankTensor { values, shape, role })
        };
        self.method_entry().device_tensors(content).iter().map(tensor).collect()
    }

    /// A bank of some of the prompts, given by their indices in [`PromptBank::prompt_hashes`]. It has the same bits as
    /// a bank built from these images, and no thresholds, as those hold for all prompts together.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for no indices, an index out of range, or a method whose banks do not keep prompts
    /// apart.
    pub fn subset(&self, places: &[usize]) -> Result<PromptBank> {
        let mut places = places.to_vec();
        places.sort_unstable();
        let count = self.header.prompts.len();
        if places.is_empty() || places.last() >= Some(&count) {
            let message = format!("prompts {places:?} of a bank of {count}: at least one, counted from 0");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let (chosen, class) = self.take_apart(&places)?;
        let method = self.method_entry();
        method.check_prompts(chosen.len(), self.options())?;
        let mut cpu = || Cpu::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
        let mut with = Fitting { options: self.options(), cpu: &mut cpu, progress: &mut |_, _| {} };
        let contents = fit_each(method, self.positions(), chosen, &class, &mut with)?;
        let prompts = places.iter().map(|&k| self.header.prompts[k].clone()).collect();
        let shown = PromptsShown::of(&places.iter().map(|&k| self.prompt_facts(k)).collect::<Vec<_>>());
        let header = Header { prompts, thresholds: None, calibration: None, shown, ..self.header.clone() };
        Self::new(self.setup.clone(), header, contents, self.mask.clone())
    }

    /// The index of a prompt, with the image `frame`, and the bank without it and its copies.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if the image is not a prompt of the bank, there is no other prompt, or the method cannot
    /// separate its prompts.
    pub fn without(&self, frame: Frame<'_>) -> Result<(usize, PromptBank)> {
        let places: Vec<usize> = PictureId::prompt_places(frame, self.prompt_hashes())?.collect();
        let Some(&place) = places.first() else {
            let message = "the image is not a prompt of the bank: its pixels differ from all prompts";
            return Err(Error::new(ErrorKind::Argument, message));
        };
        let others: Vec<usize> = (0..self.prompt_hashes().len()).filter(|k| !places.contains(k)).collect();
        if others.is_empty() {
            let message = "the bank has no other prompt to compare with: at least two are needed";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok((place, self.subset(&others)?))
    }

    /// Whether it keeps prompts apart, so that [`PromptBank::subset`] works.
    pub fn has_separate_prompts(&self) -> bool {
        self.contents.iter().all(|content| !content.rows.is_empty())
    }

    /// What the prompts at `places` contribute to each content, and the tensors of the class name.
    pub(crate) fn take_apart(&self, places: &[usize]) -> Result<(Vec<Vec<Prompt>>, Vec<NamedTensor>)> {
        let hash = |hash: &String| blake3::Hash::from_hex(hash).map_or([0; 32], |hash| *hash.as_bytes());
        let hashes: Vec<[u8; 32]> = self.header.prompts.iter().map(hash).collect();
        let (mut prompts, mut class) = (vec![Vec::with_capacity(self.positions()); places.len()], Vec::new());
        for content in &self.contents {
            let (own, of_class) = self.method_entry().take_apart(content, &hashes, places)?;
            prompts.iter_mut().zip(own).for_each(|(prompt, part)| prompt.push(part));
            class = of_class;
        }
        Ok((prompts, class))
    }
}
