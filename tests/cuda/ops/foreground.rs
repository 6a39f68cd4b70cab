//! AnomalyDINO's mask.

use crate::foreground_cases::{components, covariances, cut_outs, squares};
use crate::turn;

#[test]
fn cuda_foreground() {
    let Some(turn) = turn() else { return };
    // f32 in both precisions.
    for half in [true, false] {
        turn.each_schedule(|schedule| {
            println!("{schedule}");
            let mut cuda = turn.cuda(half);
            covariances(&mut cuda);
            squares(&mut cuda);
            components(&mut cuda);
            cut_outs(&mut cuda);
        });
    }
}
