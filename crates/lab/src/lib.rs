//! The laboratory of [`inctrl`]: what is done with an engine before and after it scores, and nothing that a program on the line
//! needs.
//!
//! | module | job |
//! |---|---|
//! | [`datasets`] | data sets as they lie on disk: images, labels, masks, splits |
//! | [`metrics`] | how well scores separate good from defective |
//! | [`evaluation`] | the paper's protocol: draws, scores, figures |
//! | [`report`] | an evaluation as a page, JSON, CSV and Markdown |
//! | [`training`] | heads of one's own: the paper's objective on an auxiliary data set |
//! | [`prompt_check`] | the prompts of a bank against each other |
//! | [`render`] | heat maps as pictures, sheets of many images, curves |
//! | [`synth`] | procedural inspection images, good and defective |
//! | [`measure`] | how long things take |

pub mod datasets;
pub mod evaluation;
pub mod measure;
pub mod metrics;
pub mod prompt_check;
pub mod render;
pub mod report;
pub mod synth;
pub mod training;
