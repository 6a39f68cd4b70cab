//! The mean distance of a class embedding to those of the normal images.

use std::sync::Arc;

use inctrl::backend::{BankRole, BankTensor, Role};
use inctrl::methods::spade::{ImageDistance, SpadeOps};

use super::nearest_distance::unit_rows;
use super::{Real, accurate, finish, input, is_marked, output, random, real};

on_every_device! {
    spade_image,
}

fn formula<T: Real>(class: &[f32], images: &[f32], width: usize, unit: bool) -> Vec<T> {
    let (class, images) = (real::<T>(class), real::<T>(images));
    let length = |x: &[T]| x.iter().map(|&x| x * x).sum::<T>().sqrt();
    let mean = |own: &[T]| {
        let norm = if unit { length(own).max(T::of(1e-12)) } else { T::of(1.0) };
        let away = |image: &[T]| length(&own.iter().zip(image).map(|(&x, &y)| x / norm - y).collect::<Vec<T>>());
        images.chunks(width).map(away).sum::<T>() / T::of((images.len() / width) as f64)
    };
    class.chunks(width).map(mean).collect()
}

fn spade_image<B: SpadeOps>(backends: &mut [B]) {
    for (views, count, width, unit) in [(1, 1, 1, true), (3, 9, 7, false), (2, 50, 640, true), (5, 2, 33, true)] {
        let (class, images) = (random(1, views * width, 3.0), unit_rows(2, count, width));
        let exact = formula::<f64>(&class, &images, width, unit);
        let naive = formula::<f32>(&class, &images, width, unit);
        for backend in &mut *backends {
            let values: Arc<Vec<f32>> = images.clone().into();
            let tensor = BankTensor { values: &values, shape: [1, count, width], role: BankRole::Numbers };
            let bank = backend.bank(&[tensor]).unwrap();
            let class = input(backend, Role::Stream, &class);
            let mut out = output(backend, Role::Result, 3 * (views + 1));
            let at = ImageDistance {
                views: 0..views,
                first_slot: 1,
                images: 0,
                embedding: width,
                unit,
                out_pitch: 3,
                column: 2,
            };
            let with = backend.image_ops().unwrap();
            backend.image_distance(&with, &class, &at, &bank, &mut out).unwrap();
            let all = finish(backend, &out, 3 * (views + 1));
            let found: Vec<f32> = all[3..].iter().skip(2).step_by(3).copied().collect();
            accurate(
                &format!("spade_image, {}, {views} of {count} x {width}", backend.describe()),
                &found,
                &exact,
                &naive,
                0.0,
            );
            assert!(all.iter().enumerate().all(|(i, x)| is_marked(*x) == (i < 3 || i % 3 != 2)));
        }
    }
}
