//! How a bank grows: which images leave where its rows have a cap, and whether its limits stay.
//!
//! The rule: of the images that were appended under a cap, the oldest leaves first, with all its rows. All others stay.
//! Where limits are kept, the images that the bank had when its limits were set stay, too: limits hold for every bank that
//! has these images and others, if scores can only fall with more images.

use super::builder::BankBuilder;
use super::draft::{Brightness, hash_of, hex};
use crate::bank::PromptBank;
use crate::bank::arrivals::Arrivals;
use crate::calibration::{Calibration, Thresholds};
use crate::error::{Error, ErrorKind, Result};
use crate::methods::Prompt;

/// How the bank grows that a builder began with.
pub(super) struct Growth {
    /// Those of images that were appended under a cap before, and of all that are appended now.
    pub arrivals: Arrivals,
    max_rows: Option<usize>,
    /// The limits that the longer bank keeps.
    kept: Option<(Option<Thresholds>, Option<Calibration>)>,
    /// Whether images were appended under a cap before.
    was_capped: bool,
    /// The limits that the bank has.
    limits: (Option<Thresholds>, Option<Calibration>),
}

impl Growth {
    /// The growth of this bank, without a cap and without its limits.
    pub fn of(bank: &PromptBank) -> Self {
        let limits = (bank.thresholds().copied(), bank.calibration().cloned());
        let arrivals = bank.arrivals().clone();
        Growth { was_capped: !arrivals.order().is_empty(), arrivals, max_rows: None, kept: None, limits }
    }

    /// Goes on with a bank that has grown from this one.
    pub fn follow(&mut self, bank: &PromptBank) {
        let limits = (bank.thresholds().copied(), bank.calibration().cloned());
        self.kept = self.kept.take().map(|_| limits.clone());
        self.limits = limits;
        self.arrivals = bank.arrivals().clone();
    }

    /// Whether there are limits that the longer bank keeps.
    fn keeps_limits(&self) -> bool {
        self.kept.as_ref().is_some_and(|(thresholds, _)| thresholds.is_some())
    }

    /// The longer bank with what it keeps.
    pub fn finish(&self, bank: PromptBank) -> Result<PromptBank> {
        let staying = |hash: &str| bank.prompt_hashes().binary_search_by(|other| other.as_str().cmp(hash)).is_ok();
        // Without a cap a bank that grew is the bank of all its images, whatever their order.
        let is_capped = self.max_rows.is_some() || self.was_capped;
        let arrivals = if is_capped { self.arrivals.only(staying) } else { Arrivals::default() };
        match self.kept.clone() {
            Some((Some(thresholds), calibration)) => {
                Ok(bank.with_limits(Some(thresholds), calibration)?.with_arrivals(arrivals))
            }
            _ => Ok(bank.with_arrivals(arrivals)),
        }
    }
}

impl BankBuilder<'_> {
    /// Caps the rows of the finished bank, the patches of the views of its images ([`PromptBank::rows`]). Of the images
    /// that were appended under a cap, the oldest leaves first, with all its rows; all others stay.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a builder that does not append to a bank.
    pub fn limit_rows(&mut self, max_rows: usize) -> Result<()> {
        self.growing()?.max_rows = Some(max_rows);
        Ok(())
    }

    /// Keeps the limits and the calibration of the bank that is appended to. They hold for the longer bank if scores can
    /// only fall when a bank gets more images: at most the promised share of good parts is rejected, and p-values are not
    /// too small. Images that the bank had when its limits were set stay in it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a builder that does not append to a bank, and for limits of a method whose scores
    /// may rise.
    pub fn keep_limits(&mut self) -> Result<()> {
        let growth = self.growing()?;
        growth.kept = Some(growth.limits.clone());
        self.check_kept().inspect_err(|_| {
            if let Ok(growth) = self.growing() {
                growth.kept = None;
            }
        })
    }

    /// Checks that the limits that are kept hold for a longer bank.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for limits of a method whose scores may rise.
    pub(super) fn check_kept(&self) -> Result<()> {
        let method = self.draft.setup.method();
        if !self.draft.growth.as_ref().is_some_and(Growth::keeps_limits) || method.scores_only_fall() {
            return Ok(());
        }
        let message = format!(
            "scores of the method `{}` may rise when its bank gets more images, so the bank's limits do not hold for a longer one: \
             calibrate the longer bank, or drop the limits",
            method.name()
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    fn growing(&mut self) -> Result<&mut Growth> {
        self.draft.growth.as_mut().ok_or_else(|| {
            Error::new(
                ErrorKind::Argument,
                "this bank is new: a cap on rows and kept limits are for a bank that is appended to; use Engine::append_to",
            )
        })
    }

    /// The places of the prompts that the finished bank has.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the newest image does not fit beside those that stay.
    pub(super) fn staying(&self) -> Result<Vec<usize>> {
        let all: Vec<usize> = (0..self.draft.prompts.len()).collect();
        let Some((growth, most)) = self.draft.growth.as_ref().and_then(|growth| Some((growth, growth.max_rows?)))
        else {
            return Ok(all);
        };
        let rows = self.draft.prompts.iter().map(|prompt| self.rows_of(prompt)).collect::<Result<Vec<usize>>>()?;
        let hashes: Vec<String> = self.draft.prompts.iter().map(|prompt| hex(&hash_of(prompt))).collect();
        let mut stays = vec![true; all.len()];
        let sum =
            |stays: &[bool]| rows.iter().zip(stays).filter(|(_, stays)| **stays).map(|(rows, _)| *rows).sum::<usize>();
        // The newest one never leaves.
        let mut leaving = growth.arrivals.may_leave(growth.keeps_limits()).iter().rev().skip(1).rev();
        while sum(&stays) > most {
            let Some(oldest) = leaving.next() else {
                let message = format!(
                    "a cap of {most} rows: the images that stay and the newest one have {} rows; use a cap of at least as many",
                    sum(&stays)
                );
                return Err(Error::new(ErrorKind::Argument, message));
            };
            // Copies of an image leave with it.
            hashes.iter().zip(&mut stays).filter(|(hash, _)| *hash == oldest).for_each(|(_, stays)| *stays = false);
        }
        Ok(all.into_iter().filter(|&place| stays[place]).collect())
    }

    /// Rows of a prompt in all contents.
    fn rows_of(&self, prompt: &[Prompt]) -> Result<usize> {
        let rows = |part: &Prompt| self.draft.setup.method().prompt_rows(part);
        prompt.iter().map(rows).sum()
    }

    /// Drops all prompts but those at these places, ascending.
    pub(super) fn keep_only(&mut self, places: &[usize]) {
        let mut place = 0..;
        let stays = |place: Option<usize>| place.is_some_and(|place| places.binary_search(&place).is_ok());
        self.draft.prompts.retain(|_| stays(place.next()));
        let mut place = 0..;
        self.draft.facts.retain(|_| stays(place.next()));
    }

    /// Drops the newest prompt, before which the builder knew this of the brightness of its images.
    pub(super) fn drop_newest(&mut self, before: Brightness) {
        self.draft.brightness = before;
        let dropped = self.draft.prompts.pop();
        self.draft.facts.pop();
        let Some(dropped) = dropped else { return };
        let is_gone = !self.draft.has(&hash_of(&dropped));
        if let Some(growth) = self.draft.growth.as_mut().filter(|_| is_gone) {
            growth.arrivals.pop();
        }
    }
}
