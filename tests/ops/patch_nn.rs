//! The largest cosine between each query patch and the prompt patches of the same tap.

use std::sync::Arc;

use inctrl::backend::{Backend, BankRole, BankTensor, Role, Search};

use super::{Real, accurate, cases, dot, finish, input, is_marked, output, random, real, rounded, same_bits, unless};

on_every_device! {
    patch_nn,
    rows_are_independent,
    a_range_of_rows,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    taps: usize,
    images: usize,
    prompts: usize,
    patches: usize,
    width: usize,
    /// Whether every cosine is negative.
    opposed: bool,
}

const fn case(taps: usize, images: usize, prompts: usize, patches: usize, width: usize) -> Case {
    Case { taps, images, prompts, patches, width, opposed: false }
}

const CASES: &[Case] = &[
    case(1, 1, 1, 1, 1),
    case(1, 1, 2, 225, 896),
    case(3, 2, 3, 25, 128),
    case(2, 3, 1, 4, 7),
    case(2, 1, 5, 9, 17),
    // Around one, two and six vectors of query patches, and odd numbers of prompt patches.
    case(1, 2, 1, 15, 5),
    case(1, 2, 1, 16, 5),
    case(1, 2, 2, 17, 5),
    case(1, 1, 1, 31, 8),
    case(1, 1, 3, 33, 8),
    case(2, 1, 1, 47, 3),
    case(1, 1, 1, 49, 16),
    case(1, 1, 1, 95, 9),
    case(1, 1, 1, 97, 9),
    // As many rows as a bank of turned prompts has.
    case(1, 1, 1000, 37, 8),
    Case { opposed: true, ..case(2, 2, 2, 9, 12) },
    Case { opposed: true, ..case(1, 1, 1, 97, 3) },
    // Tiles of a GPU, one and several, and a rest of either side.
    case(1, 1, 1, 1, 64),
    case(2, 2, 3, 9, 64),
    case(1, 3, 2, 43, 128),
    case(3, 1, 5, 70, 64),
    Case { opposed: true, ..case(1, 1, 1, 9, 64) },
];

fn against(case: &Case) -> Option<&'static str> {
    unless(case.width, 64, case.taps * case.images * case.prompts * case.patches.pow(2) * case.width)
}

impl Case {
    fn queries<B: Backend>(&self, backends: &[B]) -> Vec<f32> {
        let x = random(1, self.taps * self.images * self.patches * self.width, 1.0);
        rounded(backends, Role::UnitRows, self.unit(if self.opposed { x.iter().map(|x| x.abs()).collect() } else { x }))
    }

    fn prompts<B: Backend>(&self, backends: &[B]) -> Vec<f32> {
        let x = random(2, self.taps * self.prompts * self.patches * self.width, 1.0);
        rounded(
            backends,
            Role::UnitRows,
            self.unit(if self.opposed { x.iter().map(|x| -x.abs()).collect() } else { x }),
        )
    }

