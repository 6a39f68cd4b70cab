//! Results in C.

use std::ffi::c_char;
use std::mem::offset_of;

use super::abi::{Versioned, read, write};
use super::status::{Failure, Outcome};
use crate::engine::{Decision, Reason, Region, Score, Verdict};
use crate::view::Grid;

/// Verdict: the bank has no thresholds.
pub const INCTRL_VERDICT_NONE: i32 = 0;
/// Verdict: below every limit.
pub const INCTRL_VERDICT_PASS: i32 = 1;
/// Verdict: doubtful, or the frame could not be scored.
pub const INCTRL_VERDICT_REVIEW: i32 = 2;
/// Verdict: the score reaches the limit `reject`.
pub const INCTRL_VERDICT_REJECT: i32 = 3;

/// Reason: no verdict.
pub const INCTRL_REASON_NONE: i32 = 0;
/// Reason: nothing reaches its limit.
pub const INCTRL_REASON_BELOW: i32 = 1;
/// Reason: the score of the whole image; there are no regions.
pub const INCTRL_REASON_SCORE: i32 = 2;
/// Reason: regions; the score alone would pass.
pub const INCTRL_REASON_REGIONS: i32 = 3;
/// Reason: score and regions.
pub const INCTRL_REASON_SCORE_AND_REGIONS: i32 = 4;
/// Reason: an error; see `status` of the result.
pub const INCTRL_REASON_ERROR: i32 = 5;

/// Reason: the result came after the deadline, and the scorer was made with INCTRL_LATE_REVIEW.
pub const INCTRL_REASON_LATE: i32 = 6;

/// Connected cells of the map that reach the bank's threshold `cell`, in pixels of the frame. This structure will not
/// grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_region {
    /// First column of the box around it.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns of the box.
    pub width: u32,
    /// Rows of the box.
    pub height: u32,
    /// Area of its cells inside the frame, in square pixels.
    pub area: f64,
    /// Its largest residual.
    pub peak: f32,
    /// Number of its cells.
    pub cells: u32,
}

/// The result for one frame. Begin with `inctrl_result result = {0}; result.struct_size = sizeof result;`.
///
/// After any error, a result that the library can write to has INCTRL_VERDICT_REVIEW, INCTRL_REASON_ERROR and the
/// status. The library writes the fields from `region_count` on. A structure can be reused for frame after frame
/// without changes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct inctrl_result {
    /// sizeof(inctrl_result); set by the caller.
    pub struct_size: usize,
    /// The caller's memory for `map_capacity` residuals, or NULL. The map has grid_rows * grid_cols residuals, row by
    /// row; inctrl_scorer_grid() returns both numbers.
    pub map: *mut f32,
    /// Elements at `map`. A map that does not fit is an error.
    pub map_capacity: usize,
    /// The caller's memory for `region_capacity` regions, or NULL. The largest residual comes first.
    pub regions: *mut inctrl_region,
    /// Elements at `regions`.
    pub region_capacity: usize,
    /// Number of regions found. It exceeds `region_capacity` if not all could be written.
    pub region_count: usize,
    /// Status of this frame: INCTRL_OK or an error.
    pub status: i32,
    /// One of the verdicts.
    pub verdict: i32,
    /// One of the reasons.
    pub reason: i32,
    /// 1 if the result came after the deadline, else 0. Its numbers are valid. The scorer's options define its verdict.
    pub late: i32,
    /// The score for ranking and thresholds: larger is more anomalous. NaN after an error.
    pub score: f32,
    /// The trained head on map, image_residual and text_prior, in [0, 1].
    pub holistic: f32,
    /// The largest residual of the map, in [0, 1].
    pub patch_max: f32,
    /// How far the whole image is from the normal ones, in [0, 1].
    pub image_residual: f32,
    /// How much better texts about a damaged object match, in [0, 1].
    pub text_prior: f32,
    /// Cells of a side of a square map; 0 if the map is not square, see `grid_rows`.
    pub grid: u32,
    /// Left edge of the map in pixels of the frame; it may lie outside the frame. A cell is map_width / grid_cols wide.
    pub map_x: f64,
    /// Top edge.
    pub map_y: f64,
    /// Width of the map in pixels of the frame.
    pub map_width: f64,
    /// Height.
    pub map_height: f64,
    /// Generation of the bank that the frame was scored against, counted from 1.
    pub generation: u64,
    /// Time from the start of the call until this result was written, in microseconds. It grows within a batch.
    pub latency_us: u64,
    /// Identity of the bank: 16 hexadecimal digits and a zero.
    pub bank_id: [c_char; 24],
    /// Rows of the map.
    pub grid_rows: u32,
    /// Columns of the map.
    pub grid_cols: u32,
    /// How often a good part scores this high or higher, from the bank's calibration; NaN if it has none.
    pub p_value: f64,
    /// The score on a scale from 0 to 1 with 0.5 at the limit `reject`, on which scores of different banks can be
    /// compared; NaN without limits.
    pub scaled: f32,
    /// Written as 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; numbers and pointers, which any bits are.
unsafe impl Versioned for inctrl_result {
    const NAME: &'static str = "inctrl_result";
    const FIRST: usize = offset_of!(inctrl_result, bank_id) + 24;
}

/// Digits and a zero.
pub(super) fn bank_id(id: crate::BankId) -> [c_char; 24] {
    let mut text = [0; 24];
    for (i, place) in text[..16].iter_mut().enumerate() {
        let digit = (id.0 >> (60 - 4 * i)) & 15;
        *place = b"0123456789abcdef"[digit as usize] as c_char;
    }
    text
}

