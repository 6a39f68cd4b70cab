//! Files good and bad through the whole of [`Weights::open`].

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView as RawView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::DType;
use crate::view::Preprocessing;

/// A model of a few thousand parameters, unlike any published one in every number.
pub(super) fn tiny() -> Arch {
    Arch {
        family: Family::OpenClip,
        embed_dim: 8,
        vision: VisionArch {
            image_size: 13,
            patch_size: 4,
            width: 12,
            layers: 3,
            heads: 2,
            registers: 0,
            mlp: Mlp::Gelu,
            mlp_width: 20,
            preprocessing: Preprocessing::CLIP,
            resnet: None,
        },
        text: Some(TextArch { context_length: 9, vocab_size: 50, width: 6, heads: 3, layers: 2, mlp_width: 24 }),
        quick_gelu: false,
        taps: vec![1, 3],
        alpha: 0.5,
    }
}

fn options(weights: &Path) -> LoadOptions {
    LoadOptions { weights: weights.to_path_buf(), heads: None, config: None }
}

fn open(weights: &Path) -> Result<Weights> {
    Weights::open(&options(weights))
}

/// A folder with a random tiny model.
fn model(dtype: DType) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    random::write(&path, &tiny(), 7, dtype).unwrap();
    (folder, path)
}

/// A safetensors file in memory, to be changed and written back.
struct Raw {
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    config: Option<String>,
}

impl Raw {
    fn read(path: &Path) -> Raw {
        let bytes = fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(name, t)| (name.into(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())));
        Raw { tensors: tensors.collect(), config: Some(tiny().to_json()) }
    }

    fn write(&self, path: &Path) {
        let views = self
            .tensors
            .iter()
            .map(|(name, (dtype, shape, data))| (name.as_str(), RawView::new(*dtype, shape.clone(), data).unwrap()));
        let metadata = self.config.clone().map(|json| [("inctrl.config".to_string(), json)].into());
        fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
    }
}

/// The error of opening the tiny model after `change`.
fn refused(change: impl FnOnce(&mut Raw)) -> Error {
    let (_folder, path) = model(DType::F32);
    let mut raw = Raw::read(&path);
    change(&mut raw);
    raw.write(&path);
    let error = open(&path).unwrap_err();
    assert_eq!(error.path(), Some(path.as_path()));
    error
}

fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.chain();
    for part in parts {
        assert!(text.contains(part), "expected {part:?} in: {text}");
    }
}

#[test]
fn a_written_model_opens_with_every_tensor_in_place() {
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        let (_folder, path) = model(dtype);
        let weights = open(&path).unwrap();
        assert_eq!(weights.arch(), &tiny());
        for spec in table(&tiny()) {
            let tensor = weights.tensor(&spec.name).unwrap();
            assert_eq!((tensor.name, tensor.shape, tensor.dtype), (spec.name.as_str(), spec.shape.as_slice(), dtype));
            assert_eq!(tensor.len(), spec.shape.iter().product::<usize>());
        }
        assert_eq!(weights.tensor("logit_scale").unwrap_err().kind(), ErrorKind::Argument);
    }
}

#[test]
fn random_numbers_are_the_same_at_each_precision_and_differ_by_seed_and_tensor() {
    let (folder, path) = model(DType::F32);
    let full = open(&path).unwrap();
    for (dtype, tolerance) in [(DType::F16, 4.9e-4), (DType::Bf16, 3.91e-3)] {
        let (_folder, path) = model(dtype);
        let half = open(&path).unwrap();
        for spec in table(&tiny()) {
            let (a, b) = (
                full.tensor(&spec.name).unwrap().to_f32().unwrap(),
                half.tensor(&spec.name).unwrap().to_f32().unwrap(),
            );
            for (a, b) in a.iter().zip(&b) {
                // Half an ulp of the narrow format, relative; subnormal f16 numbers are 2^-25 apart from the true ones.
                assert!(((a - b).abs() - 3e-8) / a.abs().max(1e-9) <= tolerance, "{} {a} {b}", spec.name);
            }
        }
    }
    let other = folder.path().join("other.safetensors");
    random::write(&other, &tiny(), 8, DType::F32).unwrap();
    let name = "visual.transformer.resblocks.0.mlp.c_fc.weight";
    let first = full.tensor(name).unwrap().to_f32().unwrap();
    assert_ne!(first, open(&other).unwrap().tensor(name).unwrap().to_f32().unwrap());
    assert_ne!(first, full.tensor("visual.transformer.resblocks.1.mlp.c_fc.weight").unwrap().to_f32().unwrap());
}

