//! Pictures: heat maps over images, and sheets of many images.
//!
//! The colour of a value is that of a [`ColourScale`] with fixed ends, the same for every image, and every picture
//! carries its scale as a legend: so pictures can be compared, and a good part looks good. An image's own values are
//! never stretched to the full range.
//!
//! A map is laid over the original by its [`Placement`](inctrl::Placement), in pixels of the original. Pixels that the
//! model did not see have no value: NaN in numbers, dimmed in pictures.
//!
//! There is only one font, an 8 x 8 bitmap font. Characters beyond Latin show as `?`.

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
