//! Unsuitable banks are refused: those of another model, damaged ones, and forged ones.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;

use inctrl::ffi::*;
use inctrl::{ErrorKind, Fit, Image, PromptBank, Thresholds};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::tiny::{MODELS, Model, Picture, bank, five, frames, pictures, same, saved, score};

#[test]
fn the_bank_of_another_model_is_refused() {
    let (_, config) = MODELS[1];
    let (engine, other) = (Model::new(config, 7).engine(1), Model::new(config, 8).engine(1));
    assert_ne!(engine.model_hash(), other.model_hash());
    let picture = Picture::new(0);
    let (own, foreign) = (bank(&engine, &[picture.frame()]), bank(&other, &[picture.frame()]));
    let mut scorer = engine.scorer(own).unwrap();
    let before = score(&mut scorer, picture.frame());
    let errors = [
        engine.scorer(Arc::clone(&foreign)).err().unwrap(),
        engine.append_to(&foreign).err().unwrap(),
        scorer.set_bank(foreign).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Bank);
        let text = error.to_string();
        assert!(text.contains(engine.model_hash()) && text.contains(other.model_hash()), "{text}");
    }
    same("after a refused bank", &score(&mut scorer, picture.frame()), &before);
}

/// A small bank, its file, and where the tensors begin in it.
fn small_bank() -> (PromptBank, Vec<u8>, usize) {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let prompts = pictures(0..2);
    let bank = engine.build_bank("cat", Fit::Crop, &frames(&prompts)).unwrap();
    let file = saved(&bank);
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (bank, file, 8 + header)
}

/// The identity of the bank in `version_1.bank`, and the five numbers of `query_defect.png` against it.
const FIRST_ID: &str = "0f2700b6610f92c8";
const FIRST_SCORE: [f32; 5] = [0.715306, 0.92708284, 0.29175216, 0.484601, 0.4578385];

/// `tests/fixtures/banks/version_1.bank`: two prompts by the program of version 1 of the format, and a score by it.
#[test]
fn a_bank_of_the_first_version_is_read_and_scores_alike() {
    let engine = Model::new(MODELS[1].1, 7).engine(1);
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let picture = |name: &str| Image::open(fixture("model").join(name)).unwrap();
    let old = PromptBank::open(fixture("banks/version_1.bank")).unwrap();
    assert_eq!((old.id(), old.method(), old.prompt_hashes().len()), (FIRST_ID, "inctrl", 2));
    let query = picture("query_defect.png");
    let normals = ["normal_0.png", "normal_1.png"].map(picture);
    let new = engine.build_bank("cat", Fit::Crop, &normals.each_ref().map(Image::frame)).unwrap();
    // The same content in another form, which has another identity; today's arithmetic rounds differently.
    let alike = |a: f32, b: f32| (a - b).abs() <= 1e-5;
    for (name, _) in new.info().tensors {
        let [(old, old_shape), (new, new_shape)] = [&old, &new].map(|bank| bank.tensor(name).unwrap());
        assert!(old_shape == new_shape && old.iter().zip(new).all(|(a, b)| alike(*a, *b)), "{name}");
    }
    // That version did not know how much of its prompts a crop leaves out.
    assert_eq!((old.unseen().count(), new.unseen().count()), (0, 2));
    assert_ne!(old.id(), new.id());
    let [old, new] = [old, new].map(|bank| score(&mut engine.scorer(Arc::new(bank)).unwrap(), query.frame()));
    assert_eq!(old.bank.to_string(), FIRST_ID);
    assert!(five(&old).into_iter().zip(five(&new)).all(|(a, b)| alike(a, b)), "{old:?} {new:?}");
    // What the program of that version printed.
    for (found, expected) in five(&old).into_iter().zip(FIRST_SCORE) {
        assert!(alike(found, expected), "{found}, expected {expected}");
    }
}

/// Fails unless `file` is refused, or is `bank` to the last bit.
#[track_caller]
fn refused_or_same(what: &str, bank: &PromptBank, file: &[u8]) {
    match PromptBank::from_bytes(file) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Bank, "{what}: {error}"),
        Ok(found) => assert_eq!(saved(&found), saved(bank), "{what} was not noticed"),
    }
}

