//! How far tokens lie from a mean, along directions and outside them.

use std::sync::Arc;

use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search, Subspace};

use super::{Real, accurate, cases, finish, input, is_marked, output, random, real, same_bits, unless};

on_every_device! {
    subspace_distance,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    layers: usize,
    cells: usize,
    width: usize,
    count: usize,
    depth: usize,
    /// Whether each cell has a mean of its own; then channels are chosen, coordinates count, and the root is taken.
    own: bool,
}

const VIEWS: usize = 3;

const CASES: &[Case] = &[
    Case { layers: 1, cells: 1, width: 1, count: 1, depth: 1, own: false },
    Case { layers: 3, cells: 9, width: 24, count: 5, depth: 24, own: false },
    Case { layers: 1, cells: 35, width: 130, count: 60, depth: 130, own: false },
    Case { layers: 2, cells: 9, width: 17, count: 3, depth: 20, own: true },
    Case { layers: 1, cells: 4, width: 33, count: 33, depth: 33, own: true },
    Case { layers: 1, cells: 43, width: 320, count: 40, depth: 320, own: false },
    Case { layers: 2, cells: 9, width: 64, count: 3, depth: 40, own: true },
];

impl Case {
    fn places(&self) -> usize {
        if self.own { self.cells } else { 1 }
    }

    fn tokens(&self) -> Vec<f32> {
        random(1, self.layers * VIEWS * self.cells * self.width, 1.0)
    }

    fn mean(&self) -> Vec<f32> {
        random(2, self.places() * self.depth, 1.0)
    }

    /// Orthonormal rows at every place, the last of them zero where there are several.
    fn directions(&self) -> Vec<f32> {
        let mut all = Vec::new();
        for place in 0..self.places() {
            let mut rows: Vec<Vec<f64>> = Vec::new();
            for row in random(3 + place as u64, self.count * self.depth, 1.0).chunks(self.depth) {
                let mut row: Vec<f64> = real(row);
                for other in &rows {
                    let along: f64 = other.iter().zip(&row).map(|(a, b)| a * b).sum();
                    row.iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
                }
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                let scale = if rows.len() > 1 && rows.len() + 1 == self.count { 0.0 } else { 1.0 / length };
                rows.push(row.iter().map(|x| x * scale).collect());
            }
            all.extend(rows.concat().iter().map(|x| *x as f32));
        }
        all
    }

    fn weights(&self) -> Vec<f32> {
        random(90, self.places() * self.count, 1.0).iter().map(|x| x.abs()).collect()
    }

    fn channels(&self) -> Vec<f32> {
        (0..self.depth).map(|i| (i * 3 % (self.layers * self.width)) as f32).collect()
    }

    fn formula<T: Real>(&self) -> Vec<T> {
        let (tokens, mean, directions) =
            (real::<T>(&self.tokens()), real::<T>(&self.mean()), real::<T>(&self.directions()));
        let (weights, channels) = (real::<T>(&self.weights()), self.channels());
        let rows = VIEWS * self.cells;
        let distance = |row: usize| {
            let place = if self.own { row % self.cells } else { 0 };
            let token = |layer: usize, i: usize| tokens[(layer * rows + row) * self.width + i];
            let x = |i: usize| match self.own {
                true => token(channels[i] as usize / self.width, channels[i] as usize % self.width),
                false => (0..self.layers).map(|layer| token(layer, i)).sum::<T>() / T::of(self.layers as f64),
            };
            let delta: Vec<T> = (0..self.depth).map(|i| x(i) - mean[place * self.depth + i]).collect();
            let axes: Vec<&[T]> =
                directions[place * self.count * self.depth..][..self.count * self.depth].chunks(self.depth).collect();
            let z: Vec<T> = axes.iter().map(|axis| super::dot(axis, &delta)).collect();
            let rest = |i: usize| axes.iter().zip(&z).fold(delta[i], |rest, (axis, &z)| rest - z * axis[i]);
            let outside = T::of(2.5) * (0..self.depth).map(|i| rest(i) * rest(i)).sum::<T>();
            if !self.own {
                return outside;
            }
            let along = (0..self.count).map(|j| weights[place * self.count + j] * z[j] * z[j]).sum::<T>();
            (outside + along).sqrt()
        };
        (0..rows).map(distance).collect()
    }
}

fn subspace_distance<B: Backend>(backends: &mut [B]) {
    // Rows of any width.
    let against = |case: &Case| unless(1, 1, VIEWS * case.cells * 2 * case.count * case.depth);
    for case in cases(backends, CASES, against) {
        let (exact, naive) = (case.formula::<f64>(), case.formula::<f32>());
        let rows = VIEWS * case.cells;
        for backend in &mut *backends {
            let tensors: [Arc<Vec<f32>>; 4] =
                [case.mean(), case.directions(), case.weights(), case.channels()].map(Into::into);
            let shapes = [
                [1, case.places(), case.depth],
                [case.places(), case.count, case.depth],
                [1, case.places(), case.count],
                [1, 1, case.depth],
            ];
            let tensor = |(values, shape)| BankTensor { values, shape, role: BankRole::Numbers };
            let bank = backend.bank(&tensors.iter().zip(shapes).map(tensor).collect::<Vec<_>>()).unwrap();
            let by = Subspace {
                mean: 0,
                weights: case.own.then_some(2),
                channels: case.own.then_some(3),
                outside: 2.5,
                root: case.own,
            };
            let tokens = input(backend, Role::Stream, &case.tokens());
            let valid: Vec<f32> = (0..2 * rows).map(|i| f32::from(i % 5 != 3)).collect();
            let valid_ = input(backend, Role::Stream, &valid);
            let shape = [case.layers, case.cells, case.width];
            let mut run = |at: &Search| {
                let mut map = output(backend, Role::Result, 2 * rows);
                backend.subspace_distance(&tokens, shape, at, &by, &bank, &valid_, &mut map).unwrap();
                finish(backend, &map, 2 * rows)
            };
            let whole = run(&Search::all(rows, 1));
            let counted =
                |values: &[f64]| values.iter().zip(&valid).map(|(x, valid)| x * f64::from(*valid)).collect::<Vec<_>>();
            accurate(&format!("subspace_distance, {case:?}"), &whole[..rows], &counted(&exact), &naive, 0.0);
            // One view of several into a later slot: the bits of the whole, and nothing else is written.
            let at = Search {
                query_pitch: rows,
                queries: case.cells..2 * case.cells,
                tensor: 1,
                out_pitch: 2 * rows,
                first_out: 5 * case.cells,
            };
            let part = run(&at);
            let (before, rest) = part.split_at(5 * case.cells);
            assert!(before.iter().chain(&rest[case.cells..]).copied().all(is_marked));
            let again: Vec<f32> = (0..case.cells)
                .map(|i| if valid[5 * case.cells + i] == 0.0 || valid[case.cells + i] == 0.0 { 0.0 } else { rest[i] })
                .collect();
            let before: Vec<f32> = (0..case.cells)
                .map(|i| if valid[5 * case.cells + i] == 0.0 { 0.0 } else { whole[case.cells + i] })
                .collect();
            same_bits("a part", &again, &before);
        }
    }
}
