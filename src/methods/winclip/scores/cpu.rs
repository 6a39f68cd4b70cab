//! WinCLIP's operations on the CPU: an embedding, or a row of a map, per task.

use super::super::SIDES;
use super::{Cover, Parts, SCALE, TextScores, WinclipOps};
use crate::backend::cpu::{Bank, Cpu};
use crate::backend::need;
use crate::error::Result;
use crate::view::Grid;

impl WinclipOps for Cpu {
    type Kernels = ();

    fn winclip_ops(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn text_scores(
        &mut self,
        (): &(),
        embeddings: &Vec<f32>,
        at: &TextScores,
        bank: &Bank,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let width = at.embedding;
        let text = bank.numbers("winclip_text", at.text, 2 * width)?;
        at.check(embeddings.len(), out.len())?;
        let (normal, anomalous) = text.split_at(width);
        let rows = &mut out[at.first_out * at.out_pitch..at.out_rows() * at.out_pitch];
        self.each_row(rows, at.out_pitch, 0, |row, out, _, _| {
            let x = &embeddings[(at.rows.start + row) * width..][..width];
            let score = anomalous_share(x, normal, anomalous);
            out[at.column] = score;
            if let Some([with, into]) = at.mean {
                out[into] = 0.5 * (out[with] + score);
            }
        })
    }

    fn cover(&mut self, (): &(), of: &Cover<'_, Cpu>, map: &mut Vec<f32>) -> Result<()> {
        const OP: &str = "winclip_map";
        for (windows, len) in of.windows.iter().zip(of.windows_len()) {
            need(OP, "windows", windows.len(), len)?;
        }
        need(OP, "third", of.third.len(), of.third_len())?;
        need(OP, "valid", of.valid.len(), of.cells())?;
        need(OP, "map", map.len(), of.cells())?;
        let (grid, cells) = (of.grid, of.grid.cells());
        self.each_row(&mut map[..of.cells()], grid.cols.max(1), 0, |row, out, _, _| {
            let (image, row) = (row / grid.rows, row % grid.rows);
            let valid = &of.valid[image * cells..][..cells];
            for (col, out) in out.iter_mut().enumerate() {
                let cell = row * grid.cols + col;
                let means = [0, 1].map(|i| {
                    let places = grid.windows(SIDES[i]);
                    let values = &of.windows[i][image * places.cells()..][..places.cells()];
                    reciprocals(values, valid, grid, SIDES[i], [row, col], of.parts)
                });
                let value = match of.parts {
                    Parts::Distances => arithmetic(means, distance(of.third[image * cells + cell])),
                    Parts::Scores { pitch, column } => harmonic(means, of.third[image * pitch + column]),
                };
                *out = valid[cell] * value;
            }
        })
    }
}

/// The softmax over the cosines of two texts, in f64: it is a sigmoid of their difference, which is formed before the sum.
fn anomalous_share(x: &[f32], normal: &[f32], anomalous: &[f32]) -> f32 {
    let (mut squares, mut along) = (0.0_f64, 0.0_f64);
    for ((x, normal), anomalous) in x.iter().zip(normal).zip(anomalous) {
        let x = f64::from(*x);
        squares += x * x;
        along += x * (f64::from(*anomalous) - f64::from(*normal));
    }
    let logit = f64::from(SCALE) * along / squares.sqrt().max(1e-12);
    (1.0 / (1.0 + (-logit).exp())) as f32
}

/// `0.5 (1 - cosine)` of unit vectors with this distance.
fn distance(euclidean: f32) -> f32 {
    0.25 * euclidean * euclidean
}

/// The sum of the reciprocals of the values of all windows that cover a cell and count, and the number of these windows.
fn reciprocals(
    values: &[f32],
    valid: &[f32],
    grid: Grid,
    side: usize,
    [row, col]: [usize; 2],
    parts: Parts,
) -> (f32, f32) {
    let places = grid.windows(side);
    let (mut sum, mut count) = (0.0, 0.0);
    for top in (row + 1).saturating_sub(side)..(row + 1).min(places.rows) {
        for left in (col + 1).saturating_sub(side)..(col + 1).min(places.cols) {
            let line = |line: usize| &valid[(top + line) * grid.cols + left..][..side];
            if (0..side).all(|i| line(i).iter().all(|valid| *valid > 0.0)) {
                let value = values[top * places.cols + left];
                sum += 1.0 / if parts == Parts::Distances { distance(value) } else { value };
                count += 1.0;
            }
        }
    }
    (sum, count)
}

/// The arithmetic mean of the harmonic means of each side and of the patch's own distance.
fn arithmetic(sides: [(f32, f32); SIDES.len()], own: f32) -> f32 {
    let (mut sum, mut count) = (0.0, 1.0);
    for (reciprocals, windows) in sides {
        if windows > 0.0 {
            sum += windows / reciprocals;
            count += 1.0;
        }
    }
    (sum + own) / count
}

/// The harmonic mean of the harmonic means of each side and of the image's score.
fn harmonic(sides: [(f32, f32); SIDES.len()], image: f32) -> f32 {
    let (mut sum, mut count) = (0.0, 1.0);
    for (reciprocals, windows) in sides {
        if windows > 0.0 {
            sum += reciprocals / windows;
            count += 1.0;
        }
    }
    count / (sum + 1.0 / image)
}
