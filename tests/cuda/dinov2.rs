//! DINOv2 on the device against PyTorch in f64.

use crate::dinov2_cases::check;
use crate::turn;

#[test]
fn cuda_dinov2() {
    let Some(turn) = turn() else { return };
    for name in ["registers", "swiglu"] {
        check(&mut turn.cuda(false), name, 2e-5);
        // Halves: a block rounds its operands, queries, keys and values, attention's output, the hidden layer and the
        // gates, each once, and weights beside them; two or three blocks, of whose roundings few meet in one sum. Sums of f32
        // are in another order than the reference's.
        check(&mut turn.cuda(true), name, 8.0 / 2048.0 + 1e-5);
    }
}
