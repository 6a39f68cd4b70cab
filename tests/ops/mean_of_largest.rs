//! The mean of the largest cells of a map that are not ignored: a percentage of them, and at least one.

use inctrl::backend::{Backend, Largest, Role};

use super::{Real, accurate, finish, input, is_marked, output, random, real, same_bits};

on_every_device! {
    mean_of_largest,
    cells_that_do_not_count,
    maps_are_independent,
}

fn formula<T: Real>(map: &[f32], valid: &[f32], one_in: usize) -> T {
    let mut cells: Vec<f32> = map.iter().zip(valid).filter(|(_, j)| **j > 0.0).map(|(x, _)| *x).collect();
    cells.sort_by(|a, b| b.partial_cmp(a).unwrap());
    let count = (cells.len() / one_in).max(1).min(cells.len());
    real::<T>(&cells[..count]).into_iter().sum::<T>() / T::of(count.max(1) as f64)
}

fn all(maps: usize, cells: usize, one_in: usize) -> Largest {
    Largest { maps, cells, one_in, out_pitch: 1, column: 0 }
}

/// Distances with ties, some of them negative by rounding.
fn distances(seed: u64, len: usize) -> Vec<f32> {
    random(seed, len, 0.3).iter().map(|x| (x * 50.0).round() / 64.0).collect()
}

fn mean_of_largest<B: Backend>(backends: &mut [B]) {
    for (maps, cells, one_in) in [
        (1, 1, 100),
        (1, 99, 100),
        (2, 100, 100),
        (3, 199, 100),
        (1, 1024, 100),
        (2, 2305, 100),
        (2, 300, 7),
        (2, 50, 51),
        (1, 17, 1),
    ] {
        let map = distances(cells as u64, maps * cells);
        let valid: Vec<f32> = (0..maps * cells).map(|cell| f32::from(cell % 5 != 3 || cells < 3)).collect();
        let each = || map.chunks(cells).zip(valid.chunks(cells));
        let exact: Vec<f64> = each().map(|(map, valid)| formula(map, valid, one_in)).collect();
        let naive: Vec<f32> = each().map(|(map, valid)| formula(map, valid, one_in)).collect();
        for backend in &mut *backends {
            let (map, valid) = (input(backend, Role::Result, &map), input(backend, Role::Stream, &valid));
            let mut out = output(backend, Role::Result, maps);
            backend.mean_of_largest(&map, &valid, &all(maps, cells, one_in), &mut out).unwrap();
            let found = finish(backend, &out, maps);
            let what = format!("mean_of_largest, {}, {maps} x {cells}, one in {one_in}", backend.describe());
            accurate(&what, &found, &exact, &naive, 0.0);

            // Into one column of several: the others stay.
            let mut out = output(backend, Role::Result, maps * 3);
            let at = Largest { out_pitch: 3, column: 1, ..all(maps, cells, one_in) };
            backend.mean_of_largest(&map, &valid, &at, &mut out).unwrap();
            for (row, found) in finish(backend, &out, maps * 3).chunks(3).zip(found) {
                assert!(
                    row[1].to_bits() == found.to_bits() && is_marked(row[0]) && is_marked(row[2]),
                    "{what}: {row:?}"
                );
            }
        }
    }
}

fn cells_that_do_not_count<B: Backend>(backends: &mut [B]) {
    for backend in &mut *backends {
        let mut of = |map: &[f32], valid: &[f32]| {
            let (map_, valid_) = (input(backend, Role::Result, map), input(backend, Role::Stream, valid));
            let mut out = output(backend, Role::Result, 1);
            backend.mean_of_largest(&map_, &valid_, &all(1, map.len(), 2), &mut out).unwrap();
            finish(backend, &out, 1)[0]
        };
        // A negative distance is still the largest of those that count.
        assert_eq!(of(&[-0.25, 0.0, 0.0, -0.5], &[1.0, 0.0, 0.0, 1.0]), -0.25);
        assert_eq!(of(&[0.0, 0.0, 0.0], &[0.0; 3]), 0.0);
        assert_eq!(of(&[0.5, 0.25, 0.5, 0.0], &[1.0; 4]), 0.5);
        assert_eq!(of(&[f32::INFINITY, 0.25], &[1.0; 2]), f32::INFINITY);
        for nan in [f32::NAN, -f32::NAN] {
            assert!(of(&[0.5, nan, 0.5, 0.0], &[1.0; 4]).is_nan());
            assert!(of(&[0.5, nan, 0.5, 0.0], &[1.0, 0.0, 1.0, 1.0]).is_nan());
            assert!(of(&[nan], &[0.0]).is_nan());
        }
    }
}

fn maps_are_independent<B: Backend>(backends: &mut [B]) {
    let (maps, cells) = (5, 333);
    let (host, ones) = (distances(9, maps * cells), vec![1.0; maps * cells]);
    for backend in &mut *backends {
        let mut run = |host: &[f32], maps| {
            let (map, valid) = (input(backend, Role::Result, host), input(backend, Role::Stream, &ones[..host.len()]));
            let mut out = output(backend, Role::Result, maps);
            backend.mean_of_largest(&map, &valid, &all(maps, cells, 100), &mut out).unwrap();
            finish(backend, &out, maps)
        };
        let together = run(&host, maps);
        for (map, together) in host.chunks(cells).zip(together) {
            same_bits("a map alone", &run(map, 1), &[together]);
            // Where a cell lies changes nothing.
            let backwards: Vec<f32> = map.iter().rev().copied().collect();
            assert!((run(&backwards, 1)[0] - together).abs() <= 2.0 * f32::EPSILON * together.abs());
        }
    }
}