/// Every tensor is that of the model without outliers but for the planted elements, in the image tower alone.
#[test]
fn outliers_are_planted_in_a_few_places() {
    let (folder, path) = model(DType::F32);
    let planted = folder.path().join("outliers.safetensors");
    random::write_with_outliers(&planted, &tiny(), 7, DType::F32).unwrap();
    let (plain, planted) = (open(&path).unwrap(), open(&planted).unwrap());
    let width = tiny().vision.width;
    for spec in table(&tiny()) {
        let [a, b] = [&plain, &planted].map(|weights| weights.tensor(&spec.name).unwrap().to_f32().unwrap());
        let differ: Vec<usize> = (0..a.len()).filter(|&i| a[i] != b[i]).collect();
        let largest = |x: &[f32]| x.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let name = spec.name.as_str();
        // A quarter of three blocks is none: the first one.
        let expected = match name.strip_prefix("visual.transformer.resblocks.") {
            Some(rest) if rest.ends_with("ln_1.weight") || rest.ends_with("ln_2.weight") => 1..=3,
            Some("0.mlp.c_fc.weight") => width / 2..=width,
            Some("0.mlp.c_fc.bias" | "0.mlp.c_proj.weight") => 1..=2,
            None if name == "visual.positional_embedding" => width / 2..=2 * width,
            _ => 0..=0,
        };
        assert!(expected.contains(&differ.len()), "{name}: {} elements differ", differ.len());
        if !differ.is_empty() {
            assert!(largest(&b) > largest(&a), "{name}: {}, with outliers {}", largest(&a), largest(&b));
        }
    }
}

#[test]
fn random_numbers_have_the_intended_mean_and_spread() {
    let (_folder, path) = model(DType::F32);
    let weights = open(&path).unwrap();
    // 128 x 64 weights of std 1.5 / sqrt(128): the error of the mean is std / 90, that of the std is std / 128.
    let values = weights.tensor("diff_head.projection2.weight").unwrap().to_f32().unwrap();
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let std = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let intended = 1.5 / 128_f64.sqrt();
    assert!(mean.abs() <= 0.05 * intended, "mean {mean}");
    assert!((std / intended - 1.0).abs() <= 0.04, "std {std}, intended {intended}");
    assert!(weights.tensor("diff_head.bn2.running_var").unwrap().to_f32().unwrap().iter().all(|&v| v > 0.6 && v < 1.4));
}

