//! The numbers that a method gives, by name, with the ranges in which they lie: what limits are checked against.

/// A number that a score carries, or the cells of its map.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Output {
    /// Its name in [`crate::Score`].
    pub name: &'static str,
    /// The least that it can be.
    pub low: f32,
    /// The most that it can be.
    pub high: f32,
}

/// The outputs of a method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outputs(&'static [Output]);

const fn share(name: &'static str) -> Output {
    Output { name, low: 0.0, high: 1.0 }
}

impl Outputs {
    /// Those of InCTRL: shares, all of them.
    pub const INCTRL: Outputs = Outputs(&[
        share("score"),
        share("holistic"),
        share("patch_max"),
        share("image_residual"),
        share("text_prior"),
        share("map"),
    ]);

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &'static Output> + use<> {
        self.0.iter()
    }

    /// The output of a name.
    pub fn get(&self, name: &str) -> Option<&'static Output> {
        self.iter().find(|output| output.name == name)
    }
}
