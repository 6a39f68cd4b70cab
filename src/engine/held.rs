//! An engine, borrowed or shared.

use std::ops::Deref;
use std::sync::Arc;

use super::Engine;

/// An engine that is borrowed, or shared by what outlives its makers.
#[derive(Clone)]
pub(super) enum Held<'e> {
    Borrowed(&'e Engine),
    Shared(Arc<Engine>),
}

impl Deref for Held<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Held::Borrowed(engine) => engine,
            Held::Shared(engine) => engine,
        }
    }
}

impl<'e> From<&'e Engine> for Held<'e> {
    fn from(engine: &'e Engine) -> Self {
        Held::Borrowed(engine)
    }
}

impl From<Arc<Engine>> for Held<'_> {
    fn from(engine: Arc<Engine>) -> Self {
        Held::Shared(engine)
    }
}