    fn unit(&self, x: Vec<f32>) -> Vec<f32> {
        let unit = |row: &[f32]| {
            let norm = dot(row, row).sqrt();
            row.iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        x.chunks(self.width).flat_map(unit).collect()
    }

    fn bank<B: Backend>(&self, backend: &mut B) -> B::Bank {
        let mut taps = self.prompts(std::slice::from_ref(backend));
        // A bank may be longer than its shape: what follows is not read.
        taps.extend([f32::NAN; 40]);
        let shape = [self.taps, self.prompts * self.patches, self.width];
        backend.bank(&[BankTensor { values: &Arc::from(taps), shape, role: BankRole::Rows }]).unwrap()
    }

    /// `max_j q_i · p_j` over all patches of all prompts.
    fn formula<T: Real, B: Backend>(&self, backends: &[B]) -> Vec<T> {
        let (queries, prompts) = (real::<T>(&self.queries(backends)), real::<T>(&self.prompts(backends)));
        let layer = self.patches * self.width;
        let mut out = Vec::new();
        for (queries, prompts) in queries.chunks(self.images * layer).zip(prompts.chunks(self.prompts * layer)) {
            for q in queries.chunks(self.width) {
                out.extend(prompts.chunks(self.width).map(|p| dot(q, p)).reduce(Real::max));
            }
        }
        out
    }
}

fn patch_nn<B: Backend>(backends: &mut [B]) {
    for case in cases(backends, CASES, against) {
        let queries = case.queries(backends);
        let (exact, naive) = (case.formula::<f64, B>(backends), case.formula::<f32, B>(backends));
        for backend in &mut *backends {
            let bank = case.bank(backend);
            let (taps, mut out) =
                (input(backend, Role::UnitRows, &queries), output(backend, Role::Nearest, exact.len()));
            backend.patch_nn(&taps, &Search::all(case.images * case.patches, 0), &bank, &mut out).unwrap();
            let found = finish(backend, &out, exact.len());
            accurate(&format!("patch_nn, {}, {case:?}", backend.describe()), &found, &exact, &naive, 0.0);
        }
    }
}

fn rows_are_independent<B: Backend>(backends: &mut [B]) {
    let case = case(1, 4, 2, 37, if B::IN_HOST_MEMORY { 29 } else { 64 });
    let (queries, patches) = (case.queries(backends), case.patches);
    for backend in &mut *backends {
        let bank = case.bank(backend);
        let (taps, mut out) =
            (input(backend, Role::UnitRows, &queries), output(backend, Role::Nearest, case.images * patches));
        backend.patch_nn(&taps, &Search::all(case.images * case.patches, 0), &bank, &mut out).unwrap();
        let all = finish(backend, &out, case.images * patches);
        for (query, together) in queries.chunks(patches * case.width).zip(all.chunks(patches)) {
            let (taps, mut out) = (input(backend, Role::UnitRows, query), output(backend, Role::Nearest, patches));
            backend.patch_nn(&taps, &Search::all(patches, 0), &bank, &mut out).unwrap();
            let alone = finish(backend, &out, patches);
            same_bits(&format!("an image alone, {}", backend.describe()), &alone, together);
        }
    }
}

/// Some rows of every layer, to another place of a wider output: the rest of it stays.
fn a_range_of_rows<B: Backend>(backends: &mut [B]) {
    let case = case(3, 4, 2, 37, if B::IN_HOST_MEMORY { 29 } else { 64 });
    let (rows, pitch) = (case.images * case.patches, 2 * case.images * case.patches);
    let host = case.queries(backends);
    for backend in &mut *backends {
        let bank = case.bank(backend);
        let (queries, mut whole) =
            (input(backend, Role::UnitRows, &host), output(backend, Role::Nearest, case.taps * rows));
        backend.patch_nn(&queries, &Search::all(rows, 0), &bank, &mut whole).unwrap();
        let whole = finish(backend, &whole, case.taps * rows);
        for range in [0..1, 36..75, rows - 1..rows, 0..rows, 5..5] {
            let mut out = output(backend, Role::Nearest, case.taps * pitch);
            let at = Search { query_pitch: rows, queries: range.clone(), tensor: 0, out_pitch: pitch, first_out: 11 };
            backend.patch_nn(&queries, &at, &bank, &mut out).unwrap();
            let found = finish(backend, &out, case.taps * pitch);
            for (layer, (found, whole)) in found.chunks(pitch).zip(whole.chunks(rows)).enumerate() {
                let what = format!("{range:?}, layer {layer}, {}", backend.describe());
                same_bits(&what, &found[11..11 + range.len()], &whole[range.clone()]);
                let rest = found[..11].iter().chain(&found[11 + range.len()..]);
                assert!(rest.copied().all(is_marked), "{what}: more was written");
            }
        }
    }
}
