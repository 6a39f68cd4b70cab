//! Marks in a stream: to wait for, or to time between.
#![allow(unsafe_code)]

use std::sync::Arc;

use cudarc::driver::sys::{CUevent, CUevent_flags, CUstream};
use cudarc::driver::{CudaContext, result};

use super::Cuda;
use super::context::Shared;
use super::error::driver;
use super::libraries;
use crate::error::Result;

/// An event of the driver.
pub(super) struct Event {
    raw: CUevent,
    context: Arc<CudaContext>,
}

// SAFETY: a handle of the driver, which any thread may use, one at a time.
unsafe impl Send for Event {}

impl Cuda {
    /// An event that has not been recorded: waiting for it does not wait.
    pub(super) fn event(&self, flags: CUevent_flags) -> Result<Event> {
        Event::new(&self.shared, flags)
    }
}

impl Event {
    /// As [`Cuda::event`].
    pub fn new(shared: &Shared, flags: CUevent_flags) -> Result<Self> {
        shared.bind()?;
        let raw = driver("cuEventCreate", result::event::create(flags))?;
        Ok(Event { raw, context: Arc::clone(&shared.context) })
    }

    /// Marks the end of what `stream` has queued.
    pub fn record(&self, stream: CUstream) -> Result<()> {
        // SAFETY: event and stream are alive.
        driver("cuEventRecord", unsafe { result::event::record(self.raw, stream) })
    }

    /// Waits for the work before the mark.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the event is alive.
        driver("cuEventSynchronize", unsafe { result::event::synchronize(self.raw) })
    }

    /// Time between two marks, both recorded by timing events and waited for.
    pub fn milliseconds_to(&self, later: &Event) -> Result<f32> {
        // SAFETY: both events are alive, and by this function's contract timed and waited for.
        unsafe { libraries::elapsed(self.raw, later.raw) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if super::context::bind(&self.context).is_ok() {
            // SAFETY: created once, destroyed once.
            let _ = unsafe { result::event::destroy(self.raw) };
        }
    }
}
