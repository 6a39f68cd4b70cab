//! Figures by epoch as lines.

use super::Picture;
use super::legend::{FAINT, GROUND, INK};
use super::text::{self, LINE};

/// Colours of the lines of a panel, in order; they differ in luminance too.
const COLOURS: [[u8; 3]; 3] = [[255, 176, 64], [64, 176, 255], [140, 220, 120]];
/// Ground of a panel, a little lighter than that of the picture.
const PANEL: [u8; 3] = [32, 35, 42];

/// Size of a panel's plot, and the space around it, in pixels: room for labels of an axis on the left and below.
const PLOT: [usize; 2] = [560, 240];
const LEFT: usize = 96;
const RIGHT: usize = 24;
const TOP: usize = 40;
const BOTTOM: usize = 36;
/// Pixels of a font pixel.
const SCALE: usize = 2;

/// Lines over one axis.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is drawn.
    pub title: String,
    /// Name and values of each line; values that are not finite are left out.
    pub lines: Vec<(String, Vec<f64>)>,
}

/// Panels below each other. The values of a line are those of the steps 1, 2, and so on, which `unit` names.
pub fn curves(panels: &[Panel], unit: &str) -> Picture {
    let (width, height) = (LEFT + PLOT[0] + RIGHT, TOP + PLOT[1] + BOTTOM);
    let mut picture = Picture::filled(width, height * panels.len().max(1), GROUND);
    for (i, panel) in panels.iter().enumerate() {
        draw(&mut picture, panel, unit, TOP + i * height);
    }
    picture
}

/// Draws a panel whose plot begins in row `top`.
fn draw(picture: &mut Picture, panel: &Panel, unit: &str, top: usize) {
    picture.fill(LEFT, top, PLOT[0], PLOT[1], PANEL);
    let steps = panel.lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let (low, high) = range(panel.lines.iter().flat_map(|(_, values)| values));
    let x = |step: usize| {
        let share = if steps > 1 { step as f64 / (steps - 1) as f64 } else { 0.5 };
        LEFT as f64 + 8.0 + share * (PLOT[0] - 16) as f64
    };
    let y = |value: f64| top as f64 + 8.0 + (high - value) / (high - low) * (PLOT[1] - 16) as f64;

    let digits = (2.0 - (high - low).log10().floor()).clamp(0.0, 6.0) as usize;
    for value in [low, (low + high) / 2.0, high] {
        let row = y(value).round() as usize;
        picture.fill(LEFT, row, PLOT[0], 1, FAINT);
        let label = format!("{value:.digits$}");
        let start = (LEFT - 8).saturating_sub(text::width(&label) * SCALE);
        text::draw(picture, &label, start, row.saturating_sub(LINE * SCALE / 2), SCALE, INK);
    }
    let below = top + PLOT[1] + 8;
    text::draw(picture, &format!("{unit} 1"), LEFT, below, SCALE, INK);
    let last = steps.to_string();
    text::draw(picture, &last, LEFT + PLOT[0] - text::width(&last) * SCALE, below, SCALE, INK);

    let above = top - LINE * SCALE - 8;
    text::draw(picture, &panel.title, LEFT, above, SCALE, INK);
    let mut left = LEFT + (text::width(&panel.title) + 12) * SCALE;
    for ((name, values), colour) in panel.lines.iter().zip(COLOURS.into_iter().cycle()) {
        let points: Vec<[f64; 2]> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .map(|(step, value)| [x(step), y(*value)])
            .collect();
        if let [only] = points[..] {
            stroke(picture, only, only, colour);
        }
        points.windows(2).for_each(|pair| stroke(picture, pair[0], pair[1], colour));
        text::draw(picture, name, left, above, SCALE, colour);
        left += (text::width(name) + 8) * SCALE;
    }
}

/// The least and the largest finite value, apart where they are one.
fn range<'a>(values: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    // Far enough apart for labels that differ.
    let margin = (1e-3 * low.abs().max(1e-3) - (high - low)).max(0.0) / 2.0;
    (low - margin, high + margin)
}

/// A line of three pixels with smoothed edges: a pixel's colour is mixed in by its distance.
fn stroke(picture: &mut Picture, from: [f64; 2], to: [f64; 2], colour: [u8; 3]) {
    const HALF: f64 = 1.5;
    let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    let length = (dx * dx + dy * dy).max(1e-9);
    let bounds = |a: f64, b: f64| {
        let low = (a.min(b) - HALF - 1.0).max(0.0) as usize;
        low..=(a.max(b) + HALF + 1.0).max(0.0) as usize
    };
    for row in bounds(from[1], to[1]) {
        for column in bounds(from[0], to[0]) {
            let [px, py] = [column as f64 - from[0], row as f64 - from[1]];
            let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
            let distance = (px - along * dx).hypot(py - along * dy);
            let alpha = (HALF + 0.5 - distance).clamp(0.0, 1.0);
            if alpha > 0.0 {
                picture.mix(column, row, colour, alpha as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(picture: &Picture, colour: [u8; 3]) -> usize {
        picture.pixels.chunks_exact(3).filter(|pixel| **pixel == colour).count()
    }

    #[test]
    fn a_falling_line_falls() {
        let line = |values: Vec<f64>| Panel { title: String::new(), lines: vec![(String::new(), values)] };
        let picture = curves(&[line(vec![2.0, 1.0])], "");
        let first = picture.pixels.chunks_exact(3).position(|pixel| pixel == COLOURS[0]);
        let last = picture.pixels.chunks_exact(3).rposition(|pixel| pixel == COLOURS[0]);
        let column = |at: Option<usize>| at.unwrap() % picture.width;
        assert!(column(first) < LEFT + 20 && column(last) > LEFT + PLOT[0] - 20);
    }

    #[test]
    fn odd_values_draw_what_can_be_drawn() {
        let lines = |values: &[&[f64]]| Panel {
            title: "loss".to_owned(),
            lines: values.iter().map(|values| ("x".to_owned(), values.to_vec())).collect(),
        };
        let panels = [lines(&[]), lines(&[&[]]), lines(&[&[f64::NAN, f64::INFINITY]]), lines(&[&[0.5], &[0.5, 0.5]])];
        let picture = curves(&panels, "epoch");
        assert_eq!(picture.pixels.len(), picture.width * picture.height * 3);
        assert!(count(&picture, COLOURS[0]) > 0 && count(&picture, COLOURS[1]) > 500);
    }
}
