//! The strip that says which colour is which value.

use super::text::{self, LINE};
use super::{ColourScale, Picture};

/// Ground of legends and sheets.
pub(super) const GROUND: [u8; 3] = [20, 22, 27];
/// Text on [`GROUND`].
pub(super) const INK: [u8; 3] = [214, 219, 228];
/// Less important text and lines on [`GROUND`].
pub(super) const FAINT: [u8; 3] = [122, 129, 142];

/// Empty border, bar, tick marks, text and border from the top, in units of the scale.
const LAYOUT: [usize; 5] = [7, 8, 3, LINE + 1, 5];
/// Empty border on either side, wide enough for half a label at the end of the bar.
const SIDE: usize = 14;

/// Height of a strip at text scale `unit`, in pixels.
pub(super) fn height(unit: usize) -> usize {
    LAYOUT.iter().sum::<usize>() * unit
}

/// The least width of a legible strip, in pixels.
pub(super) fn least_width(unit: usize) -> usize {
    144 * unit
}

/// A strip of `width` pixels, at least [`least_width`]: a bar of all colours with ticks.
pub(super) fn strip(width: usize, unit: usize, scale: &ColourScale) -> Picture {
    let mut picture = Picture::filled(width, height(unit), GROUND);
    let (left, length) = (SIDE * unit, width - 2 * SIDE * unit);
    let [top, bar, mark, ..] = LAYOUT.map(|rows| rows * unit);
    for x in 0..length {
        let value = scale.max() * (x as f32 + 0.5) / length as f32;
        picture.fill(left + x, top, 1, bar, scale.colour(value));
    }
    for value in ticks(scale.max()) {
        let x = left + (scale.fraction(value) * (length - unit) as f32).round() as usize;
        picture.fill(x, top + bar, unit, mark - unit, FAINT);
        let label = label(value);
        let start = (x + unit / 2).saturating_sub(text::width(&label) * unit / 2);
        text::draw(&mut picture, &label, start, top + bar + mark, unit, INK);
    }
    picture
}

/// Values to label: round numbers from 0, and the end of the scale in place of one that would touch it.
fn ticks(max: f32) -> Vec<f32> {
    let max = f64::from(max);
    let mut step = 1.0;
    while step * 2.5 > max {
        step /= 10.0;
    }
    while step * 25.0 <= max {
        step *= 10.0;
    }
    // 2.5 to 25 steps fit: the first of 1, 2, 5, 10 that leaves at most four and a half.
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * step).into_iter().find(|s| s * 4.5 >= max).unwrap_or(max);
    let mut values: Vec<f32> =
        (0..5).map(|i| f64::from(i) * step).filter(|v| *v < 0.76 * max).map(|v| v as f32).collect();
    values.push(max as f32);
    values
}

/// At most three significant digits.
fn label(value: f32) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e4).contains(&value) {
        return format!("{value:.1e}");
    }
    let decimals = if value < 0.1 {
        4
    } else if value < 1.0 {
        3
    } else if value < 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_end_at_the_end() {
        let labels = |max: f32| ticks(max).into_iter().map(label).collect::<Vec<_>>();
        assert_eq!(labels(1.0), ["0", "0.5", "1"]);
        assert_eq!(labels(0.4), ["0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(labels(0.25), ["0", "0.1", "0.25"]);
        assert_eq!(labels(0.037), ["0", "0.01", "0.02", "0.037"]);
        assert_eq!(labels(30.0), ["0", "10", "20", "30"]);
    }

    #[test]
    fn any_scale_has_a_legend() {
        for max in [f32::MIN_POSITIVE, 1e-30, 0.1, 0.5, 3.0, 1e30, f32::MAX] {
            let scale = ColourScale::new(max).unwrap();
            assert!((2..=6).contains(&ticks(max).len()), "{max}: {:?}", ticks(max));
            let strip = strip(least_width(1), 1, &scale);
            assert_eq!((strip.width, strip.height), (least_width(1), height(1)));
        }
    }
}
