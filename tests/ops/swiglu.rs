//! The gate of a SwiGLU MLP.

use inctrl::backend::{Backend, Role};

use super::{ULP, coarseness, finish, input, output, random, rounded, within};

on_every_device! {
    swiglu,
    swiglu_keeps_nan,
}

/// `silu(a) b = a / (1 + e^-a) b`
pub fn formula(a: f64, b: f64) -> f64 {
    a / (1.0 + (-a).exp()) * b
}

/// The rounding that the gate may cost: exp takes two units, the sum, the quotient and the product one each, and
/// rounding of the argument is nothing, as it is exact. An exp that ends at e^88 leaves a e^-88 where the truth is
/// nothing.
pub fn budget(a: f64, b: f64) -> f64 {
    5.0 * ULP * formula(a, b).abs() + (a * b).abs() * (-87.0f64).exp()
}

fn swiglu<B: Backend>(backends: &mut [B]) {
    for (rows, width) in [(1, 1), (3, 7), (2, 8), (9, 16), (17, 31), (5, 344), (1, 4096), (40, 33), (1, 2056)] {
        let mut x = random(1, rows * 2 * width, 6.0);
        // The product stays in the range of f16.
        let far = [0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, -120.0, 2e3, -2e3];
        x.iter_mut().step_by(11).zip(far).for_each(|(x, far)| *x = far);
        let x = rounded(backends, Role::Operand, x);
        let half = |at: usize, i: usize| f64::from(x[i / width * 2 * width + at * width + i % width]);
        let exact: Vec<f64> = (0..rows * width).map(|i| formula(half(0, i), half(1, i))).collect();
        let (coarse, least) =
            (coarseness(backends, Role::Operand), if B::IN_HOST_MEMORY { 0.0 } else { 2.0f64.powi(-25) });
        for backend in &mut *backends {
            let (x, mut out) = (input(backend, Role::Operand, &x), output(backend, Role::Operand, rows * width));
            backend.swiglu(&x, rows, width, &mut out).unwrap();
            let found = finish(backend, &out, rows * width);
            let what = format!("swiglu {rows} x {width}, {}", backend.describe());
            within(&what, &found, &exact, |i| budget(half(0, i), half(1, i)) + coarse * exact[i].abs() + least);
        }
    }
}

fn swiglu_keeps_nan<B: Backend>(backends: &mut [B]) {
    for backend in &mut *backends {
        let x = input(backend, Role::Operand, &[f32::NAN, 1.0, 1.0, f32::INFINITY, 1.0, f32::NAN, 1.0, 1.0]);
        let mut out = output(backend, Role::Operand, 4);
        backend.swiglu(&x, 1, 4, &mut out).unwrap();
        let found = finish(backend, &out, 4);
        assert!(found[0].is_nan() && found[1].is_nan() && found[2].is_finite() && !found[3].is_finite(), "{found:?}");
    }
}
