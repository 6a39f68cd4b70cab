//! One bank for many scorers, which can be replaced while they run.

use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use super::device::{DeviceBank, Model};
use super::score::Judge;
use crate::bank::{BankId, PromptBank};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::process::{self, Origin};
use crate::view::Grid;
use crate::weights::Arch;

/// The bank of a group of scorers. [`SharedBank::swap`] replaces it for all of them, from their next image on.
///
/// Made by [`crate::Engine::shared_bank`]; `Send` and `Sync`. An image is scored against one bank from beginning to
/// end. Its [`crate::Score`] names that bank: its identity and its generation, which counts the slot's banks from 1.
///
/// A swap uploads the new bank on a separate queue of the device while the scorers run, and then exchanges one pointer.
/// Scorers take no lock and never free a bank: the slot keeps a replaced bank until no scorer uses it, and a later swap
/// frees it.
pub struct SharedBank {
    current: ArcSwap<LoadedBank>,
    swaps: Mutex<Swaps>,
    origin: Origin,
    model: Arc<dyn Model>,
    model_hash: String,
    arch: Arch,
}

/// A bank on the device.
pub(super) struct LoadedBank {
    pub bank: Arc<PromptBank>,
    /// Its contents: one, or one for each position of a tile.
    pub devices: Vec<DeviceBank>,
    pub id: BankId,
    pub generation: u64,
}

impl LoadedBank {
    /// The bank with its own limits.
    pub fn judge(&self) -> Judge<'_> {
        Judge { loaded: self, limits: self.bank.thresholds() }
    }
}

struct Swaps {
    generation: u64,
    retired: Vec<Arc<LoadedBank>>,
}

impl SharedBank {
    pub(super) fn new(model: Arc<dyn Model>, model_hash: &str, arch: &Arch, bank: Arc<PromptBank>) -> Result<Self> {
        bank.check_model(model_hash, arch)?;
        bank.check_precision(model.precision())?;
        let devices = upload(&*model, &bank)?;
        let first = LoadedBank { id: bank.bank_id(), bank, devices, generation: 1 };
        Ok(SharedBank {
            current: ArcSwap::from_pointee(first),
            swaps: Mutex::new(Swaps { generation: 1, retired: Vec::new() }),
            origin: Origin::here(),
            model,
            model_hash: model_hash.to_owned(),
            arch: arch.clone(),
        })
    }

    /// Replaces the bank by another one of the same model and returns its generation. Images that are being scored keep
    /// the old bank.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bank`] if the bank was built with another model or for another method,
    /// [`crate::ErrorKind::Device`] where the device has not enough memory for it. After an error the old bank stays in
    /// use.
    pub fn swap(&self, bank: Arc<PromptBank>) -> Result<u64> {
        self.exchange(bank, None)
    }

    /// [`SharedBank::swap`], if the current bank is that of generation `expected`.
    ///
    /// # Errors
    /// As [`SharedBank::swap`]; [`ErrorKind::Argument`] if it is another one.
    pub(super) fn exchange(&self, bank: Arc<PromptBank>, expected: Option<u64>) -> Result<u64> {
        bank.check_model(&self.model_hash, &self.arch)?;
        bank.check_precision(self.model.precision())?;
        self.current.load().bank.setup().check_same(bank.setup(), "the slot's scorers")?;
        let devices = upload(&*self.model, &bank)?;
        // The guarded data is consistent between any two statements.
        let mut swaps = process::lock(&self.swaps, self.origin, "the slot")?;
        if let Some(expected) = expected.filter(|expected| *expected != swaps.generation) {
            let message = format!(
                "the slot's bank is of generation {}, and {expected} was expected: another bank was put into the slot in the \
                 meantime; begin again with that bank",
                swaps.generation
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        swaps.generation += 1;
        let generation = swaps.generation;
        let replaced = self.current.swap(Arc::new(LoadedBank { id: bank.bank_id(), bank, devices, generation }));
        swaps.retired.push(replaced);
        // The slot holds the last reference: `current` hands out no more references to a bank that it no longer holds,
        // so the count can only fall.
        swaps.retired.retain(|retired| Arc::strong_count(retired) > 1);
        Ok(generation)
    }

    /// Rows and columns of the map for a frame of `width` x `height` pixels with the current bank.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a frame that cannot be resized or tiled, or whose map the method cannot use.
    pub fn grid(&self, width: usize, height: usize) -> Result<Grid> {
        let (bank, _) = self.current();
        let grid = bank.grid(&self.arch.vision, width, height)?;
        // The method sees tiles, not what they are put together to.
        if bank.tiling().is_none() {
            bank.method_entry().check_grid(&self.arch, grid)?;
        }
        Ok(grid)
    }

    /// The current bank and its generation.
    pub fn current(&self) -> (Arc<PromptBank>, u64) {
        let current = self.current.load();
        (Arc::clone(&current.bank), current.generation)
    }

    /// Hash of the model whose banks it accepts.
    pub fn model_hash(&self) -> &str {
        &self.model_hash
    }

    pub(super) fn load(&self) -> Guard<Arc<LoadedBank>> {
        self.current.load()
    }
}

/// Uploads the contents of a bank to the device.
pub(super) fn upload(model: &dyn Model, bank: &PromptBank) -> Result<Vec<DeviceBank>> {
    // The bytes of the search: a quarter of the floats, at most an eighth for those along axes, and three numbers a row
    // for each.
    let what = format!("the search in a bank of {} normal images", bank.prompt_hashes().len());
    memory::check(&what, bank.info().bytes / 2, "use fewer normal images")?;
    (0..bank.positions()).map(|position| model.upload(&bank.device_tensors(position)?)).collect()
}
