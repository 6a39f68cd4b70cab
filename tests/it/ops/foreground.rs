//! AnomalyDINO's mask: covariance, its square, components, and maps cut out by them.

use crate::foreground_cases::{components, covariances, cut_outs, squares};
use inctrl::methods::anomaly_dino::ForegroundOps;

on_every_backend! {
    covariance => foreground_covariance_cpu,
    squared => foreground_squared_cpu,
    component => foreground_component_cpu,
    cut_out => foreground_cut_out_cpu,
}

fn covariance<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(covariances);
}

fn squared<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(squares);
}

fn component<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(components);
}

fn cut_out<B: ForegroundOps>(backends: &mut [B]) {
    backends.iter_mut().for_each(cut_outs);
}
