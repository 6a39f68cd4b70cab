//! Faults of a device: full memory, failed calls, a lost device. Emulated only, because a real device cannot be made to
//! fail.

use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::internals::model_bytes_on_device;
use inctrl::{Device, Engine, EngineOptions, ErrorKind, Frame, PixelFormat, Precision};

use crate::emulator;
use crate::tiny::{MODELS, Model, bank, frames, pictures, same, score};
use crate::{Turn, turn};

const ILLEGAL_ADDRESS: i32 = 700;
const ECC: i32 = 214;
const LAUNCH_FAILED: i32 = 719;
const OUT_OF_MEMORY: i32 = 2;

/// The turn of a test that makes the device fail.
fn emulated() -> Option<Turn> {
    turn().filter(Turn::is_emulated)
}

fn options(model: &Model) -> EngineOptions {
    let mut options = EngineOptions::new(&model.path);
    options.device = Device::Cuda(0);
    options.threads = NonZeroUsize::new(1);
    options
}

#[test]
fn cuda_a_device_that_is_not_there() {
    let Some(_turn) = emulated() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let mut options = options(&model);
    options.device = Device::Cuda(7);
    let error = Engine::with(&options).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("cuda:7") && error.to_string().contains("1 CUDA device"), "{error}");
}

#[test]
fn cuda_full_memory_names_what_did_not_fit_and_leaves_the_engine_usable() {
    let Some(_turn) = emulated() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let pictures = pictures(0..4);
    let all = frames(&pictures);
    let gpu = Engine::with(&options(&model)).unwrap();
    let bank = bank(&gpu, &all[..1]);
    let mut scorer = gpu.scorer(Arc::clone(&bank)).unwrap();
    let expected = score(&mut scorer, all[2]);

    let used = emulator::memory_in_use();
    emulator::set_memory(used + (1 << 20));
    let error = gpu.scorer(Arc::clone(&bank)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("MiB of GPU memory") && error.to_string().contains("are free"), "{error}");

    // A picture whose pixels do not fit, then one that does.
    let large = vec![7; 4000 * 3000];
    let large = Frame::packed(&large, 4000, 3000, PixelFormat::Grey8).unwrap();
    let error = scorer.score(large).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("4000 x 3000"), "{error}");
    same("after a picture that did not fit", &score(&mut scorer, all[2]), &expected);

    // A bank that does not fit: the old one stays.
    emulator::set_memory(emulator::memory_in_use());
    let other = Arc::new({
        let mut options = options(&model);
        options.device = Device::Cpu;
        Engine::with(&options).unwrap().build_bank("cat", inctrl::Fit::Crop, &all).unwrap()
    });
    let error = scorer.set_bank(other).unwrap_err();
    assert!(error.to_string().contains("a bank takes"), "{error}");
    same("after a bank that did not fit", &score(&mut scorer, all[2]), &expected);
    emulator::set_memory(usize::MAX);
}

#[test]
fn cuda_a_model_that_does_not_load_leaves_the_processor_and_says_why() {
    let Some(turn) = emulated() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let pictures = pictures(0..3);
    let all = frames(&pictures);
    let mut on_cpu = options(&model);
    on_cpu.device = Device::Cpu;
    let cpu = Engine::with(&on_cpu).unwrap();
    let bank = bank(&cpu, &all[..1]);
    let expected = score(&mut cpu.scorer(Arc::clone(&bank)).unwrap(), all[2]);
    let mut automatic = options(&model);
    automatic.device = Device::Auto;
    let taken = |words: &[&str]| {
        let error = Engine::with(&options(&model)).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        let used = emulator::memory_in_use();
        let engine = Engine::with(&automatic).unwrap();
        assert_eq!(engine.device_used(), Device::Cpu);
        for word in words.iter().chain(&["the CUDA device cannot hold the model"]) {
            assert!(engine.device_reason().contains(word), "no {word:?} in {:?}", engine.device_reason());
        }
        // Nothing of it stays on the device that others fill.
        assert_eq!(emulator::memory_in_use(), used);
        same("on the processor", &score(&mut engine.scorer(Arc::clone(&bank)).unwrap(), all[2]), &expected);
    };

    // A file that the user named is the user's to mend, and no reason to leave the device.
    let mut named = automatic.clone();
    named.algorithms = Some("no/such/table.json".into());
    let error = Engine::with(&named).map(|_| ()).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("table.json"), "{error}");

    // The device's own tables fit, and some of the weights.
    let others = emulator::memory_in_use();
    let cuda = turn.cuda(true);
    let tables = emulator::memory_in_use() - others;
    drop(cuda);
    emulator::set_memory(others + tables + 100_000);
    taken(&["the model needs ", " MB are left of the GPU's memory"]);
    emulator::set_memory(usize::MAX);
    // There is enough in all, and yet a piece of it is refused.
    emulator::fail("cuMemAlloc_v2", 20, OUT_OF_MEMORY);
    let engine = Engine::with(&automatic).unwrap();
    assert_eq!((engine.device_used(), emulator::memory_in_use()), (Device::Cpu, others));
    for word in ["MiB of GPU memory", "are free", "the CUDA device cannot hold the model"] {
        assert!(engine.device_reason().contains(word), "no {word:?} in {:?}", engine.device_reason());
    }
    emulator::fail("", 0, 0);

    // What is asked for beforehand is what is taken, and at most half as much again.
    for (precision, operand) in [(Precision::F16, 2), (Precision::F32, 4)] {
        let mut of_precision = options(&model);
        of_precision.precision = Some(precision);
        let engine = Engine::with(&of_precision).unwrap();
        let taken = emulator::memory_in_use() - others - tables;
        let estimate = model_bytes_on_device(engine.arch(), operand);
        assert!(taken <= estimate && 2 * estimate <= 3 * taken, "{taken} bytes taken, {estimate} estimated");
    }

    const NOT_SUPPORTED: i32 = 15;
    emulator::fail("cublasLtMatmulAlgoGetHeuristic", -1, NOT_SUPPORTED);
    taken(&["cuBLASLt has no algorithm"]);
    emulator::fail("", 0, 0);

    // What was wrong was not the model.
    assert_eq!(Engine::with(&automatic).unwrap().device_used(), Device::Cuda(0));
}

