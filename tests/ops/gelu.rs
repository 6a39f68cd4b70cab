//! The activations of an MLP.

use inctrl::backend::{Backend, Gelu, Role};

use super::{ULP, coarseness, finish, input, random, rounded, within};

on_every_device! {
    gelu,
    gelu_keeps_nan,
}

/// `x Φ(x)` or `x σ(1.702 x)`
pub fn formula(kind: Gelu, x: f64) -> f64 {
    match kind {
        Gelu::Exact => x * normal_distribution(x),
        Gelu::Quick => x / (1.0 + (-1.702 * x).exp()),
    }
}

/// Φ: by its series `1/2 + φ(x) (x + x³/3 + x⁵/15 + ..)`, and beyond 8, where it is 1 within 1e-15, as that.
fn normal_distribution(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return if x < 0.0 { 0.0 } else { 1.0 };
    }
    let (mut term, mut sum, mut k) = (x, 0.0, 1.0);
    while f64::abs(term) > 1e-18 {
        sum += term;
        k += 2.0;
        term *= x * x / k;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The rounding that an activation of `x` may cost.
pub fn budget(kind: Gelu, x: f64) -> f64 {
    match kind {
        // Φ is a polynomial good to one unit in the last place of 1, as the truth is not; the product rounds once more.
        Gelu::Exact => 2.0 * ULP * x.abs(),
        // Rounding of the argument is magnified by its size; exp, the sum and the quotient take four units together.
        // An exp that ends at e^88 leaves x e^-88 where the truth is nothing.
        Gelu::Quick => {
            (4.0 + (1.702 * x).abs().min(88.0)) * ULP * formula(Gelu::Quick, x).abs() + x.abs() * (-87.0f64).exp()
        }
    }
}

fn gelu<B: Backend>(backends: &mut [B]) {
    let mut host: Vec<f32> = (0..9001).map(|i| (i as f32 - 4500.0) / 500.0).collect();
    host.extend(random(1, 1000, 1e-3));
    host.extend([0.0, -0.0, 1e-30, -1e-30, 51.0, -51.0, -52.0, 88.0, -88.0, 1e4, -1e4, 1e30, -1e30]);
    let mut host = rounded(backends, Role::Operand, host);
    host.retain(|x| x.is_finite());
    // Subnormal halves are coarser than their size.
    let (coarse, least) = (coarseness(backends, Role::Operand), if B::IN_HOST_MEMORY { 0.0 } else { 2.0f64.powi(-25) });
    for len in [1, 3, 7, 8, 9, 15, 16, 17, 4095, 4096, 4097, host.len()] {
        let host = &host[host.len() - len..];
        for kind in [Gelu::Exact, Gelu::Quick] {
            let exact: Vec<f64> = host.iter().map(|&x| formula(kind, x.into())).collect();
            for backend in &mut *backends {
                let mut x = input(backend, Role::Operand, host);
                backend.gelu(kind, len, &mut x).unwrap();
                let found = finish(backend, &x, len);
                let what = format!("gelu {kind:?}, {}, {len}", backend.describe());
                within(&what, &found, &exact, |i| budget(kind, host[i].into()) + coarse * exact[i].abs() + least);
            }
        }
    }
}

fn gelu_keeps_nan<B: Backend>(backends: &mut [B]) {
    for backend in &mut *backends {
        for kind in [Gelu::Exact, Gelu::Quick] {
            let mut x = input(backend, Role::Operand, &[1.0, f32::NAN, f32::INFINITY]);
            backend.gelu(kind, 3, &mut x).unwrap();
            let found = finish(backend, &x, 3);
            assert!(found[0].is_finite() && found[1].is_nan() && !found[2].is_finite(), "{kind:?}: {found:?}");
        }
    }
}
