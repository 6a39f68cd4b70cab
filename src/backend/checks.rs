//! Errors for wrong arguments, common to all devices.

use crate::error::{Error, ErrorKind, Result};
use crate::image::{AnyFrame, DeviceFrame};
use crate::view::View;

/// The error for a buffer that is too short for its shapes: a bug above the backend.
pub(crate) fn need(op: &'static str, name: &'static str, found: usize, wanted: usize) -> Result<()> {
    if found >= wanted {
        return Ok(());
    }
    let message = format!("{op}: {name} holds {found} elements, the shapes ask for {wanted}");
    Err(Error::new(ErrorKind::Internal, message).in_operation(op).with_shapes(&[wanted], &[found]))
}

/// Returns an error for views that are outside the frame or still to be rotated, and for a frame in a camera's format:
/// [`Backend::preprocess`] takes only 8-bit grey and RGB as they are.
pub(crate) fn need_views(frame: &AnyFrame<'_>, views: &[View]) -> Result<()> {
    if views.is_empty() || views.iter().any(|view| view.turn().is_some()) {
        let message =
            format!("preprocess: of {} views, at least one must be there, and all rotated before", views.len());
        return Err(Error::new(ErrorKind::Internal, message));
    }
    views.iter().try_for_each(|view| frame.region(view.region()).map(drop))?;
    if frame.format() == frame.format().converted() {
        return Ok(());
    }
    let message = format!("{frame:?} is placed before it is converted to Grey8 or Rgb8: convert it first");
    Err(Error::new(ErrorKind::Argument, message))
}

/// The error for a device frame on another kind of device.
pub(crate) fn no_device_memory(frame: &DeviceFrame) -> Error {
    let message = format!(
        "{frame:?} is in the memory of a GPU, and the engine runs on the processor: copy the frame to the host, or open the \
         engine on that GPU"
    );
    Error::new(ErrorKind::Argument, message)
}
