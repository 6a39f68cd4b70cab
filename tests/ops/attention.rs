//! `softmax(Q Kᵀ / sqrt(d)) V`: all queries, causal, and one query a sequence.

use inctrl::ErrorKind;
use inctrl::backend::{AttentionShape, Backend, Role, Sequences};

use super::{
    Real, cases, coarseness, dot, finish, input, numbers, output, random, real, rounded, rounding, same_bits, stored,
    unit, unless, within,
};

on_every_device! {
    attention,
    class_attention,
    a_sequence_does_not_know_its_neighbours,
    sequences_that_share_rows_are_refused,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    lengths: &'static [usize],
    heads: usize,
    size: usize,
    /// Of queries and keys; 1 makes scores of size 1.
    scale: f32,
}

const fn case(lengths: &'static [usize], heads: usize, size: usize) -> Case {
    Case { lengths, heads, size, scale: 1.0 }
}

const CASES: &[Case] = &[
    case(&[1], 1, 1),
    case(&[226, 226], 14, 64),
    // Texts of different length.
    case(&[16, 20, 17, 1, 19], 10, 64),
    case(&[2, 3, 5, 7, 11, 13], 3, 5),
    // A vector of tokens, more and less.
    case(&[7, 8, 9, 15, 16, 17], 2, 8),
    case(&[31, 32, 33], 2, 16),
    case(&[24, 25, 63, 65], 1, 17),
    case(&[12, 13, 1], 2, 15),
    case(&[26], 2, 31),
    case(&[26, 4], 1, 33),
    case(&[50], 2, 80),
    // Scores of some hundreds: nearly all weight on one token.
    Case { scale: 8.0, ..case(&[50, 33], 2, 64) },
    Case { scale: 1e-3, ..case(&[50, 33], 2, 64) },
    // Images: each kernel of a GPU at its last key and one before; the last two take the online one, also with whole tiles.
    case(&[1, 1], 1, 64),
    case(&[10, 10], 2, 64),
    case(&[63], 1, 64),
    case(&[64], 1, 64),
    case(&[65], 1, 64),
    case(&[197], 1, 64),
    case(&[226], 1, 64),
    case(&[257], 1, 64),
    case(&[290], 1, 64),
    case(&[320], 1, 64),
    Case { scale: 4.0, ..case(&[50, 50], 1, 64) },
];

fn against(case: &Case) -> Option<&'static str> {
    let keys = case.lengths.iter().map(|length| length * length).sum::<usize>() * case.shape().width();
    match case.lengths {
        _ if case.size != 64 => Some("heads are of 64"),
        [first, rest @ ..] if rest.iter().any(|length| length != first) => Some("images are sequences of one length"),
        // A multiplication of the emulator's tiles does several of these.
        _ => unless(64, 64, keys / 4),
    }
}

impl Case {
    fn shape(&self) -> AttentionShape {
        AttentionShape { heads: self.heads, size: self.size }
    }

    fn ends(&self) -> Vec<usize> {
        let mut end = 0;
        let add = |length: &usize| {
            end += length;
            end
        };
        self.lengths.iter().map(add).collect()
    }

    fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// `parts` of [`rows, W`] side by side, of which all but the values have the case's scale.
    fn side_by_side<B: Backend>(&self, backends: &[B], seed: u64, parts: usize) -> Vec<f32> {
        let width = self.shape().width();
        let mut x = random(seed, self.rows() * parts * width, 1.0);
        for row in x.chunks_mut(parts * width) {
            row[..(parts - 1) * width].iter_mut().for_each(|x| *x *= self.scale);
        }
        rounded(backends, Role::Operand, x)
    }
}

/// One query against the keys and values of the tokens that it sees.
fn attend<T: Real>(q: &[T], keys: &[&[T]], values: &[&[T]]) -> Vec<T> {
    let root = T::of(q.len() as f64).sqrt();
    let scores: Vec<T> = keys.iter().map(|k| dot(q, k) / root).collect();
    let largest = scores.iter().copied().reduce(Real::max).unwrap();
    let weights: Vec<T> = scores.iter().map(|&s| (s - largest).exp()).collect();
    let sum: T = weights.iter().copied().sum();
    (0..q.len()).map(|i| weights.iter().zip(values).map(|(&w, v)| w * v[i]).sum::<T>() / sum).collect()
}

/// `columns` of every row of a matrix of `stride` columns.
fn columns<T>(x: &[T], stride: usize, columns: std::ops::Range<usize>) -> Vec<&[T]> {
    x.chunks(stride).map(|row| &row[columns.clone()]).collect()
}

/// The same with the sizes of the values, which are the last of `parts`.
fn absolute(host: &[f32], width: usize, parts: usize) -> Vec<f32> {
    let value = |i: usize| i % (parts * width) >= (parts - 1) * width;
    host.iter().enumerate().map(|(i, x)| if value(i) { x.abs() } else { *x }).collect()
}

fn all_queries<T: Real>(case: &Case, qkv: &[f32], causal: bool) -> Vec<T> {
    let (qkv, width, size) = (real::<T>(qkv), case.shape().width(), case.size);
    let mut out = vec![T::of(0.0); case.rows() * width];
    for (end, length) in case.ends().into_iter().zip(case.lengths) {
        let first = end - length;
        let rows = &qkv[first * 3 * width..end * 3 * width];
        for column in (0..width).step_by(size) {
            let part = |at: usize| columns(rows, 3 * width, at * width + column..at * width + column + size);
            let (q, k, v) = (part(0), part(1), part(2));
            for t in 0..*length {
                let seen = if causal { t + 1 } else { *length };
                let y = attend(q[t], &k[..seen], &v[..seen]);
                out[(first + t) * width + column..][..size].copy_from_slice(&y);
            }
        }
    }
    out
}

