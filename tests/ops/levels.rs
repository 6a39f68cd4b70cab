//! Errors of the operations that only encoders of convolutions need.

use inctrl::ErrorKind;
use inctrl::backend::{Backend, Convolution, Resample, Role, Then};
use inctrl::view::Grid;

use super::Stored;

on_every_device! {
    short_buffers_are_errors,
}

fn short_buffers_are_errors<B: Backend>(backends: &mut [B]) {
    for backend in backends {
        let (short, mut out) = (backend.buffer(Role::Stream, 5).unwrap(), backend.buffer(Role::Stream, 5).unwrap());
        let (enough, mut wide) = (backend.buffer(Role::Stream, 12).unwrap(), backend.buffer(Role::Stream, 24).unwrap());
        let mut unfolded = [12 * 9, 11 * 9].map(|len| backend.buffer(Role::Operand, len).unwrap());
        let grid = Grid::new(3, 4);
        let layer = backend.linear_weights(&Stored::f32(&[2, 9], &[0.0; 18]).view(), 0..2, None).unwrap();
        let at = Convolution { input: grid, channels: 1, side: 3, stride: 1, patch: None };
        let resample = Resample { from: grid, width: 1, to: grid, pitch: 1, column: 0, bilinear: true };
        let ops = backend.levels();
        let errors = [
            ops.convolve(&short, 1, &at, &layer, Then::Store, &mut unfolded[0], &mut wide),
            ops.convolve(&enough, 1, &at, &layer, Then::Store, &mut unfolded[0], &mut out),
            ops.convolve(&enough, 1, &at, &layer, Then::Store, &mut unfolded[1], &mut wide),
            ops.convolve(
                &short,
                0,
                &Convolution { channels: 2, ..at },
                &layer,
                Then::Store,
                &mut unfolded[0],
                &mut out,
            ),
            ops.max_pool(&short, 1, grid, 1, &mut out),
            ops.mean_cells(&short, 1, 12, 1, &mut out),
            ops.pool_neighbours(&short, 1, grid, 1, 1, &mut out),
            ops.pool_columns(&short, 3, 2, 1, None, &mut out),
            ops.resample(&short, 1, &resample, &mut out),
        ];
        for (i, error) in errors.into_iter().enumerate() {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{i}: {error}");
        }
    }
}
