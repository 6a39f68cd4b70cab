//! Frame to patch rows: the bytes of [`Plan::run`] through [`patches::write`], whatever shares the work out.
//!
//! The references are the plan's own passes, which `view/tests.rs` compares with Pillow's.

use inctrl::backend::{Backend, Role};
use inctrl::view::{Filter, Plan, Preprocessing, ResizeMode, View, patches};
use inctrl::{Fit, Frame, PixelFormat, Roi};

use super::{cases, finish, is_marked, output, rounded, same_bits, unless};

on_every_device! {
    preprocess,
    views_of_a_frame,
    views_outside_are_refused,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    width: usize,
    height: usize,
    format: PixelFormat,
    /// Bytes between the rows.
    gap: usize,
    size: usize,
    patch: usize,
}

const fn case(width: usize, height: usize, format: PixelFormat, gap: usize, size: usize, patch: usize) -> Case {
    Case { width, height, format, gap, size, patch }
}

/// CLIP's, and one that differs in everything.
const ALL: [Preprocessing; 2] = [
    Preprocessing::CLIP,
    Preprocessing {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        filter: Filter::Bilinear,
        resize: ResizeMode::Squash,
    },
];

use PixelFormat::{Grey8, Rgb8};
const CASES: &[Case] = &[
    case(1, 1, Grey8, 0, 8, 4),
    case(320, 256, Rgb8, 0, 240, 16),
    case(320, 256, Grey8, 64, 240, 16),
    case(61, 97, Rgb8, 5, 80, 16),
    // Pixels beyond the last whole patch.
    case(97, 61, Grey8, 0, 50, 16),
    case(32, 32, Rgb8, 1, 32, 32),
    case(7, 260, Rgb8, 0, 48, 8),
    case(17, 33, Grey8, 3, 33, 3),
    case(40, 30, Rgb8, 5, 32, 16),
    case(200, 33, Grey8, 0, 50, 7),
    case(3, 90, Rgb8, 5, 28, 14),
];

fn preprocess<B: Backend>(backends: &mut [B]) {
    const IMAGES: usize = 3;
    let against = |case: &Case| unless(1, 1, 60 * (case.width * case.height + case.size.pow(2)));
    for case in cases(backends, CASES, against) {
        let channels = case.format.channels();
        let stride = case.width * channels + case.gap;
        let bytes: Vec<u8> = (0..stride * case.height).map(|i| (i * i % 251 + i % 5) as u8).collect();
        let frame = Frame::new(&bytes, case.width, case.height, stride, case.format).unwrap();
        for (fit, preprocessing) in
            [Fit::Crop, Fit::Letterbox, Fit::Stretch, Fit::Trim].iter().flat_map(|fit| ALL.map(|p| (*fit, p)))
        {
            let plan = Plan::with(case.width, case.height, case.size, fit, &preprocessing).unwrap();
            let count = plan.grid(case.patch).cells();
            let len = count * 3 * case.patch * case.patch;
            let mut expected = vec![0.0; len];
            patches::write(
                &plan.run(&frame),
                channels,
                [plan.width(), plan.height()],
                case.patch,
                0..count,
                plan.values(),
                &mut expected,
            );
            // A GPU's buffers are of the type of operands.
            let expected = if B::IN_HOST_MEMORY { expected } else { rounded(backends, Role::Operand, expected) };
            let view = [View::whole(plan, None, case.patch)];
            for backend in &mut *backends {
                for image in 0..IMAGES {
                    let mut out = output(backend, Role::Operand, IMAGES * len);
                    backend.preprocess(frame, &view, case.patch, image, &mut out, |_, _| Ok(())).unwrap();
                    let all = finish(backend, &out, IMAGES * len);
                    let what = format!("preprocess {fit}, {}, {frame:?}", backend.describe());
                    same_bits(&what, &all[image * len..][..len], &expected);
                    let others = (0..IMAGES).filter(|other| *other != image);
                    let mut others = others.flat_map(|other| &all[other * len..][..len]);
                    assert!(others.all(|x| is_marked(*x)), "{what}: wrote beside image {image}");
                }
            }
        }
    }
}

/// Overlapping tiles of one size, and one of another: each has the rows of the frame that is cut out by itself.
fn views_of_a_frame<B: Backend>(backends: &mut [B]) {
    let (width, height, patch) = (61, 47, 8);
    for format in [Grey8, Rgb8] {
        let stride = width * format.channels() + 3;
        let bytes: Vec<u8> = (0..stride * height).map(|i| ((i * 37) ^ ((i >> 3) * 11)) as u8).collect();
        let frame = Frame::new(&bytes, width, height, stride, format).unwrap();
        let region = |x, y, width, height| Roi { x, y, width, height };
        let regions = [region(0, 0, 30, 30), region(17, 9, 30, 30), region(31, 17, 30, 30), region(5, 40, 20, 7)];
        let view = |roi: &Roi| {
            let plan = Plan::new(roi.width, roi.height, 24, Fit::Stretch).unwrap();
            View::of_region(*roi, plan, None, patch).unwrap()
        };
        let views: Vec<View> = regions.iter().map(view).collect();
        let len = 9 * 3 * patch * patch;
        for backend in &mut *backends {
            let mut out = output(backend, Role::Operand, 6 * len);
            let mut copied = None;
            let uploaded = |_: &mut B, copies: bool| {
                copied = Some(copies);
                Ok(())
            };
            backend.preprocess(frame, &views, patch, 1, &mut out, uploaded).unwrap();
            assert_eq!(copied, Some(!B::IN_HOST_MEMORY));
            let all = finish(backend, &out, 6 * len);
            for (i, (roi, view)) in regions.iter().zip(&views).enumerate() {
                let mut alone = output(backend, Role::Operand, len);
                let whole = [View::whole(view.plan().clone(), None, patch)];
                backend.preprocess(frame.region(*roi).unwrap(), &whole, patch, 0, &mut alone, |_, _| Ok(())).unwrap();
                let alone = finish(backend, &alone, len);
                same_bits(&format!("{roi:?}, {}", backend.describe()), &all[(1 + i) * len..][..len], &alone);
            }
            let mut beside = all[..len].iter().chain(&all[5 * len..]);
            assert!(beside.all(|x| is_marked(*x)), "wrote beside the views");
        }
    }
}

fn views_outside_are_refused<B: Backend>(backends: &mut [B]) {
    let bytes = [9; 40 * 30];
    let frame = Frame::packed(&bytes, 40, 30, Grey8).unwrap();
    for backend in &mut *backends {
        let mut out = output(backend, Role::Operand, 3 * 32 * 32);
        for (x, y, width, height) in [(1, 0, 40, 30), (0, 1, 40, 30), (usize::MAX, 0, 2, 2)] {
            let plan = Plan::new(width, height, 32, Fit::Stretch).unwrap();
            let view = View::of_region(Roi { x, y, width, height }, plan, None, 16).unwrap();
            let error = backend.preprocess(frame, &[view], 16, 0, &mut out, |_, _| Ok(())).unwrap_err();
            assert_eq!(error.kind(), inctrl::ErrorKind::Argument, "{error}");
        }
        assert!(finish(backend, &out, 3 * 32 * 32).iter().all(|x| is_marked(*x)), "a refused view was written");
        backend.preprocess(frame, &[], 16, 0, &mut out, |_, _| Ok(())).unwrap_err();
    }
}
