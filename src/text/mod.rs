//! From a class name to token ids: the sentences that describe a normal and an anomalous object, and CLIP's tokeniser.
//!
//! [`ensemble::sentences`] writes the sentences, and [`Tokeniser::encode`] turns each into ids of CLIP's vocabulary.
//! Both are pure functions of their input, without files or network: the merge table is part of the library.
//!
//! An empty class name and a context too short for a sentence are refused. Any other text is valid.

pub mod ensemble;
mod tokeniser;

pub use tokeniser::{END_OF_TEXT, START_OF_TEXT, Tokeniser, VOCABULARY};
