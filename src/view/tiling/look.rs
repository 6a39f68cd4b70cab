//! [`Look`]: the views by which a frame of one size is looked at.

use std::sync::Arc;

use super::Layout;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{IgnoreMask, Roi};
use crate::memory;
use crate::view::{Fit, Grid, Plan, Preprocessing, View};

/// The views of frames of one size: one of all of it, or its tiles. There is at least one, and all have one grid.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub views: Vec<View>,
    /// How their maps become one, if they are tiles.
    pub tiled: Option<Tiled>,
}

/// The tiles that are looked at: from each the frame's map takes at least one cell that a mask does not cover.
#[derive(Clone, Debug)]
pub(crate) struct Tiled {
    pub layout: Layout,
    /// The tile of each view, ascending.
    pub tiles: Vec<usize>,
}

impl Tiled {
    /// A view's tile in words, for messages.
    pub fn name(&self, view: usize) -> String {
        let Roi { x, y, width, height } = self.layout.region(self.tiles[view]);
        format!("the tile of {width} x {height} pixels at {x}, {y}")
    }
}

impl Look {
    /// The frame as one view.
    pub fn whole(view: View) -> Self {
        Look { views: vec![view], tiled: None }
    }

    /// The tiles of `layout`, as a normal image is looked at: every cell counts that `mask` does not cover.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a mask that covers all, or of another size; [`ErrorKind::Device`] where there is no
    /// memory for so many views.
    pub fn tiled(layout: Layout, mask: Option<&IgnoreMask>, patch: usize, pixels: &Preprocessing) -> Result<Self> {
        let (count, cells) = (layout.tiles().cells(), layout.tile_grid().cells());
        let bytes = count.saturating_mul(size_of::<View>() + size_of::<f32>() * cells);
        memory::check(&format!("{count} tiles of a frame"), bytes, "use larger tiles or a smaller scale")?;
        // Regions of at most two widths and two heights.
        let mut plans: Vec<Arc<Plan>> = Vec::new();
        let (mut views, mut tiles) = (Vec::new(), Vec::new());
        for tile in 0..count {
            let region = layout.region(tile);
            let plan = match plans.iter().find(|plan| plan.matches(region.width, region.height)) {
                Some(plan) => Arc::clone(plan),
                None => {
                    let side = layout.tile_grid().rows * patch;
                    let plan = Arc::new(Plan::with(region.width, region.height, side, Fit::Stretch, pixels)?);
                    plans.push(Arc::clone(&plan));
                    plan
                }
            };
            let view = View::of_region(region, plan, mask, patch)?;
            let whole = layout.is_of_squares();
            let counts = |(cell, valid): (usize, &f32)| *valid > 0.0 && (whole || layout.is_own(tile, cell));
            if view.valid().iter().enumerate().any(counts) {
                views.push(view);
                tiles.push(tile);
            }
        }
        if views.is_empty() {
            let message = "the ignore mask leaves no cell of any tile: ignore less of the frame";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(Look { views, tiled: Some(Tiled { layout, tiles }) })
    }

    /// As a query is looked at: of a tile only the cells count that the frame's map takes from it, so that each is
    /// judged once. Squares are judged as a whole.
    pub fn of_query(mut self) -> Self {
        if let Some(Tiled { layout, tiles }) = self.tiled.as_ref().filter(|tiled| !tiled.layout.is_of_squares()) {
            let own = |(view, tile): (View, &usize)| view.only(|cell| layout.is_own(*tile, cell));
            self.views = self.views.into_iter().zip(tiles).map(own).collect();
        }
        self
    }

    /// Rows and columns of a view's map, in cells of `patch` pixels.
    pub fn view_grid(&self, patch: usize) -> Grid {
        self.views.first().map_or_else(Grid::default, |view| view.grid(patch))
    }

    /// What frames have in common that are looked at in the same way: rows and columns of the map, or those of squares.
    pub fn positions(&self, patch: usize) -> Grid {
        self.tiled.as_ref().map_or_else(|| self.view_grid(patch), |tiled| tiled.layout.positions())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{BankPer, Tiling};

    #[test]
    fn tiles_without_a_cell_that_counts_are_not_looked_at() {
        let tiling =
            Tiling { tile: 32, overlap: 16, scale: 1.0, bank_per: BankPer::Frame, defect: None, squares: false };
        let layout = || Layout::new(&tiling, 8, 96, 64).unwrap();
        let look = |mask: Option<&IgnoreMask>| Look::tiled(layout(), mask, 8, &Preprocessing::CLIP);
        let all = look(None).unwrap();
        assert_eq!((all.views.len(), all.view_grid(8), all.positions(8)), (5 * 3, Grid::square(4), Grid::new(8, 12)));
        assert!(all.views.iter().all(|view| view.valid() == [1.0; 16]));
        // The left two thirds: tiles that begin at 0, 16 and 32 are covered, those at 48 and 64 half or not at all.
        let mask = IgnoreMask::from_rectangles(96, 64, &[Roi { x: 0, y: 0, width: 64, height: 64 }]).unwrap();
        let some = look(Some(&mask)).unwrap();
        assert_eq!(some.tiled.as_ref().unwrap().tiles, [3, 4, 8, 9, 13, 14]);
        assert_eq!(some.tiled.as_ref().unwrap().name(2), "the tile of 32 x 32 pixels at 48, 16");
        assert_eq!(some.views[0].valid(), [0.0, 0.0, 1.0, 1.0].repeat(4));
        // Of the columns from the sixth on it has the seventh and the eighth, and of the rows the first three.
        let query = some.of_query();
        assert_eq!(query.views[0].valid(), [[0.0, 0.0, 1.0, 0.0].repeat(3), vec![0.0; 4]].concat());
        let mask = IgnoreMask::from_rectangles(96, 64, &[Roi { x: 0, y: 0, width: 96, height: 64 }]).unwrap();
        assert!(look(Some(&mask)).unwrap_err().to_string().contains("no cell of any tile"));
    }
}
