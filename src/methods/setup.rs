//! A method with its options. A bank is built for one setup, and a scorer runs one.

use super::{Method, Opt, Options};
use crate::encoder::Wants;
use crate::error::{Error, ErrorKind, Result};
use crate::view::{Fit, Grid, Plan};
use crate::weights::{Arch, VisionArch};

/// A method and the values of its options.
#[derive(Clone)]
pub struct Setup {
    method: &'static dyn Method,
    options: Options,
}

impl Setup {
    /// The method with the default options for a model of `arch`.
    pub fn new(method: &'static dyn Method, arch: &Arch) -> Self {
        let mut options = Options::of(method.options());
        method.settle(arch, &mut options);
        Setup { method, options }
    }

    /// The method with options from `name=value` texts, for a model of `arch`.
    ///
    /// # Errors
    /// As [`Options::parse`], naming the method.
    pub fn parse<'a>(
        method: &'static dyn Method,
        arch: &Arch,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut options = Options::parse(method.options(), texts).map_err(|error| {
            Error::new(ErrorKind::Argument, format!("options of the method `{}`", method.name())).because(error)
        })?;
        method.settle(arch, &mut options);
        Ok(Setup { method, options })
    }

    pub(crate) fn with(method: &'static dyn Method, options: Options) -> Self {
        Setup { method, options }
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

    /// The size that views are resized to.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a size smaller than a patch.
    pub(crate) fn size(&self, vision: &VisionArch) -> Result<usize> {
        let size = self.method.size(&self.options)?.unwrap_or(vision.image_size);
        if size >= vision.patch_size {
            return Ok(size);
        }
        let message = format!(
            "the option `size` is {size}, but a patch of the encoder has {} x {0} pixels: use a size of several \
            patches",
            vision.patch_size
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

    /// The grid of a square picture.
    ///
    /// # Errors
    /// As [`Setup::size`].
    pub(crate) fn grid(&self, vision: &VisionArch) -> Result<Grid> {
        Ok(Grid::square(self.size(vision)? / vision.patch_size))
    }

    /// Checks that banks of `self` and of `other` can serve the same scorers. `what` names the holder of the current
    /// bank.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`], naming the methods, or the option in which they differ.
    pub(crate) fn check_same(&self, other: &Setup, what: &str) -> Result<()> {
        let (method, new) = (self.method.name(), other.method.name());
        if method != new {
            let message = format!(
                "{what} run the method `{method}`, but the bank is for `{new}`: make another slot and scorer for it"
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
