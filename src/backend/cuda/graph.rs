//! Recordings: the whole of a score as one CUDA graph for each batch size and number of prompts.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::Cuda;
use super::context::{device_error, here};
use super::error::driver;
use crate::error::Result;

/// Recordings kept at most; each takes some device memory.
const CAPACITY: usize = 64;

/// The recordings of one lane's buffers.
#[derive(Default)]
pub struct Recordings(Vec<Recording>);

struct Recording {
    images: usize,
    prompts: usize,
    graph: Owned,
}

/// What a child process by fork does not destroy, as that would call the driver.
struct Owned(ManuallyDrop<CudaGraph>);

impl Drop for Owned {
    fn drop(&mut self) {
        if here().is_ok() {
            // SAFETY: dropped once, and not used after that.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

// SAFETY: a graph may move between threads as long as one at a time uses it, which `&mut` of its lane ensures.
unsafe impl Send for Owned {}

impl Cuda {
    /// Replays the recording for `images` and `prompts`, if there is one.
    ///
    /// The work is first done as it comes, since libraries load what they need then, which a recording does not allow; it is
    /// recorded right after. What changes between calls - the bank - is read by kernels from the lane's slot.
    pub(super) fn replay_or_record(
        &mut self,
        recordings: &mut Recordings,
        images: usize,
        prompts: usize,
        mut work: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let kept = recordings.0.iter().find(|kept| (kept.images, kept.prompts) == (images, prompts));
        if let Some(kept) = kept {
            return driver("cuGraphLaunch", kept.graph.0.launch());
        }
        work(self)?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        driver("cuStreamBeginCapture", self.stream.begin_capture(mode))?;
        let recorded = work(self);
        // Ended also where the work failed: a stream that records is of no other use.
        let graph = driver("cuStreamEndCapture", self.stream.end_capture(CUgraphInstantiate_flags(0)));
        recorded?;
        let graph = graph?.ok_or_else(|| device_error("cuStreamEndCapture returned no graph"))?;
        if recordings.0.len() == CAPACITY {
            recordings.0.remove(0);
        }
        recordings.0.push(Recording { images, prompts, graph: Owned(ManuallyDrop::new(graph)) });
        Ok(())
    }
}
