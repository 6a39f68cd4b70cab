//! Distances to a bank: Euclidean, to a subspace, and what methods make of them.

use std::sync::Arc;

use inctrl::backend::{BankRole, BankTensor, Enlarge, ImageTokens, Role, Search, Subspace};
use inctrl::methods::patchcore::Reweighted;
use inctrl::methods::spade::ImageDistance;

use super::patch_nn::unit_rows;
use super::{Every, Operation, compare, constant, norm};
use crate::{filled, halves, read};

#[test]
fn cuda_join_layers_and_plain_patches() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (layers, rows, width) in [(1, 1, 64), (2, 17, 64), (3, 43, 128)] {
                let x = filled(backend, Role::UnitRows, &halves(1, layers * rows * width, 1.0));
                let mut out = backend.buffer(Role::UnitRows, layers * rows * width).unwrap();
                backend.join_layers(&x, [layers, rows, width], 0.5, &mut out).unwrap();
                results.push((
                    format!("join_layers {layers} x {rows} x {width}"),
                    read(backend, &out, layers * rows * width),
                ));
            }
            for (images, prefix, patches, width) in [(1, 1, 1, 64), (2, 5, 9, 128), (3, 1, 4, 1280), (2, 0, 25, 192)] {
                let tokens = ImageTokens { prefix, patches };
                let len = images * patches * width;
                let stream = filled(backend, Role::Stream, &halves(2, images * tokens.count() * width, 2.0));
                let by = norm(backend, 3, width);
                let mut out = filled(backend, Role::Stream, &vec![7.0; 3 * len]);
                backend.plain_patches(&stream, images, tokens, width, None, 0, &mut out).unwrap();
                backend.plain_patches(&stream, images, tokens, width, Some(&by), 2, &mut out).unwrap();
                results.push((
                    format!("plain_patches {images} x ({prefix} + {patches}) x {width}"),
                    read(backend, &out, 3 * len),
                ));
            }
            results
        }
    }
    compare(1.0, Op);
}

#[test]
fn cuda_nearest_distance_and_reweight() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // One tile of the search and several, as many neighbours as there are rows and fewer.
            for (layers, images, cells, rows, width) in
                [(1, 1, 1, 1, 64), (2, 2, 9, 40, 64), (1, 3, 43, 150, 128), (3, 1, 70, 5, 64), (1, 2, 300, 9, 64)]
            {
                let what = format!("{layers} x {images} x {cells} in {rows} x {width}");
                let count = images * cells;
                let values: Arc<Vec<f32>> = unit_rows(1, layers * rows, width).into();
                let mut queries = unit_rows(2, layers * count, width);
                // A query that is a row of the bank.
                let last = (rows - 1) * width;
                queries[..width].copy_from_slice(&values[last..last + width]);
                let around = rows.min(9);
                let near: Arc<Vec<f32>> = (0..rows * around)
                    .map(|i| if i % around > 1 && i % 5 == 2 { -1.0 } else { (i * 7 % rows) as f32 })
                    .collect::<Vec<f32>>()
                    .into();
                let bank = backend
                    .bank(&[
                        BankTensor { values: &values, shape: [layers, rows, width], role: BankRole::Rows },
                        BankTensor { values: &near, shape: [1, rows, around], role: BankRole::Numbers },
                    ])
                    .unwrap();
                let queries = filled(backend, Role::UnitRows, &queries);
                let valid: Vec<f32> = (0..count).map(|i| f32::from(i % 7 != 3)).collect();
                let valid = filled(backend, Role::Stream, &valid);
                let mut found = backend.buffer(Role::Nearest, layers * count).unwrap();
                let mut map = backend.buffer(Role::Result, count).unwrap();
                let at = Search::all(count, 0);
                backend.nearest_distance(&queries, &at, &bank, &mut found, 1.5, &valid, &mut map).unwrap();
                results.push((format!("nearest_distance {what}"), read(backend, &map, count)));
                // The views after the first, into slots after the first.
                let part = Search {
                    query_pitch: count,
                    queries: (images - 1) * cells..count,
                    tensor: 0,
                    out_pitch: count,
                    first_out: (images - 1) * cells,
                };
                let mut again = filled(backend, Role::Result, &vec![3.0; count]);
                backend.nearest_distance(&queries, &part, &bank, &mut found, 1.5, &valid, &mut again).unwrap();
                results.push((format!("a part of {what}"), read(backend, &again, count)));
                if layers == 1 {
                    backend.nearest_distance(&queries, &at, &bank, &mut found, 1.5, &valid, &mut map).unwrap();
                    let mut out = filled(backend, Role::Result, &vec![7.0; 2 * images]);
                    for (search, cells) in [(at, cells), (part, cells)] {
                        let at = Reweighted { search, cells, neighbours: 1, scale: 1.5, out_pitch: 2, column: 1 };
                        let with = backend.reweight_ops().unwrap();
                        backend.reweight(&with, &queries, &at, &bank, &found, &map, &mut out).unwrap();
                        results.push((format!("reweight {what}"), read(backend, &out, 2 * images)));
                    }
                }
            }
            results
        }
    }
    compare(0.0, Op);
}

