//! Distances of whole images on the processor: one image a task.

use super::{ImageDistance, SpadeOps};
use crate::backend::cpu::{Bank, Cpu};
use crate::backend::need;
use crate::error::Result;

impl SpadeOps for Cpu {
    type Images = ();

    fn image_ops(&mut self) -> Result<()> {
        Ok(())
    }

    fn image_distance(
        &mut self,
        (): &(),
        class: &Vec<f32>,
        at: &ImageDistance,
        bank: &Bank,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let (images, [_, count, width]) = bank.any_numbers("spade_image", at.images)?;
        need("spade_image", "images", width, at.embedding)?;
        at.check(class.len(), out.len())?;
        let rows = &mut out[at.first_slot * at.out_pitch..][..at.views.len() * at.out_pitch];
        self.each_row(rows, at.out_pitch, width, |row, out, unit, arithmetic| {
            unit.copy_from_slice(&class[(at.views.start + row) * width..][..width]);
            if at.unit {
                arithmetic.unit(unit);
            }
            let sum: f64 =
                images.chunks_exact(width).map(|image| arithmetic.squared_distance(unit, image).sqrt()).sum();
            out[at.column] = (sum / count as f64) as f32;
        })
    }
}
