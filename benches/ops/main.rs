//! Every operation of the processor's backend and the whole job, at the sizes of ViT-B/16+ 240: groups `op/cpu/shape`.
//!
//!     cargo bench --bench ops -- [filter]      cargo bench --bench ops -- --test      each once
//!
//! What is timed is prepared when it is its turn, run once, and compared: an operation with its formula in f64, the whole
//! tower with plain loops in f32 (`plain_tower`). Throughput of the whole is in FLOP, which criterion calls elements. Copies between host and buffers are not timed: the
//! processor has none in a score.
#![allow(missing_docs)]

mod backend;
mod common;
mod pipeline;
mod plain_tower;
mod tokenise;

use criterion::{criterion_group, criterion_main};

criterion_group!(ops, backend::backend, tokenise::tokenise, pipeline::pipeline);
criterion_main!(ops);
