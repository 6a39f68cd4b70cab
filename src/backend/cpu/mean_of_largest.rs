//! The mean of the largest cells of each map: its maximum, if one cell counts.

use super::Cpu;
use crate::backend::Largest;
use crate::error::Result;

impl Cpu {
    pub(super) fn run_mean_of_largest(
        &mut self,
        map: &[f32],
        valid: &[f32],
        at: &Largest,
        out: &mut [f32],
    ) -> Result<()> {
        at.check(map.len(), valid.len(), out.len())?;
        let cells = at.cells;
        let out = &mut out[..at.maps * at.out_pitch];
        self.each_row(out, at.out_pitch, cells, |row, out, room, _| {
            let own = row * cells..(row + 1) * cells;
            out[at.column] = largest_of(&map[own.clone()], &valid[own], at, room);
        })
    }
}

/// The number of one map; `room` is memory for its cells.
fn largest_of(map: &[f32], valid: &[f32], at: &Largest, room: &mut [f32]) -> f32 {
    // What is broken must reach the score, whether it counts or not.
    if map.iter().any(|x| x.is_nan()) {
        return f32::NAN;
    }
    let mut found = 0;
    for (x, _) in map.iter().zip(valid).filter(|(_, valid)| **valid != 0.0) {
        room[found] = *x;
        found += 1;
    }
    if found == 0 {
        return 0.0;
    }
    let count = at.count(found).min(found);
    let room = &mut room[..found];
    room.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    // In order, so that the sum depends on the cells' values alone, not on their places.
    let largest = &mut room[..count];
    largest.sort_unstable_by(|a, b| b.total_cmp(a));
    (largest.iter().map(|x| f64::from(*x)).sum::<f64>() / count as f64) as f32
}
