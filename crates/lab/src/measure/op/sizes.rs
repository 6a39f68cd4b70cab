//! Names, defaults and limits of an operation's sizes.

use inctrl::{Error, ErrorKind, Result};

/// One size of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its name on the command line.
    pub name: &'static str,
    /// The default: that of ViT-B/16+ 240.
    pub usual: usize,
    /// The smallest valid value.
    pub least: usize,
    /// The largest valid value.
    pub most: usize,
    /// On a GPU it must be a multiple of this: kernels read whole pieces of a row.
    pub gpu_multiple: usize,
    /// Its meaning.
    pub meaning: &'static str,
}

impl Size {
    /// A size from 1 to 2^24.
    pub(super) const fn new(name: &'static str, usual: usize, meaning: &'static str) -> Self {
        Size { name, usual, least: 1, most: 1 << 24, gpu_multiple: 1, meaning }
    }

    /// The width of a row, of which kernels read `gpu_multiple` numbers at once.
    pub(super) const fn row(name: &'static str, usual: usize, gpu_multiple: usize, meaning: &'static str) -> Self {
        Size { gpu_multiple, ..Size::new(name, usual, meaning) }
    }

    /// A size that may be 0.
    pub(super) const fn or_none(name: &'static str, meaning: &'static str) -> Self {
        Size { usual: 0, least: 0, ..Size::new(name, 0, meaning) }
    }

    /// A size that is 0 or 1.
    pub(super) const fn switch(name: &'static str, meaning: &'static str) -> Self {
        Size { name, usual: 0, least: 0, most: 1, gpu_multiple: 1, meaning }
    }
}

/// An operation that can be measured.
#[derive(Debug)]
pub struct Operation {
    /// Its name in [`inctrl::backend::Backend`], or in the trait of its method.
    pub name: &'static str,
    /// What it computes.
    pub formula: &'static str,
    /// Its sizes.
    pub sizes: &'static [Size],
}

/// A value for every size of an operation.
#[derive(Clone, Debug)]
pub struct Sizes {
    operation: &'static Operation,
    values: Vec<usize>,
}

impl Sizes {
    /// The given sizes, with defaults for the rest.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a size that the operation does not have, or that is out of its range.
    pub fn new(operation: &'static Operation, given: &[(String, usize)]) -> Result<Self> {
        let mut values: Vec<usize> = operation.sizes.iter().map(|size| size.usual).collect();
        for (name, value) in given {
            let Some(at) = operation.sizes.iter().position(|size| size.name == name) else {
                let names: Vec<&str> = operation.sizes.iter().map(|size| size.name).collect();
                let message = format!("{} has no size {name:?}: it has {}", operation.name, names.join(", "));
                return Err(Error::new(ErrorKind::Argument, message));
            };
            let Size { least, most, meaning, .. } = operation.sizes[at];
            if !(least..=most).contains(value) {
                let message = format!("{}: {name} ({meaning}) is {value}: give {least} to {most}", operation.name);
                return Err(Error::new(ErrorKind::Argument, message));
            }
            values[at] = *value;
        }
        Ok(Sizes { operation, values })
    }

    /// Checks that a GPU's kernels take them.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a row that is not of whole pieces.
    pub(super) fn check_gpu(&self) -> Result<()> {
        for (size, value) in self.operation.sizes.iter().zip(&self.values) {
            if !value.is_multiple_of(size.gpu_multiple) {
                let why = format!("on a GPU {} must be a multiple of {}", size.name, size.gpu_multiple);
                return Err(unfit(self, &why));
            }
        }
        Ok(())
    }

    /// The operation of these sizes.
    pub fn operation(&self) -> &'static Operation {
        self.operation
    }

    /// The values by name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.operation.sizes.iter().map(|size| size.name).zip(self.values.iter().copied())
    }

    /// The value of a size of the operation; 0 for any other name.
    pub(super) fn get(&self, name: &str) -> usize {
        self.named().find(|(size, _)| *size == name).map_or(0, |(_, value)| value)
    }

    /// Whether a switch is on.
    pub(super) fn on(&self, name: &str) -> bool {
        self.get(name) == 1
    }
}

/// The error of sizes that do not fit each other.
pub(super) fn unfit(sizes: &Sizes, why: &str) -> Error {
    let values: Vec<String> = sizes.named().map(|(name, value)| format!("{name} {value}")).collect();
    Error::new(ErrorKind::Argument, format!("{}, {}: {why}", sizes.operation.name, values.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    static SUM: Operation = Operation {
        name: "sum",
        formula: "a + b",
        sizes: &[Size::new("rows", 3, "rows"), Size::switch("fast", "no care")],
    };

    #[test]
    fn sizes_have_defaults_names_and_limits() {
        let given = |name: &str, value: usize| Sizes::new(&SUM, &[(name.to_owned(), value)]);
        assert_eq!(given("rows", 7).unwrap().get("rows"), 7);
        assert!(!given("rows", 7).unwrap().on("fast"));
        assert!(given("fast", 1).unwrap().on("fast"));
        for (name, value, text) in
            [("q", 1, "sum has no size \"q\": it has rows, fast"), ("rows", 0, "rows"), ("fast", 2, "give 0 to 1")]
        {
            let error = given(name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
