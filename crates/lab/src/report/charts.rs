//! Charts as SVG.

use std::fmt::Write;

/// Size of a chart in its own units; the page scales it.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 260.0;
/// Room for the axes.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Lines: told apart without colour by their dashes.
const INKS: [(&str, &str); 6] = [
    ("#1f6fb4", ""),
    ("#d1495b", "6 3"),
    ("#2e8b57", "2 3"),
    ("#8a5fbf", "8 3 2 3"),
    ("#b7791f", "10 2"),
    ("#4a5568", "1 2"),
];
/// Points that a curve is drawn with at most.
const MAX_POINTS: usize = 400;
const BINS: usize = 30;

/// A named curve in the unit square.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

fn x(value: f64) -> f64 {
    LEFT + value * (WIDTH - LEFT - RIGHT)
}

fn y(value: f64) -> f64 {
    HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)
}

fn frame(title: &str, across: &str, up: &str, ticks_up: &[(f64, String)], ticks_across: &[(f64, String)]) -> String {
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><g class=\"grid\">");
    for (at, label) in ticks_across {
        let at = x(*at);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{label}</text>",
            y(0.0),
            y(1.0),
            y(0.0) + 14.0
        );
    }
    for (at, label) in ticks_up {
        let at = y(*at);
        let _ = write!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{label}</text>",
            x(0.0),
            x(1.0),
            x(0.0) - 5.0,
            at + 3.5
        );
    }
    let _ = write!(
        svg,
        "</g><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text><text transform=\"translate(11 {:.1}) \
         rotate(-90)\" text-anchor=\"middle\">{up}</text>",
        x(0.5),
        HEIGHT - 8.0,
        y(0.5)
    );
    svg
}

fn unit_ticks() -> Vec<(f64, String)> {
    (0..=4).map(|i| (f64::from(i) / 4.0, format!("{}", f64::from(i) / 4.0))).collect()
}

/// Curves in the unit square, with their names beside their lines in a legend at the foot.
pub fn curves(title: &str, across: &str, up: &str, curves: &[Curve], legend_up: bool) -> String {
    let mut svg = frame(title, across, up, &unit_ticks(), &unit_ticks());
    for (index, curve) in curves.iter().enumerate() {
        let (ink, dash) = INKS[index % INKS.len()];
        let step = curve.points.len().div_ceil(MAX_POINTS).max(1);
        let kept = curve.points.iter().enumerate();
        let kept = kept.filter(|(i, _)| i % step == 0 || i + 1 == curve.points.len());
        let path: Vec<String> = kept.map(|(_, p)| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{ink}\" stroke-width=\"1.8\" stroke-dasharray=\"{dash}\" points=\"{}\"/>",
            path.join(" ")
        );
        let row = if legend_up { 0.95 - 0.07 * index as f64 } else { 0.06 + 0.07 * index as f64 };
        let from = if legend_up { 0.5 } else { 0.6 };
        let _ = write!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{ink}\" stroke-width=\"1.8\" \
             stroke-dasharray=\"{dash}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(from),
            y(row),
            x(from) + 22.0,
            y(row),
            x(from) + 27.0,
            y(row) + 3.5,
            curve.name
        );
    }
    svg + "</svg>"
}

/// How many normal (above the line) and anomalous (below it) images have which score; the threshold as a line.
pub fn histogram(title: &str, normal: &[f32], anomalous: &[f32], threshold: Option<f32>) -> String {
    let all = || normal.iter().chain(anomalous).copied().filter(|x| x.is_finite());
    let (low, high) = all().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    if low > high {
        return String::new();
    }
    // One value alone still gets an axis.
    let (low, high) = if high > low { (low, high) } else { (low - 0.01, high + 0.01) };
    let place = |score: f32| f64::from((score - low) / (high - low));
    let counts = |scores: &[f32]| {
        let mut bins = [0u32; BINS];
        for &score in scores.iter().filter(|x| x.is_finite()) {
            bins[((place(score) * BINS as f64) as usize).min(BINS - 1)] += 1;
        }
        bins
    };
    let (good, bad) = (counts(normal), counts(anomalous));
    let most = good.iter().chain(&bad).copied().max().unwrap_or(1).max(1);
    let label = |at: f64| format!("{:.3}", f64::from(low) + at * f64::from(high - low));
    let across = [0.0, 0.25, 0.5, 0.75, 1.0].map(|at| (at, label(at)));
    let up = [(0.0, most.to_string()), (0.5, "0".to_owned()), (1.0, most.to_string())];
    let mut svg = frame(title, "score", "images", &up, &across);
    for (bins, sign, class) in [(good, 1.0, "normal"), (bad, -1.0, "anomalous")] {
        for (bin, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = 0.5 * f64::from(count) / f64::from(most);
            let top = if sign > 0.0 { 0.5 + height } else { 0.5 };
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                x(bin as f64 / BINS as f64) + 0.5,
                y(top),
                (WIDTH - LEFT - RIGHT) / BINS as f64 - 1.0,
                height * (HEIGHT - TOP - BOTTOM)
            );
        }
    }
    if let Some(threshold) = threshold.filter(|t| (low..=high).contains(t)) {
        let at = x(place(threshold));
        let _ = write!(
            svg,
            "<line class=\"limit\" x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>",
            y(0.0),
            y(1.0)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">normal</text><text x=\"{:.1}\" y=\"{:.1}\" \
         text-anchor=\"end\">anomalous</text></svg>",
        x(1.0) - 3.0,
        y(0.95),
        x(1.0) - 3.0,
        y(0.03)
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_finite_score() {
        let svg = histogram("t", &[0.1, 0.1, 0.2], &[0.9, f32::NAN], Some(0.5));
        assert_eq!(svg.matches("<rect").count(), 3);
        assert_eq!(svg.matches("class=\"limit\"").count(), 1);
        assert!(svg.contains("0.100") && svg.contains("0.900"));
        assert_eq!(histogram("t", &[], &[f32::NAN], None), "");
        assert_eq!(histogram("t", &[0.5], &[], Some(0.7)).matches("<rect").count(), 1);
    }

    #[test]
    fn a_curve_keeps_its_ends() {
        let points = (0..=1000).map(|i| (f64::from(i) / 1000.0, f64::from(i) / 1000.0)).collect();
        let svg = curves("t", "a", "b", &[Curve { name: "c".to_owned(), points }], false);
        assert!(
            svg.contains(&format!("{:.1},{:.1}", x(0.0), y(0.0)))
                && svg.contains(&format!("{:.1},{:.1}\"", x(1.0), y(1.0)))
        );
        assert!(svg.len() < 20_000, "{}", svg.len());
    }
}
