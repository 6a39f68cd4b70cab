//! What the model sees of a frame, and the memory for it.

use super::device::Session;
use crate::error::Result;
use crate::image::{AnyFrame, Frame, IgnoreMask};
use crate::memory::grow;

/// What the model sees of a frame in host memory: 8-bit grey or RGB, without masked pixels.
pub(super) fn prepare<'a>(frame: Frame<'a>, mask: Option<&IgnoreMask>, memory: &'a mut Vec<u8>) -> Result<Frame<'a>> {
    if let Some(mask) = mask {
        mask.check(frame.width(), frame.height())?;
    }
    let needed = super::estimate::conversion_bytes(frame.width(), frame.height(), frame.format());
    if memory.len() < needed && (mask.is_some() || frame.format() != frame.format().converted()) {
        grow(&format!("converting {frame:?}"), memory, needed)?;
    }
    match mask {
        Some(mask) => mask.apply(&frame, memory),
        None if frame.format() != frame.format().converted() => frame.convert(memory),
        None => Ok(frame),
    }
}

/// Memory that is reused from frame to frame.
#[derive(Default)]
pub(super) struct FramePrep {
    /// Copy of a frame in device memory.
    copied: Vec<u8>,
    /// Converted pixels.
    converted: Vec<u8>,
}

impl FramePrep {
    /// [`prepare`] for a frame in any memory. A frame in device memory stays there unless it must be converted or
    /// masked, which happens on the host.
    pub fn of<'a>(
        &'a mut self,
        session: &mut dyn Session,
        frame: AnyFrame<'a>,
        mask: Option<&IgnoreMask>,
    ) -> Result<AnyFrame<'a>> {
        match frame {
            AnyFrame::Device(device) if mask.is_none() && device.format() == device.format().converted() => Ok(frame),
            _ => Ok(self.on_host(session, frame, mask)?.into()),
        }
    }

    /// [`prepare`] for a frame in any memory, with the result on the host.
    pub fn on_host<'a>(
        &'a mut self,
        session: &mut dyn Session,
        frame: AnyFrame<'a>,
        mask: Option<&IgnoreMask>,
    ) -> Result<Frame<'a>> {
        let frame = match frame {
            AnyFrame::Host(frame) => frame,
            AnyFrame::Device(device) => {
                if self.copied.len() < device.bytes() {
                    grow(&format!("copying {device:?}"), &mut self.copied, device.bytes())?;
                }
                session.copy_to_host(&device, &mut self.copied)?;
                device.copied(&self.copied)?
            }
        };
        prepare(frame, mask, &mut self.converted)
    }
}
