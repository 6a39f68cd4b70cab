//! Recordings: a whole score as one CUDA graph, for each layout of a batch and size class of its banks.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::context::{device_error, here};
use super::error::driver;
use super::{Bank, Cuda};
use crate::error::Result;

/// The largest number of recordings; each takes some device memory.
const CAPACITY: usize = 64;

/// The recordings of one queue's buffers.
#[derive(Default)]
pub struct Recordings(Vec<Recording>);

struct Recording {
    /// The layout of the batch, then the size classes of the banks' tensors.
    key: Vec<usize>,
    graph: Owned,
}

/// A graph of one queue. A child process by fork does not destroy it, as that would call the driver.
pub(super) struct Owned(ManuallyDrop<CudaGraph>);

impl Drop for Owned {
    fn drop(&mut self) {
        if here().is_ok() {
            // SAFETY: dropped once, and not used after that.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

impl Owned {
    /// Adds the recorded work to the queue's stream.
    pub fn launch(&self) -> Result<()> {
        driver("cuGraphLaunch", self.0.launch())
    }
}

// SAFETY: a graph may move between threads as long as one at a time uses it, which `&mut` of its queue ensures.
unsafe impl Send for Owned {}

impl Cuda {
    /// Replays the recording for this layout and banks of these sizes, if there is one.
    ///
    /// The first call runs without a recording, because libraries then load code, which is not possible while
    /// recording. The work is recorded right after. Kernels read the banks, which may change between calls, from the
    /// queue's table.
    pub(super) fn replay_or_record(
        &mut self,
        recordings: &mut Recordings,
        layout: &[usize],
        banks: &[&Bank],
        mut work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let key = || layout.iter().copied().chain(banks.iter().flat_map(|bank| bank.classes()));
        let kept = recordings.0.iter().find(|kept| kept.key.iter().copied().eq(key()));
        if let Some(kept) = kept {
            return kept.graph.launch();
        }
        work(self)?;
        let graph = self.record(work)?;
        if recordings.0.len() == CAPACITY {
            recordings.0.remove(0);
        }
        recordings.0.push(Recording { key: key().collect(), graph });
        Ok(())
    }

    /// What `work` queues, as a graph. Everything that it needs must be loaded: it was done before.
    pub(super) fn record(&mut self, mut work: impl FnMut(&mut Self) -> Result<()>) -> Result<Owned> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        driver("cuStreamBeginCapture", self.stream.begin_capture(mode))?;
        let recorded = work(self);
        // Ended also where the work failed: a stream that records is of no other use.
        let graph = driver("cuStreamEndCapture", self.stream.end_capture(CUgraphInstantiate_flags(0)));
        recorded?;
        Ok(Owned(ManuallyDrop::new(graph?.ok_or_else(|| device_error("cuStreamEndCapture returned no graph"))?)))
    }
}
