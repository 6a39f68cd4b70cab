//! Small work on rows for operations that a method brings itself: each row on one thread, with the processor's widest
//! instructions, and sums in an order that depends on lengths only.

use super::simd::{Isa, Kernel, Simd};
use super::unit_patches::UnitRow;
use super::{Cpu, reduce};
use crate::error::Result;
use crate::tensor::Dense;

/// Arithmetic on whole rows.
#[derive(Clone, Copy)]
pub(crate) struct RowArithmetic(Isa);

impl Cpu {
    /// Calls `row(index, out, scratch, arithmetic)` for each row of `width` elements of `out`, spread over the threads, with
    /// `scratch` uninitialised floats for each call.
    ///
    /// # Errors
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory is short.
    pub(crate) fn each_row(
        &mut self,
        out: &mut [f32],
        width: usize,
        scratch: usize,
        row: impl Fn(usize, &mut [f32], &mut [f32], RowArithmetic) + Sync,
    ) -> Result<()> {
        let arithmetic = RowArithmetic(self.isa);
        self.reserve(scratch)?;
        self.pool.run_chunks(out, width, |index, out, memory| row(index, out, memory.take(scratch), arithmetic));
        Ok(())
    }

    /// Calls `each(item, arithmetic)` for each item, spread over the threads.
    pub(crate) fn each_item<T: Send>(&mut self, items: &mut [T], each: impl Fn(&mut T, RowArithmetic) + Sync) {
        /// Items of a task.
        const TOGETHER: usize = 8;
        let arithmetic = RowArithmetic(self.isa);
        self.pool.run_chunks(items, TOGETHER, |_, items, _| items.iter_mut().for_each(|item| each(item, arithmetic)));
    }
}

impl RowArithmetic {
    /// With these instructions.
    pub(super) fn of(isa: Isa) -> Self {
        RowArithmetic(isa)
    }

    /// `Σ a b`
    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        struct Dot<'a>(&'a [f32], &'a [f32]);
        impl Kernel for Dot<'_> {
            type Output = f32;
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> f32 {
                reduce::dot(simd, self.0, self.1)
            }
        }
        self.0.run(Dot(a, b))
    }

    /// `Σ (a - b)²` in f64.
    pub fn squared_distance(self, a: &[f32], b: &[f32]) -> f64 {
        struct Squares<'a>(&'a [f32], &'a [f32]);
        impl Kernel for Squares<'_> {
            type Output = f64;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> f64 {
                // Chains beside each other, which the compiler makes vectors of.
                const CHAINS: usize = 32;
                let mut sums = [0.0; CHAINS];
                let (a, b) = (self.0.as_chunks::<CHAINS>(), self.1.as_chunks::<CHAINS>());
                for (a, b) in a.0.iter().zip(b.0) {
                    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                        let d = f64::from(*a) - f64::from(*b);
                        *sum += d * d;
                    }
                }
                let rest = a.1.iter().zip(b.1).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
                sums.iter().sum::<f64>() + rest.sum::<f64>()
            }
        }
        self.0.run(Squares(a, b))
    }

    /// `out += factor x` in f64.
    pub fn add_scaled(self, factor: f64, x: &[f64], out: &mut [f64]) {
        struct Axpy<'a>(f64, &'a [f64], &'a mut [f64]);
        impl Kernel for Axpy<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Axpy(factor, x, out) = self;
                out.iter_mut().zip(x).for_each(|(out, x)| *out += factor * x);
            }
        }
        self.0.run(Axpy(factor, x, out));
    }

    /// `out = (x - centre) m` in f64, where `m` is `[x.len(), out.len()]`.
    pub fn centred_product(self, x: &[f32], centre: &[f64], m: &[f64], out: &mut [f64]) {
        struct Product<'a>(&'a [f32], &'a [f64], &'a [f64], &'a mut [f64]);
        impl Kernel for Product<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Product(x, centre, m, out) = self;
                out.fill(0.0);
                for ((x, centre), m) in x.iter().zip(centre).zip(m.chunks_exact(out.len())) {
                    let x = f64::from(*x) - centre;
                    out.iter_mut().zip(m).for_each(|(out, m)| *out += x * m);
                }
            }
        }
        self.0.run(Product(x, centre, m, out));
    }

    /// `out = W x + b`
    pub fn dense(self, layer: &Dense, x: &[f32], out: &mut [f32]) {
        struct Product<'a>(&'a Dense, &'a [f32], &'a mut [f32]);
        impl Kernel for Product<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let Product(layer, x, out) = self;
                for (row, out) in layer.weight.chunks_exact(layer.cols).zip(out.iter_mut()) {
                    *out = reduce::dot(simd, row, x);
                }
                for (out, bias) in out.iter_mut().zip(&layer.bias) {
                    *out += bias;
                }
            }
        }
        self.0.run(Product(layer, x, out));
    }

    /// Scales `x` to unit length in place; zero stays zero.
    pub fn unit(self, x: &mut [f32]) {
        self.0.run(UnitRow(x));
    }
}
