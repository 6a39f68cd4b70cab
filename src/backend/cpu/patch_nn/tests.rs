use super::*;
use crate::backend::cpu::Tensor;
use crate::backend::cpu::bytes::ByteIsa;
use crate::backend::{BankRole, Precision};
use crate::split_mix::{STEP, mix};

const LAYERS: usize = 2;
/// Two blocks of query rows, and a part of one.
const IMAGES: usize = 3;
const PATCHES: usize = 90;

/// Query patches `[LAYERS, IMAGES * PATCHES, width]` and bank rows `[LAYERS, bank_images * PATCHES, width]`.
struct Case {
    name: &'static str,
    width: usize,
    bank_images: usize,
    query: Vec<f32>,
    taps: Vec<f32>,
}

impl Case {
    /// Rows of unit length; `value` makes an element from a number between 0 and 1, and whether it is of the bank.
    fn new(name: &'static str, width: usize, bank_images: usize, value: impl Fn(f32, bool) -> f32) -> Self {
        let mut state = 0u64;
        let mut random = || {
            state = state.wrapping_add(STEP);
            (mix(state) >> 40) as f32 / (1 << 24) as f32
        };
        let mut unit = |rows: usize, in_bank: bool| {
            let mut x: Vec<f32> = (0..rows * width).map(|_| value(random(), in_bank)).collect();
            x.chunks_exact_mut(width).for_each(|row| {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                row.iter_mut().for_each(|x| *x /= length);
            });
            x
        };
        let query = unit(LAYERS * IMAGES * PATCHES, false);
        Case { name, width, bank_images, query, taps: unit(LAYERS * bank_images * PATCHES, true) }
    }

    /// Puts into every second query row a bank row, a little off, so that bank rows and their copies are nearly as
    /// near.
    fn near_ties(mut self) -> Self {
        let width = self.width;
        let rows = self.query.chunks_exact_mut(2 * width).zip(self.taps.chunks_exact_mut(2 * width));
        for (i, (query, taps)) in rows.enumerate() {
            let (first, second) = taps.split_at_mut(width);
            second.copy_from_slice(first);
            second[i % width] *= 1.0 + 1e-4 * (i % 7) as f32;
            query[..width].copy_from_slice(first);
        }
        self
    }
}

/// All query rows point one way, as does bank row 31; the others lie alike, far off. Narrow panels find too many
/// candidates before they see the nearest.
fn alike_then_nearer() -> Case {
    let mut case = Case::new("alike, then nearer", 4, 1, |_, in_bank| if in_bank { 0.5 } else { 0.0 });
    case.query.chunks_exact_mut(4).for_each(|row| row[0] = 1.0);
    let layers = case.taps.chunks_exact_mut(PATCHES * 4);
    layers.for_each(|layer| layer[31 * 4..][..4].copy_from_slice(&[1.0, 0.0, 0.0, 0.0]));
    case
}

