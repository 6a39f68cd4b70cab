//! Batches of views on the CPU.

use crate::tiny::on_every_model;
use crate::views_cases::check;

#[test]
fn views_of_frames_with_banks_of_their_own_have_the_bits_of_their_parts() {
    on_every_model(check);
}
