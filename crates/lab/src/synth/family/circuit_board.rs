//! A printed circuit board: solder mask, tracks, vias, and soldered components in a layout that the product fixes.
//!
//! Missing part: a component is not there, its pads are bare. Misplaced part: a component sits askew.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{Stream, smooth, split, step};
use crate::synth::relief::{Edge, Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Pose, compose, length, rounded_box, segment, turned};
use inctrl::internals::mix;

/// Half sides of the board.
const BOARD: [f32; 2] = [0.45, 0.45];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A black package with pins on all four sides.
    Controller,
    /// A black package with pins on two sides.
    Driver,
    /// A black chip with tinned ends.
    Resistor,
    /// A tan chip with tinned ends.
    Capacitor,
    /// A round can.
    Electrolytic,
    /// A polished oval can.
    Crystal,
}

/// A component: its kind, its centre on the board, and whether it stands upright.
type Component = (Kind, [f32; 2], bool);

const COMPONENTS: [Component; 16] = [
    (Kind::Controller, [-0.09, -0.05], false),
    (Kind::Driver, [0.27, 0.17], false),
    (Kind::Electrolytic, [0.29, -0.29], false),
    (Kind::Electrolytic, [0.29, -0.09], false),
    (Kind::Crystal, [-0.33, 0.12], true),
    (Kind::Resistor, [-0.20, 0.24], false),
    (Kind::Resistor, [-0.06, 0.24], false),
    (Kind::Resistor, [0.08, 0.24], true),
    (Kind::Resistor, [-0.34, -0.10], true),
    (Kind::Capacitor, [-0.34, -0.24], true),
    (Kind::Capacitor, [-0.19, -0.30], false),
    (Kind::Capacitor, [-0.05, -0.30], false),
    (Kind::Resistor, [0.10, -0.30], false),
    (Kind::Capacitor, [-0.16, 0.36], false),
    (Kind::Resistor, [0.02, 0.36], false),
    (Kind::Capacitor, [0.27, 0.35], false),
];

/// Tracks as polylines on the board.
const TRACKS: [&[[f32; 2]]; 14] = [
    &[[-0.20, -0.30], [-0.20, -0.24], [-0.15, -0.19]],
    &[[-0.05, -0.30], [-0.05, -0.19]],
    &[[0.10, -0.30], [0.10, -0.24], [0.03, -0.19]],
    &[[0.05, -0.13], [0.13, -0.13], [0.22, -0.20], [0.22, -0.29]],
    &[[0.05, -0.07], [0.22, -0.07]],
    &[[0.05, -0.01], [0.14, -0.01], [0.20, 0.05], [0.20, 0.13]],
    &[[0.05, 0.03], [0.10, 0.03], [0.16, 0.09], [0.16, 0.17], [0.20, 0.17]],
    &[[-0.23, -0.10], [-0.28, -0.10], [-0.34, -0.16], [-0.34, -0.20]],
    &[[-0.23, 0.0], [-0.28, 0.0], [-0.33, 0.05]],
    &[[-0.23, 0.04], [-0.27, 0.04], [-0.33, 0.18]],
    &[[-0.16, 0.09], [-0.16, 0.16], [-0.23, 0.21], [-0.23, 0.24]],
    &[[-0.10, 0.09], [-0.10, 0.24]],
    &[[-0.02, 0.09], [-0.02, 0.14], [0.08, 0.19]],
    &[[0.05, 0.36], [0.14, 0.36], [0.20, 0.30], [0.20, 0.22]],
];

const VIAS: [[f32; 2]; 9] = [
    [-0.27, 0.36],
    [0.38, 0.06],
    [0.14, -0.13],
    [-0.40, 0.0],
    [0.15, 0.42],
    [-0.28, -0.38],
    [0.12, 0.10],
    [0.02, -0.40],
    [-0.02, 0.17],
];

const TIN: Material = Material::metal(rgb(206, 206, 202), 0.5);
const BLACK: Material = Material::glossy(rgb(44, 45, 48), 0.22);

