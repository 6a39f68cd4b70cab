//! A glass bottle seen from above: the bright ring of its mouth, the dark throat, the shoulder around.
//!
//! Missing part: a piece has broken out of the rim.

use super::{Order, belt};
use crate::synth::defect::Defect;
use crate::synth::random::{smooth, step};
use crate::synth::relief::{Material, Relief, Spot, around, rgb};
use crate::synth::shape::{Blob, Pose, length};

pub fn draw(order: Order) -> Relief {
    let chip = order.fault(Defect::MissingPart);
    let Order { side, mut product, mut specimen, .. } = order;
    let mut relief = belt(side, &mut product, &mut specimen);
    let glass = product.pick(&[rgb(60, 92, 58), rgb(104, 62, 30), rgb(120, 140, 142), rgb(48, 78, 120)]);
    let shoulder = product.between(0.37, 0.44);
    let (lip, width) = (product.between(0.235, 0.30), product.between(0.042, 0.068));
    let threads = product.pick(&[0.0, 1.0]);
    let gloss = product.between(0.6, 0.95);
    let pose = Pose::jittered(&mut specimen, 0.02, 0.4);
    let chip = chip.map(|mut stream| {
        let [dx, dy] = stream.direction();
        let far = lip + stream.pick(&[-0.3, 0.3]) * width;
        Blob::new([dx * far, dy * far], stream.between(0.038, 0.058), &mut stream)
    });
    let (wavy, rough) = (specimen.noise(), specimen.noise());
    let edge = relief.edge();
    let body = Material::glossy(glass, gloss);
    relief.paint(around(pose.global([0.0; 2]), shoulder), |point| {
        let p = pose.local(point);
        let radius = length(p);
        let cover = edge.cover(radius - shoulder);
        if cover == 0.0 {
            return None;
        }
        let outward = (radius / shoulder).min(1.0);
        let mut height = 0.09 * (1.0 - outward * outward * outward);
        let mut material = body.shaded(0.85 + 0.10 * wavy.at(p[0] * 6.0, p[1] * 6.0) - 0.35 * outward * outward);
        // The finish: a thread around the neck, then the rounded lip, then the throat.
        let collar = smooth(1.0 - (radius - lip - width - 0.035).abs() / 0.014) * threads;
        height += 0.012 * collar;
        material = material.shaded(1.0 + 0.3 * collar);
        let throat = edge.cover(radius - lip + width);
        material = material.towards(Material::glossy(rgb(14, 15, 16), 0.2), 0.92 * throat);
        height -= (height + 0.03) * throat;
        let across = ((radius - lip) / width).clamp(-1.0, 1.0);
        let ring = edge.cover((radius - lip).abs() - width);
        let round = (1.0 - across * across).max(0.0).sqrt();
        let pale = Material::glossy(glass.map(|c| c * 0.7 + 0.22), gloss);
        material = material.towards(pale.shaded(0.8 + 0.35 * round), ring);
        height += (0.10 + 0.035 * round - height) * ring;
        if let Some(chip) = chip {
            let broken = step(-0.003, 0.004, -chip.distance(p)) * edge.cover((radius - lip).abs() - width - 0.004);
            let shell = rough.cloud(p[0] * 30.0, p[1] * 30.0, 2);
            height += (0.075 + 0.02 * shell - height) * broken;
            let fresh = Material::glossy(glass.map(|c| c * 0.5), 0.9).shaded(0.8 + 0.5 * shell);
            material = material.towards(fresh, broken);
        }
        Some(Spot { cover, height, material })
    });
    relief
}
