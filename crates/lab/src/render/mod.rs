//! Pictures for people: the heat map over the image, and sheets of many images side by side.
//!
//! The colour of a value is that of a [`ColourScale`] with fixed ends, the same for every image, and every picture
//! carries its scale as a legend: two pictures can be compared, and a good part looks good. Nothing here stretches an
//! image's own values to the full range.
//!
//! A map is laid over the original by its [`Placement`](inctrl::Placement), in pixels of the original. What the model
//! did not see has no value: NaN in numbers, dimmed in pictures.
//!
//! Not done: fonts other than one 8 x 8 bitmap font, whose characters beyond Latin show as `?`.

mod colour;
mod curve;
mod file;
mod heat;
mod legend;
mod picture;
mod sheet;
mod text;

pub use colour::ColourScale;
pub use curve::{Panel, curves};
pub use file::{write_jpeg, write_png, write_tiff_f32};
pub use heat::{overlay, upsample};
pub use picture::Picture;
pub use sheet::{Tile, contact_sheet};
