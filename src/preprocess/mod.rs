//! From a file or a camera frame to the rows of the model's patch matrix, exactly as Pillow and torchvision do it.
//!
//! ```text
//! file -> Image -> Frame [height, width, channels] u8          decode, 8 bits, grey or RGB
//! camera -> Frame -> Frame::convert                            other layouts and depths of pixels become one of the two
//!   Plan::horizontal  [source rows, columns, channels] u8      Pillow's resize, antialiased, one axis at a time
//!   Plan::vertical    [size, size, channels] u8                cropped, padded or stretched, see Fit
//!   patches::write    [patches, 3 * patch * patch] f32         the model's mean and standard deviation, unfolded
//! ```
//!
//! An image that PyTorch code has already resized and normalised enters at the last step, as [`Normalised`].
//!
//! Invariants: for 8-bit grey and RGB the resized bytes are those of Pillow; any split of the rows over threads gives
//! the same bytes; after decoding nothing allocates ([`Plan::run`] is a convenience and does). Only what survives the
//! crop is computed.
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
mod fit;
mod frame;
mod layout;
mod mask;
mod normalised;
pub mod patches;
mod pixel_format;
mod plan;
mod preprocessing;
mod resize;
pub mod sniff;
#[cfg(test)]
mod tests;

pub use decode::{Image, MAX_PIXELS};
pub use depth::{DepthDoubt, WhiteLevel};
pub use device_frame::{AnyFrame, DeviceFrame};
pub use fit::{Fit, Placement};
pub use frame::{Frame, Roi};
pub(crate) use layout::packed_stride;
pub use mask::{IgnoreMask, judged};
pub use normalised::Normalised;
pub use patches::PADDING;
pub use pixel_format::PixelFormat;
pub use plan::{MAX_SIDE, Plan};
pub use preprocessing::{Filter, Preprocessing, ResizeMode};
pub use resize::Taps;
