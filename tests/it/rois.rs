//! Regions of a frame against banks of their own on the CPU.

use crate::rois_cases::{check, check_many, check_masks, check_refused};
use crate::tiny::{MODELS, Model};

#[test]
fn regions_score_as_they_do_when_cut_out() {
    check(&Model::new(MODELS[1].1, 7).engine(2));
}

#[test]
fn any_number_of_banks_share_one_encoding() {
    check_many(&Model::new(MODELS[1].1, 7).engine(2));
}

#[test]
fn regions_have_ignore_masks_of_their_own() {
    check_masks(&Model::new(MODELS[0].1, 7).engine(2));
}

#[test]
fn bad_inspections_are_named() {
    check_refused(&Model::new(MODELS[1].1, 7).engine(1));
}
