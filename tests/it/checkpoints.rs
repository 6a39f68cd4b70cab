//! Checkpoints of other programs, made by `scripts/fixtures/checkpoints.py` with the programs' own libraries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use inctrl::checkpoint::{ConvertOptions, Converted, convert};
use inctrl::methods::by_name;
use inctrl::tensor::DType;
use inctrl::weights::{LoadOptions, Tower, Weights, table};
use inctrl::{ErrorKind, Result};
use safetensors::SafeTensors;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

fn options(source: &str, heads: Option<&str>) -> ConvertOptions {
    ConvertOptions { source: fixture(source), heads: heads.map(fixture), config: None, dtype: None }
}

/// What the libraries saved, as numbers.
fn expected() -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(fixture("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = file.iter().filter(|(_, tensor)| tensor.dtype() == safetensors::Dtype::F32);
    let numbers = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    floats.map(|(name, tensor)| (name.to_owned(), numbers(tensor.data()))).collect()
}

fn to_file(options: &ConvertOptions, check: impl FnOnce(&Path, &Converted)) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("w.safetensors");
    let (mut last, mut whole) = (0, 0);
    let converted = convert(options, &output, |done, total| {
        assert!(done > last && done <= total);
        (last, whole) = (done, total);
    });
    let left = fs::read_dir(folder.path()).unwrap().count();
    let converted = converted.inspect_err(|_| assert_eq!(left, 0, "a refused file leaves nothing"))?;
    assert_eq!((left, last), (1, whole));
    assert_eq!(fs::metadata(&output).unwrap().len(), converted.bytes);
    check(&output, &converted);
    Ok(())
}

/// What was said, but for the tensors that were left out.
fn notes(converted: &Converted) -> impl Iterator<Item = &String> {
    converted.notes.iter().filter(|note| !note.starts_with("left out"))
}

fn open(path: &Path) -> Weights {
    Weights::open(&LoadOptions { weights: path.to_owned(), heads: None, config: None }).unwrap()
}

/// Fails unless every tensor of the model is what `round` makes of the number that was saved.
#[track_caller]
fn same(weights: &Weights, towers: &[Tower], round: impl Fn(f32) -> f32) {
    let expected = expected();
    for spec in table(weights.arch()).iter().filter(|spec| towers.contains(&spec.tower)) {
        let found = weights.tensor(&spec.name).unwrap().to_f32().unwrap();
        let wanted = &expected[&spec.name];
        assert_eq!(found.len(), wanted.len(), "{}", spec.name);
        for (a, b) in found.iter().zip(wanted) {
            assert_eq!(a.to_bits(), round(*b).to_bits(), "{}: {a} and {b}", spec.name);
        }
    }
}

const ALL: [Tower; 3] = [Tower::Vision, Tower::Text, Tower::Heads];

#[test]
fn every_program_s_file_becomes_the_same_model() {
    let mut hashes = Vec::new();
    for (source, heads) in [
        ("inctrl.pyth", None),
        ("expected.safetensors", None),
        ("open_clip.pt", Some("heads.pth")),
        ("open_clip.safetensors", Some("inctrl.pyth")),
        ("open_clip_training.pt", Some("heads.pth")),
        ("open_clip_legacy.pt", Some("heads.pth")),
        ("hf/model.safetensors", Some("heads.pth")),
        ("hf_bin/pytorch_model.bin", Some("heads.pth")),
    ] {
        println!("{source}");
        to_file(&options(source, heads), |path, converted| {
            assert!(converted.heads && converted.arch.quick_gelu);
            let weights = open(path);
            assert_eq!(weights.arch(), &converted.arch);
            same(&weights, &ALL, |x| x);
            hashes.push(weights.hash().to_owned());
        })
        .unwrap();
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "the identity of a model does not depend on where it came from");
}

#[test]
fn a_torchscript_archive_has_quick_gelu_whatever_the_configuration_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.json");
    let text = fs::read_to_string(fixture("config.json")).unwrap();
    fs::write(&plain, text.replace("\"quick_gelu\": true", "\"quick_gelu\": false")).unwrap();
    let mut options = options("script.pt", Some("heads.pth"));
    options.config = Some(plain);
    to_file(&options, |path, converted| {
        assert!(converted.arch.quick_gelu);
        let weights = open(path);
        assert_eq!(weights.tensor("visual.proj").unwrap().dtype, DType::F16);
        assert_eq!(weights.tensor("adapter.fc.0.weight").unwrap().dtype, DType::F32);
        same(&weights, &[Tower::Vision, Tower::Text], |x| f16::from_f32(x).to_f32());
        same(&weights, &[Tower::Heads], |x| x);
    })
    .unwrap();
}

