use super::*;
use crate::backend::cpu::Tensor;
use crate::backend::cpu::pairs::PairIsa;
use crate::backend::{BankRole, Precision};
use crate::split_mix::{STEP, mix};

const LAYERS: usize = 2;
/// Two blocks of query rows, and a part of one.
const IMAGES: usize = 3;
const PATCHES: usize = 90;

/// Query patches `[LAYERS, IMAGES * PATCHES, width]` and prompt patches `[LAYERS, prompts * PATCHES, width]`.
struct Case {
    name: &'static str,
    width: usize,
    prompts: usize,
    query: Vec<f32>,
    taps: Vec<f32>,
}

impl Case {
    /// Rows of unit length; `value` makes an element from a number between 0 and 1, and whether it is a prompt's.
    fn new(name: &'static str, width: usize, prompts: usize, value: impl Fn(f32, bool) -> f32) -> Self {
        let mut state = 0u64;
        let mut random = || {
            state = state.wrapping_add(STEP);
            (mix(state) >> 40) as f32 / (1 << 24) as f32
        };
        let mut unit = |rows: usize, is_prompt: bool| {
            let mut x: Vec<f32> = (0..rows * width).map(|_| value(random(), is_prompt)).collect();
            x.chunks_exact_mut(width).for_each(|row| {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
                row.iter_mut().for_each(|x| *x /= length);
            });
            x
        };
        let query = unit(LAYERS * IMAGES * PATCHES, false);
        Case { name, width, prompts, query, taps: unit(LAYERS * prompts * PATCHES, true) }
    }

