//! Frames to patch rows.

use super::*;

/// Frames whose resizing shrinks, enlarges, copies, crops and pads.
fn preprocess_to_the_bit(turn: &Turn, half: bool, schedule: &str) {
    let mut cpu = Cpu::new(1).unwrap();
    let mut cuda = turn.cuda(half);
    for (width, height, size, patch) in
        [(61, 97, 48, 16), (40, 30, 32, 16), (32, 32, 32, 8), (7, 3, 32, 16), (200, 33, 50, 7), (3, 90, 28, 14)]
    {
        for (format, padding) in [(PixelFormat::Grey8, 0), (PixelFormat::Rgb8, 5)] {
            for fit in [Fit::Crop, Fit::Letterbox, Fit::Stretch, Fit::Trim] {
                let stride = width * format.channels() + padding;
                let bytes: Vec<u8> = (0..stride * height).map(|i| ((i * 37) ^ ((i >> 3) * 11)) as u8).collect();
                let frame = Frame::new(&bytes, width, height, stride, format).unwrap();
                let imagenet = Preprocessing {
                    mean: [0.485, 0.456, 0.406],
                    std: [0.229, 0.224, 0.225],
                    filter: Filter::Bilinear,
                    ..Preprocessing::CLIP
                };
                // One after the other in one size and fit: the tables of one must not serve the other.
                let plans = [imagenet, Preprocessing::CLIP].map(|p| Plan::with(width, height, size, fit, &p).unwrap());
                let len = plans[0].grid(patch).cells() * 3 * patch * patch;
                let mut expected = cpu.buffer(Role::Operand, 2 * len).unwrap();
                let mut found = cuda.buffer(Role::Operand, 2 * len).unwrap();
                for (image, plan) in plans.iter().enumerate().rev() {
                    cpu.preprocess(frame, plan, patch, image, &mut expected).unwrap();
                    cuda.preprocess(frame, plan, patch, image, &mut found).unwrap();
                }
                let round = |x: &f32| if half { half::f16::from_f32(*x).to_f32() } else { *x };
                let expected: Vec<f32> = read(&mut cpu, &expected, 2 * len).iter().map(round).collect();
                let found = read(&mut cuda, &found, 2 * len);
                assert!(expected == found, "{width} x {height} {format:?} {fit} to {size}, {schedule}");
            }
        }
    }
}

#[test]
fn cuda_preprocess_is_exact() {
    let Some(turn) = turn() else { return };
    for half in [true, false] {
        turn.each_schedule(|schedule| preprocess_to_the_bit(&turn, half, schedule));
    }
}

#[test]
fn cuda_patch_rows_are_those_of_the_frame_that_was_uploaded() {
    let Some(turn) = turn() else { return };
    let mut cuda = turn.cuda(true);
    let bytes = vec![9; 40 * 30];
    let frame = Frame::packed(&bytes, 40, 30, PixelFormat::Grey8).unwrap();
    let plan = |fit| Plan::new(40, 30, 32, fit).unwrap();
    let mut out = cuda.buffer(Role::Operand, 32 * 32 * 3).unwrap();
    cuda.patch_rows(frame.into(), &plan(Fit::Crop), 16, 0, &mut out).unwrap_err();
    assert!(cuda.upload_frame(frame.into(), &plan(Fit::Crop)).unwrap());
    cuda.patch_rows(frame.into(), &plan(Fit::Crop), 16, 0, &mut out).unwrap();
    cuda.patch_rows(frame.into(), &plan(Fit::Stretch), 16, 0, &mut out).unwrap_err();
    assert!(!Cpu::new(1).unwrap().upload_frame(frame.into(), &plan(Fit::Crop)).unwrap());
}
