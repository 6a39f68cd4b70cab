//! A heat map over its image.

use super::legend::{self, GROUND};
use super::picture::blend;
use super::{ColourScale, Picture};
use inctrl::internals::{check_memory, collected};
use inctrl::view::Grid;
use inctrl::{AnomalyMap, Frame, Result};

/// The largest share of a heat colour in a picture: the image stays visible under it.
const STRONGEST: f32 = 0.85;

/// The map at the original's size: `height * width` values, row by row, one per pixel.
///
/// The grid divides the placement's rectangle into cells. A cell's value applies at the centre of the cell, is
/// interpolated linearly between centres, and constant beyond the outermost ones. The result is NaN where the centre of
/// a pixel lies outside the rectangle, and everywhere if the map's number of cells does not match its grid.
///
/// # Errors
/// [`ErrorKind::Device`](inctrl::ErrorKind::Device) where there is not enough memory for so many values.
pub fn upsample(map: &AnomalyMap, width: usize, height: usize) -> Result<Vec<f32>> {
    let place = map.placement;
    let Grid { rows, cols } = map.grid;
    let nothing = std::iter::repeat(f32::NAN);
    let mut values = collected(&format!("a map of {width} x {height} pixels"), width * height, nothing)?;
    if map.cells.is_empty() || map.cells.len() != map.grid.cells() {
        return Ok(values);
    }
    let columns: Vec<_> = (0..width).map(|x| cells_at(x, place.x, place.width, cols)).collect();
    for (y, values) in values.chunks_exact_mut(width.max(1)).enumerate() {
        let Some((above, below, v)) = cells_at(y, place.y, place.height, rows) else { continue };
        let [above, below] = [above, below].map(|row| &map.cells[row * cols..][..cols]);
        for (value, column) in values.iter_mut().zip(&columns) {
            let Some((left, right, u)) = *column else { continue };
            let along = |row: &[f32]| row[left] + (row[right] - row[left]) * u;
            *value = along(above) + (along(below) - along(above)) * v;
        }
    }
    Ok(values)
}

/// The two cells of an axis whose centres enclose the centre of `pixel`, and its position between them. `None` outside
/// the `extent` pixels from `start` on that the grid covers.
fn cells_at(pixel: usize, start: f64, extent: f64, cells: usize) -> Option<(usize, usize, f32)> {
    let along = (pixel as f64 + 0.5 - start) / extent;
    if !(0.0..=1.0).contains(&along) {
        return None;
    }
    let at = (along * cells as f64 - 0.5).clamp(0.0, (cells - 1) as f64);
    let first = at as usize;
    Some((first, (first + 1).min(cells - 1), (at - first as f64) as f32))
}

/// The image at its own size under the heat map, above a legend of the scale.
///
/// The larger a value, the more its colour covers the image; parts that the model did not see are dimmed. The legend is
/// as wide as the image; an image narrower than a legible legend is centred above it.
///
/// # Errors
/// As [`upsample`].
pub fn overlay(frame: Frame<'_>, map: &AnomalyMap, scale: &ColourScale) -> Result<Picture> {
    // The image with its heat, the values, and the image again above the legend.
    let bytes = frame.width().saturating_mul(frame.height()).saturating_mul(3 + 4 + 3);
    let what = format!("the overlay of {} x {} pixels", frame.width(), frame.height());
    check_memory(&what, bytes, "leave the maps out, or use smaller pictures")?;
    let mut image = Picture::of(frame)?;
    lay_over(&mut image, &upsample(map, frame.width(), frame.height())?, scale);
    let unit = (image.width / 400).max(1);
    let width = image.width.max(legend::least_width(unit));
    let mut picture = Picture::filled(width, image.height + legend::height(unit), GROUND);
    picture.paste(&image, (width - image.width) / 2, 0);
    picture.paste(&legend::strip(width, unit, scale), 0, image.height);
    Ok(picture)
}