#[test]
fn numbers_are_stored_as_asked() {
    for (dtype, round) in [
        (DType::F32, (|x| x) as fn(f32) -> f32),
        (DType::F16, |x| f16::from_f32(x).to_f32()),
        (DType::Bf16, |x| bf16::from_f32(x).to_f32()),
    ] {
        let options = ConvertOptions { dtype: Some(dtype), ..options("inctrl.pyth", None) };
        to_file(&options, |path, _| {
            let weights = open(path);
            assert_eq!(weights.tensor("visual.proj").unwrap().dtype, dtype);
            same(&weights, &ALL, round);
        })
        .unwrap();
    }
}

#[test]
fn a_clip_model_alone_is_converted_and_scores_nothing() {
    to_file(&options("hf/model.safetensors", None), |path, converted| {
        assert!(!converted.heads);
        let alone = Weights::open(&LoadOptions { weights: path.to_owned(), heads: None, config: None }).unwrap();
        let error = by_name("inctrl").unwrap().check_model(&alone).unwrap_err();
        assert!(!alone.has_heads() && error.to_string().contains("--heads"), "{error}");
    })
    .unwrap();
}

#[test]
fn one_error_names_every_difference() {
    let error = to_file(&options("heads.pth", None), |_, _| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("missing:") && text.contains("visual.conv1.weight [32, 3, 4, 4]"), "{text}");

    let both = to_file(&options("inctrl.pyth", Some("heads.pth")), |_, _| ()).unwrap_err();
    assert!(both.to_string().contains("30 in both files"), "{both}");
    let none = to_file(&options("inctrl.pyth", Some("open_clip.pt")), |_, _| ()).unwrap_err();
    assert!(none.to_string().contains("expected InCTRL's heads"), "{none}");

    let folder = tempfile::tempdir().unwrap();
    let lone = folder.path().join("model.safetensors");
    fs::copy(fixture("hf/model.safetensors"), &lone).unwrap();
    let error = to_file(&ConvertOptions { source: lone, ..options("", None) }, |_, _| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn damaged_numbers_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("open_clip.pt");
    let mut bytes = fs::read(fixture("open_clip.pt")).unwrap();
    // A NaN in the middle of every storage that is large enough to be hit.
    let at = bytes.len() / 2 / 4 * 4;
    bytes[at..at + 1024].copy_from_slice(&[0xff; 1024]);
    fs::write(&broken, bytes).unwrap();
    let mut options = ConvertOptions { source: broken, ..options("", None) };
    options.config = Some(fixture("config.json"));
    let error = to_file(&options, |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}

#[test]
fn a_negative_variance_is_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let name = "diff_head_ref.bn2.running_var";
    let whole = fs::read(fixture("expected.safetensors")).unwrap();
    let data = SafeTensors::deserialize(&whole).unwrap().tensor(name).unwrap().data().as_ptr() as usize;
    let at = data - whole.as_ptr() as usize + 4 * 3;
    // Below zero in every type; and so little below that f16 writes it as zero, which is a variance.
    for (value, dtype, refused) in [
        (-0.25f32, None, true),
        (-0.25, Some(DType::F16), true),
        (-1e-30, None, true),
        (-1e-30, Some(DType::F16), false),
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let source = folder.path().join("damaged.safetensors");
        fs::write(&source, bytes).unwrap();
        let options = ConvertOptions { source, dtype, config: Some(fixture("config.json")), ..options("", None) };
        let outcome = to_file(&options, |output, _| drop(open(output)));
        if refused {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Weights);
            assert!(error.to_string().contains(&format!("`{name}` holds the negative variance {value}")), "{error}");
            assert_eq!(error.tensor(), Some(name));
        } else {
            outcome.unwrap();
        }
    }
}

/// A tensor's name, type, shape and bytes.
type Stored = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