#[test]
fn thresholds_are_part_of_a_bank_and_of_its_identity() {
    let (plain, file, _) = small_bank();
    assert!(plain.thresholds().is_none() && !String::from_utf8_lossy(&file).contains("thresholds"));
    // Numbers whose shortest decimal form has many digits, very small ones and the largest.
    for (review, reject, cell) in
        [(0.1, 0.2, 0.3), (f32::MIN_POSITIVE, 1.0f32.next_down(), 1.0), (-0.0, 0.0, 0.33333334)]
    {
        let limits = Thresholds { review, reject, cell };
        let judged = plain.with_thresholds(Some(limits)).unwrap();
        assert_ne!(judged.id(), plain.id());
        let read = PromptBank::from_bytes(&saved(&judged)).unwrap();
        assert_eq!((read.id(), read.thresholds()), (judged.id(), Some(&limits)));
        assert_eq!(saved(&read.with_thresholds(None).unwrap()), file);
    }
    let limits = Thresholds { review: 0.5, reject: 0.4, cell: 0.2 };
    assert_eq!(plain.with_thresholds(Some(limits)).unwrap_err().kind(), ErrorKind::Argument);

    let judged = saved(&plain.with_thresholds(Some(Thresholds { reject: 0.75, ..limits })).unwrap());
    for (from, to) in [("0.75", "0.25"), ("0.75", "1e39"), ("0.75", "null"), ("\"cell\"", "\"call\"")] {
        let forged = forged(&judged, |header, _| *header = header.replace(from, to));
        let error = PromptBank::from_bytes(&forged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bank, "{to}: {error}");
    }
    // Percent, as a file from before ranges may have them: nothing would ever be rejected.
    for (from, to) in [("0.75", "50.0"), ("0.75", "1.0000001"), ("0.5", "-0.5")] {
        let forged = forged(&judged, |header, _| *header = header.replace(from, to));
        let error = PromptBank::from_bytes(&forged).unwrap_err();
        let text = error.chain();
        assert!(
            error.kind() == ErrorKind::Bank && text.contains("from 0 to 1") && text.contains("calibrate"),
            "{text}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.bank");
        std::fs::write(&path, &forged).unwrap();
        assert_eq!(PromptBank::open(&path).unwrap_err().kind(), ErrorKind::Bank);
        assert_eq!(saved(&PromptBank::open_without_thresholds(&path).unwrap()), file, "{to}");
        let [refused, read] = through_c(&path);
        assert_eq!((refused, read), (Err(INCTRL_ERROR_BANK), Ok(plain.id().to_owned())), "{to}");
    }
    let changed = forged(&judged, |header, _| *header = header.replace("0.75", "0.76"));
    assert_ne!(PromptBank::from_bytes(&changed).unwrap().id(), plain.id());
}

/// The identity of a bank that C opens as it is, and without its thresholds.
#[allow(unsafe_code)]
fn through_c(path: &Path) -> [Result<String, i32>; 2] {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    [inctrl_bank_open, inctrl_bank_open_without_thresholds].map(|open| {
        let mut bank = std::ptr::null_mut();
        // SAFETY: a string, a variable and a handle of this function.
        unsafe {
            match open(path.as_ptr(), &mut bank) {
                INCTRL_OK => {}
                status => return Err(status),
            }
            let (mut limits, mut present) = (MaybeUninit::<inctrl_thresholds>::zeroed().assume_init(), 7);
            limits.struct_size = size_of::<inctrl_thresholds>();
            assert_eq!(inctrl_bank_thresholds(bank, &mut limits, &mut present), INCTRL_OK);
            assert_eq!(present, 0);
            let id = CStr::from_ptr(inctrl_bank_id(bank)).to_str().unwrap().to_owned();
            assert_eq!(inctrl_bank_close(&mut bank), INCTRL_OK);
            Ok(id)
        }
    })
}

#[test]
fn every_damaged_bit_of_a_header_is_noticed() {
    let (bank, file, data) = small_bank();
    let mut harmless = 0;
    for at in 0..data {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            match PromptBank::from_bytes(&damaged) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Bank, "bit {bit} of byte {at}: {error}"),
                Ok(_) => {
                    harmless += 1;
                    refused_or_same(&format!("bit {bit} of byte {at}"), &bank, &damaged);
                }
            }
        }
    }
    // Blanks that pad the header may become other blanks, and nothing else.
    let blanks = file[..data].iter().rev().take_while(|byte| **byte == b' ').count();
    assert!(harmless <= 8 * blanks, "{harmless} damaged bits were accepted, with {blanks} blanks of padding");
}

#[test]
fn reshaped_tensors_are_noticed() {
    let (bank, file, data) = small_bank();
    let header = std::str::from_utf8(&file[8..data]).unwrap();
    let (_, shape) = bank.tensor("taps").unwrap();
    let &[layers, rows, width] = shape else { panic!("{shape:?}") };
    let (shape, turned) = (format!("[{layers},{rows},{width}]"), format!("[{layers},{width},{rows}]"));
    assert!(header.contains(&shape), "{header}");
    let mut damaged = file[..8].to_vec();
    damaged.extend(header.replace(&shape, &turned).bytes());
    damaged.extend(&file[data..]);
    let error = PromptBank::from_bytes(&damaged).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bank);
}

