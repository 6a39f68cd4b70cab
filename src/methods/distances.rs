//! Outputs that methods have in common whose score and map are distances.

use super::Output;
use crate::backend::Largest;

/// Numbers of an image: score, largest distance of a patch.
pub(crate) const OUTPUTS: usize = 2;

/// The largest distance of unit vectors, Euclidean or by the cosine.
pub(crate) const FARTHEST: f32 = 2.0;

/// The outputs, from 0 to `high`.
pub(crate) const fn outputs(high: f32) -> [Output; OUTPUTS] {
    [Output { name: "score", low: 0.0, high }, Output { name: "patch_max", low: 0.0, high }]
}

/// A cell of the map, from 0 to `high`.
pub(crate) const fn cells(high: f32) -> Output {
    Output { name: "map", low: 0.0, high }
}

/// The largest cell of each map, written to `column` of the outputs.
pub(crate) fn largest_cell(maps: usize, cells: usize, column: usize) -> Largest {
    Largest { maps, cells, one_in: cells + 1, out_pitch: OUTPUTS, column }
}
