//! Frames from cameras and files: formats, depths, strides, decoders, masks.
//!
//! ```text
//! file -> Image -> Frame [height, width, channels] u8     decode, 8 bits, grey or RGB
//! camera -> Frame -> Frame::convert                       other pixel formats become one of the two
//! ```
//!
//! Refused: floating-point pictures, which have no fixed range; sides over [`MAX_SIDE`]; files of more than
//! [`MAX_PIXELS`] pixels. Not done: EXIF rotation, colour management, compositing of alpha.

mod convert;
mod decode;
mod depth;
#[cfg(test)]
mod depth_tests;
mod device_frame;
mod file_depth;
mod frame;
mod layout;
pub(crate) mod marks;
mod mask;
mod pixel_format;
pub mod sniff;

pub use decode::{Image, MAX_PIXELS};
pub use depth::{DepthDoubt, WhiteLevel};
pub use device_frame::{AnyFrame, DeviceFrame};
pub(crate) use frame::ContentHash;
pub use frame::{Frame, Roi};
pub use layout::MAX_SIDE;
pub(crate) use layout::packed_stride;
pub use mask::{IgnoreMask, PADDING};
pub use pixel_format::PixelFormat;
