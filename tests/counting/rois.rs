//! Regions against banks of their own allocate nothing after the first calls, from Rust and through C.

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inctrl::ffi::*;
use inctrl::{BankSpec, Device, Engine, EngineOptions, Fit, Frame, Inspection, PixelFormat, Roi, Thresholds};

use super::counting::ALLOCATIONS;

const OPTIONS: [&str; 2] = ["size=48", "rotations=1"];
const LIMITS: Thresholds = Thresholds { review: 0.1, reject: 0.2, cell: 0.1 };

/// Runs `call` a few times and then `count` times, which must allocate nothing.
fn steady(what: &str, count: usize, mut call: impl FnMut()) {
    (0..5).for_each(|_| call());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..count).for_each(|_| call());
    let found = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!("{what}: {found} allocations in {count} calls");
    assert_eq!(found, 0, "{what}");
}

pub fn check(weights: &Path, device: Device, count: usize) {
    let mut options = EngineOptions::new(weights);
    (options.device, options.threads) = (device, NonZeroUsize::new(2));
    let engine = Engine::with(&options).unwrap();
    let bytes: Vec<u8> = (0..160 * 120).map(|i| (i * i * 37 % 251) as u8).collect();
    let frame = Frame::packed(&bytes, 160, 120, PixelFormat::Grey8).unwrap();
    let roi = |x, width| Roi { x, y: 3, width, height: 50 };
    let tiles = ["tile=32", "overlap=16", "scale=1", "rotations=1"];
    for options in [&OPTIONS[..], &tiles] {
        let slot = |x: usize| {
            let mut spec = BankSpec::default();
            spec.method = Some("anomaly-dino".to_owned());
            spec.fit = (options.len() == 2).then_some(Fit::Trim);
            spec.options = options.iter().map(|option| (*option).to_owned()).collect();
            let mut builder = engine.bank_builder_of(&spec).unwrap();
            builder.add(frame.region(roi(x, 50)).unwrap()).unwrap();
            Arc::new(engine.shared_bank(Arc::new(builder.finish().unwrap())).unwrap())
        };
        let slots = [0, 20, 40].map(slot);
        let mut scorer = engine.roi_scorer(&slots, const { NonZeroUsize::new(2).unwrap() }).unwrap();
        // Two grids, and banks in all numbers.
        let inspections = [
            Inspection { roi: Some(roi(3, 50)), banks: &[0], thresholds: Some(LIMITS) },
            Inspection { roi: Some(roi(60, 90)), banks: &[0, 1, 2], thresholds: None },
            Inspection { roi: Some(roi(90, 50)), banks: &[2, 1], thresholds: Some(LIMITS) },
        ];
        steady(&format!("{device}, regions with {}", options.join(" ")), count, || {
            assert_eq!(scorer.score(frame, &inspections).unwrap().len(), 6);
            assert!(scorer.best(1).is_some());
        });
    }
    through_c(weights, device, &bytes, count);
}

fn through_c(weights: &Path, device: Device, bytes: &[u8], count: usize) {
    let (weights, device) =
        (CString::new(weights.to_str().unwrap()).unwrap(), CString::new(device.to_string()).unwrap());
    // SAFETY: structures of the interface, which are numbers and pointers; handles and variables of this function.
    unsafe {
        let mut options: inctrl_engine_options = std::mem::zeroed();
        options.struct_size = size_of::<inctrl_engine_options>();
        (options.weights, options.device, options.threads) = (weights.as_ptr(), device.as_ptr(), 2);
        let mut frame: inctrl_frame = std::mem::zeroed();
        frame.struct_size = size_of::<inctrl_frame>();
        (frame.data, frame.width, frame.height, frame.format) = (bytes.as_ptr().cast(), 160, 120, INCTRL_MONO8);
        let texts = [c"size=48".as_ptr(), c"rotations=1".as_ptr()];
        let mut of: inctrl_bank_options = std::mem::zeroed();
        of.struct_size = size_of::<inctrl_bank_options>();
        (of.method, of.options, of.option_count) = (c"anomaly-dino".as_ptr(), texts.as_ptr(), 2);
        let (mut engine, mut bank, mut slot, mut scorer) = (null_mut(), null_mut(), null_mut(), null_mut());
        assert_eq!(inctrl_engine_open(&options, &mut engine), INCTRL_OK);
        assert_eq!(inctrl_bank_build_with(engine, &of, &frame, 1, &mut bank), INCTRL_OK);
        assert_eq!(inctrl_slot_create(engine, bank, &mut slot), INCTRL_OK);
        let slots = [slot.cast_const(), slot];
        assert_eq!(inctrl_roi_scorer_create(engine, slots.as_ptr(), 2, null(), &mut scorer), INCTRL_OK);
        let mut inspection: inctrl_inspection = std::mem::zeroed();
        inspection.struct_size = size_of::<inctrl_inspection>();
        let mut result: inctrl_result = std::mem::zeroed();
        result.struct_size = size_of::<inctrl_result>();
        let mut results = [result; 2];
        steady("regions through C", count, || {
            let (asked, first) = (&raw const inspection, results.as_mut_ptr());
            assert_eq!(inctrl_roi_scorer_score(scorer, &frame, asked, 1, 0, first, 2), INCTRL_OK);
        });
        assert_eq!(inctrl_roi_scorer_close(&mut scorer), INCTRL_OK);
        assert_eq!(inctrl_slot_close(&mut slot), INCTRL_OK);
        assert_eq!(inctrl_bank_close(&mut bank), INCTRL_OK);
        assert_eq!(inctrl_engine_close(&mut engine), INCTRL_OK);
    }
}
