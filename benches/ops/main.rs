//! Every operation of the processor's backend and the whole job, at the sizes of ViT-B/16+ 240: groups `op/cpu/shape`,
//! throughput in bytes, or in FLOP where products are the work (criterion calls those elements).
//!
//!     cargo bench --bench ops -- [filter]      cargo bench --bench ops -- --test      each once
//!
//! One file for each operation. What is timed is prepared when it is its turn, run once, and compared with a plain loop in
//! f64 at a few places, the whole tower with one in f32 (`plain_tower`). Copies between host and buffers are not timed: the
//! processor has none in a score.
#![allow(missing_docs)]

mod attention;
mod common;
mod embed;
mod gelu;
mod heads;
mod layer_norm;
mod linear;
mod mean_of_largest;
mod patch_nn;
mod pipeline;
mod plain_tower;
mod pool_rows;
mod preprocess;
mod residual_mean;
mod swiglu;
mod tokenise;
mod unit_patches;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    ops,
    preprocess::preprocess,
    linear::linear,
    gelu::gelu,
    swiglu::swiglu,
    layer_norm::layer_norm,
    embed::embed,
    attention::attention,
    pool_rows::pool_rows,
    unit_patches::unit_patches,
    patch_nn::patch_nn,
    residual_mean::residual_mean,
    mean_of_largest::mean_of_largest,
    heads::heads,
    tokenise::tokenise,
    pipeline::pipeline
);
criterion_main!(ops);
