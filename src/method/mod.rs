//! InCTRL (Zhu & Pang, CVPR 2024, arXiv 2403.06495): the equations of the paper, in its order.
//!
//! | Equation | What | Where |
//! |---|---|---|
//! | 1, 2 | patch residual per tap, residual map M_x | [`Lane::compare`] |
//! | 3 | prompt prototype I_p: mean adapted class embedding | [`class_mean`] |
//! | 4, 5 | image residual F_x and its score s_i | [`crate::backend::Backend::heads`] |
//! | 6 | text prior s_a, its prototypes | [`text_prototypes`] |
//! | 7 | holistic map, its score, the final score | [`crate::backend::Backend::heads`] |
//!
//! The arithmetic of equations 3 to 7 is one operation of the backend: a few thousand multiply-adds that a GPU runs in one
//! launch. What goes in and comes out is arranged here.
//!
//! The scale of equations 1 and 7 is the published code's, as the published heads were trained on it: a residual is
//! `0.5 (1 - cosine)` and the final score is divided by `1 + α`. Unlike that code, no image's score depends on the others
//! of its batch.

mod lane;
mod layers;
mod prototypes;

pub use lane::{Detector, Lane, Parts, StageTimes};
pub use layers::head_layers;
pub use prototypes::{class_mean, text_prototypes};
