use std::sync::Arc;

use criterion::Criterion;
use inctrl::backend::{Backend, BankRole, BankTensor, Search};

use super::common::{PATCHES, TAPS, WIDTH, bench, check, cpu, dot, flop, numbers, unit_rows};

pub fn patch_nn(c: &mut Criterion) {
    // Prompts of InCTRL; and of DINOv2's ViT-S at 448 pixels, four at eight turns.
    let inctrl = [1, 8, 64, 256].map(|prompts| (TAPS, PATCHES, WIDTH, prompts));
    for (taps, patches, width, prompts) in inctrl.into_iter().chain([(1, 1024, 384, 32)]) {
        let rows = prompts * patches;
        bench(c, "patch_nn", format!("{patches}x{width} K={prompts}"), flop(2 * taps * patches * rows * width), || {
            let mut cpu = cpu();
            let query = unit_rows(numbers(1, taps * patches * width), width);
            let values: Arc<Vec<f32>> = unit_rows(numbers(2, taps * rows * width), width).into();
            let shape = [taps, rows, width];
            let bank = cpu.bank(&[BankTensor { values: &values, shape, role: BankRole::Rows }]).expect("a bank");
            let search = Search::all(patches, 0);
            let mut out = vec![0.0; taps * patches];
            cpu.patch_nn(&query, &search, &bank, &mut out).expect("a search");
            for (tap, patch) in [(0, 0), (taps - 1, patches - 1)] {
                let query = &query[(tap * patches + patch) * width..][..width];
                let candidates = values[tap * rows * width..][..rows * width].chunks_exact(width);
                let nearest = candidates.map(|prompt| dot(query, prompt));
                check("patch_nn", out[tap * patches + patch], nearest.fold(f64::NEG_INFINITY, f64::max));
            }
            move || cpu.patch_nn(&query, &search, &bank, &mut out).expect("a search")
        });
    }
}