#[test]
fn the_hash_is_pinned_and_does_not_depend_on_files_or_unused_tensors() {
    let (folder, path) = model(DType::F32);
    let whole = open(&path).unwrap();
    // Changes only if the generator, the configuration's text or the definition of the hash change: then banks made
    // before no longer match their weights.
    assert_eq!(whole.hash(), "ac0efc97ee67604f943e8893f5dfa9bb525ac1c95bc6b68f225e93cf8168a22c");

    let raw = Raw::read(&path);
    let is_head = |name: &str| name.starts_with("adapter.") || name.starts_with("diff_head");
    let (heads, clip): (BTreeMap<_, _>, _) = raw.tensors.into_iter().partition(|(name, _)| is_head(name));
    let heads =
        Raw { tensors: heads.into_iter().filter(|(name, _)| !ignored(&tiny(), name)).collect(), config: raw.config };
    let clip = Raw { tensors: clip, config: None };
    let paths = ["clip.safetensors", "heads.safetensors"].map(|name| folder.path().join(name));
    clip.write(&paths[0]);
    heads.write(&paths[1]);
    let split = LoadOptions { heads: Some(paths[1].clone()), ..options(&paths[0]) };
    assert_eq!(Weights::open(&split).unwrap().hash(), whole.hash());

    let config = folder.path().join("named.json");
    fs::write(&config, tiny().to_json()).unwrap();
    // Without its heads the model is whole, and another one.
    let bare = Weights::open(&LoadOptions { config: Some(config), ..options(&paths[0]) }).unwrap();
    assert!(whole.has_heads() && !bare.has_heads());
    assert_ne!(bare.hash(), whole.hash());
    assert_eq!(bare.clip_hash(), whole.clip_hash());
    // A file of heads that lacks some of them is not.
    let half = folder.path().join("half.safetensors");
    let mut some = Raw::read(&paths[1]);
    some.tensors.retain(|name, _| name.starts_with("adapter."));
    some.write(&half);
    let error = Weights::open(&LoadOptions { heads: Some(half), ..options(&paths[0]) }).unwrap_err();
    assert_says(&error, &["diff_head_ref.projection1.weight [128, 8]", "28 missing"]);

    let twice = LoadOptions { heads: Some(paths[1].clone()), ..options(&path) };
    assert_says(&Weights::open(&twice).unwrap_err(), &["in both files", "adapter.fc.2.weight"]);

    let changes: [fn(&mut Arch); 2] = [|arch| arch.alpha = 1.0, |arch| arch.taps = vec![1, 2]];
    for change in changes {
        let mut arch = tiny();
        change(&mut arch);
        fs::write(folder.path().join("model.json"), arch.to_json()).unwrap();
        assert_ne!(open(&path).unwrap().hash(), whole.hash());
    }
}

#[test]
fn configurations_are_searched_in_order() {
    let (folder, path) = model(DType::F32);
    let with_alpha = |alpha| Arch { alpha, ..tiny() }.to_json();
    let alpha = |options: &LoadOptions| Weights::open(options).unwrap().arch().alpha;
    assert_eq!(alpha(&options(&path)), 0.5);
    fs::write(folder.path().join("config.json"), with_alpha(2.0)).unwrap();
    assert_eq!(alpha(&options(&path)), 2.0);
    fs::write(folder.path().join("model.json"), with_alpha(3.0)).unwrap();
    assert_eq!(alpha(&options(&path)), 3.0);
    let named = folder.path().join("named.json");
    fs::write(&named, with_alpha(4.0)).unwrap();
    let mut options = LoadOptions { config: Some(named.clone()), ..options(&path) };
    assert_eq!(alpha(&options), 4.0);

    fs::write(&named, "{").unwrap();
    let error = Weights::open(&options).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Config, Some(named.as_path())));
    options.config = Some(folder.path().join("absent.json"));
    assert_eq!(Weights::open(&options).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn without_any_configuration_shapes_decide() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut arch = tiny();
    (arch.vision.width, arch.vision.heads, arch.vision.layers, arch.vision.image_size) = (64, 1, 12, 12);
    arch.text = arch.text.map(|text| TextArch { width: 128, heads: 2, ..text });
    (arch.taps, arch.alpha) = (vec![7, 9, 11], 1.0);
    random::write(&path, &arch, 1, DType::F16).unwrap();
    let raw = Raw { config: None, ..Raw::read(&path) };
    raw.write(&path);
    assert_eq!(open(&path).unwrap().arch(), &arch);
    assert_says(&refused(|raw| raw.config = None), &["multiple of 64", "--config"]);
}

