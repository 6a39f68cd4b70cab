use std::sync::Arc;

use criterion::Criterion;
use inctrl::backend::{Backend, BankRole, BankTensor, Search};

use super::common::{PATCHES, TAPS, WIDTH, bench, check, cpu, dot, flop, numbers, unit_rows};

pub fn patch_nn(c: &mut Criterion) {
    for prompts in [1, 8, 64, 256] {
        let work = 2 * TAPS * PATCHES * PATCHES * prompts * WIDTH;
        bench(c, "patch_nn", format!("{PATCHES}x{WIDTH} K={prompts}"), flop(work), || {
            let mut cpu = cpu();
            let query = unit_rows(numbers(1, TAPS * PATCHES * WIDTH), WIDTH);
            let taps: Arc<[f32]> = unit_rows(numbers(2, TAPS * prompts * PATCHES * WIDTH), WIDTH).into();
            let shape = [TAPS, prompts * PATCHES, WIDTH];
            let bank = cpu.bank(&[BankTensor { values: &taps, shape, role: BankRole::Rows }]).expect("a bank");
            let search = Search::all(PATCHES, 0);
            let mut out = vec![0.0; TAPS * PATCHES];
            cpu.patch_nn(&query, &search, &bank, &mut out).expect("a search");
            for (tap, patch) in [(0, 0), (TAPS - 1, PATCHES - 1)] {
                let query = &query[(tap * PATCHES + patch) * WIDTH..][..WIDTH];
                let candidates = &taps[tap * prompts * PATCHES * WIDTH..][..prompts * PATCHES * WIDTH];
                let nearest = candidates.chunks_exact(WIDTH).map(|prompt| dot(query, prompt));
                check("patch_nn", out[tap * PATCHES + patch], nearest.fold(f64::NEG_INFINITY, f64::max));
            }
            move || cpu.patch_nn(&query, &search, &bank, &mut out).expect("a search")
        });
    }
}
