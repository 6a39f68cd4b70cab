//! From features to scores: distances to the nearest window or patch, scores by texts, and the maps of both.

use std::sync::Arc;

use super::scores::{Cover, Parts, TextScores, WinclipOps};
use super::{PATCHES, SIDES, WINDOWS};
use crate::backend::{Largest, Role};
use crate::encoder::vision::Features;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::methods::{AfterStep, Batch, Compare, Loaded, NamedTensor, Options, Outputs, not_finite, valid_rows};
use crate::view::Grid;
use crate::weights::Weights;

/// Numbers of an image: of `winclip-zero` score and largest cell; of `winclip` also the zero-shot score.
const ZERO_OUTPUTS: usize = 2;
const FEW_OUTPUTS: usize = 3;
/// Their columns.
const SCORE: usize = 0;
const PATCH_MAX: usize = 1;
const TEXT_PRIOR: usize = 2;

/// Indices of the few-shot bank's tensors on a device; windows come first, by their sides. The zero-shot bank has one.
const PATCH_ROWS: usize = SIDES.len();
const TEXT: usize = SIDES.len() + 1;
const ONLY_TEXT: usize = 0;

/// Bytes of a slot's memory: values of windows, distances of patches, and what a search found.
pub(super) fn slot_bytes(cells: usize) -> usize {
    cells.saturating_mul(4 * (SIDES.len() + 2))
}

/// What all scorers share; the methods have no weights of their own.
struct Shared<B: WinclipOps> {
    /// Width of an embedding, E.
    embedding: usize,
    kernels: B::Kernels,
    /// Whether images are compared with normal ones.
    few: bool,
}

pub(super) fn load_zero<B: WinclipOps>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    load(backend, weights, false)
}

pub(super) fn load_few<B: WinclipOps>(backend: &mut B, weights: &Weights) -> Result<Arc<dyn Loaded<B>>> {
    load(backend, weights, true)
}

fn load<B: WinclipOps>(backend: &mut B, weights: &Weights, few: bool) -> Result<Arc<dyn Loaded<B>>> {
    let embedding = weights.arch().embed_dim;
    Ok(Arc::new(Shared::<B> { embedding, kernels: backend.winclip_ops(embedding)?, few }))
}

/// One scorer's memory.
struct Comparer<B: WinclipOps> {
    shared: Arc<Shared<B>>,
    /// Values of windows, for each side, `[slots, M]`: scores, or distances.
    windows: [B::Buffer; SIDES.len()],
    /// Distances of patches, `[slots, N]`, and what a search found.
    patches: B::Buffer,
    found: B::Buffer,
}

impl<B: WinclipOps> Loaded<B> for Shared<B> {
    fn compare(
        self: Arc<Self>,
        backend: &B,
        _: &Options,
        _views: usize,
        slots: usize,
        cells: usize,
    ) -> Result<Box<dyn Compare<B>>> {
        // There are fewer windows than cells.
        let values = || backend.buffer(Role::Stream, slots * cells);
        let searched = if self.few { slots * cells } else { 0 };
        Ok(Box::new(Comparer {
            windows: [values()?, values()?],
            patches: backend.buffer(Role::Stream, searched)?,
            found: backend.buffer(Role::Nearest, searched)?,
            shared: self,
        }))
    }
}

impl<B: WinclipOps> Comparer<B> {
    /// Scores by texts, of windows and images.
    fn by_texts(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let Shared { embedding, kernels, .. } = &*self.shared;
        let (features, grid) = (batch.features, batch.features.grid);
        for run in batch.runs {
            let bank = batch.banks[run.bank];
            for ((windows, values), side) in features.windows.iter().zip(&mut self.windows).zip(SIDES) {
                let each = grid.windows(side).cells();
                let at = TextScores {
                    rows: run.views.start * each..run.views.end * each,
                    first_out: run.first_slot * each,
                    text: ONLY_TEXT,
                    embedding: *embedding,
                    out_pitch: 1,
                    column: 0,
                    mean: None,
                };
                backend.text_scores(kernels, &windows.embeddings, &at, bank, values)?;
            }
            let at = TextScores {
                rows: run.views.clone(),
                first_out: run.first_slot,
                text: ONLY_TEXT,
                embedding: *embedding,
                out_pitch: ZERO_OUTPUTS,
                column: SCORE,
                mean: None,
            };
            backend.text_scores(kernels, &features.class, &at, bank, &mut out.values)?;
        }
        after(backend, "texts")?;
        let cover = Cover {
            maps: batch.slots(),
            grid,
            windows: self.windows.each_ref(),
            third: &out.values,
            parts: Parts::Scores { pitch: ZERO_OUTPUTS, column: SCORE },
            valid: batch.valid,
        };
        backend.cover(kernels, &cover, &mut out.map)?;
        let largest = largest(batch, ZERO_OUTPUTS);
        backend.mean_of_largest(&out.map, batch.valid, &largest, &mut out.values)?;
        after(backend, "map")
    }