#[test]
fn cuda_every_failing_call_is_an_error_that_names_it() {
    let Some(_turn) = emulated() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let pictures = pictures(0..3);
    let all = frames(&pictures);
    for (call, code, advice) in [
        ("cuLaunchKernel", ILLEGAL_ADDRESS, "start the process again"),
        ("cuGraphLaunch", ECC, "start the process again"),
        ("cuMemcpyHtoDAsync_v2", ILLEGAL_ADDRESS, ""),
        ("cuStreamSynchronize", ILLEGAL_ADDRESS, "start the process again"),
        ("cuStreamEndCapture", 901, ""),
        ("cuGraphInstantiateWithFlags", 2, ""),
        ("cublasLtMatmul", 13, ""),
    ] {
        let gpu = Engine::with(&options(&model)).unwrap();
        let bank = bank(&gpu, &all[..1]);
        let mut scorer = gpu.scorer(bank).unwrap();
        let before = score(&mut scorer, all[1]);
        // A recording of another shape is made after the fault is set, so that calls of recording fail too.
        emulator::fail(call, 0, code);
        let mut failed = None;
        let mut batch = gpu.batch_scorer(Arc::clone(scorer.bank()), NonZeroUsize::new(2).unwrap());
        for _ in 0..2 {
            let outcome = match &mut batch {
                Ok(batch) => batch.score_batch(&all[1..3]).map(|_| ()),
                Err(error) => Err(inctrl::Error::new(error.kind(), error.to_string())),
            };
            let outcome = outcome.and_then(|()| scorer.score(all[1]).map(|_| ()));
            failed = failed.or(outcome.err());
        }
        let error = failed.unwrap_or_else(|| panic!("a failing {call} went unseen"));
        let name = call.trim_end_matches("_v2").trim_end_matches("WithFlags");
        assert!(error.chain().contains(name) || call == "cuGraphInstantiateWithFlags", "{call}: {}", error.chain());
        assert!(error.chain().contains(advice), "{call}: {}", error.chain());
        assert_eq!(error.kind(), ErrorKind::Device, "{call}: {error}");
        // The fault was one call's: an emulated device is well again.
        emulator::fail("", 0, 0);
        same(&format!("after {call}"), &score(&mut scorer, all[1]), &before);
    }
}

#[test]
fn cuda_a_lost_device_is_an_error_at_every_call() {
    let Some(_turn) = emulated() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let pictures = pictures(0..3);
    let all = frames(&pictures);
    let gpu = Engine::with(&options(&model)).unwrap();
    let bank = bank(&gpu, &all[..1]);
    let mut scorer = gpu.scorer(Arc::clone(&bank)).unwrap();
    let expected = score(&mut scorer, all[1]);
    emulator::fail("*", 0, LAUNCH_FAILED);
    let lost = |error: inctrl::Error| {
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        assert!(error.chain().contains("start the process again"), "{}", error.chain());
    };
    for _ in 0..3 {
        lost(scorer.score(all[1]).map(|_| ()).unwrap_err());
        lost(scorer.score_batch(&all[1..3]).map(|_| ()).unwrap_err());
        lost(gpu.scorer(Arc::clone(&bank)).map(|_| ()).unwrap_err());
        lost(gpu.build_bank("cat", inctrl::Fit::Crop, &all[..1]).map(|_| ()).unwrap_err());
        let error = Engine::with(&options(&model)).map(|_| ()).unwrap_err();
        assert!(error.kind() == ErrorKind::Device && error.to_string().contains("LAUNCH_FAILED"), "{error}");
    }
    // All of it can be given back, which frees nothing on a device that is lost.
    drop((scorer, gpu));
    emulator::fail("", 0, 0);
    let gpu = Engine::with(&options(&model)).unwrap();
    same("another engine", &score(&mut gpu.scorer(bank).unwrap(), all[1]), &expected);
}

#[test]
fn cuda_frames_larger_than_the_staging_memory() {
    let Some(turn) = turn() else { return };
    let model = Model::new(MODELS[0].1, 7);
    let gpu = Engine::with(&options(&model)).unwrap();
    let pixels: Vec<u8> = (0..640 * 480).map(|i| (i * 7 / 5) as u8).collect();
    let large = Frame::packed(&pixels, 640, 480, PixelFormat::Grey8).unwrap();
    let pictures = pictures(0..3);
    let small = frames(&pictures);
    let bank = bank(&gpu, &small[..1]);
    let expected = [small[1], large, small[2]].map(|frame| score(&mut gpu.scorer(Arc::clone(&bank)).unwrap(), frame));
    let mut scorer = gpu.scorer(Arc::clone(&bank)).unwrap();
    if turn.is_emulated() {
        // The memory grows for the large one, which may fail: page-locked memory is scarce as well.
        score(&mut scorer, small[1]);
        emulator::fail("cuMemHostAlloc", 0, OUT_OF_MEMORY);
        let error = scorer.score(large).map(|_| ()).unwrap_err();
        emulator::fail("", 0, 0);
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.to_string().contains("640 x 480"), "{error}");
    }
    for _ in 0..2 {
        for (frame, expected) in [small[1], large, small[2]].into_iter().zip(&expected) {
            same("frames of all sizes in turn", &score(&mut scorer, frame), expected);
        }
    }
}
