//! The Euclidean distance of each query row to the nearest bank row of its layer, the mean over layers.

use std::sync::Arc;

use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search};

use super::{Real, cases, dot, finish, input, is_marked, output, random, real, rounded, same_bits, unless, within};

on_every_device! {
    nearest_distance,
    near_rows,
    parts_of_a_batch,
}

/// Rows of unit length.
pub fn unit_rows(seed: u64, rows: usize, width: usize) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = dot(row, row).sqrt();
        row.iter().map(|x| x / norm).collect::<Vec<_>>()
    };
    random(seed, rows * width, 1.0).chunks(width).flat_map(unit).collect()
}

fn bank<B: Backend>(backend: &mut B, rows: &[f32], shape: [usize; 3]) -> B::Bank {
    // A bank may be longer than its shape: what follows is not read.
    let values: Arc<Vec<f32>> = rows.iter().copied().chain([f32::NAN; 9]).collect::<Vec<f32>>().into();
    backend.bank(&[BankTensor { values: &values, shape, role: BankRole::Rows }]).unwrap()
}

fn formula<T: Real>(queries: &[f32], rows: &[f32], [layers, count, width]: [usize; 3], scale: f32) -> Vec<T> {
    let (queries, rows) = (real::<T>(queries), real::<T>(rows));
    let layer = |l: usize| rows[l * rows.len() / layers..(l + 1) * rows.len() / layers].chunks(width);
    let distance = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| (a - b) * (a - b)).sum::<T>().sqrt();
    let nearest = |l: usize, i: usize| {
        let query = &queries[(l * count + i) * width..][..width];
        let all = layer(l).map(|row| distance(query, row));
        all.reduce(|a, b| if b < a { b } else { a }).unwrap_or(T::of(0.0))
    };
    let mean = |i: usize| (0..layers).map(|l| T::of(scale.into()) * nearest(l, i)).sum::<T>() / T::of(layers as f64);
    (0..count).map(mean).collect()
}

fn nearest_distance<B: Backend>(backends: &mut [B]) {
    let all = [
        (1, 1, 1, 1),
        (1, 225, 450, 384),
        (3, 50, 75, 128),
        (2, 17, 33, 7),
        (1, 97, 5, 65),
        (1, 37, 1000, 8),
        (1, 1, 1, 64),
        (2, 18, 40, 64),
        (3, 70, 5, 64),
    ];
    let against =
        |&(layers, count, rows, width): &(usize, usize, usize, usize)| unless(width, 64, layers * count * rows * width);
    for (layers, count, rows, width) in cases(backends, &all, against) {
        let (queries, host) = (unit_rows(1, layers * count, width), unit_rows(2, layers * rows, width));
        let (queries, host) = (rounded(backends, Role::UnitRows, queries), rounded(backends, Role::UnitRows, host));
        let scale = (layers as f32).sqrt();
        let exact = formula::<f64>(&queries, &host, [layers, count, width], scale);
        for backend in &mut *backends {
            let bank = bank(backend, &host, [layers, rows, width]);
            let (taps, valid) =
                (input(backend, Role::UnitRows, &queries), input(backend, Role::Stream, &vec![1.0; count]));
            let mut found = backend.buffer(Role::Nearest, layers * count).unwrap();
            let mut map = output(backend, Role::Result, count);
            let at = Search::all(count, 0);
            backend.nearest_distance(&taps, &at, &bank, &mut found, scale, Some(&valid), &mut map).unwrap();
            let what = format!("nearest_distance, {}, {layers} x {count} in {rows} x {width}", backend.describe());
            // Squares of unit rows are summed in f32: the root halves their relative error. Where two rows are as near but for
            // the rounding of a cosine, 6e-8 for each of the products of a chain, either may be taken.
            let budget = |i: usize| 1e-6 * f64::from(scale) + 4e-7 / exact[i].max(1e-3);
            within(&what, &finish(backend, &map, count), &exact, budget);

            let some: Vec<f32> = (0..count).map(|i| f32::from(i % 3 != 0)).collect();
            let some = input(backend, Role::Stream, &some);
            let whole = finish(backend, &map, count);
            backend.nearest_distance(&taps, &at, &bank, &mut found, scale, Some(&some), &mut map).unwrap();
            for (i, (part, whole)) in finish(backend, &map, count).iter().zip(&whole).enumerate() {
                assert_eq!(*part, if i % 3 == 0 { 0.0 } else { *whole }, "{what}: cell {i}");
            }
            backend.nearest_distance(&taps, &at, &bank, &mut found, scale, None, &mut map).unwrap();
            same_bits(&format!("{what}: every cell counts"), &finish(backend, &map, count), &whole);
        }
    }
}

