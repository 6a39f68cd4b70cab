//! Data sets, evaluation, training and measuring for [`inctrl`]: work before and after scoring that a program on a
//! production line does not need.
//!
//! | module | job |
//! |---|---|
//! | [`datasets`] | data sets on disk: images, labels, masks, splits |
//! | [`metrics`] | how well scores separate good from defective |
//! | [`evaluation`] | the paper's protocol: draws, scores, figures |
//! | [`normals`] | normal images from files and memory to a bank and its thresholds |
//! | [`comparison`] | all methods on one's own parts, and which differences are more than chance |
//! | [`report`] | an evaluation as a page, JSON, CSV and Markdown |
//! | [`training`] | training of InCTRL's heads: the paper's objective on an auxiliary data set |
//! | [`render`] | heat maps as pictures, sheets of many images, curves |
//! | [`study`] | an evaluation from the data set to its report |
//! | [`synth`] | procedural inspection images, good and defective |
//! | [`table`] | every method on every data set: one table, and the images on which methods disagree |
//! | [`verification`] | a bank in several precisions: scores, maps, and verdicts that change |
//! | [`measure`] | timing |

pub mod comparison;
pub mod datasets;
pub mod evaluation;
pub mod measure;
pub mod metrics;
pub mod normals;
pub mod render;
pub mod report;
pub mod study;
pub mod synth;
pub mod table;
pub mod training;
pub mod verification;
