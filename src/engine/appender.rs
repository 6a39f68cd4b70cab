//! Appends images to a bank while scorers use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builder::BankBuilder;
use super::draft::hash_of;
use super::{Engine, SharedBank};
use crate::bank::PromptBank;
use crate::error::Result;
use crate::image::{AnyFrame, Frame};

/// How an [`Appender`] works.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendOptions {
    /// The most rows that the bank may have ([`BankBuilder::limit_rows`]); `None` for no cap.
    pub max_rows: Option<usize>,
    /// Whether the longer bank loses the limits. Otherwise it keeps those of the bank ([`BankBuilder::keep_limits`]),
    /// which is an error for methods whose scores may rise.
    pub drop_limits: bool,
}

/// Appends images to the bank of a slot, one by one, while scorers use it: an image is encoded, the longer bank is made
/// beside the current one, and then the slot is switched to it, for all its scorers from their next image on. Made by
/// [`Engine::appender`]. It is `Send`, and best runs on a thread of its own.
///
/// What is known of the images stays in memory, so that appending one costs its encoding, a copy of the rows and the
/// upload of the bank. [`Appended::encoding`] and [`Appended::exchange`] say how long they took.
pub struct Appender {
    engine: Arc<Engine>,
    slot: Arc<SharedBank>,
    builder: BankBuilder<'static>,
    bank: Arc<PromptBank>,
    generation: u64,
}

/// What became of an appended image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Appended {
    /// The bank that is now in the slot.
    pub bank: Arc<PromptBank>,
    /// Its generation in the slot.
    pub generation: u64,
    /// Whether the image was new. An image that the bank has already, to the pixel, changes nothing.
    pub is_new: bool,
    /// Content hashes, in hexadecimal, of the images that left because of the cap on rows, oldest first.
    pub left: Vec<String>,
    /// How long encoding the image took.
    pub encoding: Duration,
    /// How long it took to make the longer bank, its limits where they were computed, and to put it into the slot.
    pub exchange: Duration,
}

impl Engine {
    /// Begins to append images to the bank in `slot`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a bank of a method that does not keep its images apart, and for limits that do not
    /// hold for a longer bank; [`crate::ErrorKind::Bank`] for a slot of another engine; otherwise as [`Engine::scorer`].
    pub fn appender(self: &Arc<Self>, slot: &Arc<SharedBank>, options: &AppendOptions) -> Result<Appender> {
        let (bank, generation) = slot.current();
        bank.check_model(self.model_hash(), self.arch())?;
        let mut builder = BankBuilder::from_bank(Arc::clone(self), &bank)?;
        if let Some(max_rows) = options.max_rows {
            builder.limit_rows(max_rows)?;
        }
        if !options.drop_limits {
            builder.keep_limits()?;
        }
        Ok(Appender { engine: Arc::clone(self), slot: Arc::clone(slot), builder, bank, generation })
    }
}

impl Appender {
    /// Appends an image and switches the slot to the longer bank.
    ///
    /// # Errors
    /// As [`BankBuilder::add`], [`BankBuilder::finish`] and [`SharedBank::swap`]; [`crate::ErrorKind::Argument`] where the
    /// cap on rows has no room for the image, where another bank was put into the slot in the meantime, and where
    /// [`Appender::append_calibrated`] gave the bank limits that do not hold for a longer one. The slot then keeps its bank,
    /// and the appender forgets the image.
    pub fn append<'a>(&mut self, frame: impl Into<AnyFrame<'a>>) -> Result<Appended> {
        self.builder.check_kept()?;
        self.append_as(frame.into(), |_, bank| Ok(bank))
    }

    /// [`Appender::append`], with limits for the longer bank from good images ([`Engine::calibrate`]), before the slot is
    /// switched to it. This scores each of the images.
    ///
    /// # Errors
    /// As [`Appender::append`] and [`Engine::calibrate`].
    pub fn append_calibrated<'a>(
        &mut self,
        frame: impl Into<AnyFrame<'a>>,
        good: &[Frame<'_>],
        max_false_reject: f64,
    ) -> Result<Appended> {
        self.append_as(frame.into(), |engine, bank| engine.calibrate(&bank, good, max_false_reject))
    }

    /// The bank that it put into the slot last, or began with.
    pub fn bank(&self) -> &Arc<PromptBank> {
        &self.bank
    }

    fn append_as(
        &mut self,
        frame: AnyFrame<'_>,
        limits: impl FnOnce(&Engine, PromptBank) -> Result<PromptBank>,
    ) -> Result<Appended> {
        let (began, before) = (Instant::now(), self.builder.draft.brightness);
        self.builder.add(frame)?;
        let encoding = began.elapsed();
        let [earlier @ .., newest] = &self.builder.draft.prompts[..] else { return self.unchanged(encoding) };
        if earlier.iter().any(|prompt| hash_of(prompt) == hash_of(newest)) {
            self.builder.drop_newest(before);
            return self.unchanged(encoding);
        }
        let began = Instant::now();
        let left = self.exchange(limits).inspect_err(|_| self.builder.drop_newest(before))?;
        let exchange = began.elapsed();
        let (bank, generation) = (Arc::clone(&self.bank), self.generation);
        Ok(Appended { bank, generation, is_new: true, left, encoding, exchange })
    }

    /// Puts the bank of the builder's prompts into the slot. Returns the hashes of those that leave.
    fn exchange(&mut self, limits: impl FnOnce(&Engine, PromptBank) -> Result<PromptBank>) -> Result<Vec<String>> {
        let staying = self.builder.staying()?;
        let bank = Arc::new(limits(&self.engine, self.builder.finish_with(|_, _| {})?)?);
        self.generation = self.slot.exchange(Arc::clone(&bank), Some(self.generation))?;
        let old = std::mem::replace(&mut self.bank, bank);
        let has = |hash: &String| self.bank.prompt_hashes().binary_search(hash).is_ok();
        let left = old.appended().iter().filter(|hash| !has(hash)).cloned().collect();
        self.builder.keep_only(&staying);
        self.builder.draft.brightness.white = self.bank.white_level();
        if let Some(growth) = &mut self.builder.draft.growth {
            growth.follow(&self.bank);
        }
        Ok(left)
    }

    fn unchanged(&self, encoding: Duration) -> Result<Appended> {
        let (bank, generation) = (Arc::clone(&self.bank), self.generation);
        Ok(Appended { bank, generation, is_new: false, left: Vec::new(), encoding, exchange: Duration::ZERO })
    }
}
