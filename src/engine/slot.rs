//! One bank for many scorers, exchanged under traffic.

use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use super::device::{DeviceBank, Model};
use crate::bank::{BankId, PromptBank};
use crate::error::Result;
use crate::memory;
use crate::process::{self, Origin};
use crate::view::Grid;
use crate::weights::Arch;

/// The bank that a group of scorers uses. [`SharedBank::swap`] gives all of them another one, from their next image on.
///
/// Made by [`crate::Engine::bank_slot`]; `Send` and `Sync`. An image is scored against one bank from beginning to end, and its
/// [`crate::Score`] says which: its identity, and the generation, which counts the slot's banks from 1.
///
/// A swap uploads the new bank beside the traffic, on a lane that no scorer uses, and then exchanges one pointer. Scorers take
/// no lock, and never free a bank: a bank that was replaced stays with the slot until no scorer uses it, and is freed by a
/// later swap.
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
    pub device: DeviceBank,
    pub id: BankId,
    pub generation: u64,
}

struct Swaps {
    generation: u64,
    retired: Vec<Arc<LoadedBank>>,
}

impl SharedBank {
    pub(super) fn new(model: Arc<dyn Model>, model_hash: &str, arch: &Arch, bank: Arc<PromptBank>) -> Result<Self> {
        bank.check_model(model_hash, arch)?;
        let device = upload(&*model, &bank)?;
        let first = LoadedBank { id: bank.bank_id(), bank, device, generation: 1 };
        Ok(SharedBank {
            current: ArcSwap::from_pointee(first),
            swaps: Mutex::new(Swaps { generation: 1, retired: Vec::new() }),
            origin: Origin::here(),
            model,
            model_hash: model_hash.to_owned(),
            arch: arch.clone(),
        })
    }

    /// Puts another bank of the same model in place and returns its generation. Images that are being scored keep the old one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bank`] if the bank was built with another model or for another method,
    /// [`crate::ErrorKind::Device`] where the device has no memory for it; the old one stays in use.
    pub fn swap(&self, bank: Arc<PromptBank>) -> Result<u64> {
        bank.check_model(&self.model_hash, &self.arch)?;
        self.current.load().bank.setup().check_same(bank.setup(), "the slot's scorers")?;
        let device = upload(&*self.model, &bank)?;
        // What the lock guards is whole between any two statements.
        let mut swaps = process::lock(&self.swaps, self.origin, "the slot")?;
        swaps.generation += 1;
        let generation = swaps.generation;
        let replaced = self.current.swap(Arc::new(LoadedBank { id: bank.bank_id(), bank, device, generation }));
        swaps.retired.push(replaced);
        // The slot's is the last reference: `current` has given out all that it will of a bank that it no longer holds, so
        // the count can only fall.
        swaps.retired.retain(|retired| Arc::strong_count(retired) > 1);
        Ok(generation)
    }

    /// Rows and columns of the map of a frame of `width` x `height` pixels, with the bank in place.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] for a frame that cannot be resized, or of whose map the method makes nothing.
    pub fn grid(&self, width: usize, height: usize) -> Result<Grid> {
        let (bank, _) = self.current();
        let plan = bank.plan(&self.arch.vision, width, height)?;
        let grid = plan.grid(self.arch.vision.patch_size);
        bank.method_entry().check_grid(&self.arch, grid)?;
        Ok(grid)
    }

    /// The bank in place, and its generation.
    pub fn current(&self) -> (Arc<PromptBank>, u64) {
        let current = self.current.load();
        (Arc::clone(&current.bank), current.generation)
    }

    /// Hash of the model whose banks it takes.
    pub fn model_hash(&self) -> &str {
        &self.model_hash
    }

    pub(super) fn load(&self) -> Guard<Arc<LoadedBank>> {
        self.current.load()
    }
}

/// The bank on the device.
fn upload(model: &dyn Model, bank: &PromptBank) -> Result<DeviceBank> {
    // The integers of the search, rounded up to whole panels.
    let what = format!("the search in a bank of {} normal images", bank.prompt_hashes().len());
    memory::check(&what, bank.info().bytes / 8 * 5, "use fewer normal images")?;
    model.upload(&bank.device_tensors()?)
}