    /// Distances to the windows and patches of normal images, and the images' scores by texts.
    fn by_images(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        let Shared { embedding, kernels, .. } = &*self.shared;
        let (features, grid) = (batch.features, batch.features.grid);
        for run in batch.runs {
            let bank = batch.banks[run.bank];
            for (tensor, (windows, values)) in features.windows.iter().zip(&mut self.windows).enumerate() {
                let at = batch.search_of(run, tensor, grid.windows(windows.side).cells());
                backend.nearest_distance(&windows.embeddings, &at, bank, &mut self.found, 1.0, None, values)?;
            }
            let (at, patches) = (batch.search(run, PATCH_ROWS), &mut self.patches);
            backend.nearest_distance(&features.taps, &at, bank, &mut self.found, 1.0, Some(batch.valid), patches)?;
        }
        after(backend, "nearest neighbour")?;
        let cover = Cover {
            maps: batch.slots(),
            grid,
            windows: self.windows.each_ref(),
            third: &self.patches,
            parts: Parts::Distances,
            valid: batch.valid,
        };
        backend.cover(kernels, &cover, &mut out.map)?;
        let largest = largest(batch, FEW_OUTPUTS);
        backend.mean_of_largest(&out.map, batch.valid, &largest, &mut out.values)?;
        after(backend, "map")?;
        for run in batch.runs {
            let at = TextScores {
                rows: run.views.clone(),
                first_out: run.first_slot,
                text: TEXT,
                embedding: *embedding,
                out_pitch: FEW_OUTPUTS,
                column: TEXT_PRIOR,
                mean: Some([PATCH_MAX, SCORE]),
            };
            backend.text_scores(kernels, &features.class, &at, batch.banks[run.bank], &mut out.values)?;
        }
        after(backend, "score")
    }
}

/// The largest cell of each map.
fn largest<B: WinclipOps>(batch: &Batch<'_, B>, out_pitch: usize) -> Largest {
    let cells = batch.cells();
    Largest { maps: batch.slots(), cells, one_in: cells + 1, out_pitch, column: PATCH_MAX }
}

impl<B: WinclipOps> Compare<B> for Comparer<B> {
    fn record(
        &mut self,
        backend: &mut B,
        batch: &Batch<'_, B>,
        out: &mut Outputs<B>,
        after: &mut AfterStep<'_, B>,
    ) -> Result<()> {
        if self.shared.few {
            self.by_images(backend, batch, out, after)
        } else {
            self.by_texts(backend, batch, out, after)
        }
    }

    fn prompt(&mut self, backend: &mut B, features: &Features<B>, valid: &[f32]) -> Result<Vec<NamedTensor>> {
        let (grid, embedding, what) = (features.grid, self.shared.embedding, "the features of a prompt");
        let mut tensors = Vec::with_capacity(SIDES.len() + 1);
        let mut keep = |name, width: usize, buffer: &B::Buffer, valid: &[f32]| -> Result<()> {
            let mut values = memory::zeros(what, valid.len() * width)?;
            backend.download(buffer, &mut values)?;
            if !values.iter().all(|x| x.is_finite()) {
                return Err(not_finite(what));
            }
            let (values, rows) = valid_rows(&values, valid, width)?;
            tensors.push(NamedTensor { name, shape: vec![rows, width], values: values.into() });
            Ok(())
        };
        keep(PATCHES, features.width, &features.taps, valid)?;
        for (name, windows) in WINDOWS.into_iter().zip(&features.windows) {
            let valid = valid_windows(valid, grid, windows.side);
            if !valid.contains(&1.0) {
                let message = format!(
                    "the ignore mask leaves no window of {0} x {0} patches of this image: ignore less of it",
                    windows.side
                );
                return Err(Error::new(ErrorKind::Argument, message));
            }
            keep(name, embedding, &windows.embeddings, &valid)?;
        }
        Ok(tensors)
    }
}

/// 1 for each window of which no cell is ignored, else 0.
fn valid_windows(valid: &[f32], grid: Grid, side: usize) -> Vec<f32> {
    let places = grid.windows(side);
    let window = |place: usize| {
        let (top, left) = (place / places.cols, place % places.cols);
        let line = |line: usize| &valid[(top + line) * grid.cols + left..][..side];
        f32::from((0..side).all(|i| line(i).iter().all(|valid| *valid > 0.0)))
    };
    (0..places.cells()).map(window).collect()
}
