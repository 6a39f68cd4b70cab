//! Picture files in folders; copies and near-copies.
//!
//! | what | rule |
//! |---|---|
//! | a picture in a folder or a glob | a file with a picture's extension or first bytes, even of a format that is not decoded: [`is_picture`] |
//! | other files | ignored, and counted by extension: [`Found::summary`] |
//! | subfolders | searched for queries and data sets; for normal images only the folder itself counts, and its subfolders are reported: [`Depth`] |
//! | links | followed, to files and folders; each folder is searched once |
//! | hidden files and folders | ignored; a hidden picture or folder is counted |
//! | [`PictureId`] | two pictures are copies if their decoded pixels are equal, in whatever format |
//! | [`Thumbnail`] | two pictures are near-copies if they hardly differ at 32 x 32 cells |
//!
//! A file that the user names directly is always taken as a picture.

mod same;
mod walk;

pub use same::{NEAR, PictureId, Thumbnail, different};
pub use walk::{Depth, EXTENSIONS, Found, Why, folders_below, is_hidden, is_picture, summary};
