//! Features of images for callers that keep them: encoded once, compared whenever.

use std::sync::Arc;

use super::builder::repeat_judged;
use super::engine::Engine;
use super::session::{DeviceBank, Session};
use super::shown::shown;
use crate::backend::BankVectors;
use crate::error::Result;
use crate::preprocess::{Fit, Frame, Plan, judged};

/// Encodes images one by one and compares what it once encoded. Made by [`Engine::encoder`].
pub(crate) struct Encoder<'e> {
    engine: &'e Engine,
    session: Session,
    fit: Fit,
    /// Converted pixels.
    memory: Vec<u8>,
    /// Zeros, in place of a bank's vectors.
    vectors: Vec<f32>,
}

/// What the method sees of an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Features {
    /// Class embedding `[E]`, as the tower gives it.
    pub class: Vec<f32>,
    /// Which patches count, 1 or 0, `[N]`.
    pub judged: Vec<f32>,
    /// Unit patch tokens `[L, N, W]`.
    pub taps: Vec<f32>,
}

/// An image on the device, to compare others with.
pub(crate) struct Reference(DeviceBank);

impl Engine {
    /// Encodes images fitted as `fit` says.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`] where the device has no more memory or threads.
    pub(crate) fn encoder(&self, fit: Fit) -> Result<Encoder<'_>> {
        let vectors = vec![0.0; 2 * self.arch().embed_dim];
        Ok(Encoder { engine: self, session: self.session(1)?, fit, memory: Vec::new(), vectors })
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
        let plan = Plan::new(frame.width(), frame.height(), vision.image_size, self.fit)?;
        self.session.place(frame.into(), &plan, 0)?;
        let (taps, class) = self.session.features()?;
        Ok(Features { class, judged: judged(&plan, None, vision.patch_size), taps })
    }

    /// F_n and F_a of equation 6 for a class, `[2, E]`.
    ///
    /// # Errors
    /// As [`crate::method::text_prototypes`].
    pub fn text_prototypes(&mut self, class: &str) -> Result<Vec<f32>> {
        self.session.text_prototypes(self.engine.options(), self.engine.weights(), class)
    }

    /// An image as a prompt, from its unit taps and its judged patches.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Argument`] if no patch is judged, [`crate::ErrorKind::Device`] where the device has no memory.
    pub fn reference(&mut self, mut taps: Vec<f32>, judged: &[f32]) -> Result<Reference> {
        repeat_judged(&mut taps, judged, self.engine.arch().vision.width)?;
        let width = self.engine.arch().embed_dim;
        let vectors = BankVectors { class_mean: &self.vectors[..width], text_prototypes: &self.vectors };
        Ok(Reference(self.session.prompt_bank(&Arc::from(taps), vectors)?))
    }

    /// Largest cosines `[L, N]` of an image's patches with those of another, the inner part of equation 1, from its unit taps.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Device`].
    pub fn nearest(&mut self, taps: &[f32], reference: &Reference, cosines: &mut [f32]) -> Result<()> {
        self.session.nearest_of(taps, &reference.0, cosines)
    }
}