/// A bank's file with a checksum that fits whatever `change` made of its header and tensors.
fn forged(file: &[u8], change: impl Fn(&mut String, &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>)) -> Vec<u8> {
    let (_, metadata) = SafeTensors::read_metadata(file).unwrap();
    let (key, text) = metadata.metadata().as_ref().unwrap().iter().next().unwrap();
    let mut header = text.split_once(' ').unwrap().1.to_owned();
    let numbers = |bytes: &[u8]| bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let read = |(name, t): (String, TensorView<'_>)| (name, (t.shape().to_vec(), numbers(t.data())));
    let mut tensors = SafeTensors::deserialize(file).unwrap().tensors().into_iter().map(read).collect();
    change(&mut header, &mut tensors);

    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for name in ["taps", "adapted_class", "class_mean", "text_prototypes"] {
        let (shape, values) = &tensors[name];
        hasher.update(name.as_bytes()).update(b"\0").update(&(shape.len() as u64).to_le_bytes());
        for extent in shape {
            hasher.update(&(*extent as u64).to_le_bytes());
        }
        hasher.update(&bytes(values));
    }
    let id = &hasher.finalize().to_hex()[..16];
    let parts: Vec<_> = tensors.iter().map(|(name, (shape, x))| (name, shape, bytes(x))).collect();
    let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap();
    let views = parts.iter().map(|(name, shape, bytes)| (name.as_str(), view(shape, bytes)));
    safetensors::serialize(views, Some([(key.clone(), format!("{id} {header}"))].into())).unwrap()
}

/// A valid checksum does not make a bank valid: it says who it is of, and must have that model's sizes.
#[test]
fn forged_banks_are_refused() {
    let engines = [0, 1].map(|i| Model::new(MODELS[i].1, 7).engine(1));
    let picture = Picture::new(0);
    let files = [0, 1].map(|i| saved(&bank(&engines[i], &[picture.frame()])));
    let unchanged = forged(&files[0], |_, _| ());
    engines[0].scorer(Arc::new(PromptBank::from_bytes(&unchanged).unwrap())).unwrap();

    let nan = forged(&files[0], |_, tensors| tensors.get_mut("taps").unwrap().1[5] = f32::NAN);
    let error = PromptBank::from_bytes(&nan).unwrap_err();
    assert!(error.kind() == ErrorKind::Bank && error.to_string().contains("taps"), "{error}");

    let [own, foreign] = [0, 1].map(|i| engines[i].model_hash());
    let renamed = forged(&files[1], |header, _| *header = header.replace(foreign, own));
    let narrow = forged(&files[0], |_, tensors| {
        for (name, shape) in [("adapted_class", vec![1, 4]), ("class_mean", vec![4]), ("text_prototypes", vec![2, 4])] {
            let elements = shape.iter().product();
            tensors.insert(name.into(), (shape, vec![0.5; elements]));
        }
    });
    for file in [renamed, narrow] {
        let forged = Arc::new(PromptBank::from_bytes(&file).unwrap());
        let mut scorer = engines[0].scorer(bank(&engines[0], &[picture.frame()])).unwrap();
        let errors = [
            engines[0].scorer(Arc::clone(&forged)).err().unwrap(),
            engines[0].append_to(&forged).err().unwrap(),
            scorer.set_bank(forged).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Bank), "{errors:?}");
    }
}

#[test]
fn a_file_that_is_no_bank_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let weights = Model::new(MODELS[1].1, 7);
    let (empty, absent) = (folder.path().join("empty"), folder.path().join("absent"));
    std::fs::write(&empty, []).unwrap();
    let check = |path: &Path, kind: ErrorKind| {
        let error = PromptBank::open(path).unwrap_err();
        assert_eq!((error.kind(), error.path()), (kind, Some(path)), "{error}");
    };
    check(&empty, ErrorKind::Bank);
    check(&absent, ErrorKind::Io);
    check(&weights.path, ErrorKind::Bank);
}

#[test]
fn damaged_files_are_noticed() {
    let (bank, file, _) = small_bank();
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(at in 0..file.len(), byte: u8, cut in 0..file.len(), tail in prop::collection::vec(any::<u8>(), 1..9))| {
        let mut changed = file.clone();
        changed[at] = byte;
        refused_or_same(&format!("byte {at} as {byte}"), &bank, &changed);
        refused_or_same(&format!("cut to {cut} bytes"), &bank, &file[..cut]);
        let longer = [&file[..], &tail].concat();
        refused_or_same("bytes after the end", &bank, &longer);
        let mut gone = file.clone();
        gone.remove(at);
        refused_or_same(&format!("without byte {at}"), &bank, &gone);
    });
}