/// Tensors of a file as they are stored.
fn stored(path: &Path) -> Vec<Stored> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, t)| (name.to_owned(), t.dtype(), t.shape().to_vec(), t.data().to_vec())).collect()
}

fn write(path: &Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.clone(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Hugging Face's fixture in two files, so that queries and values lie apart from keys.
fn shards(index: impl Fn(&str, usize) -> String) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("hf/config.json"), folder.path().join("config.json")).unwrap();
    let (first, second): (Vec<_>, Vec<_>) = stored(&fixture("hf/model.safetensors"))
        .into_iter()
        .partition(|(name, ..)| name.contains("k_proj") || name.len() % 2 == 0);
    let mut map = serde_json::Map::new();
    for (i, tensors) in [first, second].iter().enumerate() {
        write(&folder.path().join(format!("model-{i}.safetensors")), tensors);
        map.extend(tensors.iter().map(|(name, ..)| (name.clone(), index(name, i).into())));
    }
    let json = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(folder.path().join("model.safetensors.index.json"), json.to_string()).unwrap();
    folder
}

#[test]
fn shards_are_joined_from_the_index_or_the_folder() {
    let folder = shards(|_, i| format!("model-{i}.safetensors"));
    for source in
        [folder.path().to_owned(), folder.path().join("model.safetensors.index.json"), fixture("hf"), fixture("hf_bin")]
    {
        let options = ConvertOptions { source, ..options("", Some("heads.pth")) };
        to_file(&options, |path, converted| {
            // The file of heads has a prefix of its own.
            assert!(notes(converted).all(|note| note.contains("heads.pth")), "{converted:?}");
            same(&open(path), &ALL, |x| x);
        })
        .unwrap();
    }
    let one = fixture("hf/model.safetensors");
    for (folder, part) in [
        (shards(|_, _| "model-0.safetensors".into()), "it is not there"),
        (shards(|_, i| format!("../model-{i}.safetensors")), "the name of a file in the same folder"),
        (shards(|_, _| one.display().to_string()), "the name of a file in the same folder"),
        (
            shards(|name, i| {
                if name == "logit_scale" {
                    "model.safetensors.index.json".into()
                } else {
                    format!("model-{i}.safetensors")
                }
            }),
            "in the same folder",
        ),
    ] {
        let error =
            to_file(&ConvertOptions { source: folder.path().to_owned(), ..options("", None) }, |_, _| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Weights);
        assert!(error.to_string().contains(part), "{error}");
        let named = error.tensor().unwrap_or_else(|| panic!("{error} names no tensor"));
        assert!(error.to_string().contains(&format!("`{named}`")), "{named}: {error}");
    }
    let missing = shards(|_, i| format!("model-{i}.safetensors"));
    fs::remove_file(missing.path().join("model-1.safetensors")).unwrap();
    let error =
        to_file(&ConvertOptions { source: missing.path().to_owned(), ..options("", None) }, |_, _| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let empty = tempfile::tempdir().unwrap();
    let error =
        to_file(&ConvertOptions { source: empty.path().to_owned(), ..options("", None) }, |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("give the checkpoint's file itself"), "{error}");
}

#[test]
fn a_prefix_of_all_names_is_taken_off_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model.safetensors");
    for (file, prefixes) in [
        ("expected.safetensors", &["clip_model.", "ema.module.", "_forward_module.", "some.thing.else."][..]),
        ("hf/model.safetensors", &["clip.", "student.module."]),
    ] {
        let config = if file.starts_with("hf") { "hf/config.json" } else { "config.json" };
        fs::copy(fixture(config), folder.path().join("config.json")).unwrap();
        for prefix in prefixes {
            let mut tensors = stored(&fixture(file));
            tensors.iter_mut().for_each(|(name, ..)| name.insert_str(0, prefix));
            write(&source, &tensors);
            let towers = if file.starts_with("hf") { &ALL[..2] } else { &ALL[..] };
            to_file(&ConvertOptions { source: source.clone(), ..options("", None) }, |path, converted| {
                let notes: Vec<_> = notes(converted).collect();
                assert!(notes.len() == 1 && notes[0].contains(&format!("`{prefix}`")), "{converted:?}");
                let written = fs::read(path).unwrap();
                assert!(SafeTensors::deserialize(&written).unwrap().tensor("visual.proj").is_ok());
                if towers.len() == 3 {
                    same(&open(path), towers, |x| x);
                }
            })
            .unwrap();
            // A second copy behind another prefix: which is meant is not ours to choose.
            let mut twice = tensors.clone();
            twice.extend(stored(&fixture(file)).into_iter().map(|(name, a, b, c)| (format!("other.{name}"), a, b, c)));
            write(&source, &twice);
            let error =
                to_file(&ConvertOptions { source: source.clone(), ..options("", None) }, |_, _| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Weights);
            assert!(error.to_string().lines().count() < 50, "{error}");
        }
    }
}

