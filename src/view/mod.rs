//! Which part of a frame is used, and how it reaches the encoder: exactly as with Pillow and torchvision.
//!
//! ```text
//! Frame -> Plan::horizontal  [source rows, columns, channels] u8      Pillow's resize, antialiased, one axis at a time
//!          Plan::vertical    [height, width, channels] u8             cropped, padded or stretched, see Fit
//!          patches::write    [patches, 3 * patch * patch] f32         normalised, unfolded
//! ```
//!
//! A [`View`] is a part of a frame with its plan. A method may rotate its prompts (`rotate.rs`) before this, and a
//! [`Tiling`] cuts frames into many views.
//!
//! An image that PyTorch code has already resized and normalised enters at the last step, as [`Normalised`].
//!
//! Invariants: for 8-bit grey and RGB the resized bytes are those of Pillow. Every split of the rows over threads gives
//! the same bytes. Nothing allocates after decoding, except the convenience [`Plan::run`]. Only pixels inside the crop
//! are computed.

mod fit;
mod grid;
mod normalised;
pub mod patches;
mod plan;
mod preprocessing;
mod resize;
mod rotate;
#[cfg(test)]
pub(crate) mod tests;
mod tiling;
mod valid;
mod views;

pub use fit::{Fit, Placement};
pub use grid::Grid;
pub use normalised::Normalised;
pub use plan::Plan;
pub use preprocessing::{Filter, Preprocessing, ResizeMode};
pub use resize::FilterWeights;
pub use rotate::{Corners, Turn};
pub(crate) use rotate::{rotate, rotate_mask};
pub use tiling::{BankPer, Layout, TILING, Tiling, TilingOption};
pub(crate) use tiling::{Look, Tiled, TilingOptions};
pub use valid::valid_cells;
pub use views::View;