fn one_query<T: Real>(case: &Case, q: &[f32], kv: &[f32]) -> Vec<T> {
    let (q, kv, width, size) = (real::<T>(q), real::<T>(kv), case.shape().width(), case.size);
    let mut out = Vec::new();
    for ((q, end), length) in q.chunks(width).zip(case.ends()).zip(case.lengths) {
        let rows = &kv[(end - length) * 2 * width..end * 2 * width];
        for column in (0..width).step_by(size) {
            let part = |at: usize| columns(rows, 2 * width, at * width + column..at * width + column + size);
            out.extend(attend(&q[column..column + size], &part(0), &part(1)));
        }
    }
    out
}

/// What the types of the device may cost: weights and result are rounded, and lose that share of the values that they
/// weigh, `magnitude`.
fn budget<B: Backend>(backends: &[B], naive: &[f32], exact: &[f64], magnitude: &[f64]) -> Vec<f64> {
    let all = rounding(naive, exact);
    let each = 1.01 * unit(stored(backends, Role::Operand));
    let result = coarseness(backends, Role::Operand);
    magnitude.iter().map(|magnitude| all + (each + result) * magnitude).collect()
}

fn attention<B: Backend>(backends: &mut [B]) {
    for case in &cases(backends, CASES, against) {
        let (host, ends) = (case.side_by_side(backends, 1, 3), case.ends());
        let sizes = absolute(&host, case.shape().width(), 3);
        // Only texts hide later tokens, and these run on the CPU.
        for causal in [false, true].into_iter().filter(|causal| !causal || B::IN_HOST_MEMORY) {
            let exact = all_queries::<f64>(case, &host, causal);
            let naive = all_queries::<f32>(case, &host, causal);
            let budget = budget(backends, &naive, &exact, &all_queries::<f64>(case, &sizes, causal));
            for backend in &mut *backends {
                let (qkv, mut out) =
                    (input(backend, Role::Operand, &host), output(backend, Role::Operand, exact.len()));
                backend.attention(&qkv, Sequences { ends: &ends }, case.shape(), causal, &mut out).unwrap();
                let found = finish(backend, &out, exact.len());
                let what = format!("attention, {}, causal {causal}, {case:?}", backend.describe());
                within(&what, &found, &exact, |i| budget[i]);
            }
        }
    }
}

fn class_attention<B: Backend>(backends: &mut [B]) {
    for case in &cases(backends, CASES, against) {
        let (ends, width) = (case.ends(), case.shape().width());
        let queries = numbers(backends, Role::Operand, 2, ends.len() * width, case.scale);
        let host = case.side_by_side(backends, 3, 2);
        let (exact, naive) = (one_query::<f64>(case, &queries, &host), one_query::<f32>(case, &queries, &host));
        let budget = budget(backends, &naive, &exact, &one_query::<f64>(case, &queries, &absolute(&host, width, 2)));
        for backend in &mut *backends {
            let (q, kv) = (input(backend, Role::Operand, &queries), input(backend, Role::Operand, &host));
            let mut out = output(backend, Role::Operand, exact.len());
            backend.class_attention(&q, &kv, Sequences { ends: &ends }, case.shape(), &mut out).unwrap();
            let found = finish(backend, &out, exact.len());
            within(&format!("class_attention, {}, {case:?}", backend.describe()), &found, &exact, |i| budget[i]);
        }
    }
}

fn a_sequence_does_not_know_its_neighbours<B: Backend>(backends: &mut [B]) {
    let case = if B::IN_HOST_MEMORY { case(&[5, 26, 13, 26], 3, 20) } else { case(&[26, 26, 26], 3, 64) };
    let (host, ends, width) = (case.side_by_side(backends, 4, 3), case.ends(), case.shape().width());
    for backend in &mut *backends {
        for causal in [false, true].into_iter().filter(|causal| !causal || B::IN_HOST_MEMORY) {
            let (qkv, mut out) =
                (input(backend, Role::Operand, &host), output(backend, Role::Operand, case.rows() * width));
            backend.attention(&qkv, Sequences { ends: &ends }, case.shape(), causal, &mut out).unwrap();
            let all = finish(backend, &out, case.rows() * width);
            for (end, length) in ends.iter().zip(case.lengths) {
                let rows = end - length..*end;
                let qkv = input(backend, Role::Operand, &host[rows.start * 3 * width..rows.end * 3 * width]);
                let mut out = output(backend, Role::Operand, length * width);
                backend.attention(&qkv, Sequences { ends: &[*length] }, case.shape(), causal, &mut out).unwrap();
                let alone = finish(backend, &out, length * width);
                let what = format!("a sequence alone, {}, causal {causal}", backend.describe());
                same_bits(&what, &alone, &all[rows.start * width..rows.end * width]);
            }
        }
    }
}

fn sequences_that_share_rows_are_refused<B: Backend>(backends: &mut [B]) {
    let shape = AttentionShape { heads: 2, size: if B::IN_HOST_MEMORY { 16 } else { 64 } };
    let len = 8 * shape.width();
    for backend in &mut *backends {
        for ends in [&[5, 3, 8][..], &[4, 4], &[0, 8]] {
            let (qkv, mut out) =
                (input(backend, Role::Operand, &vec![1.0; 3 * len]), output(backend, Role::Operand, len));
            let error = backend.attention(&qkv, Sequences { ends }, shape, false, &mut out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{}, {ends:?}", backend.describe());
        }
    }
}
