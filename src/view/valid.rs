//! Which cells of a map count: cells of padding and of ignored pixels do not.
//!
//! A cell is ignored if at least half of its input pixels are. Its residual is then 0, it does not enter the maximum,
//! and the same cell of a prompt matches no query patch.

use super::plan::Plan;
use crate::image::IgnoreMask;

/// Which cells of the grid of `patch` pixels count, `[N]`: 0 where at least half of the cell's input pixels are padding
/// or ignored pixels of the picture, else 1.
pub fn valid_cells(plan: &Plan, mask: Option<&IgnoreMask>, patch: usize) -> Vec<f32> {
    valid_in(plan, mask, [0, 0], patch)
}

/// [`valid_cells`] of a picture whose first pixel is pixel `corner` of the mask.
pub(super) fn valid_in(plan: &Plan, mask: Option<&IgnoreMask>, corner: [usize; 2], patch: usize) -> Vec<f32> {
    let (grid, place) = (plan.grid(patch), plan.placement());
    let (width, height) = (plan.width() as f64, plan.height() as f64);
    let (columns, rows) = (plan.columns(), plan.rows());
    if mask.is_none() && columns == (0..plan.width()) && rows == (0..plan.height()) {
        return vec![1.0; grid.cells()];
    }
    let covered = |u: usize, v: usize| {
        if !columns.contains(&u) || !rows.contains(&v) {
            return true;
        }
        let Some(mask) = mask else { return false };
        // The picture's pixel under the centre of the input pixel.
        let x = (place.x + (u as f64 + 0.5) * place.width / width).max(0.0) as usize;
        let y = (place.y + (v as f64 + 0.5) * place.height / height).max(0.0) as usize;
        mask.covers((corner[0] + x).min(mask.width() - 1), (corner[1] + y).min(mask.height() - 1))
    };
    (0..grid.cells())
        .map(|cell| {
            let (top, left) = (cell / grid.cols * patch, cell % grid.cols * patch);
            let pixels = (0..patch * patch).filter(|i| covered(left + i % patch, top + i / patch)).count();
            if 2 * pixels >= patch * patch { 0.0 } else { 1.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Roi;
    use crate::view::Fit;

    #[test]
    fn cells_that_are_half_covered_are_ignored() {
        // A grid of 4 x 4 cells of 8 pixels over a picture of twice that size.
        let plan = Plan::new(64, 64, 32, Fit::Crop).unwrap();
        assert_eq!(valid_cells(&plan, None, 8), [1.0; 16]);
        let of = |x, width| {
            let mask = IgnoreMask::from_rectangles(64, 64, &[Roi { x, y: 16, width, height: 16 }]).unwrap();
            valid_cells(&plan, Some(&mask), 8)[4..8].to_vec()
        };
        assert_eq!(of(16, 16), [1.0, 0.0, 1.0, 1.0]);
        assert_eq!(of(16, 24), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(of(16, 22), [1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn padding_is_ignored() {
        // A picture twice as wide as high: one row of cells above and one below are padding.
        let plan = Plan::new(100, 50, 32, Fit::Letterbox).unwrap();
        let rows = [0.0, 1.0, 1.0, 0.0].map(|row| [row; 4]).concat();
        assert_eq!(valid_cells(&plan, None, 8), rows);
        assert_eq!(valid_cells(&Plan::new(100, 50, 32, Fit::Stretch).unwrap(), None, 8), [1.0; 16]);
    }
}