/// The caller's result, already marked as failed.
pub(super) struct Place {
    pointer: *mut inctrl_result,
    value: inctrl_result,
}

impl Place {
    /// # Safety
    /// `pointer` is NULL or a structure of the size that it says, valid for writing; its buffers are of the sizes that
    /// it says, and nobody else's during the call.
    pub unsafe fn new(pointer: *mut inctrl_result) -> Outcome<Self> {
        // SAFETY: as of this function.
        let value = unsafe { read(pointer) }?;
        let mut place = Place { pointer, value };
        place.fail(super::INCTRL_ERROR_INTERNAL)?;
        if (value.map.is_null() && value.map_capacity > 0) || (value.regions.is_null() && value.region_capacity > 0) {
            place.fail(super::INCTRL_ERROR_ARGUMENT)?;
            let name = if place.value.map.is_null() && place.value.map_capacity > 0 { "map" } else { "regions" };
            return Err(Failure::argument(format!(
                "`{name}` of the result is NULL, but its capacity is not 0: give it memory, or set the capacity to 0"
            )));
        }
        Ok(place)
    }

    /// Marks the result as having no score.
    pub fn fail(&mut self, code: i32) -> Outcome {
        let value = &mut self.value;
        (value.status, value.late, value.region_count, value.grid) = (code, 0, 0, 0);
        (value.verdict, value.reason) = numbers(Some(Decision::FAILED));
        for part in [
            &mut value.score,
            &mut value.holistic,
            &mut value.patch_max,
            &mut value.image_residual,
            &mut value.text_prior,
        ] {
            *part = f32::NAN;
        }
        for part in [&mut value.map_x, &mut value.map_y, &mut value.map_width, &mut value.map_height] {
            *part = f64::NAN;
        }
        (value.generation, value.latency_us, value.bank_id) = (0, 0, [0; 24]);
        (value.grid_rows, value.grid_cols) = (0, 0);
        (value.p_value, value.scaled, value.reserved) = (f64::NAN, f32::NAN, 0);
        // SAFETY: `new`'s promise.
        unsafe { write(self.pointer, &self.value) }
    }

    /// Writes a score and its decision, in time or late. The scored region starts at `origin` of the caller's frame.
    pub fn fill(
        &mut self,
        score: &Score,
        decision: Option<Decision>,
        origin: (u32, u32),
        latency_us: u64,
        late: bool,
    ) -> Outcome {
        let cells = &score.map.cells;
        let value = &mut self.value;
        if !value.map.is_null() {
            if value.map_capacity < cells.len() {
                let text = format!(
                    "the map has {} residuals, but the result has room for {}",
                    cells.len(),
                    value.map_capacity
                );
                return Err(Failure::argument(text));
            }
            // SAFETY: room for `map_capacity` floats of the caller's, checked just now.
            unsafe { std::ptr::copy_nonoverlapping(cells.as_ptr(), value.map, cells.len()) };
        }
        for (i, region) in score.regions.iter().take(value.region_capacity).enumerate() {
            // SAFETY: `i` is below the number of regions that the caller has room for.
            unsafe { value.regions.add(i).write(place_of(region, origin)) };
        }
        value.region_count = score.regions.len();
        (value.verdict, value.reason) = numbers(decision);
        (value.status, value.late) = (super::INCTRL_OK, i32::from(late));
        value.score = score.score;
        for (part, name) in [
            (&mut value.holistic, "holistic"),
            (&mut value.patch_max, "patch_max"),
            (&mut value.image_residual, "image_residual"),
            (&mut value.text_prior, "text_prior"),
        ] {
            *part = score.output(name).unwrap_or(f32::NAN);
        }
        let place = score.map.placement;
        let Grid { rows, cols } = score.map.grid;
        (value.grid_rows, value.grid_cols) = (rows as u32, cols as u32);
        value.grid = score.map.grid.side().unwrap_or(0) as u32;
        (value.map_x, value.map_y) = (place.x + f64::from(origin.0), place.y + f64::from(origin.1));
        (value.map_width, value.map_height) = (place.width, place.height);
        (value.generation, value.latency_us, value.bank_id) = (score.generation, latency_us, bank_id(score.bank));
        (value.p_value, value.scaled) = (score.p_value.unwrap_or(f64::NAN), score.scaled.unwrap_or(f32::NAN));
        // SAFETY: `new`'s promise.
        unsafe { write(self.pointer, &self.value) }
    }
}

fn place_of(region: &Region, origin: (u32, u32)) -> inctrl_region {
    // Sides of a frame are below 2^16.
    inctrl_region {
        x: region.x as u32 + origin.0,
        y: region.y as u32 + origin.1,
        width: region.width as u32,
        height: region.height as u32,
        area: region.area,
        peak: region.peak,
        cells: region.cells as u32,
    }
}

fn numbers(decision: Option<Decision>) -> (i32, i32) {
    let Some(Decision { verdict, reason }) = decision else { return (INCTRL_VERDICT_NONE, INCTRL_REASON_NONE) };
    let verdict = match verdict {
        Verdict::Pass => INCTRL_VERDICT_PASS,
        Verdict::Review => INCTRL_VERDICT_REVIEW,
        Verdict::Reject => INCTRL_VERDICT_REJECT,
    };
    let reason = match reason {
        Reason::Below => INCTRL_REASON_BELOW,
        Reason::Score => INCTRL_REASON_SCORE,
        Reason::Regions => INCTRL_REASON_REGIONS,
        Reason::ScoreAndRegions => INCTRL_REASON_SCORE_AND_REGIONS,
        Reason::Error => INCTRL_REASON_ERROR,
        Reason::Late => INCTRL_REASON_LATE,
    };
    (verdict, reason)
}