#[test]
fn doubles_are_rounded_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("w.safetensors");
    fs::copy(fixture("config.json"), folder.path().join("config.json")).unwrap();
    // A number between two of f32, so that rounding shows.
    let wide = |b: &[u8; 4]| (f64::from(f32::from_le_bytes(*b)) * (1.0 + 1e-9)).to_le_bytes();
    let doubled = |change: Option<f64>| {
        let mut tensors = stored(&fixture("expected.safetensors"));
        for (name, dtype, _, data) in tensors.iter_mut().filter(|(_, dtype, ..)| *dtype == safetensors::Dtype::F32) {
            *data = data.as_chunks::<4>().0.iter().flat_map(wide).collect();
            *dtype = safetensors::Dtype::F64;
            if let Some(change) = change.filter(|_| name == "visual.proj") {
                data[..8].copy_from_slice(&change.to_le_bytes());
            }
        }
        write(&source, &tensors);
        ConvertOptions { source: source.clone(), ..options("", None) }
    };
    to_file(&doubled(None), |path, converted| {
        let notes: Vec<_> = notes(converted).collect();
        assert!(notes.len() == 1 && notes[0].contains("were f64"), "{converted:?}");
        let weights = open(path);
        assert_eq!(weights.dtype("visual.proj").unwrap(), DType::F32);
        same(&weights, &ALL, |x| (f64::from(x) * (1.0 + 1e-9)) as f32);
    })
    .unwrap();
    let half = ConvertOptions { dtype: Some(DType::F16), ..doubled(None) };
    to_file(&half, |path, _| same(&open(path), &ALL, |x| f16::from_f32((f64::from(x) * (1.0 + 1e-9)) as f32).to_f32()))
        .unwrap();
    // Finite in f64 alone.
    let error = to_file(&doubled(Some(1e300)), |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("`visual.proj` holds a number that is not finite in f32"), "{error}");
    assert_eq!(error.tensor(), Some("visual.proj"));
}

#[test]
fn models_that_only_look_like_clip_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("model.safetensors");
    fs::copy(fixture("hf/model.safetensors"), &source).unwrap();
    let plain: serde_json::Value = serde_json::from_slice(&fs::read(fixture("hf/config.json")).unwrap()).unwrap();
    for (pointer, key, value, part) in [
        ("", "model_type", serde_json::json!("siglip"), "model_type = \"siglip\""),
        ("", "model_type", serde_json::json!("chinese_clip"), "chinese_clip"),
        ("", "model_type", serde_json::json!("altclip"), "altclip"),
        ("", "architectures", serde_json::json!(["CLIPSegForImageSegmentation"]), "CLIPSeg"),
        ("/vision_config", "model_type", serde_json::json!("siglip_vision_model"), "vision_config.model_type"),
        ("/text_config", "model_type", serde_json::json!("bert"), "text_config.model_type"),
        ("/text_config", "vocab_size", serde_json::json!(250_002), "vocab_size is 250002"),
        ("/text_config", "eos_token_id", serde_json::json!(1), "text_config.eos_token_id = 1"),
        ("/vision_config", "num_channels", serde_json::json!(4), "num_channels = 4"),
        ("/vision_config", "hidden_act", serde_json::json!("gelu_pytorch_tanh"), "hidden_act"),
    ] {
        let mut json = plain.clone();
        json.pointer_mut(pointer).unwrap()[key] = value;
        fs::write(folder.path().join("config.json"), json.to_string()).unwrap();
        let error = to_file(&ConvertOptions { source: source.clone(), ..options("", None) }, |_, _| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{error} does not say {part}");
    }
}