#[test]
fn one_error_names_every_difference() {
    let error = refused(|raw| {
        raw.tensors.remove("visual.proj");
        raw.tensors.remove("ln_final.bias");
        raw.tensors.insert("visual.extra".into(), (Dtype::F32, vec![2], vec![0; 8]));
        raw.tensors.get_mut("text_projection").unwrap().1.reverse();
        let adapter = raw.tensors.get_mut("adapter.fc.0.weight").unwrap();
        adapter.0 = Dtype::I32;
        raw.tensors.insert("attn_mask".into(), (Dtype::BOOL, vec![1], vec![1]));
    });
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert_says(
        &error,
        &[
            "2 missing:\n  visual.proj [12, 8]\n  ln_final.bias [6]\n",
            "1 unexpected:\n  visual.extra [2]\n",
            "1 misshaped:\n  text_projection: expected [6, 8], found [8, 6]\n",
            "1 of a storage type other than f32, f16 and bf16:\n  adapter.fc.0.weight: found I32",
        ],
    );
    assert!(!error.to_string().contains("--heads") && !error.to_string().contains("attn_mask"));
    assert_eq!(error.tensor(), Some("text_projection"));
    assert_eq!(error.shapes(), Some([&[6, 8][..], &[8, 6][..]]));
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let error = refused(|raw| raw.tensors.retain(|name, _| !name.starts_with("visual.")));
    let vision: Vec<_> = table(&tiny()).into_iter().filter(|spec| spec.tower == Tower::Vision).collect();
    assert_eq!((error.tensor(), error.shapes()), (Some(vision[0].name.as_str()), None));
    assert_says(&error, &[&format!("{} missing:", vision.len()), &format!("  ... and {} more", vision.len() - 12)]);
    for (i, spec) in vision.iter().enumerate() {
        let line = format!("  {} {}", spec.name, crate::tensor::shape_text(&spec.shape));
        assert_eq!(error.to_string().lines().any(|found| found == line), i < 12, "{line}: {error}");
    }
}

#[test]
fn files_of_other_libraries_name_the_way() {
    let renamed = |prefix: &str, config: bool| {
        refused(|raw| {
            let tensors = std::mem::take(&mut raw.tensors).into_iter();
            raw.tensors = tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
            raw.config = raw.config.take().filter(|_| config);
        })
    };
    for prefix in ["clip_model.", "ema.module."] {
        for config in [true, false] {
            let error = renamed(prefix, config);
            assert_eq!(error.kind(), ErrorKind::Weights);
            assert_says(&error, &[&format!("All names begin with `{prefix}`: `inctrl convert` removes it")]);
            assert!(error.to_string().lines().count() <= 2 * 12 + 8, "{error}");
        }
    }
    let error = refused(|raw| {
        let tensor = raw.tensors.remove("visual.conv1.weight").unwrap();
        raw.tensors.insert("vision_model.embeddings.patch_embedding.weight".into(), tensor);
    });
    assert_says(&error, &["Hugging Face's names: convert the file with `inctrl convert`"]);
    let error = refused(|raw| {
        let tensor = raw.tensors.get_mut("visual.proj").unwrap();
        *tensor = (Dtype::F64, tensor.1.clone(), vec![0; tensor.2.len() * 2]);
    });
    assert_says(&error, &["visual.proj: found F64", "`inctrl convert` rounds f64"]);
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, r#"{"metadata": {"total_size": 4}, "weight_map": {"a": "b"}}"#).unwrap();
    assert_says(&open(&index).unwrap_err(), &["in several files", "`inctrl convert`"]);
    assert_says(&open(folder.path()).unwrap_err(), &["is a folder", "`inctrl convert`"]);
    let hugging = model(DType::F32);
    Raw { config: None, ..Raw::read(&hugging.1) }.write(&hugging.1);
    fs::write(hugging.0.path().join("config.json"), r#"{"model_type": "clip", "vision_config": {}}"#).unwrap();
    assert_says(&open(&hugging.1).unwrap_err(), &["Hugging Face's configurations", "`inctrl convert`"]);
}

#[test]
fn a_negative_running_variance_is_refused_by_name() {
    let (_folder, path) = model(DType::F32);
    let mut raw = Raw::read(&path);
    raw.tensors.get_mut("diff_head.bn3.running_var").unwrap().2[4 * 5 + 3] |= 0x80;
    raw.write(&path);
    let error = open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert_says(&error, &["diff_head.bn3.running_var: element 5 is -"]);
    assert_eq!(error.tensor(), Some("diff_head.bn3.running_var"));
    let report = inspect(&options(&path)).unwrap();
    assert!(report.problems.len() == 1 && report.problems[0].contains("diff_head.bn3.running_var"), "{report}");
}

#[test]
fn every_tensor_that_is_not_finite_is_named_with_the_element() {
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        let (_folder, path) = model(dtype);
        let mut raw = Raw::read(&path);
        let mut poison = |name: &str, element: usize, byte: u8| {
            let end = (element + 1) * dtype.size();
            raw.tensors.get_mut(name).unwrap().2[end - 2..end].copy_from_slice(&[0xc0 * (byte & 1), 0x7f]);
        };
        // 0x7fc0 at the top is NaN in f32 and bf16; f16 has NaN from 0x7c01 to 0x7fff.
        poison("visual.proj", 17, 1);
        poison("diff_head.bn3.bias", 63, 1);
        raw.write(&path);
        let error = open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        assert_says(&error, &["visual.proj [12, 8]: element 17 is NaN", "diff_head.bn3.bias [64]: element 63 is NaN"]);
        assert_eq!(error.tensor(), Some("visual.proj"));
    }
    let error = refused(|raw| {
        let data = &mut raw.tensors.get_mut("visual.conv1.weight").unwrap().2;
        data[..4].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    });
    assert_says(&error, &["visual.conv1.weight [12, 3, 4, 4]: element 0 is -inf"]);
}

