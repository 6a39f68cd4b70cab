//! A method with its options and its tiling. A bank is built for one setup, and a scorer runs one.

use super::vit_options::{ROTATIONS, SIZE, TAPS};
use super::{Method, Opt, OptKind, Options};
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::image::IgnoreMask;
use crate::view::{BankPer, Fit, Grid, Layout, Look, Plan, Tiling, TilingOptions, View};
use crate::weights::{Arch, VisionArch};

/// A method, the values of its options, and the tiles in which it looks at frames, if there are any.
#[derive(Clone)]
pub struct Setup {
    method: &'static dyn Method,
    options: Options,
    tiling: Option<Tiling>,
}

impl Setup {
    /// The method with the default options for a model of `arch`.
    pub fn new(method: &'static dyn Method, arch: &Arch) -> Self {
        let mut options = Options::of(method.options());
        method.settle(arch, &mut options);
        Setup { method, options, tiling: None }
    }

    /// The method with options from `name=value` texts, for a model of `arch`. Options of [`crate::view::TILING`] among
    /// them ask for tiles.
    ///
    /// # Errors
    /// As [`Options::parse`], naming the method; [`ErrorKind::Argument`] for tiles that are impossible, or that the
    /// method cannot use.
    pub fn parse<'a>(
        method: &'static dyn Method,
        arch: &Arch,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let (tiling, own) = TilingOptions::split(texts)?;
        let setup = Setup::of(method, arch, &own)?;
        let Some(tiling) = tiling else { return Ok(setup) };
        let vision = &arch.vision;
        // As published, a square is compared with the square at its place.
        let own_place = method.is_of_one_place() || tiling.squares() && method.takes_prompts();
        let bank_per = if own_place { BankPer::Tile } else { BankPer::Frame };
        let tiling = tiling.settle(setup.size(vision)?, setup.cell(vision), bank_per)?;
        setup.tiled(tiling, arch, &own)
    }

    /// The method with its own options, for a model of `arch`.
    fn of(method: &'static dyn Method, arch: &Arch, own: &[&str]) -> Result<Self> {
        let mut options = Options::parse(method.options(), own.iter().copied()).map_err(|error| {
            Error::new(ErrorKind::Argument, format!("options of the method `{}`", method.name())).because(error)
        })?;
        method.settle(arch, &mut options);
        Ok(Setup { method, options, tiling: None })
    }

    /// The same with tiles. They take the place of the method's size, and of rotations where each position has its own
    /// bank.
    fn tiled(&self, tiling: Tiling, arch: &Arch, own: &[&str]) -> Result<Self> {
        let (method, tile) = (self.method, tiling.tile);
        let fail = |message: String| Err(Error::new(ErrorKind::Argument, message));
        let given = |name: &str| own.iter().any(|text| text.split('=').next() == Some(name));
        let option = |name: &str| method.options().iter().find(|option| option.name == name && !given(name));
        let mut settled: Vec<String> = Vec::new();
        settled.extend(option(SIZE).map(|_| format!("{SIZE}={tile}")));
        if tiling.bank_per == BankPer::Tile
            && let Some(OptKind::Count { low, .. }) = option(ROTATIONS).map(|option| option.kind)
        {
            settled.push(format!("{ROTATIONS}={low}"));
        }
        let texts: Vec<&str> = own.iter().copied().chain(settled.iter().map(String::as_str)).collect();
        let setup = Setup { tiling: Some(tiling), ..Setup::of(method, arch, &texts)? };
        setup.check_tile(&arch.vision)?;
        match tiling.bank_per {
            BankPer::Frame if method.is_of_one_place() => {
                return fail(format!(
                    "the method `{}` compares each place, or the whole view, with that of the normal images, so tiles cannot share a \
                     bank: use bank-per=tile",
                    method.name()
                ));
            }
            BankPer::Tile if !method.takes_prompts() => {
                return fail(format!(
                    "the method `{}` takes no normal images, so all tiles have one bank: leave bank-per out",
                    method.name()
                ));
            }
            BankPer::Tile if method.turns(&setup.options)? > 1 => {
                return fail(
                    "a bank for each position of a tile is for parts that always lie alike, and rotations turn them: leave \
                     rotations out, or use bank-per=frame"
                        .to_owned(),
                );
            }
            _ => {}
        }
        method.check_tiled(&setup.options)?;
        Ok(setup)
    }

    /// Checks that a tile is a view of the method.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as [`Tiling::check`], and for a tile of another size.
    pub(crate) fn check_tile(&self, vision: &VisionArch) -> Result<()> {
        let Some(tiling) = &self.tiling else { return Ok(()) };
        let cell = self.cell(vision);
        tiling.check(cell)?;
        if tiling.squares && !self.method.cuts_squares() {
            let message = format!(
                "the method `{}` does not cut pictures into squares, only winclip and winclip-zero do: use tiles, such as tile={}",
                self.method.name(),
                tiling.tile
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let size = self.size(vision)?;
        if size / cell == tiling.tile / cell {
            return Ok(());
        }
        let message = format!(
            "tiles of {} pixels, but the views of the method `{}` have {size} here: use a tile of {}, or leave the option `size` out \
             where the method has it",
            tiling.tile,
            self.method.name(),
            size / cell * cell
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    pub(crate) fn with(method: &'static dyn Method, options: Options, tiling: Option<Tiling>) -> Self {
        Setup { method, options, tiling }
    }

    /// The tiles in which frames are looked at; `None` if each is one view.
    pub fn tiling(&self) -> Option<&Tiling> {
        self.tiling.as_ref()
    }

    /// Whether each position of a tile has its own bank.
    pub(crate) fn has_bank_per_tile(&self) -> bool {
        self.tiling.is_some_and(|tiling| tiling.bank_per == BankPer::Tile)
    }

    /// The views of frames of `width` x `height` pixels, without those that `mask` covers entirely.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for frames that cannot be resized or tiled, or do not have the mask's size;
    /// [`ErrorKind::Device`] where memory is short.
    pub(crate) fn look(
        &self,
        vision: &VisionArch,
        width: usize,
        height: usize,
        fit: Fit,
        mask: Option<&IgnoreMask>,
    ) -> Result<Look> {
        if let Some(mask) = mask {
            mask.check(width, height)?;
        }
        let cell = self.cell(vision);
        match &self.tiling {
            None => Ok(Look::whole(View::whole(self.plan(vision, width, height, fit)?, mask, cell))),
            Some(tiling) => {
                let layout = Layout::new(tiling, cell, width, height)?;
                Look::tiled(layout, mask, cell, &vision.preprocessing)
            }
        }
    }

    /// The options of the tiling and of the method, as texts from which [`Setup::parse`] makes the same setup.
    pub(crate) fn texts(&self) -> Vec<String> {
        let tiling = self.tiling.iter().flat_map(|tiling| {
            let defect = tiling.defect.map(|defect| format!("defect-size={defect}"));
            tiling.to_string().split(' ').map(str::to_owned).chain(defect).collect::<Vec<_>>()
        });
        tiling.chain(self.options.texts().map(|(name, value)| format!("{name}={value}"))).collect()
    }

    /// The method.
    pub fn method(&self) -> &'static dyn Method {
        self.method
    }

    /// Its options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The features that it wants from the encoder.
    pub(crate) fn wants(&self, arch: &Arch) -> Result<Wants> {
        self.method.wants(arch, &self.options)
    }

    /// Side in pixels of a cell of its maps.
    pub(crate) fn cell(&self, vision: &VisionArch) -> usize {
        // A transformer needs no option here. A method that lacks it would make an error for every frame, which takes
        // memory.
        match vision.resnet {
            None => vision.patch_size,
            Some(_) => vision.cell(self.options.counts(TAPS).unwrap_or_default()),
        }
    }

    /// The size that views are resized to.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a size smaller than a patch.
    pub(crate) fn size(&self, vision: &VisionArch) -> Result<usize> {
        let size = self.method.size(&self.options)?.unwrap_or(vision.image_size);
        let cell = self.cell(vision);
        if size >= cell {
            return Ok(size);
        }
        let message = format!(
            "the option `size` is {size}, but a patch of the encoder has {cell} x {cell} pixels: use a size of several \
            patches"
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// The plan that fits pictures of `width` x `height` pixels to the encoder.
    ///
    /// # Errors
    /// As [`Plan::with`] and [`Setup::size`].
    pub(crate) fn plan(&self, vision: &VisionArch, width: usize, height: usize, fit: Fit) -> Result<Plan> {
        Plan::with(width, height, self.size(vision)?, fit, &vision.preprocessing)
    }

    /// The grid of a tile, or of a square picture.
    ///
    /// # Errors
    /// As [`Setup::size`].
    pub(crate) fn grid(&self, vision: &VisionArch) -> Result<Grid> {
        Ok(Grid::square(self.size(vision)? / self.cell(vision)))
    }

    /// Rows and columns of tiles of a frame of `width` x `height` pixels, and the grid of each.
    ///
    /// # Errors
    /// As [`Setup::plan`], and [`ErrorKind::Argument`] for frames that cannot be tiled.
    pub(crate) fn views_of(&self, vision: &VisionArch, width: usize, height: usize, fit: Fit) -> Result<(Grid, Grid)> {
        let cell = self.cell(vision);
        let Some(tiling) = &self.tiling else {
            return Ok((Grid::square(1), self.plan(vision, width, height, fit)?.grid(cell)));
        };
        let layout = Layout::new(tiling, cell, width, height)?;
        Ok((layout.tiles(), layout.tile_grid()))
    }

    /// Checks that banks of `self` and of `other` can serve the same scorers. `what` names the holder of the current
    /// bank.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`], naming the methods, the tilings, or the option in which they differ.
    pub(crate) fn check_same(&self, other: &Setup, what: &str) -> Result<()> {
        let (method, new) = (self.method.name(), other.method.name());
        if method != new {
            let message = format!(
                "{what} run the method `{method}`, but the bank is for `{new}`: make another slot and scorer for it"
            );
            return Err(Error::new(ErrorKind::Bank, message));
        }
        if self.tiling != other.tiling {
            let text = |setup: &Setup| {
                setup.tiling.map_or_else(|| "without tiles".to_owned(), |tiling| format!("with tiles ({tiling})"))
            };
            let message = format!(
                "{what} look at frames {}, but the bank was built {}: make another slot and scorer for it",
                text(self),
                text(other)
            );
            return Err(Error::new(ErrorKind::Bank, message));
        }
        let Some(option) = self.options.differing(&other.options) else { return Ok(()) };
        let value = |setup: &Setup| {
            setup.options.texts().find(|(name, _)| *name == option).map_or_else(String::new, |(_, value)| value)
        };
        let message = format!(
            "{what} run with {option}={}, but the bank was built with {option}={}: make another slot and scorer for it",
            value(self),
            value(other)
        );
        Err(Error::new(ErrorKind::Bank, message))
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Setup({} {})", self.method.name(), self.options)
    }
}

/// Every method's name and option table, for the command line and the C interface.
pub fn all_options() -> impl Iterator<Item = (&'static str, &'static [Opt])> {
    super::ALL.iter().map(|method| (method.name(), method.options()))
}
