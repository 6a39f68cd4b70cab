//! What a pipeline holds: a method's memory, buffers for the largest grid, the grids it is ready for, and a batch's
//! banks in the device's own type.

use std::sync::Arc;

use super::device::DeviceBank;
use crate::backend::{Backend, MAX_BANKS, Role};
use crate::encoder::vision::{GridTokens, VisionWorkspace};
use crate::encoder::{Vision, Wants};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::methods::{Compare, Loaded, Outputs, Setup};

/// A method and its own weights on the device.
pub(super) struct PipelineMethod<B: Backend> {
    pub loaded: Arc<dyn Loaded<B>>,
    pub setup: Setup,
    /// The largest number of its slots of a batch.
    pub slots: usize,
    /// Which of the wanted features are its own.
    pub features: usize,
}

impl<B: Backend> PipelineMethod<B> {
    /// How many numbers it gives for an image.
    pub fn values(&self) -> usize {
        self.setup.method().outputs().len()
    }
}

/// Buffers whose size depends on the largest grid.
pub(super) struct Memory<B: Backend> {
    /// The largest number of cells of a view.
    pub cells: usize,
    pub vision: VisionWorkspace<B>,
    /// Of each method.
    pub comparing: Vec<Comparing<B>>,
    /// Largest cosines of [`Session::nearest_of`], `[L, N]`.
    pub nearest: Option<B::Buffer>,
    pub host_map: Vec<f32>,
}

/// A method's memory for one scorer.
pub(super) struct Comparing<B: Backend> {
    pub compare: Box<dyn Compare<B>>,
    pub out: Outputs<B>,
}

impl<B: Backend> Comparing<B> {
    /// That of the method with this number.
    pub fn of(all: &mut [Self], method: usize) -> Result<&mut Self> {
        all.get_mut(method).ok_or_else(without_method)
    }
}

/// The error of a pipeline that was asked to compare by a method that it does not have.
pub(super) fn without_method() -> Error {
    Error::new(ErrorKind::Internal, "a pipeline was asked to compare by a method that it does not have")
}

/// A grid for which a pipeline is ready.
pub(super) struct ReadyGrid<B: Backend> {
    pub tokens: GridTokens<B>,
    pub valid: B::Buffer,
    /// The host copy of `valid`, `[slots, N]`.
    pub host_valid: Vec<f32>,
    pub valid_changed: bool,
}

impl<B: Backend> ReadyGrid<B> {
    /// Uploads which cells count, if they have changed.
    pub fn upload_valid(&mut self, backend: &mut B) -> Result<()> {
        if self.valid_changed {
            backend.upload(&self.host_valid, &mut self.valid)?;
            self.valid_changed = false;
        }
        Ok(())
    }
}

/// The largest number of grids that a pipeline keeps ready: as many as a scorer keeps plans.
pub(super) const GRIDS: usize = 32;

/// The grid of the next batch.
pub(super) fn current<B: Backend>(grids: &mut [ReadyGrid<B>]) -> Result<&mut ReadyGrid<B>> {
    grids.last_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "no grid was prepared for this pipeline"))
}

impl<B: Backend> Memory<B> {
    pub fn new(
        backend: &B,
        encoder: &Vision<B>,
        wants: &[Wants],
        methods: &[PipelineMethod<B>],
        cells: usize,
        [views, slots]: [usize; 2],
    ) -> Result<Self> {
        let comparing = |method: &PipelineMethod<B>| -> Result<Comparing<B>> {
            let (options, slots) = (method.setup.options(), method.slots);
            Ok(Comparing {
                compare: Arc::clone(&method.loaded).compare(backend, options, views, slots, cells)?,
                out: Outputs::new(backend, slots, method.values(), cells)?,
            })
        };
        Ok(Memory {
            cells,
            vision: encoder.workspace(backend, wants, views, cells)?,
            comparing: methods.iter().map(comparing).collect::<Result<_>>()?,
            nearest: None,
            host_map: memory::zeros("the maps of a batch", slots * cells)?,
        })
    }
}

impl<B: Backend> ReadyGrid<B> {
    pub fn new(backend: &B, tokens: GridTokens<B>, slots: usize) -> Result<Self> {
        let cells = slots * tokens.grid.cells();
        Ok(ReadyGrid {
            tokens,
            valid: backend.buffer(Role::Stream, cells)?,
            host_valid: memory::filled("which cells of a batch count", 1.0, cells)?,
            valid_changed: true,
        })
    }
}

/// The bank in this backend's own type.
pub(super) fn own_bank<B: Backend>(bank: &DeviceBank) -> Result<&B::Bank> {
    bank.downcast_ref().ok_or_else(|| {
        let message = "the bank is on another device than the scorer: make both with one engine";
        Error::new(ErrorKind::Argument, message)
    })
}

/// Any number of banks in this backend's own type.
pub(super) fn all_own<'a, B: Backend>(banks: &[&'a DeviceBank]) -> Result<Vec<&'a B::Bank>> {
    banks.iter().map(|bank| own_bank::<B>(bank)).collect()
}

/// The banks of a batch in this backend's own type.
pub(super) fn own<'a, B: Backend>(banks: &[&'a DeviceBank]) -> Result<Own<'a, B>> {
    let Some(first) = banks.first() else {
        return Err(Error::new(ErrorKind::Argument, "no bank to compare with"));
    };
    if banks.len() > MAX_BANKS {
        let message = format!("{} banks in one batch, at most {MAX_BANKS} are supported", banks.len());
        return Err(Error::new(ErrorKind::Argument, message));
    }
    let mut own = [own_bank::<B>(first)?; MAX_BANKS];
    for (own, erased) in own.iter_mut().zip(banks) {
        *own = own_bank::<B>(erased)?;
    }
    Ok(Own { banks: own, count: banks.len() })
}

/// Banks in fixed-size memory: the hot path allocates nothing.
pub(super) struct Own<'a, B: Backend> {
    banks: [&'a B::Bank; MAX_BANKS],
    count: usize,
}

impl<'a, B: Backend> Own<'a, B> {
    pub fn as_slice(&self) -> &[&'a B::Bank] {
        &self.banks[..self.count]
    }
}
