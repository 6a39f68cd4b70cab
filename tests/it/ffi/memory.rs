//! Sizes that the caller chooses and that do not fit into memory are errors before anything is allocated. The test runs
//! in a separate process under a limit, where a failed allocation ends it.

use std::ffi::{CStr, CString};
use std::process::Command;
use std::ptr::{null, null_mut};

use inctrl::ffi::*;

use super::handles::{c_frame, of, ok, open, refused, sized};
use crate::tiny::{MODELS, Model, Picture};

/// Names the folder in which the process under a limit works.
const CHILD: &str = "INCTRL_TEST_UNDER_A_LIMIT";
/// The limit of its address space, in kilobytes.
const LIMIT: &str = "1500000";

const NEEDS: [&str; 2] = [" needs ", " MB are left of the limit of the address space"];

#[test]
fn what_memory_does_not_hold_is_refused() {
    if let Some(folder) = std::env::var_os(CHILD) {
        under_a_limit(std::path::Path::new(&folder));
        println!("THE END");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "ffi::memory::what_memory_does_not_hold_is_refused";
    let output = Command::new("sh")
        .args(["-c", "ulimit -v $0 && exec \"$@\"", LIMIT])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("THE END"), "{}\n{said}\n{wrong}", output.status);
}

fn under_a_limit(folder: &std::path::Path) {
    let model = Model::new(MODELS[0].1, 7);
    let picture = Picture::new(0);
    let good = of(&picture.frame());
    let all = open(&model, &[good], 1);
    let mut result = sized!(inctrl_result);
    // SAFETY: handles, structures and variables of this function; counts are refused before what they count is read.
    unsafe {
        ok(inctrl_scorer_score(all.scorer, &good, 0, &mut result));
        let score = result.score.to_bits();

        // The frame of a warm-up, in its own format and with its converted copy.
        for format in [INCTRL_MONO8, INCTRL_RGBA8, INCTRL_BAYER_GB8] {
            let status = inctrl_scorer_warm_up(all.scorer, 65_535, 65_535, format, 1);
            refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "a warm-up with 65535 x 65535 pixels"]);
        }
        // A frame that the caller has, but whose converted copy has no place.
        let side = 28_000;
        let pixels = vec![0u8; side * side];
        let large = c_frame(&pixels, side as u32, side as u32, 0, INCTRL_BAYER_RG8);
        let status = inctrl_scorer_score(all.scorer, &large, 0, &mut result);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "converting", "28000"]);
        assert_eq!((result.status, result.verdict), (INCTRL_ERROR_DEVICE, INCTRL_VERDICT_REVIEW));
        drop(pixels);

        // A bank of more normal images than fit, and a file that is larger than memory.
        let mut bank = null_mut();
        let status = inctrl_bank_build(all.engine, c"cat".as_ptr(), 0, &good, 10_000_000, null(), &mut bank);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "a bank of 10000000 normal images"]);
        let status = inctrl_bank_append(all.engine, all.bank, &good, 10_000_000, &mut bank);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "a bank of 10000001 normal images"]);
        let path = folder.join("large.bank");
        std::fs::File::create(&path).unwrap().set_len(1 << 33).unwrap();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let status = inctrl_bank_open(path.as_ptr(), &mut bank);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "large.bank"]);
        assert!(bank.is_null());

        // Threads, here and in a scorer; a capacity.
        let weights = CString::new(model.path.to_str().unwrap()).unwrap();
        let mut options = sized!(inctrl_engine_options);
        (options.weights, options.device, options.threads) = (weights.as_ptr(), c"cpu".as_ptr(), 1024);
        let mut engine = null_mut();
        let status = inctrl_engine_open(&options, &mut engine);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "1024 threads"]);
        let wide = folder.join("wide.safetensors");
        wide_model(&wide);
        let weights = CString::new(wide.to_str().unwrap()).unwrap();
        (options.weights, options.threads) = (weights.as_ptr(), 1);
        ok(inctrl_engine_open(&options, &mut engine));
        let (mut slot, mut scorer) = (null_mut(), null_mut());
        ok(inctrl_bank_build(engine, c"cat".as_ptr(), 0, &good, 1, null(), &mut bank));
        ok(inctrl_slot_create(engine, bank, &mut slot));
        let status = inctrl_scorer_create(engine, slot, 1024, &mut scorer);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "1024 images at once"]);
        let options = inctrl_scorer_options { capacity: 1024, ..sized!(inctrl_scorer_options) };
        let status = inctrl_scorer_create_with(engine, slot, &options, &mut scorer);
        refused(status, INCTRL_ERROR_DEVICE, &[NEEDS[0], NEEDS[1], "1024 images at once"]);
        assert!(scorer.is_null());
        ok(inctrl_scorer_create(engine, slot, 2, &mut scorer));
        ok(inctrl_scorer_score(scorer, &good, 0, &mut result));
        ok(inctrl_scorer_close(&mut scorer));
        ok(inctrl_slot_close(&mut slot));
        ok(inctrl_bank_close(&mut bank));
        ok(inctrl_engine_close(&mut engine));

        // After all this the first scorer is as it was.
        ok(inctrl_scorer_score(all.scorer, &good, 0, &mut result));
        assert_eq!(result.score.to_bits(), score);
        let mut health = sized!(inctrl_health);
        ok(inctrl_scorer_health(all.scorer, &mut health));
        assert_eq!((health.frames, health.errors), (2, 1));
        assert!(CStr::from_ptr(health.last_error.as_ptr()).to_str().unwrap().contains("28000"));
    }
}

/// A model of few layers and many patches, of which a thousand images at once take more than the limit.
fn wide_model(path: &std::path::Path) {
    let config = r#"{"embed_dim": 32,
        "vision_cfg": {"image_size": 256, "patch_size": 16, "width": 256, "layers": 2},
        "text_cfg": {"width": 16, "heads": 2, "layers": 1},
        "inctrl": {"taps": [1]}}"#;
    let arch = inctrl::weights::Arch::from_json(config).unwrap();
    inctrl::weights::random::write(path, &arch, 1, inctrl::tensor::DType::F32).unwrap();
}
