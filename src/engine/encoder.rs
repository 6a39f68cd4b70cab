//! Features of images for callers that keep them: encoded once, compared whenever.

use std::sync::Arc;

use super::device::{DeviceBank, Session};
use super::shared::Engine;
use super::shown::shown;
use crate::error::Result;
use crate::image::Frame;
use crate::methods::judged_rows;
use crate::view::{Fit, judged};

/// Encodes images one by one and compares what it once encoded. Made by [`Engine::encoder`].
pub struct Encoder<'e> {
    engine: &'e Engine,
    session: Box<dyn Session>,
    fit: Fit,
    /// Converted pixels.
    memory: Vec<u8>,
}

/// What the method sees of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Class embedding `[E]`, as the tower gives it.
    pub class: Vec<f32>,
    /// Which patches count, 1 or 0, `[N]`.
    pub judged: Vec<f32>,
    /// Unit patch tokens `[L, N, W]`.
    pub taps: Vec<f32>,
}

/// An image on the device, to compare others with.
pub struct Reference(DeviceBank);

impl Engine {
    /// Encodes images fitted as `fit` says.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has no more memory or threads.
    #[doc(hidden)]
    pub fn encoder(&self, fit: Fit) -> Result<Encoder<'_>> {
        Ok(Encoder { engine: self, session: self.session(None, 1, 0)?, fit, memory: Vec::new() })
    }
}

impl Encoder<'_> {
    /// The arithmetic of the features: the kind of device, and how it stores operands.
    pub fn arithmetic(&mut self) -> String {
        self.session.arithmetic()
    }

    /// The features of an image.
    ///
    /// # Errors
    /// As [`super::BankBuilder::add`].
    pub fn encode(&mut self, frame: Frame<'_>) -> Result<Features> {
        let vision = &self.engine.arch().vision;
        let frame = shown(frame, None, &mut self.memory)?;
        let plan = vision.plan(frame.width(), frame.height(), self.fit)?;
        self.session.prepare(plan.grid(vision.patch_size))?;
        self.session.place(frame.into(), &plan, 0)?;
        self.session.encode(1)?;
        let found = self.session.features()?;
        Ok(Features { class: found.class, judged: judged(&plan, None, vision.patch_size), taps: found.taps })
    }

    /// An image as a prompt, from its unit taps and its judged patches.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] if no patch is judged, [`crate::ErrorKind::Device`] where the device has no memory.
    pub fn reference(&mut self, taps: &[f32], judged: &[f32]) -> Result<Reference> {
        let arch = self.engine.arch();
        let (rows, count) = judged_rows(taps, judged, arch.vision.width)?;
        let shape = [arch.taps.len(), count, arch.vision.width];
        Ok(Reference(self.session.rows_bank(&Arc::from(rows), shape)?))
    }

    /// Largest cosines `[L, N]` of an image's patches with those of another, the inner part of equation 1, from its unit taps.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`].
    pub fn nearest(&mut self, taps: &[f32], reference: &Reference, cosines: &mut [f32]) -> Result<()> {
        self.session.nearest_of(taps, &reference.0, cosines)
    }
}