#[test]
fn files_that_are_no_intact_safetensors_say_what_they_are() {
    let (folder, path) = model(DType::F32);
    let good = fs::read(&path).unwrap();
    let mut longer = good.clone();
    longer.push(0);
    let mut lying = good.clone();
    let at = lying.windows(4).position(|w| w == b"[12,").unwrap();
    lying[at + 1] = b'9';
    let cases: [(&[u8], &str); 11] = [
        (b"", "empty"),
        (b"1234", "too few"),
        (b"PK\x03\x04 and a long archive follows", "PyTorch checkpoint, convert it with `inctrl convert`"),
        (b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dict", "PyTorch checkpoint, convert it with `inctrl convert`"),
        (b"GGUF and other formats that are not ours", "not a safetensors file"),
        (b"\x40\0\0\0\0\0\0\0{\"a\":", "truncated"),
        (b"\x02\0\0\0\0\0\0\0{]", "damaged"),
        (&good[..good.len() / 2], "truncated"),
        (&good[..good.len() - 1], "truncated"),
        (&longer, "tensors end at"),
        (&lying, "damaged safetensors header"),
    ];
    for (bytes, part) in cases {
        fs::write(&path, bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Weights, Some(path.as_path())));
        assert_says(&error, &[part]);
    }
    assert_says(&open(folder.path()).unwrap_err(), &["is a folder"]);
    assert_eq!(open(&folder.path().join("absent")).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn random_damage_is_an_error_or_a_model_but_never_a_panic() {
    let (_folder, path) = model(DType::F16);
    let good = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut state = 1_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % bound
    };
    let mut refused = 0;
    for round in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..1 + below(3) {
            // Mostly in the header, where the structure is.
            let at = below(if round % 4 == 0 { bytes.len() } else { header });
            bytes[at] = if round % 2 == 0 { below(256) as u8 } else { b"0123456789[]{}\",:-"[below(18)] };
        }
        if round % 5 == 0 {
            bytes.truncate(below(good.len()));
        }
        fs::write(&path, bytes).unwrap();
        refused += usize::from(open(&path).is_err());
        let _ = inspect(&options(&path));
    }
    assert!(refused > 150, "only {refused} of 300 damaged files were refused");
}

