//! Vision towers and CLIP's text tower: pre-norm transformer blocks, written once over [`crate::backend::Backend`]; and
//! ResNets (`resnet.rs`).
//!
//! A family of encoders is data ([`crate::weights::Family`]): prefix tokens, norms, the kind of MLP, names. LayerScale
//! is folded into the layers before it. The two towers differ in their input and in their pooled token; they share
//! [`block`]. If only the pooled token is wanted from the last block ([`Wants`]), that block computes keys and values
//! of all tokens, but one query and one MLP row. This is exact and saves most of a block.
//!
//! Windows of an image, if they are wanted, are encoded before it by the same blocks, as many at once as a bounded
//! workspace holds (`windows.rs`).
//!
//! The view decides how many patches an image has. A batch has one [`Grid`](crate::view::Grid), and the positions of
//! each grid are computed once.

pub mod block;
pub mod positions;
mod resnet;
pub mod text;
pub mod vision;
mod vit;
mod wants;
mod windows;

pub(crate) use resnet::{most_cells, workspace_len as resnet_len};
pub use text::encode_texts;
pub use vision::{HookPoint, Vision};
pub use wants::Wants;
pub use windows::WindowFeatures;
pub(crate) use windows::windows_at_once;
