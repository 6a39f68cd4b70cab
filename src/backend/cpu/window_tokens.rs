//! The tokens of windows: copies of those of their images, one window a task.

use super::Cpu;
use crate::backend::{Windows, need};
use crate::error::Result;

const OP: &str = "window_tokens";

impl Cpu {
    pub(super) fn run_window_tokens(&mut self, x: &[f32], at: &Windows, width: usize, out: &mut [f32]) -> Result<()> {
        at.check(OP)?;
        let window = at.tokens() * width;
        need(OP, "x", x.len(), at.images * (at.prefix + at.grid.cells()) * width)?;
        need(OP, "out", out.len(), at.count * window)?;
        self.pool.run_chunks(&mut out[..at.count * window], window, |number, out, _| {
            for (token, out) in out.chunks_exact_mut(width).enumerate() {
                out.copy_from_slice(&x[at.row(number, token) * width..][..width]);
            }
        });
        Ok(())
    }
}
