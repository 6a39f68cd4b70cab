//! The activation by itself; where it follows a product, the product's epilogue computes it.

use super::simd::{Kernel, Simd};
use super::{Cpu, math};
use crate::backend::{Gelu, need};
use crate::error::Result;

impl Cpu {
    /// `x = gelu(x)` over the first `len` elements.
    pub(super) fn run_gelu(&mut self, kind: Gelu, len: usize, x: &mut [f32]) -> Result<()> {
        need("gelu", "x", x.len(), len)?;
        let isa = self.isa;
        self.pool.run_chunks(&mut x[..len], 4096, |_, x, _| isa.run(Activate { kind, x }));
        Ok(())
    }
}

struct Activate<'a> {
    kind: Gelu,
    x: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for x in self.x.chunks_mut(S::LANES) {
            let mut lanes = [0.0; 16];
            lanes[..x.len()].copy_from_slice(x);
            let y = simd.lanes(math::gelu(simd, self.kind, simd.load(&lanes)));
            x.copy_from_slice(&y[..x.len()]);
        }
    }
}
