//! Shared by methods on ResNets: the stages that they read, and how these become rows of one grid.

use super::options::{Options, Setting};
use super::vit_options::{SIZE, TAPS};
use crate::backend::{Backend, Resample, Role};
use crate::encoder::vision::Features;
use crate::encoder::{Wants, most_cells};
use crate::error::{Error, ErrorKind, Result};
use crate::weights::{Arch, STAGES, Weights};

/// Settles `taps` at these stages, and `size` at that of the model's training.
pub(crate) fn settle(arch: &Arch, options: &mut Options, stages: &[usize]) {
    options.settle(TAPS, Setting::Counts(stages.to_vec()));
    options.settle(SIZE, Setting::Count(arch.vision.image_size));
}

/// Asks for the stages that the option `taps` names, as they are, and for the mean of the last stage if `class` is
/// true.
///
/// # Errors
/// [`ErrorKind::Argument`] for a stage that a ResNet does not have.
pub(crate) fn wants(options: &Options, class: bool) -> Result<Wants> {
    let taps = options.counts(TAPS)?;
    if let Some(stage) = taps.iter().find(|stage| !(1..=STAGES).contains(stage)) {
        let message =
            format!("the option `taps` names stage {stage}, and a ResNet has {STAGES}: name stages from 1 to {STAGES}");
        return Err(Error::new(ErrorKind::Argument, message));
    }
    Ok(Wants { taps: taps.to_vec(), class, ..Wants::default() })
}

/// Refuses a ResNet for a method that needs what only a transformer has.
///
/// # Errors
/// [`ErrorKind::Config`] with the reason.
pub(crate) fn refuse(weights: &Weights, method: &str, reason: &str) -> Result<()> {
    if weights.arch().vision.resnet.is_none() {
        return Ok(());
    }
    let message = format!(
        "the method `{method}` {reason}, and this encoder is a ResNet: use `patchcore`, `padim` or `spade` with it, or another encoder"
    );
    Err(Error::new(ErrorKind::Config, message))
}

/// The widths of the stages that are read.
pub(crate) fn widths(arch: &Arch, options: &Options) -> Vec<usize> {
    let widths = arch.vision.resnet.unwrap_or_default().widths;
    let taps = options.counts(TAPS).unwrap_or_default();
    taps.iter().filter_map(|stage| widths.get(stage.checked_sub(1)?)).copied().collect()
}

/// The largest number of cells of each stage that is read, for `cells` cells of the first one.
pub(crate) fn most(arch: &Arch, options: &Options, cells: usize) -> Vec<usize> {
    let taps = options.counts(TAPS).unwrap_or_default();
    let cell = arch.vision.cell(taps);
    taps.iter().map(|&stage| most_cells(&arch.vision, stage, cells, cell)).collect()
}

/// How the stages become rows of the grid of the first of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Join {
    /// The nearest cell of each stage, all channels side by side.
    Nearest,
    /// The 3 x 3 neighbourhoods of each stage, averaged to `each` numbers, enlarged bilinearly, side by side, and
    /// averaged to `all` numbers.
    Neighbourhoods {
        /// Numbers of a stage.
        each: usize,
        /// Numbers of a row.
        all: usize,
    },
}

impl Join {
    /// Numbers of a row that is made of stages of these widths.
    pub fn width(self, widths: &[usize]) -> usize {
        match self {
            Join::Nearest => widths.iter().sum(),
            Join::Neighbourhoods { all, .. } => all,
        }
    }
}

/// One scorer's memory for rows.
pub(crate) struct Joined<B: Backend> {
    join: Join,
    /// Numbers of a row.
    pub width: usize,
    pooled: B::Buffer,
    wide: B::Buffer,
    rows: B::Buffer,
}

impl<B: Backend> Joined<B> {
    /// Memory for `views` views of up to `cells` cells.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device has no memory.
    pub fn new(backend: &B, arch: &Arch, options: &Options, join: Join, [views, cells]: [usize; 2]) -> Result<Self> {
        let (widths, most) = (widths(arch, options), most(arch, options, cells));
        let (pooled, wide) = Self::between(join, &widths, &most, cells);
        let buffer = |len: usize| backend.buffer(Role::Stream, views * len);
        let width = join.width(&widths);
        Ok(Joined { join, width, pooled: buffer(pooled)?, wide: buffer(wide)?, rows: buffer(cells * width)? })
    }

    /// Elements of an image between its levels and its rows.
    fn between(join: Join, widths: &[usize], most: &[usize], cells: usize) -> (usize, usize) {
        match join {
            Join::Nearest => (0, 0),
            Join::Neighbourhoods { each, .. } => {
                (most.iter().copied().max().unwrap_or(0) * each, cells * widths.len() * each)
            }
        }
    }

    /// Bytes of an image.
    pub fn bytes(arch: &Arch, options: &Options, join: Join, cells: usize) -> usize {
        let widths = widths(arch, options);
        let (pooled, wide) = Self::between(join, &widths, &most(arch, options, cells), cells);
        4 * (pooled + wide + cells.saturating_mul(join.width(&widths)))
    }

    /// The rows of the encoded views, `[B, N, width]`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where the device fails.
    pub fn record(&mut self, backend: &mut B, features: &Features<B>) -> Result<&B::Buffer> {
        let (views, to) = (features.views, features.grid);
        let device = backend.levels();
        let mut column = 0;
        for level in &features.levels {
            let (from, width) = (level.grid, level.width);
            match self.join {
                Join::Nearest => {
                    let at = Resample { from, width, to, pitch: self.width, column, bilinear: false };
                    device.resample(&level.rows, views, &at, &mut self.rows)?;
                    column += width;
                }
                Join::Neighbourhoods { each, .. } => {
                    let pitch = features.levels.len() * each;
                    let at = Resample { from, width: each, to, pitch, column, bilinear: true };
                    device.pool_neighbours(&level.rows, views, from, width, each, &mut self.pooled)?;
                    device.resample(&self.pooled, views, &at, &mut self.wide)?;
                    column += each;
                }
            }
        }
        if let Join::Neighbourhoods { all, .. } = self.join {
            device.pool_columns(&self.wide, views * to.cells(), column, all, None, &mut self.rows)?;
        }
        Ok(&self.rows)
    }
}
