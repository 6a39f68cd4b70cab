use criterion::Criterion;
use inctrl::backend::{Backend, Largest};

use super::common::{bench, check, cpu, floats, numbers};

/// Cells of a map of DINOv2 at 448 pixels.
const CELLS: usize = 1024;

pub fn mean_of_largest(c: &mut Criterion) {
    bench(c, "mean_of_largest", format!("{CELLS}"), floats(2 * CELLS), || {
        let mut cpu = cpu();
        let (map, judged, mut out) = (numbers(1, CELLS), vec![1.0; CELLS], vec![0.0]);
        let at = Largest { maps: 1, cells: CELLS, one_in: 100, out_pitch: 1, column: 0 };
        cpu.mean_of_largest(&map, &judged, &at, &mut out).expect("a mean");
        let mut sorted = map.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        check("mean_of_largest", out[0], sorted[..10].iter().map(|x| f64::from(*x)).sum::<f64>() / 10.0);
        move || cpu.mean_of_largest(&map, &judged, &at, &mut out).expect("a mean")
    });
}