/// Rows of a bank that lie closer together than a cosine tells: the distance is still that of the nearest.
fn near_rows<B: Backend>(backends: &mut [B]) {
    let (count, rows, width) = (40, 300, if B::IN_HOST_MEMORY { 96 } else { 64 });
    let queries = rounded(backends, Role::UnitRows, unit_rows(1, count, width));
    // Each query again, among many that are 1e-5 to 3e-3 away from it.
    let mut host: Vec<f32> = (0..rows)
        .flat_map(|row| {
            let (query, away) = (&queries[row % count * width..][..width], 1e-5 * 1.02f32.powi(row as i32));
            let moved: Vec<f32> = query.iter().zip(random(9 + row as u64, width, away)).map(|(x, d)| x + d).collect();
            let norm = dot(&moved, &moved).sqrt();
            moved.into_iter().map(move |x| x / norm)
        })
        .collect();
    let exact_again = 3 * count / 4;
    host[(rows - count) * width..][..exact_again * width].copy_from_slice(&queries[..exact_again * width]);
    let host = rounded(backends, Role::UnitRows, host);
    let exact = formula::<f64>(&queries, &host, [1, count, width], 1.0);
    assert!(exact[..exact_again].iter().all(|x| *x == 0.0) && exact[exact_again..].iter().all(|x| *x > 0.0));
    for backend in &mut *backends {
        let bank = bank(backend, &host, [1, rows, width]);
        let (taps, valid) = (input(backend, Role::UnitRows, &queries), input(backend, Role::Stream, &vec![1.0; count]));
        let mut found = backend.buffer(Role::Nearest, count).unwrap();
        let mut map = output(backend, Role::Result, count);
        backend
            .nearest_distance(&taps, &Search::all(count, 0), &bank, &mut found, 1.0, Some(&valid), &mut map)
            .unwrap();
        let map = finish(backend, &map, count);
        within("near rows", &map, &exact, |i| 2e-6 * exact[i]);
    }
}

/// Some views of several layers, into some slots of many: the bits of the whole, and nothing else is written.
fn parts_of_a_batch<B: Backend>(backends: &mut [B]) {
    let (layers, cells, views, rows, width) = (2, 19, 3, 120, if B::IN_HOST_MEMORY { 24 } else { 64 });
    let queries = unit_rows(1, layers * views * cells, width);
    let host = unit_rows(2, layers * rows, width);
    for backend in &mut *backends {
        let bank = bank(backend, &host, [layers, rows, width]);
        let taps = input(backend, Role::UnitRows, &queries);
        let run = |backend: &mut B, at: &Search| {
            let valid = input(backend, Role::Stream, &vec![1.0; at.out_pitch]);
            let mut found = backend.buffer(Role::Nearest, layers * at.out_pitch).unwrap();
            let mut map = output(backend, Role::Result, at.out_pitch);
            backend.nearest_distance(&taps, at, &bank, &mut found, 1.0, Some(&valid), &mut map).unwrap();
            finish(backend, &map, at.out_pitch)
        };
        let whole = run(backend, &Search::all(views * cells, 0));
        let pitch = 5 * cells;
        let at = Search {
            query_pitch: views * cells,
            queries: cells..3 * cells,
            tensor: 0,
            out_pitch: pitch,
            first_out: 2 * cells,
        };
        let part = run(backend, &at);
        same_bits("two views of three", &part[2 * cells..4 * cells], &whole[cells..]);
        assert!(part[..2 * cells].iter().chain(&part[4 * cells..]).copied().all(is_marked));
    }
}