/// Writes into a file in its place, and leaves its time of change as it was.
fn write_into(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_tensor_that_is_written_into_is_refused_and_the_others_are_not() {
    let (_folder, path) = model(DType::F16);
    let weights = open(&path).unwrap();
    let before = weights.tensor("token_embedding.weight").unwrap().to_f32().unwrap();
    // 50 rows of 6: the last, the first, one of them twice.
    let rows = weights.rows("token_embedding.weight", &[49, 0, 7, 7]).unwrap();
    let expected = [&before[49 * 6..], &before[..6], &before[42..48], &before[42..48]].concat();
    assert_eq!(rows, expected);
    assert_eq!(weights.rows("token_embedding.weight", &[50]).unwrap_err().kind(), ErrorKind::Argument);

    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor("token_embedding.weight").unwrap().data();
    let at = (data.as_ptr() as usize - bytes.as_ptr() as usize) as u64;
    // The last byte but one of a row that nobody asks for below.
    write_into(&path, at + 12 * 30 + 10, &[data[12 * 30 + 10] ^ 1]);
    for read in [
        |w: &Weights| w.tensor("token_embedding.weight").map(drop),
        |w: &Weights| w.rows("token_embedding.weight", &[3]).map(drop),
    ] {
        let error = read(&weights).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Weights, Some(path.as_path())));
        assert_says(&error, &["other numbers in tensor `token_embedding.weight` since it was opened", "renaming"]);
    }
    weights.tensor("visual.proj").unwrap();
    // As it was: the model of the hash again.
    write_into(&path, 0, &bytes);
    assert_eq!(weights.tensor("token_embedding.weight").unwrap().to_f32().unwrap(), before);
}

#[test]
fn a_file_that_is_cut_short_is_an_error_and_one_that_is_replaced_or_removed_is_not() {
    let (folder, path) = model(DType::F32);
    let weights = open(&path).unwrap();
    let all = || {
        table(&tiny())
            .iter()
            .map(|spec| weights.tensor(&spec.name).and_then(|t| t.to_f32()))
            .collect::<Result<Vec<_>>>()
    };
    let before = all().unwrap();
    let moved = folder.path().join("moved.safetensors");
    fs::rename(&path, &moved).unwrap();
    random::write(&path, &tiny(), 8, DType::F32).unwrap();
    assert_eq!(all().unwrap(), before);
    fs::OpenOptions::new().append(true).open(&moved).unwrap().write_all(&[0; 100]).unwrap();
    assert_eq!(all().unwrap(), before);
    let file = fs::OpenOptions::new().write(true).open(&moved).unwrap();
    for length in [fs::metadata(&moved).unwrap().len() / 2, 0] {
        file.set_len(length).unwrap();
        let error = all().unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Weights, Some(path.as_path())));
        assert_says(&error, &["has become shorter since it was opened"]);
    }
    fs::remove_file(&moved).unwrap();
    assert_says(&all().unwrap_err(), &["shorter"]);
}

#[test]
fn inspection_reports_and_gathers_problems() {
    let (folder, path) = model(DType::Bf16);
    let report = inspect(&options(&path)).unwrap();
    assert_eq!(report.hash.as_deref(), Some(open(&path).unwrap().hash()));
    assert_eq!(report.arch, Some((tiny(), ArchSource::Metadata(path.clone()))));
    assert_eq!(report.files[0].dtypes["I64"], 6);
    let counted: u64 = report.parameters.values().sum();
    assert_eq!(counted, table(&tiny()).iter().map(|spec| spec.shape.iter().product::<usize>() as u64).sum::<u64>());
    assert!(report.problems.is_empty());
    assert!(report.to_string().ends_with("problems: none"), "{report}");

    let mut raw = Raw::read(&path);
    raw.tensors.remove("visual.proj");
    raw.tensors.get_mut("visual.class_embedding").unwrap().2[..2].copy_from_slice(&[0xc0, 0x7f]);
    raw.write(&path);
    let report = inspect(&options(&path)).unwrap();
    assert_eq!((report.hash.as_ref(), report.problems.len()), (None, 2));
    assert!(report.to_string().contains("visual.class_embedding [12]: element 0 is NaN"), "{report}");

    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let report = inspect(&options(&path)).unwrap();
    assert!(report.arch.is_none() && report.problems[0].contains("embed_dim") || report.problems[0].contains("_cfg"));
}

#[test]
fn an_invalid_architecture_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let arch = Arch { taps: vec![4], ..tiny() };
    let error = random::write(folder.path().join("model"), &arch, 0, DType::F32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
