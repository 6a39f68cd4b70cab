//! From a frame to patch rows: the two resize passes of the plan, then normalisation and unfolding, rows shared out.

use super::Cpu;
use crate::backend::{need, need_views, no_device_memory};
use crate::error::Result;
use crate::image::{AnyFrame, Frame};
use crate::view::{Plan, View, patches};

/// 8-bit memory between the passes, kept from frame to frame.
#[derive(Default)]
pub(super) struct Pixels {
    intermediate: Vec<u8>,
    resized: Vec<u8>,
}

/// Rows of a task in the resize passes.
const ROWS: usize = 16;
/// Patches of a task.
const PATCHES: usize = 15;

impl Cpu {
    pub(super) fn run_preprocess(
        &mut self,
        frame: AnyFrame<'_>,
        views: &[View],
        patch: usize,
        first: usize,
        out: &mut [f32],
    ) -> Result<()> {
        need_views(&frame, views)?;
        let frame = match frame {
            AnyFrame::Host(frame) => frame,
            AnyFrame::Device(frame) => return Err(no_device_memory(&frame)),
        };
        for (i, view) in views.iter().enumerate() {
            self.patch_rows(&frame.region(view.region())?, view.plan(), patch, first + i, out)?;
        }
        Ok(())
    }

    /// A picture of the plan's size to the patch rows of one image of the batch.
    fn patch_rows(
        &mut self,
        frame: &Frame<'_>,
        plan: &Plan,
        patch: usize,
        image: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let channels = frame.format().channels();
        let (width, height) = (plan.width(), plan.height());
        let count = plan.grid(patch).cells();
        let depth = 3 * patch * patch;
        need("preprocess", "patches", out.len(), (image + 1) * count * depth)?;
        let Pixels { intermediate, resized } = &mut self.preprocess;

        let stride = plan.columns().len() * channels;
        crate::memory::grow("resizing a frame", intermediate, plan.intermediate_len(channels))?;
        intermediate.truncate(plan.intermediate_len(channels));
        self.pool.run_chunks(intermediate, ROWS * stride, |chunk, out, _| {
            let first = chunk * ROWS;
            plan.horizontal(frame, first..first + out.len() / stride, out);
        });
        crate::memory::grow("resizing a frame", resized, width * height * channels)?;
        resized.truncate(width * height * channels);
        self.pool.run_chunks(resized, ROWS * width * channels, |chunk, out, _| {
            let first = chunk * ROWS;
            plan.vertical(intermediate, channels, first..first + out.len() / (width * channels), out);
        });
        let out = &mut out[image * count * depth..][..count * depth];
        self.pool.run_chunks(out, PATCHES * depth, |chunk, out, _| {
            let first = chunk * PATCHES;
            let rows = first..first + out.len() / depth;
            patches::write(resized, channels, [width, height], patch, rows, plan.values(), out);
        });
        Ok(())
    }
}
