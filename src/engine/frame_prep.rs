//! What the model sees of a frame, and the memory for it.

use super::device::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, Frame, IgnoreMask};
use crate::memory::grow;
use crate::view::{View, rotate};

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

/// Places views of a frame as numbers `first ..` of a session's next batch. `turned` is memory for its rotations.
///
/// # Errors
/// As [`Session::place`]; [`ErrorKind::Internal`] for a rotation of a frame in device memory.
pub(super) fn place(
    session: &mut dyn Session,
    frame: AnyFrame<'_>,
    views: &[View],
    first: usize,
    turned: &mut Vec<u8>,
) -> Result<()> {
    if views.iter().all(|view| view.turn().is_none()) {
        return session.place(frame, views, first);
    }
    for (i, view) in views.iter().enumerate() {
        match (view.turn(), frame) {
            (None, _) => session.place(frame, std::slice::from_ref(view), first + i)?,
            (Some(turn), AnyFrame::Host(frame)) => {
                session.place(rotate(&frame, turn, turned)?.into(), &[view.upright()], first + i)?;
            }
            (Some(_), AnyFrame::Device(_)) => {
                return Err(Error::new(ErrorKind::Internal, "a frame in device memory was to be rotated"));
            }
        }
    }
    Ok(())
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
