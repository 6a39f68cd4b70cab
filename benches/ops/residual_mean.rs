use criterion::Criterion;
use inctrl::backend::Backend;

use super::common::{PATCHES, TAPS, bench, check, cpu, floats, numbers};

pub fn residual_mean(c: &mut Criterion) {
    bench(c, "residual_mean", format!("{TAPS}x{PATCHES}"), floats((TAPS + 2) * PATCHES), || {
        let mut cpu = cpu();
        let (cosines, mut map) = (numbers(1, TAPS * PATCHES), vec![0.0; PATCHES]);
        let judged: Vec<f32> = (0..PATCHES).map(|cell| if cell % 5 == 4 { 0.0 } else { 1.0 }).collect();
        cpu.residual_mean(&cosines, TAPS, PATCHES, 0.5, &judged, &mut map).expect("a map");
        for (cell, found) in map.iter().enumerate() {
            let residual = |tap: usize| 0.5 * (1.0 - f64::from(cosines[tap * PATCHES + cell]));
            let mean = (0..TAPS).map(residual).sum::<f64>() / TAPS as f64;
            check("residual_mean", *found, f64::from(judged[cell]) * mean);
        }
        move || cpu.residual_mean(&cosines, TAPS, PATCHES, 0.5, &judged, &mut map).expect("a map")
    });
}
