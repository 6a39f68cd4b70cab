//! Picture files in folders, and which of them show the same.
//!
//! | what | rule |
//! |---|---|
//! | [`PictureId`] | two pictures are copies if their decoded pixels are equal, whatever their files are |
//! | [`Thumbnail`] | two pictures are near-copies if they hardly differ at 32 x 32 cells |

mod same;

pub use same::{NEAR, PictureId, Thumbnail, different};