    /// Puts into every second query row a prompt row, a little off, so that prompts and their copies are nearly as near.
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

/// All query rows point one way, as does prompt row 31; the others lie alike, far off. Narrow panels find too many
/// candidates before they see the nearest.
fn alike_then_nearer() -> Case {
    let mut case = Case::new("alike, then nearer", 4, 1, |_, is_prompt| if is_prompt { 0.5 } else { 0.0 });
    case.query.chunks_exact_mut(4).for_each(|row| row[0] = 1.0);
    let layers = case.taps.chunks_exact_mut(PATCHES * 4);
    layers.for_each(|layer| layer[31 * 4..][..4].copy_from_slice(&[1.0, 0.0, 0.0, 0.0]));
    case
}

/// To odd query rows most prompt rows are equally near, until a nearer one comes: by then there were too many candidates.
/// Even ones have two near prompt rows, one before that and one meanwhile, of which the second is nearest in the first layer.
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

/// The first prompt row is nearest, by little, and another has the larger integer cosine, by nine tenths of the window: all
/// elements round by half an integer, in the query to the side of that other, in both prompt rows up or down. All else is far.
fn rounded_apart() -> Case {
    let mut case = Case::new("rounded apart", 896, 1, centred);
    // Integers `n + 0.498` round down and `n + 0.502` up.
    let elements = |sign: fn(usize) -> f64, up: fn(usize) -> bool| -> Vec<f32> {
        let fraction = |i: usize| if up(i) { 0.002 } else { -0.002 };
        (0..896).map(|i| ((sign(i) * 1091.5 + fraction(i)) / 32_700.0) as f32).collect()
    };
    let alternating: fn(usize) -> f64 = |i| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
    let query = elements(|_| 1.0, |i| i.is_multiple_of(2));
    let larger = elements(alternating, |_| true);
    let mut nearest: Vec<f32> = elements(|i| if i.is_multiple_of(2) { -1.0 } else { 1.0 }, |_| false);
    nearest[1] += (10.0 / 32_700.0) as f32;
    case.query.chunks_exact_mut(896).for_each(|row| row.copy_from_slice(&query));
    for layer in case.taps.chunks_exact_mut(PATCHES * 896) {
        layer.chunks_exact_mut(896).for_each(|row| row.iter_mut().zip(&query).for_each(|(x, q)| *x = -q));
        layer[..896].copy_from_slice(&nearest);
        layer[40 * 896..][..896].copy_from_slice(&larger);
    }
    case
}

/// As likely negative as positive.
fn centred(x: f32, _is_prompt: bool) -> f32 {
    x - 0.5
}

fn cases() -> Vec<Case> {
    let mut out = vec![
        Case::new("random", 96, 3, centred),
        Case::new("odd width", 33, 2, centred),
        Case::new("one element", 1, 1, centred),
        Case::new("all cosines negative", 24, 1, |x, is_prompt| if is_prompt { -x } else { x }),
        Case::new("near ties", 64, 4, centred).near_ties(),
        Case::new("one colour", 16, 2, |_, _| 0.5),
        Case::new("nearly one colour", 48, 2, |x, _| 0.5 + 0.01 * x),
        Case::new("zero", 16, 1, |_, _| 0.0),
        alike_then_nearer(),
        forgotten_meanwhile(),
        rounded_apart(),
        Case::new("one element of the width", 16, 1, |x, _| if x < 0.1 { 1.0 } else { 0.0 }),
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

fn bank(cpu: &mut Cpu, case: &Case, pairs: Option<PairIsa>) -> Bank {
    let shape = [LAYERS, case.prompts * PATCHES, case.width];
    let integers = Integers::new(&mut cpu.pool, cpu.isa, pairs, &case.taps, shape).unwrap();
    Bank(vec![Tensor { values: case.taps.clone().into(), shape, role: BankRole::Rows, integers }])
}

fn nearest(cpu: &mut Cpu, case: &Case, bank: &Bank) -> Vec<u32> {
    let mut out = vec![0.0; LAYERS * IMAGES * PATCHES];
    cpu.run_patch_nn(&case.query, &Search::all(IMAGES * PATCHES, 0), bank, &mut out).unwrap();
    out.into_iter().map(f32::to_bits).collect()
}

#[test]
fn integers_change_no_bit() {
    for case in cases() {
        for threads in [1, 3] {
            for mut cpu in Cpu::of_each_instruction_set(threads, Precision::F32).unwrap() {
                let alone = bank(&mut cpu, &case, None);
                let expected = nearest(&mut cpu, &case, &alone);
                for pairs in PairIsa::available() {
                    let bank = bank(&mut cpu, &case, Some(pairs));
                    assert!(bank.0[0].integers.is_some());
                    let found = nearest(&mut cpu, &case, &bank);
                    assert_eq!(found, expected, "{}, {threads} threads, {}, {pairs:?}", case.name, cpu.isa.name());
                }
            }
        }
    }
}

#[test]
fn a_bank_that_is_not_of_unit_vectors_has_no_integers() {
    for x in [f32::NAN, f32::INFINITY, 1.5] {
        let mut case = Case::new("random", 32, 2, centred);
        case.taps[100] = x;
        let mut cpu = Cpu::new(1).unwrap();
        assert!(bank(&mut cpu, &case, Some(PairIsa::available()[0])).0[0].integers.is_none(), "{x}");
    }
}

/// Candidates of every part of a search, or `None` where all of it is left to the floats; within, for a part.
fn candidates(case: &Case, pairs: PairIsa) -> Option<Vec<Option<usize>>> {
    let mut cpu = Cpu::new(2).unwrap();
    let bank = bank(&mut cpu, case, Some(pairs));
    let parts = Parts::new([LAYERS, IMAGES * PATCHES, case.prompts * PATCHES, case.width], 12);
    let mut memory = screen::Memory::default();
    let integers = bank.0.into_iter().next().unwrap().integers.unwrap();
    let room = Room::new(LAYERS * IMAGES * PATCHES, LAYERS, 12);
    let queries = Queries { values: &case.query, pitch: IMAGES * PATCHES, first: 0, width: case.width };
    cpu.reserve_words(blocks::SCRATCH).unwrap();
    let screened = integers.screen(&mut cpu.pool, cpu.isa, queries, &parts, &room, &mut memory).unwrap()?;
    Some((0..parts.tasks()).map(|task| screened.of(task, &parts.part(task)).map(Iterator::count)).collect())
}

#[test]
fn few_candidates_remain_and_too_many_are_left_to_floats() {
    for pairs in PairIsa::available() {
        let ordinary = candidates(&Case::new("random", 896, 3, centred), pairs).unwrap();
        let found: usize = ordinary.iter().map(|found| found.unwrap()).sum();
        let rows = LAYERS * IMAGES * PATCHES;
        assert!((rows..2 * rows).contains(&found), "{found} candidates of {rows} patches");
        let alike = candidates(&Case::new("one colour", 16, 2, |_, _| 0.5), pairs).unwrap();
        assert!(alike.iter().all(Option::is_none), "{alike:?}");
        // Where this is judged by floats it says something about the window.
        let apart = candidates(&rounded_apart(), pairs).unwrap();
        assert!(apart.iter().all(Option::is_some), "{apart:?}");
        for case in cases() {
            let unit = !case.name.starts_with("a query patch is");
            assert_eq!(candidates(&case, pairs).is_some(), unit, "{}", case.name);
        }
    }
}

#[test]
fn parts_cover_a_search_once() {
    for [layers, rows, prompts] in [[1, 1, 1], [3, 225, 1800], [2, 500, 33], [1, 0, 5], [1, 5, 0]] {
        for tasks in [1, 16, 300] {
            let search = Parts::new([layers, rows, prompts, 8], tasks);
            let mut visits = vec![0; layers * rows * prompts];
            for part in (0..search.tasks()).map(|task| search.part(task)) {
                assert_eq!(part.prompts.start % MAX_PANEL, 0);
                for row in part.first..part.first + part.count {
                    let at = (part.layer * rows + row) * prompts;
                    part.prompts.clone().for_each(|prompt| visits[at + prompt] += 1);
                }
            }
            assert!(visits.iter().all(|&n| n == 1), "{layers} {rows} {prompts} {tasks}");
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
                for prompts in [0, 1, 30, 225, 1800] {
                    let search = Parts::new([3, images * 225, prompts, 8], tasks);
                    assert!(search.tasks() <= room.tasks && search.rows * search.layers <= room.rows);
                    assert!(search.shares * search.layers * search.rows <= room.tasks * BLOCK_ROWS);
                }
            }
        }
    }
}
