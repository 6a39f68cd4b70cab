//! Every operation of the CUDA backend against the CPU's, at sizes with every kind of remainder.

use std::sync::Arc;

use inctrl::backend::cpu::Cpu;
use inctrl::backend::{
    AttentionShape, Backend, BankRole, BankTensor, Embedding, Gelu, ImageTokens, Largest, Norm, PoolToken, Role,
    Search, Sequences,
};
use inctrl::methods::inctrl::HeadOps;
use inctrl::methods::patchcore::ReweightOps;
use inctrl::methods::spade::SpadeOps;
use inctrl::tensor::{DType, TensorView};
use inctrl::view::{Filter, Plan, Preprocessing};
use inctrl::{Fit, Frame, PixelFormat};

use crate::common::numbers::Stored;
use crate::compare::close_to_max;
use crate::{Turn, filled, halves, read, tolerance, turn};

mod distances;
mod foreground;
mod heads;
mod linear;
mod patch_nn;
mod preprocess;

/// Runs `operation` on the CPU and on the GPU, in both precisions and every schedule, and compares what it returns.
fn compare<O>(roundings: f32, operation: O)
where
    O: Operation,
{
    let Some(turn) = turn() else { return };
    let expected = operation.run(&mut Cpu::new(2).unwrap());
    for half in [true, false] {
        turn.each_schedule(|schedule| {
            let found = operation.run(&mut turn.cuda(half));
            assert_eq!(found.len(), expected.len());
            for ((what, found), (_, expected)) in found.iter().zip(&expected) {
                let what = format!("{what}, {}, {schedule}", if half { "f16" } else { "f32" });
                close_to_max(&what, found, expected, tolerance(half, roundings));
            }
        });
    }
}

/// A backend with the operations of every method.
trait Every: HeadOps + ReweightOps + SpadeOps {}
impl<B: HeadOps + ReweightOps + SpadeOps> Every for B {}

/// An operation at all its sizes, written once for every backend.
trait Operation {
    /// Named results.
    fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)>;
}

fn ends(images: usize, tokens: usize) -> Vec<usize> {
    (1..=images).map(|image| image * tokens).collect()
}

fn constant<B: Backend>(backend: &mut B, values: &[f32]) -> B::Constant {
    backend.constant(&Stored::f32(&[values.len()], values).view()).unwrap()
}

fn norm<B: Backend>(backend: &mut B, seed: u64, width: usize) -> Norm<B> {
    let weight: Vec<f32> = halves(seed, width, 0.3).iter().map(|x| 1.0 + x).collect();
    Norm { weight: constant(backend, &weight), bias: constant(backend, &halves(seed + 1, width, 0.3)), epsilon: 1e-5 }
}

#[test]
fn cuda_embed_and_norms() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (images, prefix, patches, width, pre) in [
                (1, 1, 1, 64, true),
                (2, 1, 9, 128, true),
                (3, 1, 4, 896, true),
                (1, 1, 25, 192, false),
                (2, 5, 9, 128, false),
                (2, 0, 4, 64, true),
            ] {
                let tokens = ImageTokens { prefix, patches };
                let what = format!("{images} x ({prefix} + {patches}) x {width}");
                let embedding = Embedding {
                    prefix: Arc::new(constant(backend, &halves(1, prefix * width, 1.0))),
                    position: constant(backend, &halves(2, patches * width, 1.0)),
                    norm: pre.then(|| Arc::new(Norm { epsilon: 1e-6, ..norm(backend, 3, width) })),
                    tokens,
                };
                let next = norm(backend, 5, width);
                let rows = images * tokens.count() * width;
                let input = filled(backend, Role::Stream, &halves(7, images * patches * width, 1.0));
                let mut x = backend.buffer(Role::Stream, rows).unwrap();
                backend.embed(&input, images, &embedding, &mut x).unwrap();
                results.push((format!("embed {what}"), read(backend, &x, rows)));
                let mut again = backend.buffer(Role::Stream, rows).unwrap();
                let mut h = backend.buffer(Role::Operand, rows).unwrap();
                backend.embed_norm(&input, images, &embedding, &mut again, &next, &mut h).unwrap();
                assert_eq!(read(backend, &again, rows), read(backend, &x, rows), "fused is composed, {what}");
                results.push((format!("embed_norm {what}"), read(backend, &h, rows)));

                let stream = filled(backend, Role::Stream, &halves(8, rows, 2.0));
                backend.layer_norm(&stream, images * tokens.count(), &next, &mut h).unwrap();
                results.push((format!("layer_norm {what}"), read(backend, &h, rows)));
                let len = images * patches * width;
                let mut taps = backend.buffer(Role::UnitRows, 3 * len).unwrap();
                backend.unit_patches(&stream, images, tokens, width, None, 1, &mut taps).unwrap();
                results.push((format!("unit_patches {what}"), read(backend, &taps, 3 * len)));
                let mut normed = backend.buffer(Role::UnitRows, 3 * len).unwrap();
                backend.unit_patches(&stream, images, tokens, width, Some(&next), 2, &mut normed).unwrap();
                results.push((format!("unit_patches by a norm {what}"), read(backend, &normed, 3 * len)));
                let (mut fused_h, mut fused) =
                    (backend.buffer(Role::Operand, rows).unwrap(), backend.buffer(Role::UnitRows, 3 * len).unwrap());
                backend
                    .layer_norm_unit_patches(&stream, images, tokens, width, &next, &mut fused_h, 1, &mut fused)
                    .unwrap();
                assert_eq!(read(backend, &fused_h, rows), read(backend, &h, rows), "fused is composed, {what}");
                assert_eq!(read(backend, &fused, 3 * len), read(backend, &taps, 3 * len), "fused is composed, {what}");
            }
            results
        }
    }
    compare(1.0, Op);
}

