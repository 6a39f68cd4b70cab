//! A bank on the device, and the slot of a lane that tells kernels which bank to use: recordings hold the slot's address, so
//! that another bank needs no new recording.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Cuda;
use super::buffer::write_halves;
use super::context::Shared;
use super::memory::DeviceMemory;
use crate::backend::{BankVectors, need};
use crate::error::Result;

/// One class's prompts: taps in operands' precision, vectors in f32.
pub struct Bank {
    number: u64,
    shape: [usize; 4],
    taps: DeviceMemory,
    class_mean: DeviceMemory,
    text_prototypes: DeviceMemory,
}

/// `BankSlot` of `kernels/abi.cuh` in device memory, and the bank that it describes.
pub(super) struct Slot {
    memory: DeviceMemory,
    bank: u64,
}

/// Every bank of the process has a number of its own: an address may be used again, a number never.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Bank {
    pub(super) fn new(cuda: &Cuda, taps: &[f32], shape: [usize; 4], vectors: BankVectors<'_>) -> Result<Self> {
        let context = &cuda.shared.context;
        let len = shape.iter().product();
        need("bank", "taps", taps.len(), len)?;
        let taps = &taps[..len];
        let mut memory = DeviceMemory::new(context, "a bank of prompts", len * cuda.operand().size())?;
        if cuda.shared.options.half {
            write_halves(&mut memory, 0, taps)?;
        } else {
            memory.write(0, taps)?;
        }
        let vector = |values: &[f32]| -> Result<DeviceMemory> {
            let mut memory = DeviceMemory::new(context, "a bank's vectors", values.len() * 4)?;
            memory.write(0, values)?;
            Ok(memory)
        };
        Ok(Bank {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            shape,
            taps: memory,
            class_mean: vector(vectors.class_mean)?,
            text_prototypes: vector(vectors.text_prototypes)?,
        })
    }

    /// `[L, K, N, W]`.
    pub(super) fn shape(&self) -> [usize; 4] {
        self.shape
    }

    pub(super) fn prompts(&self) -> usize {
        self.shape[1]
    }
}

impl Slot {
    pub fn new(shared: &Shared) -> Result<Self> {
        Ok(Slot { memory: DeviceMemory::zeroed(&shared.context, "a bank's slot", 32)?, bank: 0 })
    }

    /// The device address of the slot.
    pub fn pointer(&self) -> u64 {
        self.memory.pointer()
    }
}

impl Cuda {
    /// Makes `bank` the one that kernels queued from now on see.
    pub(super) fn select(&mut self, bank: &Bank) -> Result<()> {
        self.shared.bind()?;
        if self.slot.bank == bank.number {
            return Ok(());
        }
        // Three addresses, a 32-bit number and padding, as little-endian words.
        let words =
            [bank.taps.pointer(), bank.class_mean.pointer(), bank.text_prototypes.pointer(), bank.prompts() as u64];
        let stream = self.stream.cu_stream();
        self.slot.bank = 0;
        self.slot.memory.write_async(&words, stream)?;
        self.slot.bank = bank.number;
        Ok(())
    }
}
