//! `XᵀX` of activations, for operations that a method brings itself: covariances, and squares of symmetric matrices.

use super::Cpu;
use super::pool::Disjoint;
use super::simd::{Kernel, Simd};
use super::tile::MAX_TILE_ROWS;
use crate::error::Result;

/// Rows of the output that a task computes.
const BLOCK: usize = 24;
/// Columns of the widest panel.
const MAX_PANEL: usize = 32;

/// Matrices `[rows, width]`, one for each image.
#[derive(Clone, Copy)]
pub(crate) struct Matrices<'a> {
    pub values: &'a [f32],
    pub images: usize,
    /// Elements before the first matrix, and from one to the next.
    pub first: usize,
    pub pitch: usize,
    pub rows: usize,
    pub width: usize,
}

impl<'a> Matrices<'a> {
    /// That of an image.
    pub fn of(&self, image: usize) -> &'a [f32] {
        &self.values[self.first + image * self.pitch..][..self.rows * self.width]
    }
}

impl Cpu {
    /// `out[image] = s² Σ (x - m)(x - m)ᵀ` over the rows `x` of each matrix, `[images, W, W]`: `m` is the mean row where `centred`,
    /// else zero, and `s` is `scale(matrix)`. Each element is one chain in the order of the rows.
    pub(crate) fn gram(
        &mut self,
        x: Matrices<'_>,
        centred: bool,
        scale: impl Fn(&[f32]) -> f32 + Sync,
        out: &mut [f32],
    ) -> Result<()> {
        let width = x.width;
        let blocks = width.div_ceil(BLOCK);
        let out = Disjoint::new(&mut out[..x.images * width * width]);
        let isa = self.isa;
        self.reserve(width)?;
        self.pool.run(x.images * blocks, |task, scratch| {
            let (image, first) = (task / blocks, task % blocks * BLOCK);
            let (matrix, mean) = (x.of(image), scratch.take(width));
            mean.fill(0.0);
            if centred {
                matrix.chunks_exact(width).for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
                mean.iter_mut().for_each(|sum| *sum /= x.rows as f32);
            }
            let count = BLOCK.min(width - first);
            // SAFETY: each image and block of rows names its own elements, and is run once.
            #[allow(unsafe_code)]
            let out = unsafe { out.slice((image * width + first) * width, count * width) };
            isa.run(Rows { matrix, mean, width, first, scale: scale(matrix), out });
        });
        Ok(())
    }
}

/// The rows from `first` on of one image's output.
struct Rows<'a> {
    matrix: &'a [f32],
    mean: &'a [f32],
    width: usize,
    first: usize,
    scale: f32,
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Rows { matrix, mean, width, first, scale, out } = self;
        let panel = 2 * S::LANES;
        let last = first + out.len() / width;
        for top in (first..last).step_by(S::TILE_ROWS) {
            let count = S::TILE_ROWS.min(last - top);
            for left in (0..width).step_by(panel) {
                let columns = panel.min(width - left);
                let mut sums = [[simd.zero(); 2]; MAX_TILE_ROWS];
                let whole = count == S::TILE_ROWS && columns == panel;
                if whole {
                    let means = [simd.load(&mean[left..]), simd.load(&mean[left + S::LANES..])];
                    for row in matrix.chunks_exact(width) {
                        let right = [simd.load(&row[left..]), simd.load(&row[left + S::LANES..])];
                        step(simd, right, means, &row[top..], &mean[top..], &mut sums);
                    }
                } else {
                    // The same chains, on copies that are long enough.
                    let padded = |row: &[f32]| {
                        let (mut right, mut down) = ([0.0; MAX_PANEL], [0.0; MAX_TILE_ROWS]);
                        right[..columns].copy_from_slice(&row[left..left + columns]);
                        down[..count].copy_from_slice(&row[top..top + count]);
                        (right, down)
                    };
                    let (mean_right, mean_down) = padded(mean);
                    let vectors = |x: &[f32; MAX_PANEL]| [simd.load(x), simd.load(&x[S::LANES..])];
                    for row in matrix.chunks_exact(width) {
                        let (right, down) = padded(row);
                        step(simd, vectors(&right), vectors(&mean_right), &down, &mean_down, &mut sums);
                    }
                }
                for (r, sum) in sums.iter().take(count).enumerate() {
                    let mut lanes = [0.0; MAX_PANEL];
                    simd.store(sum[0], &mut lanes);
                    simd.store(sum[1], &mut lanes[S::LANES..]);
                    // In two steps, as the square of a scale can be too small.
                    let out = &mut out[(top - first + r) * width + left..][..columns];
                    out.iter_mut().zip(lanes).for_each(|(out, sum)| *out = scale * sum * scale);
                }
            }
        }
    }
}

/// `sums[r] += (down[r] - mean) (right - means)`
#[inline(always)]
fn step<S: Simd>(
    simd: S,
    right: [S::V; 2],
    means: [S::V; 2],
    down: &[f32],
    mean: &[f32],
    sums: &mut [[S::V; 2]; MAX_TILE_ROWS],
) {
    let right = [simd.sub(right[0], means[0]), simd.sub(right[1], means[1])];
    let (down, mean) = (&down[..S::TILE_ROWS], &mean[..S::TILE_ROWS]);
    for r in 0..S::TILE_ROWS {
        let x = simd.splat(down[r] - mean[r]);
        sums[r] = [simd.fma(x, right[0], sums[r][0]), simd.fma(x, right[1], sums[r][1])];
    }
}
