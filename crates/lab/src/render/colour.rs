//! From a value to a colour.

use inctrl::{Error, ErrorKind, Result};

/// Colours at equal distances along the scale, sRGB: near black, violet, red, orange, pale yellow. Luminance rises
/// steadily, so the order of values survives grey printing and colour blindness.
const ANCHORS: [[u8; 3]; 9] = [
    [6, 5, 24],
    [34, 14, 84],
    [80, 20, 118],
    [128, 30, 120],
    [176, 44, 100],
    [216, 70, 66],
    [241, 112, 38],
    [251, 172, 36],
    [252, 242, 160],
];

/// Neutral grey, which no value has.
const NOT_JUDGED: [u8; 3] = [96, 96, 96];

/// A fixed relation between values and colours: 0 at one end, `max` at the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourScale {
    max: f32,
}

impl ColourScale {
    /// The scale from 0 to `max`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] unless `max` is finite and larger than 0.
    pub fn new(max: f32) -> Result<Self> {
        if !(max.is_finite() && max > 0.0) {
            let message = format!("the end of the colour scale is {max}: it must be a finite number larger than 0");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(ColourScale { max })
    }

    /// The value at the bright end.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// The sRGB colour of `value`; values beyond the ends get the colour of the end. NaN (ignored) is grey.
    pub fn colour(&self, value: f32) -> [u8; 3] {
        if value.is_nan() {
            return NOT_JUDGED;
        }
        let along = self.fraction(value) * (ANCHORS.len() - 1) as f32;
        let below = (along as usize).min(ANCHORS.len() - 2);
        let part = along - below as f32;
        std::array::from_fn(|c| {
            let (a, b) = (f32::from(ANCHORS[below][c]), f32::from(ANCHORS[below + 1][c]));
            (a + (b - a) * part).round() as u8
        })
    }

    /// Where `value`, not NaN, lies between the ends: 0 to 1.
    pub(super) fn fraction(&self, value: f32) -> f32 {
        (value / self.max).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of an sRGB colour, ITU-R BT.709.
    fn luminance(colour: [u8; 3]) -> f64 {
        let linear = colour.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    #[test]
    fn luminance_rises_with_the_value() {
        let scale = ColourScale::new(0.4).unwrap();
        let steps: Vec<f64> = (0..=128).map(|i| luminance(scale.colour(0.4 * i as f32 / 128.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
    }

    #[test]
    fn values_beyond_the_ends_have_the_colour_of_the_end() {
        let scale = ColourScale::new(2.0).unwrap();
        assert_eq!(scale.colour(-1.0), ANCHORS[0]);
        assert_eq!(scale.colour(0.0), ANCHORS[0]);
        assert_eq!(scale.colour(1.0), ANCHORS[4]);
        assert_eq!(scale.colour(2.0), ANCHORS[8]);
        assert_eq!(scale.colour(f32::INFINITY), ANCHORS[8]);
        assert_eq!(scale.colour(f32::NAN), NOT_JUDGED);
        assert!((0..=1000).all(|i| scale.colour(i as f32 / 500.0) != NOT_JUDGED));
    }

    #[test]
    fn an_empty_scale_is_refused() {
        for max in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(ColourScale::new(max).unwrap_err().kind(), ErrorKind::Argument);
        }
    }
}
