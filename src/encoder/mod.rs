//! Vision towers and CLIP's text tower: pre-norm transformer blocks, written once over [`crate::backend::Backend`].
//!
//! Families of encoders are data ([`crate::weights::Family`]): prefix tokens, norms, what the MLP is, names. LayerScale folds into
//! the layers before it. The two towers differ in what goes in and in which token stands for the whole; [`block`] is shared. Where only that
//! token is wanted from the last block ([`Wants`]), the last block computes nothing else: keys and values of all tokens, one
//! query, one MLP row. That is exact, and saves most of a block.
//!
//! How many patches an image has is its view's business: a batch is of one [`Grid`](crate::view::Grid), and the positions of each
//! grid are made once.

pub mod block;
pub mod positions;
pub mod text;
pub mod vision;
mod wants;

pub use text::encode_texts;
pub use vision::{Stage, Vision};
pub use wants::Wants;
