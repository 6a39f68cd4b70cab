//! Features of images for callers that keep them: encoded once, compared at any later time.

use std::sync::Arc;

use super::device::{DeviceBank, Session};
use super::frame_prep::prepare;
use super::shared::Engine;
use crate::error::Result;
use crate::image::Frame;
use crate::methods::valid_rows;
use crate::view::{Fit, View};

/// Encodes images one by one and compares the features. Made by [`Engine::encoder`].
pub struct Encoder<'e> {
    engine: &'e Engine,
    session: Box<dyn Session>,
    fit: Fit,
    /// Converted pixels.
    memory: Vec<u8>,
}

/// The features of an image that a method uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Class embedding `[E]`, not normalised.
    pub class: Vec<f32>,
    /// Which patches count (1) and which are ignored (0), `[N]`.
    pub valid: Vec<f32>,
    /// Unit patch tokens `[L, N, W]`.
    pub taps: Vec<f32>,
}

/// A reference image on the device.
pub struct Reference(DeviceBank);

impl Engine {
    /// An encoder for images fitted by `fit`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device runs out of memory or threads.
    #[doc(hidden)]
    pub fn encoder(&self, fit: Fit) -> Result<Encoder<'_>> {
        Ok(Encoder { engine: self, session: self.session(&[], 1)?, fit, memory: Vec::new() })
    }
}

impl Encoder<'_> {
    /// The arithmetic behind the features: the kind of device and how it stores operands.
    pub fn arithmetic(&mut self) -> String {
        self.session.arithmetic()
    }

    /// The features of an image.
    ///
    /// # Errors
    /// As [`super::BankBuilder::add`].
    pub fn encode(&mut self, frame: Frame<'_>) -> Result<Features> {
        let vision = &self.engine.arch().vision;
        let frame = prepare(frame, None, &mut self.memory)?;
        let plan = vision.plan(frame.width(), frame.height(), self.fit)?;
        self.session.prepare(plan.grid(vision.patch_size))?;
        let view = View::whole(plan, None, vision.patch_size);
        self.session.place(frame.into(), std::slice::from_ref(&view), 0)?;
        self.session.encode(1)?;
        let found = self.session.features()?;
        Ok(Features { class: found.class, valid: view.valid().to_vec(), taps: found.taps })
    }

    /// Uploads a reference image, given its unit taps and which of its patches count.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] if no patch counts, [`crate::ErrorKind::Device`] where the device has not enough
    /// memory.
    pub fn reference(&mut self, taps: &[f32], valid: &[f32]) -> Result<Reference> {
        let arch = self.engine.arch();
        let (rows, count) = valid_rows(taps, valid, arch.vision.width)?;
        let shape = [arch.taps.len(), count, arch.vision.width];
        Ok(Reference(self.session.rows_bank(&Arc::from(rows), shape)?))
    }

    /// Largest cosines `[L, N]` between an image's patches, given as unit taps, and those of a reference: the inner
    /// part of equation 1.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device fails.
    pub fn nearest(&mut self, taps: &[f32], reference: &Reference, cosines: &mut [f32]) -> Result<()> {
        self.session.nearest_of(taps, &reference.0, cosines)
    }
}
