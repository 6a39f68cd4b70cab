//! The gate of a SwiGLU MLP, row by row.

use super::simd::{Kernel, Simd};
use super::{Cpu, math};
use crate::backend::need;
use crate::error::Result;

/// Rows of a task.
const ROWS: usize = 8;

impl Cpu {
    pub(super) fn run_swiglu(&mut self, x: &[f32], rows: usize, width: usize, out: &mut [f32]) -> Result<()> {
        need("swiglu", "x", x.len(), rows * 2 * width)?;
        need("swiglu", "out", out.len(), rows * width)?;
        if width == 0 {
            return Ok(());
        }
        let isa = self.isa;
        self.pool.run_chunks(&mut out[..rows * width], ROWS * width, |chunk, out, _| {
            let x = x[chunk * ROWS * 2 * width..].chunks_exact(2 * width);
            for (x, out) in x.zip(out.chunks_exact_mut(width)) {
                let (a, b) = x.split_at(width);
                isa.run(Gate { a, b, out });
            }
        });
        Ok(())
    }
}

/// `out = silu(a) b`
struct Gate<'a> {
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.a.chunks(S::LANES).zip(self.b.chunks(S::LANES));
        for ((a, b), out) in rows.zip(self.out.chunks_mut(S::LANES)) {
            if out.len() == S::LANES {
                simd.store(simd.mul(math::silu(simd, simd.load(a)), simd.load(b)), out);
            } else {
                let mut lanes = [[0.0; 16]; 2];
                lanes[0][..a.len()].copy_from_slice(a);
                lanes[1][..b.len()].copy_from_slice(b);
                let y = simd.lanes(simd.mul(math::silu(simd, simd.load(&lanes[0])), simd.load(&lanes[1])));
                out.copy_from_slice(&y[..out.len()]);
            }
        }
    }
}