#[test]
fn cuda_vectors_without_length_stay_zero() {
    let Some(turn) = turn() else { return };
    for half in [true, false] {
        let mut cuda = turn.cuda(half);
        let x = filled(&mut cuda, Role::Stream, &[[1.0; 64], [0.0; 64]].concat());
        let mut out = cuda.buffer(Role::Operand, 64).unwrap();
        cuda.unit_patches(&x, 1, ImageTokens { prefix: 1, patches: 1 }, 64, None, 0, &mut out).unwrap();
        assert!(read(&mut cuda, &out, 64).iter().all(|x| *x == 0.0));
    }
}

#[test]
fn cuda_attention() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Each kernel at its last key and one before; the last two cases take the online one, also with whole
            // tiles.
            for (images, tokens, heads) in [
                (2, 1, 1),
                (2, 10, 2),
                (1, 63, 1),
                (1, 64, 1),
                (1, 65, 1),
                (1, 197, 1),
                (1, 226, 1),
                (1, 257, 1),
                (1, 290, 1),
                (1, 320, 1),
            ] {
                let shape = AttentionShape { heads, size: 64 };
                let (width, ends) = (shape.width(), ends(images, tokens));
                // Some large scores: a softmax that forgets its maximum overflows.
                let mut host = halves(tokens as u64, images * tokens * 3 * width, 1.0);
                host.iter_mut().step_by(97).for_each(|x| *x *= 8.0);
                let qkv = filled(backend, Role::Operand, &host);
                let mut out = backend.buffer(Role::Operand, images * tokens * width).unwrap();
                backend.attention(&qkv, Sequences { ends: &ends }, shape, false, &mut out).unwrap();
                results.push((format!("attention {images} x {tokens}"), read(backend, &out, images * tokens * width)));
                let (q, kv) = (halves(1, images * width, 1.0), halves(2, images * tokens * 2 * width, 1.0));
                let (q, kv) = (filled(backend, Role::Operand, &q), filled(backend, Role::Operand, &kv));
                let mut out = backend.buffer(Role::Operand, images * width).unwrap();
                backend.class_attention(&q, &kv, Sequences { ends: &ends }, shape, &mut out).unwrap();
                results.push((format!("class_attention {images} x {tokens}"), read(backend, &out, images * width)));
            }
            results
        }
    }
    // Weights of the softmax and the output.
    compare(3.0, Op);
}

#[test]
fn cuda_pool_rows() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (role, pool) in [
                (Role::Stream, PoolToken::First),
                (Role::Operand, PoolToken::First),
                (Role::Stream, PoolToken::Last),
                (Role::Operand, PoolToken::Last),
            ] {
                let (count, tokens, width) = (3, 5, 192);
                let x = filled(backend, role, &halves(1, count * tokens * width, 1.0));
                let mut out = backend.buffer(role, count * width).unwrap();
                backend.pool_rows(&x, Sequences { ends: &ends(count, tokens) }, width, pool, &mut out).unwrap();
                results.push((format!("pool_rows {role:?} {pool:?}"), read(backend, &out, count * width)));
            }
            results
        }
    }
    compare(0.0, Op);
}
