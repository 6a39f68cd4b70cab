//! A convolution: the neighbourhoods of a band of output cells are unfolded to rows, and multiplied.
//!
//! Bands keep the unfolded rows in a cache. They change no bit: a row of a product does not depend on the others.

use super::Cpu;
use super::linear::{Epilogue, Linear};
use crate::backend::{Convolution, Then, need};
use crate::error::Result;

/// Unfolded numbers of a band.
const BAND: usize = 1 << 19;
/// Output cells of a band, at least: weights are read once for all of them.
const LEAST: usize = 480;
/// Output cells that a thread unfolds at once.
const CELLS: usize = 24;

impl From<Then> for Epilogue {
    fn from(then: Then) -> Self {
        match then {
            Then::Store => Epilogue::Store,
            Then::Relu => Epilogue::Relu,
            Then::AddRelu => Epilogue::AddRelu,
        }
    }
}

/// Output cells of a band whose cells are made of `inputs` numbers.
fn band(inputs: usize) -> usize {
    (BAND / inputs.max(1)).max(LEAST).next_multiple_of(CELLS)
}

/// Elements of the memory for unfolded rows of `inputs` numbers, of an image of `cells` output cells.
pub(super) fn unfolded_len(inputs: usize, cells: usize) -> usize {
    band(inputs).min(cells).saturating_mul(inputs)
}

impl Cpu {
    #[expect(clippy::too_many_arguments, reason = "those of the operation")]
    pub(super) fn run_convolve(
        &mut self,
        x: &[f32],
        images: usize,
        at: &Convolution,
        w: &Linear,
        then: Then,
        unfolded: &mut [f32],
        out: &mut [f32],
    ) -> Result<()> {
        const OP: &str = "convolve";
        at.check(images, x.len())?;
        need(OP, "weights", w.inputs(), at.inputs())?;
        let (cells, outputs, inputs) = (at.output().cells(), w.outputs(), at.inputs());
        need(OP, "out", out.len(), images * cells * outputs)?;
        if at.is_product() {
            return self.run_linear(x, images * cells, w, out, then.into());
        }
        need(OP, "unfolded", unfolded.len(), cells.min(CELLS) * inputs)?;
        let band = band(inputs).min(cells).min(unfolded.len() / inputs.max(1));
        let image = at.input.cells() * at.channels;
        // One image after the other, so that no batch takes more memory.
        let mut all = (0..images).flat_map(|image| (0..cells).step_by(band.max(1)).map(move |first| (image, first)));
        all.try_for_each(|(number, first)| {
            let count = band.min(cells - first);
            let rows = &mut unfolded[..count * inputs];
            self.unfold(&x[number * image..][..image], at, first, rows);
            let out = &mut out[(number * cells + first) * outputs..][..count * outputs];
            self.run_linear(rows, count, w, out, then.into())
        })
    }

    /// The neighbourhoods of the output cells from `first` on, `[.., side, side, channels]`, with zeros outside.
    fn unfold(&mut self, x: &[f32], at: &Convolution, first: usize, rows: &mut [f32]) {
        let (cols, inputs, channels, side) = (at.output().cols, at.inputs(), at.channels, at.side);
        let pad = side / 2;
        self.pool.run_chunks(rows, CELLS * inputs, |chunk, rows, _| {
            for (i, row) in rows.chunks_exact_mut(inputs).enumerate() {
                let cell = first + chunk * CELLS + i;
                let (top, left) = (cell / cols * at.stride, cell % cols * at.stride);
                for (y, line) in row.chunks_exact_mut(side * channels).enumerate() {
                    let place = (top + y).checked_sub(pad).filter(|row| *row < at.input.rows);
                    let Some(source) = place else {
                        line.fill(0.0);
                        continue;
                    };
                    for (x_at, numbers) in line.chunks_exact_mut(channels).enumerate() {
                        match (left + x_at).checked_sub(pad).filter(|col| *col < at.input.cols) {
                            None => numbers.fill(0.0),
                            Some(col) => {
                                let (from, step) = at.at(source, col);
                                if step == 1 {
                                    numbers.copy_from_slice(&x[from..][..channels]);
                                } else {
                                    let channel = x[from..].iter().step_by(step);
                                    numbers.iter_mut().zip(channel).for_each(|(number, x)| *number = *x);
                                }
                            }
                        }
                    }
                }
            }
        });
    }
}
