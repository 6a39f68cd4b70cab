//! One image against many banks.

use std::collections::HashMap;
use std::sync::Arc;

use super::scorer::{Fitted, fitted, seen_by_patches, shown};
use super::session::{DeviceBank, Session, Uploader};
use super::slot::Prepared;
use super::verdict::Regions;
use super::{PromptBank, Score};
use crate::error::{Error, ErrorKind, Result};
use crate::preprocess::Frame;
use crate::weights::{Arch, VisionArch};

/// Scores each image against several banks: the image is encoded once, and compared once with each prompt, however many of the
/// banks share it. Made by [`crate::Engine::panel`]; this is how many draws of prompts are judged for the price of one.
///
/// Scores have the same bits as those of a [`crate::Scorer`] with the bank.
pub struct Panel {
    session: Session,
    vision: VisionArch,
    banks: Vec<Arc<PromptBank>>,
    prepared: Vec<Prepared>,
    /// A bank of each prompt alone.
    prompts: Vec<DeviceBank>,
    /// The prompts of each bank, as indices of `prompts`.
    members: Vec<Vec<usize>>,
    /// Largest cosines of the image with each prompt, `[P, L, N]`, and with one bank, `[L, N]`.
    cosines: Vec<f32>,
    best: Vec<f32>,
    plans: Vec<Fitted>,
    memory: Vec<u8>,
    regions: Regions,
    scores: Vec<Score>,
}

impl Panel {
    pub(super) fn new(
        session: Session,
        uploader: &Uploader,
        model_hash: &str,
        arch: &Arch,
        banks: &[Arc<PromptBank>],
    ) -> Result<Self> {
        let Some(first) = banks.first() else {
            return Err(Error::new(ErrorKind::Argument, "a panel of no banks: at least one is needed"));
        };
        let (mut prompts, mut known, mut members) = (Vec::new(), HashMap::new(), Vec::new());
        let mut prepared = Vec::with_capacity(banks.len());
        for bank in banks {
            bank.check_model(model_hash, arch)?;
            if bank.fit() != first.fit() || bank.mask() != first.mask() {
                let message = format!(
                    "a bank of fit {} beside one of fit {}, or of another ignore mask: an image is encoded once",
                    bank.fit(),
                    first.fit()
                );
                return Err(Error::new(ErrorKind::Argument, message));
            }
            let mut places = Vec::with_capacity(bank.prompt_hashes().len());
            for (place, hash) in bank.prompt_hashes().iter().enumerate() {
                let at = match known.get(hash) {
                    Some(&at) => at,
                    None => {
                        prompts.push(uploader.upload(&bank.subset(&[place])?)?);
                        known.insert(hash, prompts.len() - 1);
                        prompts.len() - 1
                    }
                };
                places.push(at);
            }
            members.push(places);
            let device = uploader.upload(bank)?;
            prepared.push(Prepared { bank: Arc::clone(bank), device, id: bank.bank_id(), generation: 1 });
        }
        let grid = arch.vision.grid();
        let len = arch.taps.len() * arch.vision.patches();
        Ok(Panel {
            session,
            vision: arch.vision.clone(),
            banks: banks.to_vec(),
            prepared,
            cosines: vec![0.0; prompts.len() * len],
            prompts,
            members,
            best: vec![0.0; len],
            plans: Vec::new(),
            memory: Vec::new(),
            regions: Regions::new(grid),
            scores: vec![Score::empty(grid); banks.len()],
        })
    }

    /// The banks, in the order of the scores.
    pub fn banks(&self) -> &[Arc<PromptBank>] {
        &self.banks
    }

    /// Scores one image against each bank.
    ///
    /// # Errors
    /// As [`crate::Scorer::score`].
    pub fn score(&mut self, frame: Frame<'_>) -> Result<&[Score]> {
        let (fit, mask) = (self.banks[0].fit(), self.banks[0].mask());
        let at = fitted(&mut self.plans, &frame, &self.vision, fit, mask)?;
        let Fitted { plan, judged } = &self.plans[at];
        self.session.place(shown(frame, mask, &mut self.memory)?, plan, 0)?;
        self.session.judge(0, judged);
        let placement = seen_by_patches(plan.placement(), &self.vision);
        for score in &mut self.scores {
            score.map.placement = placement;
            (score.width, score.height) = (frame.width(), frame.height());
            score.ignored.iter_mut().zip(judged).for_each(|(ignored, judged)| *ignored = *judged == 0.0);
        }
        self.session.encode()?;
        let len = self.best.len();
        for (prompt, cosines) in self.prompts.iter().zip(self.cosines.chunks_exact_mut(len)) {
            self.session.nearest(prompt, cosines)?;
        }
        let Panel { session, prepared, members, cosines, best, regions, scores, .. } = self;
        for ((prepared, members), score) in prepared.iter().zip(members).zip(scores.iter_mut()) {
            let mut rows = members.iter().map(|&prompt| &cosines[prompt * len..][..len]);
            let Some(first) = rows.next() else { continue };
            best.copy_from_slice(first);
            // A maximum has no order: the bits are those of all prompts at once.
            rows.for_each(|row| best.iter_mut().zip(row).for_each(|(best, cosine)| *best = best.max(*cosine)));
            session.score_nearest(best, &prepared.device, |_, parts, map| score.fill(parts, map, prepared, regions))?;
        }
        Ok(&self.scores)
    }
}
