//! Frame to patch rows: the bytes of [`Plan::run`] through [`patches::write`], whatever shares the work out.

use inctrl::backend::Backend;
use inctrl::view::{Filter, Plan, Preprocessing, ResizeMode, patches};
use inctrl::{Fit, Frame, PixelFormat};

use super::{finish, is_marked, output, same_bits};

on_every_backend! {
    preprocess => preprocess_cpu,
}

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
];

fn preprocess<B: Backend>(backends: &mut [B]) {
    const IMAGES: usize = 3;
    for case in CASES {
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
            for backend in &mut *backends {
                for image in 0..IMAGES {
                    let mut out = output(backend, IMAGES * len);
                    backend.preprocess(frame, &plan, case.patch, image, &mut out).unwrap();
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