#[test]
fn cuda_subspace_distance() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Rows of one and of several blocks; a mean for all, or one of each cell; channels, weights and the root.
            for (layers, images, cells, width, count, depth, own) in [
                (1, 1, 1, 64, 1, 64, false),
                (3, 2, 9, 64, 5, 64, false),
                (1, 1, 43, 320, 40, 320, false),
                (2, 3, 9, 64, 3, 40, true),
                (1, 2, 5, 64, 64, 64, true),
            ] {
                let what = format!("{layers} x {images} x {cells} x {width}, {count} of {depth}");
                let places = if own { cells } else { 1 };
                let mean: Arc<Vec<f32>> = halves(1, places * depth, 1.0).into();
                let axes: Arc<Vec<f32>> = halves(2, places * count * depth, 0.5 / (depth as f32).sqrt()).into();
                let weights: Arc<Vec<f32>> =
                    halves(3, places * count, 1.0).iter().map(|x| x.abs()).collect::<Vec<f32>>().into();
                let channels: Arc<Vec<f32>> =
                    (0..depth).map(|i| (i * 3 % (layers * width)) as f32).collect::<Vec<f32>>().into();
                let numbers = |values, shape| BankTensor { values, shape, role: BankRole::Numbers };
                let bank = backend
                    .bank(&[
                        numbers(&mean, [1, places, depth]),
                        numbers(&axes, [places, count, depth]),
                        numbers(&weights, [1, places, count]),
                        numbers(&channels, [1, 1, depth]),
                    ])
                    .unwrap();
                let views = images + 1;
                let tokens = filled(backend, Role::Stream, &halves(4, layers * views * cells * width, 2.0));
                let slots = views * cells;
                let valid: Vec<f32> = (0..slots).map(|i| f32::from(i % 7 != 3)).collect();
                let valid = filled(backend, Role::Stream, &valid);
                let at = Search {
                    query_pitch: views * cells,
                    queries: cells..views * cells,
                    tensor: 1,
                    out_pitch: slots,
                    first_out: 0,
                };
                let by = Subspace {
                    mean: 0,
                    weights: own.then_some(2),
                    channels: own.then_some(3),
                    outside: 2.5,
                    root: own,
                };
                let mut map = filled(backend, Role::Result, &vec![7.0; slots]);
                backend.subspace_distance(&tokens, [layers, cells, width], &at, &by, &bank, &valid, &mut map).unwrap();
                results.push((format!("subspace_distance {what}"), read(backend, &map, slots)));
            }
            results
        }
    }
    compare(0.0, Op);
}

#[test]
fn cuda_enlarge() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            for (maps, rows, cols, patch, radius, mirrored) in
                [(1, 1, 1, 1, 1, true), (3, 2, 3, 4, 16, false), (2, 5, 7, 14, 1, true), (2, 3, 1, 5, 16, true)]
            {
                let cells = rows * cols;
                let map = filled(backend, Role::Result, &halves(1, maps * cells, 1.0));
                let valid: Vec<f32> = (0..maps * cells).map(|i| f32::from(i % 5 != 3)).collect();
                let valid = filled(backend, Role::Stream, &valid);
                let blur: Vec<f32> = halves(2, 2 * radius + 1, 0.1).iter().map(|x| x.abs() + 0.01).collect();
                let blur = constant(backend, &blur);
                let at = Enlarge { map: maps - 1, rows, cols, patch, mirrored };
                let mut columns = backend.buffer(Role::Stream, cells * patch).unwrap();
                let mut out = backend.buffer(Role::Stream, at.pixels()).unwrap();
                let mut counted = backend.buffer(Role::Stream, at.pixels()).unwrap();
                backend.enlarge(&map, &valid, &at, &blur, &mut columns, &mut out, &mut counted).unwrap();
                let what = format!("{rows} x {cols} x {patch}, radius {radius}");
                results.push((format!("enlarge {what}"), read(backend, &out, at.pixels())));
                results.push((format!("valid {what}"), read(backend, &counted, at.pixels())));
            }
            results
        }
    }
    compare(0.0, Op);
}

#[test]
fn cuda_spade_image() {
    struct Op;
    impl Operation for Op {
        fn run<B: Every>(&self, backend: &mut B) -> Vec<(String, Vec<f32>)> {
            let mut results = Vec::new();
            // Fewer images than warps and more, the most that there are; widths around a block's threads.
            for (views, count, width) in [(1, 1, 24), (3, 9, 64), (2, 50, 640), (1, 8, 300)] {
                let rows: Arc<Vec<f32>> = unit_rows(1, count, width).into();
                let tensor = BankTensor { values: &rows, shape: [1, count, width], role: BankRole::Numbers };
                let bank = backend.bank(&[tensor]).unwrap();
                let class = filled(backend, Role::Stream, &halves(2, (views + 1) * width, 3.0));
                let at = ImageDistance {
                    views: 1..views + 1,
                    first_slot: 2,
                    images: 0,
                    embedding: width,
                    out_pitch: 2,
                    column: 0,
                };
                let mut out = filled(backend, Role::Result, &vec![7.0; 2 * (views + 2)]);
                let with = backend.image_ops().unwrap();
                backend.image_distance(&with, &class, &at, &bank, &mut out).unwrap();
                results
                    .push((format!("spade_image {views} of {count} x {width}"), read(backend, &out, 2 * (views + 2))));
            }
            results
        }
    }
    compare(0.0, Op);
}