/// To odd query rows most bank rows are equally near, until a nearer one comes: by then there were too many candidates.
/// Even ones have two near bank rows, one before that and one meanwhile, of which the second is nearest in the first
/// layer.
fn forgotten_meanwhile() -> Case {
    let mut case = Case::new("forgotten meanwhile", 3, 8, |_, _| 0.0);
    case.query.chunks_exact_mut(6).for_each(|rows| rows.copy_from_slice(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
    case.taps.chunks_exact_mut(3).for_each(|row| row.copy_from_slice(&[0.0, 0.6, 0.8]));
    for (layer, second) in case.taps.chunks_exact_mut(8 * PATCHES * 3).zip([0.8001, 0.7]) {
        let mut put = |row: usize, values: [f32; 3]| layer[row * 3..][..3].copy_from_slice(&values);
        put(0, [0.8, 0.0, 0.6]);
        put(64, [second, 0.0, 0.59]);
        put(96, [0.0, 1.0, 0.0]);
    }
    case
}

/// Prompt row 40 is nearest, by little, but remainders make its estimate as much too low as they can, and row 0, which
/// is seen before, has an estimate that is right. Each row is followed by its opposite, so that the centre is zero.
fn remainders(name: &'static str, [query, seen, nearest]: [&dyn Fn(usize) -> f64; 3]) -> Case {
    const WIDTH: usize = 896;
    let mut case = Case::new(name, WIDTH, 1, centred);
    let sign = |i: usize| if (i * 7).is_multiple_of(3) { 1.0 } else { -1.0 };
    let product = |x: &dyn Fn(usize) -> f64| (0..WIDTH).map(|i| query(i) * x(i)).sum::<f64>();
    let scale = (product(nearest) - 1e-4) / product(seen);
    case.query.chunks_exact_mut(WIDTH).for_each(|row| {
        row.iter_mut().enumerate().for_each(|(i, x)| *x = (sign(i) * query(i)) as f32);
    });
    for layer in case.taps.chunks_exact_mut(PATCHES * WIDTH) {
        for (pair, rows) in layer.chunks_exact_mut(2 * WIDTH).enumerate() {
            for i in 0..WIDTH {
                let x = match pair {
                    0 => scale * seen(i),
                    20 => nearest(i),
                    _ => 0.3 * nearest(i).signum() / 30.0,
                };
                (rows[i], rows[WIDTH + i]) = ((sign(i) * x) as f32, (-sign(i) * x) as f32);
            }
        }
    }
    case
}

/// The nearest bank row's elements are rounded down by nearly half a step of 1/640, of which the largest is 127.
fn remainders_of_a_bank_row() -> Case {
    let nearest = |i: usize| (if i == 0 { 127.0 } else { 20.49 }) / 640.0;
    remainders("remainders of a bank row", [&|_| 0.033, &|_| 0.033, &nearest])
}

/// The query's elements are rounded down by nearly half a step of 1/2700; what is seen before lies across its
/// remainders.
fn remainders_of_the_query() -> Case {
    let element = |i: usize| if i.is_multiple_of(2) { 126.49 } else { 1.49 };
    let query = |i: usize| (if i == 0 { 127.0 } else { element(i) }) / 2700.0;
    let across = |i: usize| if i.is_multiple_of(2) { 0.03 } else { -0.03 };
    remainders("remainders of the query", [&query, &across, &|_| 0.03])
}

/// Six copies of each bank row that differ by roundings: which is nearest depends on the order of the sum.
fn copies() -> Case {
    const WIDTH: usize = 64;
    let mut case = Case::new("copies but for roundings", WIDTH, 2, centred);
    let originals = case.taps[..30 * WIDTH].to_vec();
    for (row, values) in case.taps.chunks_exact_mut(WIDTH).enumerate() {
        let scale = |i: usize| 1.0 + f32::EPSILON * ((row / 30 * 13 + i * 7) % 5) as f32;
        let original = originals[row % 30 * WIDTH..].iter().enumerate();
        values.iter_mut().zip(original).for_each(|(x, (i, original))| *x = original * scale(i));
    }
    for (row, values) in case.query.chunks_exact_mut(WIDTH).enumerate() {
        let original = &originals[row % 30 * WIDTH..];
        values.iter_mut().zip(original).for_each(|(x, original)| *x = 0.3 * *x + 0.7 * original);
    }
    case
}

/// As likely negative as positive.
fn centred(x: f32, _in_bank: bool) -> f32 {
    x - 0.5
}

/// So many bank rows along few directions that bounds along these come first. Query rows lie alike, or `elsewhere`.
fn along_few(name: &'static str, elsewhere: bool) -> Case {
    const WIDTH: usize = 80;
    let place = std::cell::Cell::new(0);
    let value = |x: f32, in_bank: bool| {
        let i = place.replace(place.get() + 1) % WIDTH;
        let even = elsewhere && !in_bank;
        (x - 0.5) / if even { 1.0 } else { (1 + i) as f32 } + 0.01
    };
    Case::new(name, WIDTH, 48, value)
}

/// The nearest bank row of every third query row lies across the axes with it, and others are nearer along them.
fn nearest_across() -> Case {
    let mut case = along_few("nearest across the axes", false);
    let (width, layer) = (case.width, case.taps.len() / LAYERS);
    for (i, query) in case.query.chunks_exact_mut(3 * width).enumerate() {
        let query = &mut query[..width];
        query.iter_mut().for_each(|x| *x *= 0.6);
        query[width - 1 - i % 20] += 0.8;
        let length = query.iter().map(|x| x * x).sum::<f32>().sqrt();
        query.iter_mut().for_each(|x| *x /= length);
    }
    for taps in case.taps.chunks_exact_mut(layer) {
        for i in 0..20 {
            let row = &mut taps[(4000 - 190 * i) * width..][..width];
            row.fill(0.0);
            row[width - 1 - i] = 1.0;
        }
    }
    case
}

fn cases() -> Vec<Case> {
    let mut out = vec![
        Case::new("random", 96, 3, centred),
        Case::new("odd width", 33, 2, centred),
        Case::new("one element", 1, 1, centred),
        Case::new("all cosines negative", 24, 1, |x, in_bank| if in_bank { -x } else { x }),
        Case::new("near ties", 64, 4, centred).near_ties(),
        Case::new("one colour", 16, 2, |_, _| 0.5),
        Case::new("nearly one colour", 48, 2, |x, _| 0.5 + 0.01 * x),
        Case::new("zero", 16, 1, |_, _| 0.0),
        alike_then_nearer(),
        forgotten_meanwhile(),
        remainders_of_a_bank_row(),
        remainders_of_the_query(),
        copies(),
        Case::new("one element of the width", 16, 1, |x, _| if x < 0.1 { 1.0 } else { 0.0 }),
        along_few("along few directions", false),
        along_few("queries elsewhere", true),
        along_few("ties along few directions", false).near_ties(),
        nearest_across(),
    ];
    let mut broken = Case::new("a query patch is not a number", 32, 2, centred);
    broken.query[5 * 32 + 1] = f32::NAN;
    out.push(broken);
    let mut broken = Case::new("a query patch is infinite", 32, 2, centred);
    broken.query[5 * 32 + 1] = f32::INFINITY;
    out.push(broken);
    let mut long = Case::new("a query patch is longer", 32, 2, centred);
    long.query[..32].iter_mut().for_each(|x| *x *= 3.0);
    out.push(long);
    out
}

fn bank(cpu: &mut Cpu, case: &Case, bytes: Option<ByteIsa>) -> Bank {
    let shape = [LAYERS, case.bank_images * PATCHES, case.width];
    let integers = Integers::new(&mut cpu.pool, cpu.isa, bytes, &case.taps, shape).unwrap();
    Bank(vec![Tensor { values: case.taps.clone().into(), shape, role: BankRole::Rows, integers }])
}

fn nearest(cpu: &mut Cpu, case: &Case, bank: &Bank) -> Vec<u32> {
    let mut out = vec![0.0; LAYERS * IMAGES * PATCHES];
    cpu.run_patch_nn(&case.query, &Search::all(IMAGES * PATCHES, 0), bank, &mut out).unwrap();
    out.into_iter().map(f32::to_bits).collect()
}

#[test]
fn bytes_change_no_bit() {
    for case in cases() {
        for threads in [1, 3] {
            for mut cpu in Cpu::of_each_instruction_set(threads, Precision::F32).unwrap() {
                let alone = bank(&mut cpu, &case, None);
                let expected = nearest(&mut cpu, &case, &alone);
                for bytes in ByteIsa::available() {
                    let bank = bank(&mut cpu, &case, Some(bytes));
                    let integers = bank.0[0].integers.as_ref().unwrap();
                    assert_eq!(integers.has_axes(), case.bank_images == 48, "{}", case.name);
                    let found = nearest(&mut cpu, &case, &bank);
                    assert_eq!(found, expected, "{}, {threads} threads, {}, {bytes:?}", case.name, cpu.isa.name());
                }
            }
        }
    }
}

#[test]
fn a_bank_that_is_not_of_unit_vectors_has_no_bytes() {
    for x in [f32::NAN, f32::INFINITY, 1.5] {
        let mut case = Case::new("random", 32, 2, centred);
        case.taps[100] = x;
        let mut cpu = Cpu::new(1).unwrap();
        assert!(bank(&mut cpu, &case, Some(ByteIsa::available()[0])).0[0].integers.is_none(), "{x}");
    }
}

/// How many patches floats rescore in every part of a search, or `None` where all of it is left to the floats; within,
/// for a part.
fn rescored(case: &Case, bytes: ByteIsa) -> Option<Vec<Option<usize>>> {
    let mut cpu = Cpu::new(2).unwrap();
    let bank = bank(&mut cpu, case, Some(bytes));
    let (rows, bank_rows) = (IMAGES * PATCHES, case.bank_images * PATCHES);
    let parts = Parts::new([LAYERS, rows, bank_rows], 12);
    let mut memory = integers::Memory::default();
    let integers = bank.0.into_iter().next().unwrap().integers.unwrap();
    let queries = Queries { values: &case.query, pitch: rows, first: 0, width: case.width };
    screen::reserve(&mut cpu.pool, case.width).unwrap();
    let screened =
        integers.prepare(&mut cpu.pool, cpu.isa, &case.taps, queries, [rows, LAYERS * rows], &mut memory).unwrap()?;
    let mut scratch = std::mem::take(cpu.pool.scratch_mut().next().unwrap());
    let part = |task| {
        let part = parts.part(task);
        let query = Rows::new(queries.from(part.layer, part.first), case.width, case.width);
        let layer = &case.taps[part.layer * bank_rows * case.width..][..bank_rows * case.width];
        let bank_rows = Rows::new(layer, case.width, case.width);
        screened.search(&part, query, bank_rows, &mut scratch, &mut vec![0.0; part.count])
    };
    Some((0..parts.tasks()).map(part).collect())
}

#[test]
fn few_are_judged_and_too_many_are_left_to_floats() {
    for bytes in ByteIsa::available() {
        let ordinary = rescored(&Case::new("random", 896, 12, centred), bytes).unwrap();
        let found: usize = ordinary.iter().map(|found| found.unwrap()).sum();
        let rows = LAYERS * IMAGES * PATCHES;
        assert!((rows..rows * 12 * PATCHES / 16).contains(&found), "{bytes:?}: {found} rescored of {rows} patches");
        let alike = rescored(&Case::new("one colour", 16, 8, |_, _| 0.5), bytes).unwrap();
        assert!(alike.iter().all(Option::is_none), "{alike:?}");
        // Where this is rescored by floats it says something about how far estimates can be off.
        for case in [remainders_of_a_bank_row(), remainders_of_the_query(), copies()] {
            let apart = rescored(&case, bytes).unwrap();
            assert!(apart.iter().all(Option::is_some), "{}: {apart:?}", case.name);
        }
        for case in cases() {
            let unit = !case.name.starts_with("a query patch is");
            assert_eq!(rescored(&case, bytes).is_some(), unit, "{}", case.name);
        }
    }
}

#[test]
fn parts_cover_a_search_once() {
    for [layers, rows, bank_rows] in [[1, 1, 1], [3, 225, 1800], [2, 500, 33], [1, 0, 5], [1, 5, 0]] {
        for tasks in [1, 16, 300] {
            let search = Parts::new([layers, rows, bank_rows], tasks);
            let mut visits = vec![0; layers * rows * bank_rows];
            for part in (0..search.tasks()).map(|task| search.part(task)) {
                assert_eq!(part.bank_rows.start % MAX_PANEL, 0);
                for row in part.first..part.first + part.count {
                    let at = (part.layer * rows + row) * bank_rows;
                    part.bank_rows.clone().for_each(|bank_row| visits[at + bank_row] += 1);
                }
            }
            assert!(visits.iter().all(|&n| n == 1), "{layers} {rows} {bank_rows} {tasks}");
        }
    }
}

#[test]
fn memory_made_for_the_most_images_is_enough_for_fewer() {
    for threads in [1, 2, 7] {
        for most in [1, 8, 20] {
            let tasks = TASKS * threads;
            let room = Room::new(3 * most * 225, 3, tasks);
            for images in 0..=most {
                for bank_rows in [0, 1, 30, 225, 1800] {
                    let search = Parts::new([3, images * 225, bank_rows], tasks);
                    assert!(search.tasks() <= room.tasks && search.rows * search.layers <= room.rows);
                    assert!(search.shares * search.layers * search.rows <= room.tasks * BLOCK_ROWS);
                }
            }
        }
    }
}
