//! PatchCore's weight of an image's distance.

use std::sync::Arc;

use inctrl::backend::{BankRole, BankTensor, Role, Search};
use inctrl::methods::patchcore::{ReweightOps, Reweighted};

use super::nearest_distance::unit_rows;
use super::{ULP, finish, input, is_marked, output, rounded, within};

on_every_device! {
    reweight,
}

fn reweight<B: ReweightOps>(backends: &mut [B]) {
    for (images, cells, rows, around, width, plain) in [
        (1, 1, 1, 1, 64, false),
        (3, 9, 40, 9, 192, false),
        (2, 50, 5, 5, 64, false),
        (2, 43, 150, 9, 128, false),
        (1, 9, 5, 5, 64, false),
        // Rows that were made of levels: of any length, in f32.
        (2, 11, 150, 9, 77, true),
        (1, 9, 40, 9, 96, true),
    ] {
        let (of_queries, of_rows) =
            if plain { (Role::Stream, BankRole::Numbers) } else { (Role::UnitRows, BankRole::Rows) };
        let (queries, bank_rows) = (unit_rows(1, images * cells, width), unit_rows(2, rows, width));
        let (queries, bank_rows) = (rounded(backends, of_queries, queries), rounded(backends, of_queries, bank_rows));
        // Any rows will do as neighbours.
        let gone = |i: usize| i % around > 1 && i % 5 == 2;
        let neighbours: Vec<f32> =
            (0..rows * around).map(|i| if gone(i) { -1.0 } else { (i * 7 % rows) as f32 }).collect();
        let distance = |q: usize, row: usize| {
            let (a, b) = (&queries[q * width..][..width], &bank_rows[row * width..][..width]);
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
        };
        let nearest = |q: usize| (0..rows).min_by(|&a, &b| distance(q, a).total_cmp(&distance(q, b))).unwrap();
        // A distance that two cells share: the first counts.
        let host: Vec<f32> =
            (0..images * cells).map(|i| if i % cells == cells / 2 { 2.0 } else { (i % 3) as f32 }).collect();
        let exact: Vec<f64> = (0..images)
            .map(|image| {
                let map = &host[image * cells..][..cells];
                let worst = (0..cells).rev().max_by(|&a, &b| map[a].total_cmp(&map[b])).unwrap();
                let q = image * cells + worst;
                let near = &neighbours[nearest(q) * around..][..around];
                let away: Vec<f64> = near
                    .iter()
                    .filter(|row| **row >= 0.0)
                    .map(|row| (1.5 * distance(q, *row as usize)).exp())
                    .collect();
                f64::from(map[worst]) * (1.0 - away[0] / away.iter().sum::<f64>())
            })
            .collect();
        for backend in &mut *backends {
            let (values, near): (Arc<Vec<f32>>, Arc<Vec<f32>>) = (bank_rows.clone().into(), neighbours.clone().into());
            let tensors = [
                BankTensor { values: &values, shape: [1, rows, width], role: of_rows },
                BankTensor { values: &near, shape: [1, rows, around], role: BankRole::Numbers },
            ];
            let bank = backend.bank(&tensors).unwrap();
            let valid = input(backend, Role::Stream, &vec![1.0; images * cells]);
            let taps = input(backend, of_queries, &queries);
            let mut found = backend.buffer(Role::Nearest, images * cells).unwrap();
            let mut distances = output(backend, Role::Result, images * cells);
            let search = Search::all(images * cells, 0);
            if plain {
                let (found, map) = (&mut found, &mut distances);
                backend.levels().nearest_euclidean(&taps, &search, &bank, found, Some(&valid), map).unwrap();
            } else {
                let (found, map) = (&mut found, &mut distances);
                backend.nearest_distance(&taps, &search, &bank, found, 1.0, Some(&valid), map).unwrap();
            }
            let (map, mut out) = (input(backend, Role::Result, &host), output(backend, Role::Result, 2 * images));
            let at = Reweighted { search, cells, neighbours: 1, scale: 1.5, out_pitch: 2, column: 1 };
            let with = backend.reweight_ops().unwrap();
            backend.reweight(&with, &taps, &at, &bank, &found, &map, &mut out).unwrap();
            let all = finish(backend, &out, 2 * images);
            let numbers: Vec<f32> = all.iter().skip(1).step_by(2).copied().collect();
            assert!(all.iter().step_by(2).copied().all(is_marked));
            // Exponents of up to 1.5 times the longest distance, with the rounding of a sum of squares.
            let what = format!("reweight, {}, {images} x {cells} of {rows}", backend.describe());
            within(&what, &numbers, &exact, |i| 64.0 * ULP * exact[i].max(0.1));
        }
    }
}