/// Mixes the colours of `values`, one for each pixel, into `image`.
pub(super) fn lay_over(image: &mut Picture, values: &[f32], scale: &ColourScale) {
    for (pixel, &value) in image.pixels.chunks_exact_mut(3).zip(values) {
        if value.is_nan() {
            blend(pixel, GROUND, 0.65);
        } else {
            let t = scale.fraction(value);
            blend(pixel, scale.colour(value), STRONGEST * t * t * (3.0 - 2.0 * t));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inctrl::image::PixelFormat;
    use inctrl::view::{Fit, Placement, Plan};

    const SIZE: usize = 48;
    const GRID: usize = 6;

    fn map(placement: Placement, cells: Vec<f32>) -> AnomalyMap {
        AnomalyMap { grid: Grid::square(GRID), cells, placement }
    }

    /// What a bright block around (x, y) adds to each cell, as the model sees a black picture of these sides.
    fn seen(plan: &Plan, [width, height]: [usize; 2], [x, y]: [usize; 2]) -> Vec<f32> {
        let mut pixels = vec![0; width * height];
        let run = |pixels: &[u8]| plan.run(&Frame::packed(pixels, width, height, PixelFormat::Grey8).unwrap());
        let black = run(&pixels);
        for row in [y - 1, y, y + 1] {
            pixels[row * width + x - 1..=row * width + x + 1].fill(255);
        }
        let mut cells = vec![0.0; GRID * GRID];
        for (i, (lit, unlit)) in run(&pixels).into_iter().zip(black).enumerate() {
            cells[i / SIZE / 8 * GRID + i % SIZE / 8] += f32::from(lit) - f32::from(unlit);
        }
        cells
    }

    /// A block in the original is looked at through the real preprocessing; the map of what is seen, laid back over the
    /// original, must peak at the block: the geometry there and here is the same.
    #[test]
    fn the_heat_is_where_the_dot_was() {
        let sides = [[96, 96], [120, 96], [90, 150], [47, 71]];
        for (fit, sides) in [Fit::Crop, Fit::Letterbox, Fit::Stretch].iter().flat_map(|f| sides.map(|s| (*f, s))) {
            let plan = Plan::new(sides[0], sides[1], SIZE, fit).unwrap();
            let place = plan.placement();
            let mut tried = 0;
            for cell in 0..GRID * GRID {
                let centre = |start: f64, extent: f64, at: usize| start + (at as f64 + 0.5) * extent / GRID as f64;
                let dot = [centre(place.x, place.width, cell % GRID), centre(place.y, place.height, cell / GRID)];
                if (0..2).any(|axis| dot[axis] < 1.0 || dot[axis] + 2.0 > sides[axis] as f64) {
                    continue;
                }
                let [x, y] = dot.map(|at| at as usize);
                tried += 1;
                let values = upsample(&map(place, seen(&plan, sides, [x, y])), sides[0], sides[1]).unwrap();
                let here = values[y * sides[0] + x];
                let peak = values.iter().copied().fold(0.0, f32::max);
                // Between its centre and the centre of the pixel there, a cell's value fades by at most a pixel's
                // share.
                assert!(here > 0.0 && here >= 0.8 * peak, "{fit} {sides:?}, dot at {x}, {y}: {here} of {peak}");
            }
            assert!(tried >= GRID * (GRID - 2), "{fit} {sides:?}: {tried}");
        }
    }

    /// A plane is reproduced between the outermost cell centres, at the coordinates that [`Placement`] states.
    #[test]
    fn a_plane_stays_a_plane_in_all_fits() {
        let cells: Vec<f32> = (0..GRID * GRID).map(|i| (i % GRID) as f32 + 10.0 * (i / GRID) as f32).collect();
        for fit in [Fit::Crop, Fit::Letterbox, Fit::Stretch] {
            let (width, height) = (131, 77);
            let place = Plan::new(width, height, SIZE, fit).unwrap().placement();
            let values = upsample(&map(place, cells.clone()), width, height).unwrap();
            let mut judged = 0usize;
            for (i, &value) in values.iter().enumerate() {
                let u = ((i % width) as f64 + 0.5 - place.x) / place.width;
                let v = ((i / width) as f64 + 0.5 - place.y) / place.height;
                if !(0.0..=1.0).contains(&u) || !(0.0..=1.0).contains(&v) {
                    assert!(value.is_nan(), "{fit}: {value} at {u}, {v}");
                    continue;
                }
                judged += 1;
                let at = |t: f64| (t * GRID as f64 - 0.5).clamp(0.0, (GRID - 1) as f64);
                // Three roundings of numbers up to 55 in f32.
                let error = f64::from(value) - (at(u) + 10.0 * at(v));
                assert!(error.abs() <= 3.0 * 55.0 * f64::from(f32::EPSILON), "{fit}: {value} at {u}, {v}");
            }
            let covered = if fit == Fit::Crop { 77 * 77 } else { width * height };
            // The crop's offset is rounded to a pixel of the resized picture.
            assert!(judged.abs_diff(covered) <= 2 * 77, "{fit}: {judged} of {covered}");
        }
    }

    #[test]
    fn a_malformed_map_has_no_values() {
        let place = Placement { x: 0.0, y: 0.0, width: 4.0, height: 4.0 };
        assert!(upsample(&map(place, vec![0.5; 3]), 4, 4).unwrap().iter().all(|v| v.is_nan()));
        let nowhere = Placement { width: 0.0, height: 0.0, ..place };
        let flat = map(nowhere, vec![0.5; GRID * GRID]);
        assert!(upsample(&flat, 4, 4).unwrap().iter().all(|v| v.is_nan()));
    }

    #[test]
    fn a_good_part_is_untouched_and_the_unseen_dimmed() {
        let pixels: Vec<u8> = (0..200 * 150).map(|i| (i * 7 % 251) as u8).collect();
        let frame = Frame::packed(&pixels, 200, 150, PixelFormat::Grey8).unwrap();
        let place = Plan::new(200, 150, SIZE, Fit::Crop).unwrap().placement();
        let picture = overlay(frame, &map(place, vec![0.0; GRID * GRID]), &ColourScale::new(0.3).unwrap()).unwrap();
        assert_eq!((picture.width, picture.height), (200, 150 + legend::height(1)));
        let at = |x: usize, y: usize| &picture.pixels[(y * 200 + x) * 3..][..3];
        assert_eq!(at(100, 75), [pixels[75 * 200 + 100]; 3]);
        let bright = (0..20).max_by_key(|&x| pixels[75 * 200 + x]).unwrap();
        assert!(at(bright, 75)[0] < pixels[75 * 200 + bright] / 2);
    }

    #[test]
    fn any_size_of_image_gives_a_legible_legend() {
        let pixels = vec![99; 1200 * 900];
        let place = Placement { x: 0.0, y: 0.0, width: 1.0, height: 1.0 };
        for (width, height) in [(1, 1), (1, 900), (143, 2), (1200, 1), (1200, 900)] {
            let frame = Frame::packed(&pixels, width, height, PixelFormat::Grey8).unwrap();
            let picture = overlay(frame, &map(place, vec![1.0; GRID * GRID]), &ColourScale::new(0.3).unwrap()).unwrap();
            assert!(picture.width >= legend::least_width(1) && picture.height > height);
            assert_eq!(picture.pixels.len(), picture.width * picture.height * 3);
        }
    }
}
