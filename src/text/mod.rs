//! From a class name to token ids: the sentences that describe a normal and an anomalous object, and CLIP's tokeniser.
//!
//! [`prompts::ensemble`] writes the sentences, [`Tokeniser::encode`] turns each into ids of CLIP's vocabulary; what the
//! text tower makes of the ids is not known here. Both are plain functions of their input: no file, no network, the
//! merge table is part of the library.
//!
//! An empty class name and a context too short for a sentence are refused. Any other text is a valid text.

pub mod prompts;
mod tokeniser;

pub use tokeniser::{END_OF_TEXT, START_OF_TEXT, Tokeniser, VOCABULARY};
