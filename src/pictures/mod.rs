//! Picture files in folders, and which of them show the same.
//!
//! | what | rule |
//! |---|---|
//! | a picture in a folder or a glob | what has a picture's extension or a picture's first bytes, of a format that is decoded or not: [`is_picture`] |
//! | all else there | passed over, and counted by extension: [`Found::summary`] |
//! | subfolders | queries and data sets enter them; normal images are those of the folder alone, and subfolders are named: [`Depth`] |
//! | links | followed, to files and folders; each folder is searched once |
//! | hidden files and folders | passed over; a hidden picture or folder is counted |
//! | [`PictureId`] | two pictures are copies if their decoded pixels are equal, whatever their files are |
//! | [`Thumbnail`] | two pictures are near-copies if they hardly differ at 32 x 32 cells |
//!
//! A file that is named by itself is always taken as a picture.

mod same;
mod walk;

pub use same::{NEAR, PictureId, Thumbnail, different};
pub use walk::{Depth, EXTENSIONS, Found, Why, folders_below, is_hidden, is_picture, summary};
