//! A bank on the device, and the queue's table of its tensors' addresses. Recordings read the table, so that another
//! bank needs no new recording.

use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys::CUevent_flags;

use super::Cuda;
use super::buffer::{Storage, write_halves};
use super::context::Shared;
use super::event::Event;
use super::memory::{DeviceMemory, HostMemory};
use crate::backend::{BankRole, BankTensor, MAX_BANK_TENSORS, MAX_BANKS, need};
use crate::error::{Error, ErrorKind, Result};

/// The tensors of one bank.
pub struct Bank {
    number: u64,
    tensors: Vec<Tensor>,
}

/// Unit rows in operands' precision, or numbers in f32.
struct Tensor {
    role: BankRole,
    /// Layers, rows of a layer, width.
    shape: [usize; 3],
    memory: DeviceMemory,
}

/// Entries `BankTensor` of `kernels/abi.cuh` in device memory, [`MAX_BANK_TENSORS`] for each bank.
pub(super) struct BankTable {
    memory: DeviceMemory,
    /// What is copied there. Page-locked: of other memory the driver does not say when it has read it.
    words: HostMemory,
    /// Reached when `words` has been read.
    free: Event,
    /// The banks that the entries describe, in order.
    banks: Vec<u64>,
}

/// Bytes of an entry: an address and a number of rows.
const ENTRY: usize = 16;

/// Every bank of the process has a number of its own: an address may be used again, a number never.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Bank {
    pub(super) fn new(cuda: &Cuda, tensors: &[BankTensor<'_>]) -> Result<Self> {
        if tensors.len() > MAX_BANK_TENSORS {
            let message = format!("a bank of {} tensors, at most {MAX_BANK_TENSORS} are supported", tensors.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        let upload = |tensor: &BankTensor<'_>| {
            let context = &cuda.shared.context;
            let len = tensor.shape.iter().product();
            need("bank", "tensor", tensor.values.len(), len)?;
            let values = &tensor.values[..len];
            let storage = cuda.stored(tensor.role.role());
            let mut memory = DeviceMemory::new(context, "a bank", len * storage.size())?;
            if storage == Storage::F16 {
                write_halves(&mut memory, 0, values)?;
            } else {
                memory.write(0, values)?;
            }
            Ok(Tensor { role: tensor.role, shape: tensor.shape, memory })
        };
        let tensors = tensors.iter().map(upload).collect::<Result<_>>()?;
        Ok(Bank { number: NUMBERS.fetch_add(1, Ordering::Relaxed), tensors })
    }

    /// Layers, rows of a layer and width of the unit rows at `tensor`.
    pub(crate) fn rows(&self, op: &'static str, tensor: usize) -> Result<[usize; 3]> {
        self.shape(op, tensor, BankRole::Rows)
    }

    /// The extents of the numbers at `tensor`.
    pub(crate) fn numbers(&self, op: &'static str, tensor: usize) -> Result<[usize; 3]> {
        self.shape(op, tensor, BankRole::Numbers)
    }

    fn shape(&self, op: &'static str, tensor: usize, role: BankRole) -> Result<[usize; 3]> {
        match self.tensors.get(tensor) {
            Some(found) if found.role == role => Ok(found.shape),
            _ => Err(missing(op, tensor)),
        }
    }

    /// What a recording depends on besides addresses: how many rows its grids cover, for each tensor.
    pub(super) fn classes(&self) -> impl Iterator<Item = usize> + '_ {
        self.tensors.iter().map(|tensor| row_class(tensor.shape[1]))
    }
}

/// Rows that the grid of a search covers. Banks of one class share a recording; spare blocks find no tile.
pub(super) fn row_class(rows: usize) -> usize {
    rows.next_power_of_two()
}

fn missing(op: &'static str, tensor: usize) -> Error {
    Error::new(ErrorKind::Internal, format!("{op}: the bank has no tensor of the kind at place {tensor}"))
        .in_operation(op)
}

impl BankTable {
    pub fn new(shared: &Shared) -> Result<Self> {
        let bytes = MAX_BANKS * MAX_BANK_TENSORS * ENTRY;
        let memory = DeviceMemory::zeroed(&shared.context, "a table of banks", bytes)?;
        Ok(BankTable {
            memory,
            words: HostMemory::new(&shared.context, "a table of banks", bytes)?,
            free: Event::new(shared, CUevent_flags::CU_EVENT_DISABLE_TIMING)?,
            banks: Vec::with_capacity(MAX_BANKS),
        })
    }
}

impl Cuda {
    /// Makes `banks` those that kernels queued from now on find in the table.
    pub(super) fn select(&mut self, banks: &[&Bank]) -> Result<()> {
        self.shared.bind()?;
        if banks.len() > MAX_BANKS {
            let message = format!("{} banks in one batch, at most {MAX_BANKS} are supported", banks.len());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if self.table.banks.iter().eq(banks.iter().map(|bank| &bank.number)) {
            return Ok(());
        }
        let stream = self.stream.cu_stream();
        let table = &mut self.table;
        // Empty until the copy is queued: whatever fails is tried again.
        table.banks.clear();
        table.free.wait()?;
        let entries = table.words.bytes_mut().chunks_exact_mut(MAX_BANK_TENSORS * ENTRY);
        for (bank, entries) in banks.iter().zip(entries) {
            entries.fill(0);
            for (tensor, entry) in bank.tensors.iter().zip(entries.as_chunks_mut::<ENTRY>().0) {
                entry[..8].copy_from_slice(&tensor.memory.pointer().to_ne_bytes());
                entry[8..].copy_from_slice(&(tensor.shape[1] as u64).to_ne_bytes());
            }
        }
        table.memory.write_pinned(&table.words, banks.len() * MAX_BANK_TENSORS * ENTRY, stream)?;
        table.free.record(stream)?;
        self.table.banks.extend(banks.iter().map(|bank| bank.number));
        Ok(())
    }

    /// The device address of the table's entry of a tensor, which has this shape; selects the bank if no call has.
    pub(crate) fn bank_entry(
        &mut self,
        bank: &Bank,
        op: &'static str,
        tensor: usize,
        shape: [usize; 3],
    ) -> Result<u64> {
        match bank.tensors.get(tensor) {
            Some(found) if found.shape == shape => {}
            _ => return Err(missing(op, tensor)),
        }
        if !self.table.banks.contains(&bank.number) {
            self.select(&[bank])?;
        }
        let place = self.table.banks.iter().position(|number| *number == bank.number).unwrap_or(0);
        Ok(self.table.memory.pointer() + ((place * MAX_BANK_TENSORS + tensor) * ENTRY) as u64)
    }
}
