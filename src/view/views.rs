//! [`View`]: what one place of a batch sees of a frame.

use std::sync::Arc;

use super::fit::Placement;
use super::grid::Grid;
use super::plan::Plan;
use super::rotate::{Turn, rotate_mask};
use super::valid::valid_in;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{IgnoreMask, Roi};

/// What one place of a batch sees of a frame: a part of its pixels, how they are turned and resized, and which cells
/// count. The whole frame, its tiles and its rotations are views; a frame is handed over once with all of them.
#[derive(Clone, Debug)]
pub struct View {
    region: Roi,
    turn: Option<Turn>,
    plan: Arc<Plan>,
    valid: Vec<f32>,
}

impl View {
    /// The whole frame, of the size that `plan` is for. Cells that `mask` covers do not count.
    pub fn whole(plan: impl Into<Arc<Plan>>, mask: Option<&IgnoreMask>, patch: usize) -> Self {
        let plan = plan.into();
        let [width, height] = plan.source();
        let region = Roi { x: 0, y: 0, width, height };
        let valid = valid_in(&plan, mask, [0, 0], patch);
        View { region, turn: None, plan, valid }
    }

    /// The pixels of `region`, which `plan` is for. `mask` is that of the whole frame.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a plan for another size, or a region outside the mask.
    pub fn of_region(region: Roi, plan: impl Into<Arc<Plan>>, mask: Option<&IgnoreMask>, patch: usize) -> Result<Self> {
        let plan = plan.into();
        if !plan.matches(region.width, region.height) {
            let [width, height] = plan.source();
            let message =
                format!("{region:?} with a plan for {width} x {height} pixels: make a plan for the region's size");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let ends = [region.x.checked_add(region.width), region.y.checked_add(region.height)];
        if let Some(mask) = mask
            && ends.iter().zip([mask.width(), mask.height()]).any(|(end, side)| end.is_none_or(|end| end > side))
        {
            let message = format!(
                "{region:?} is not inside the ignore mask of {} x {} pixels: give a region inside the frame",
                mask.width(),
                mask.height()
            );
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let valid = valid_in(&plan, mask, [region.x, region.y], patch);
        Ok(View { region, turn: None, plan, valid })
    }

    /// The whole frame, rotated by `turn`, and `mask` with it.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] where there is not enough memory for a copy of the mask.
    pub fn turned(turn: Turn, plan: impl Into<Arc<Plan>>, mask: Option<&IgnoreMask>, patch: usize) -> Result<Self> {
        let mask = mask.map(|mask| rotate_mask(mask, turn)).transpose()?;
        Ok(View { turn: Some(turn), ..View::whole(plan, mask.as_ref(), patch) })
    }

    /// The same view, in which the cells for which `counts` is false do not count either.
    pub fn only(mut self, counts: impl Fn(usize) -> bool) -> Self {
        self.valid.iter_mut().enumerate().filter(|(cell, _)| !counts(*cell)).for_each(|(_, valid)| *valid = 0.0);
        self
    }

    /// The same view of a frame that is already rotated.
    pub(crate) fn upright(&self) -> Self {
        View { turn: None, ..self.clone() }
    }

    /// The part of the frame, after its rotation.
    pub fn region(&self) -> Roi {
        self.region
    }

    /// The rotation of the frame, if there is one.
    pub fn turn(&self) -> Option<Turn> {
        self.turn
    }

    /// How the part is resized.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which cells count: 0 where a cell is padding or ignored, else 1, `[N]`.
    pub fn valid(&self) -> &[f32] {
        &self.valid
    }

    /// Cells of `patch` x `patch` pixels of the model's input.
    pub fn grid(&self, patch: usize) -> Grid {
        self.plan.grid(patch)
    }

    /// The rectangle of the frame that the view's map covers.
    pub fn placement(&self, patch: usize) -> Placement {
        let inside = self.plan.placement_of_grid(patch);
        Placement { x: inside.x + self.region.x as f64, y: inside.y + self.region.y as f64, ..inside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Fit;

    fn plan(width: usize, height: usize) -> Plan {
        Plan::new(width, height, 32, Fit::Stretch).unwrap()
    }

    #[test]
    fn a_region_has_its_part_of_the_mask_and_its_place_in_the_frame() {
        let mask = IgnoreMask::from_rectangles(100, 60, &[Roi { x: 50, y: 0, width: 20, height: 60 }]).unwrap();
        let region = Roi { x: 40, y: 20, width: 40, height: 40 };
        let view = View::of_region(region, plan(40, 40), Some(&mask), 8).unwrap();
        // Columns 10 to 29 of 40, of which a cell has ten.
        assert_eq!(view.valid(), [1.0, 0.0, 0.0, 1.0].repeat(4));
        assert_eq!(view.placement(8), Placement { x: 40.0, y: 20.0, width: 40.0, height: 40.0 });
        let whole = View::whole(plan(100, 60), Some(&mask), 8);
        assert_eq!(whole.placement(8), Placement { x: 0.0, y: 0.0, width: 100.0, height: 60.0 });
        assert_eq!(whole.region(), Roi { x: 0, y: 0, width: 100, height: 60 });
    }

    #[test]
    fn a_region_of_another_size_or_outside_is_refused() {
        let mask = IgnoreMask::from_rectangles(100, 60, &[Roi { x: 0, y: 0, width: 1, height: 1 }]).unwrap();
        let at = |x, y| View::of_region(Roi { x, y, width: 40, height: 40 }, plan(40, 40), Some(&mask), 8);
        assert!(at(60, 20).is_ok());
        for (x, y) in [(61, 20), (60, 21), (usize::MAX, 0)] {
            assert!(at(x, y).unwrap_err().to_string().contains("not inside the ignore mask of 100 x 60"));
        }
        let error = View::of_region(Roi { x: 0, y: 0, width: 40, height: 41 }, plan(40, 40), None, 8).unwrap_err();
        assert!(error.to_string().contains("make a plan for the region's size"), "{error}");
    }
}
