//! Comparison of methods on one's own parts: every method that the given models can serve, on good images and, if there are
//! any, defective images.
//!
//! Some good images become prompts. A prompt is scored against the other prompts, every other image against all of them. The
//! result for each method is
//!
//! - the spread of the good scores: median, deviation, and the largest outlier;
//! - how many good images are rejected by a limit that is computed from the *other* good images, as in `inctrl bank calibrate`;
//! - with defective images, the AUROC, how many of them the limit finds, and whether two methods differ by more than chance.
//!
//! The failure of a method or an image is reported, and the others are compared.

mod figures;
mod noise;
mod page;
mod run;

pub use figures::{Figures, Ranked, Verdict, verdict};
pub use page::{csv, markdown, write};
pub use run::{
    Candidate, Comparison, Distinct, Judged, Line, Options, Picture, Scored, candidates, check_options, compare,
};