pub fn draw(order: Order) -> Relief {
    let (missing, misplaced) = (order.fault(Defect::MissingPart), order.fault(Defect::MisplacedPart));
    let Order { side, mut product, mut specimen, .. } = order;
    let components = fitted(&mut product);
    let missing = missing.map(|mut stream| stream.below(components.len()));
    let misplaced = misplaced.map(|mut stream| {
        let turn = stream.pick(&[-1.0, 1.0]) * stream.between(0.25, 0.5);
        (stream.below(components.len()), turn, stream.direction().map(|d| d * 0.03))
    });
    let laid_tracks: Vec<_> = TRACKS.into_iter().filter(|_| product.below(4) > 0).collect();
    let mut relief = belt(side, &mut product, &mut specimen);
    let mask = product.pick(&[
        rgb(24, 98, 62),
        rgb(28, 74, 122),
        rgb(30, 112, 84),
        rgb(128, 36, 40),
        rgb(40, 42, 46),
        rgb(202, 204, 200),
        rgb(92, 52, 112),
    ]);
    let mirror = [product.pick(&[-1.0, 1.0]), product.pick(&[-1.0, 1.0])];
    let flip = |[x, y]: [f32; 2]| [x * mirror[0], y * mirror[1]];
    let pose = Pose::jittered(&mut specimen, 0.012, 0.035);
    let weave = specimen.noise();
    let edge = relief.edge();
    let board = Material::glossy(mask, 0.3);
    relief.paint(around(pose.global([0.0; 2]), 0.66), |point| {
        let [u, v] = pose.local(point);
        let mut outline = rounded_box([u, v], BOARD, 0.025);
        let hole = length([u.abs() - 0.405, v.abs() - 0.405]);
        outline = outline.max(0.018 - hole);
        let cover = edge.cover(outline);
        if cover == 0.0 {
            return None;
        }
        let tone = 1.0 + 0.05 * weave.at(u * 120.0, v * 120.0) + 0.05 * weave.at(u * 4.0, v * 4.0);
        let material = board.shaded(tone).towards(TIN, edge.cover(hole - 0.031));
        Some(Spot { cover, height: 0.016, material })
    });
    for track in laid_tracks {
        for ends in track.windows(2) {
            let [a, b] = [flip(ends[0]), flip(ends[1])];
            let middle = pose.global([(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]);
            relief.paint(around(middle, length([a[0] - b[0], a[1] - b[1]]) / 2.0 + 0.01), |point| {
                let cover = edge.cover(segment(pose.local(point), a, b).0 - 0.0048);
                (cover > 0.0).then_some(Spot { cover, height: 0.0175, material: board.shaded(1.55) })
            });
        }
    }
    for via in VIAS.map(flip) {
        relief.paint(around(pose.global(via), 0.014), |point| {
            let [u, v] = pose.local(point);
            let radius = length([u - via[0], v - via[1]]);
            let cover = edge.cover(radius - 0.0115);
            let material = TIN.towards(Material::matt(rgb(20, 20, 20)), edge.cover(radius - 0.005));
            (cover > 0.0).then_some(Spot { cover, height: 0.0175, material })
        });
    }
    for (number, (kind, centre, upright)) in components.into_iter().enumerate() {
        let centre = flip(centre);
        let quarter = if upright { [0.0, 1.0] } else { [1.0, 0.0] };
        let x_axis = compose(pose.axis(), quarter);
        let seat = Pose::new(pose.global(centre), x_axis);
        let jitter = [specimen.between(-0.003, 0.003), specimen.between(-0.003, 0.003)];
        let lean = specimen.between(-0.025, 0.025);
        paint(&mut relief, &seat, |p| pads(kind, p, edge));
        if missing == Some(number) {
            continue;
        }
        let (shift, turn) = match misplaced.filter(|fault| fault.0 == number) {
            Some((_, turn, shift)) => (shift, turn),
            None => (jitter, lean),
        };
        let lies = Pose::new(seat.global(shift), compose(x_axis, turned(turn)));
        paint(&mut relief, &lies, |p| body(kind, p, edge));
    }
    relief
}

/// The components that a product has: some of the places are not used, and chips of one size stand for each other.
fn fitted(product: &mut Stream) -> Vec<Component> {
    let mut components = Vec::new();
    for (kind, at, upright) in COMPONENTS {
        let (left_out, other) = (product.below(4) == 0, product.below(3) == 0);
        let kind = match kind {
            Kind::Resistor if other => Kind::Capacitor,
            Kind::Capacitor if other => Kind::Resistor,
            kind => kind,
        };
        if !left_out || kind == Kind::Controller {
            components.push((kind, at, upright));
        }
    }
    components
}

/// Paints what `spot` says around the origin of `pose`.
fn paint(relief: &mut Relief, pose: &Pose, spot: impl Fn([f32; 2]) -> Option<Spot>) {
    relief.paint(around(pose.global([0.0; 2]), 0.17), |point| spot(pose.local(point)));
}

/// Half sides of a component's body.
fn size(kind: Kind) -> [f32; 2] {
    match kind {
        Kind::Controller => [0.105, 0.105],
        Kind::Driver => [0.085, 0.052],
        Kind::Resistor => [0.044, 0.023],
        Kind::Capacitor => [0.042, 0.025],
        Kind::Electrolytic => [0.075, 0.075],
        Kind::Crystal => [0.075, 0.032],
    }
}

/// The solder below a component.
fn pads(kind: Kind, p: [f32; 2], edge: Edge) -> Option<Spot> {
    let [u, v] = p.map(f32::abs);
    let distance = match kind {
        Kind::Controller => pins([p[0], v], 0.016, 12, [0.105, 0.142]).min(pins([p[1], u], 0.016, 12, [0.105, 0.142])),
        Kind::Driver => pins([p[0], v], 0.036, 4, [0.050, 0.092]),
        Kind::Resistor | Kind::Capacitor => rounded_box([u - 0.040, v], [0.017, 0.029], 0.004),
        Kind::Electrolytic => rounded_box([u - 0.062, v], [0.026, 0.018], 0.004),
        Kind::Crystal => rounded_box([u - 0.060, v], [0.024, 0.020], 0.004),
    };
    let cover = edge.cover(distance);
    let height = 0.018 + 0.004 * smooth(-distance / 0.008);
    (cover > 0.0).then_some(Spot { cover, height, material: TIN })
}

/// Distance to a row of `count` pins `pitch` apart along the first axis, reaching from `span[0]` to `span[1]` on the
/// second.
fn pins([along, across]: [f32; 2], pitch: f32, count: usize, span: [f32; 2]) -> f32 {
    let last = (count - 1) as f32 / 2.0;
    let nearest = ((along / pitch + last).round().clamp(0.0, 2.0 * last) - last) * pitch;
    let middle = (span[0] + span[1]) / 2.0;
    rounded_box([along - nearest, across - middle], [pitch * 0.28, (span[1] - span[0]) / 2.0], 0.002)
}

/// The component itself.
fn body(kind: Kind, p: [f32; 2], edge: Edge) -> Option<Spot> {
    let half = size(kind);
    let [u, v] = p;
    let (outline, thickness) = match kind {
        Kind::Controller => (rounded_box(p, half, 0.006), 0.026),
        Kind::Driver => (rounded_box(p, half, 0.004), 0.028),
        Kind::Resistor => (rounded_box(p, half, 0.003), 0.014),
        Kind::Capacitor => (rounded_box(p, half, 0.004), 0.022),
        Kind::Electrolytic => (length(p) - half[0], 0.06),
        Kind::Crystal => (rounded_box(p, half, half[1]), 0.03),
    };
    let cover = edge.cover(outline);
    if cover == 0.0 {
        return None;
    }
    let bevel = smooth(1.0 + outline / 0.008);
    let height = 0.018 + thickness * (1.0 - 0.35 * bevel);
    let material = match kind {
        Kind::Controller | Kind::Driver => {
            let corner = [u + half[0] - 0.022, v + half[1] - 0.022];
            let mark = edge.cover(length(corner) - 0.008);
            let print = lettering([u / half[0], v / half[1]]);
            BLACK.towards(Material::matt(rgb(150, 152, 154)), (0.75 * print).max(0.55 * mark))
        }
        Kind::Resistor | Kind::Capacitor => {
            let core = if kind == Kind::Resistor { BLACK } else { Material::glossy(rgb(172, 132, 88), 0.3) };
            core.towards(TIN, edge.cover(0.026 - u.abs()))
        }
        Kind::Electrolytic => {
            let top = Material::metal(rgb(196, 199, 204), 0.4);
            let sleeve = Material::glossy(rgb(40, 46, 70), 0.4);
            // A can has its sleeve around the rim and a dark sector on the side of the negative pole.
            let sector = edge.cover(u + half[0] * 0.45);
            top.towards(sleeve, step(-0.016, -0.010, outline).max(sector))
        }
        Kind::Crystal => Material::metal(rgb(210, 211, 214), 0.7),
    };
    Some(Spot { cover, height, material })
}

/// Two lines of marks that look like print, in a body of half sides 1: 1 on a mark.
fn lettering([u, v]: [f32; 2]) -> f32 {
    let line = |middle: f32, end: f32| (v - middle).abs() < 0.11 && (-0.6..end).contains(&u);
    let ((letter, across), (stroke, _)) = (split(u * 9.0), split(v * 14.0));
    let bits = mix((letter + 32) as u64 + if v > 0.24 { 64 } else { 0 }) >> 61;
    let marked = bits & 6 != 0 || (stroke & 1) as u64 == bits & 1;
    if (line(0.06, 0.55) || line(0.42, 0.2)) && across < 0.62 && marked { 1.0 } else { 0.0 }
}
