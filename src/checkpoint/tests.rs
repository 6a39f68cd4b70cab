//! Pickles, archives and descriptions that must be refused, and thousands that are damaged at random.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use proptest::prelude::*;

use super::budget::Budget;
use super::pickle::{Pickle, Subject};
use super::*;
use crate::error::{Error, ErrorKind};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)).unwrap()
}

/// A file in the format before archives: the pickle that holds the model, then that of the storage keys, then storages.
fn legacy(model: &[u8], rest: &[u8]) -> Vec<u8> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [magic, model, rest].concat()
}

/// One storage, `0`, of 12 floats.
fn storage_0() -> Vec<u8> {
    [&b"\x80\x02]X\x01\0\0\x000a.\x0c\0\0\0\0\0\0\0"[..], &[0; 48]].concat()
}

fn refusal(bytes: &[u8]) -> Error {
    // A list of tensors goes through the same reader.
    if let Ok(tensors) = torch::read_list(&bytes) {
        panic!("accepted, as the list {tensors:?}");
    }
    match torch::read(&bytes) {
        Ok(content) => panic!("accepted, with the tensors {:?}", content.tensors),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_refused(bytes: &[u8], parts: &[&str]) {
    let error = refusal(bytes);
    assert_eq!(error.kind(), ErrorKind::Weights);
    for part in parts {
        assert!(error.to_string().contains(part), "expected {part:?} in: {error}");
    }
}

/// The fields of a pickled state_dict with the tensor `w`, in order, each of which leaves one value on the stack or
/// consumes as many as it should.
fn fields() -> Vec<Vec<u8>> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    vec![
        b"\x80\x02}(".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x0c".to_vec(),
        b"NtQ".to_vec(),
        b"K\x00".to_vec(),
        b"K\x03K\x04\x86".to_vec(),
        b"K\x04K\x01\x86".to_vec(),
        b"\x89".to_vec(),
        b"}".to_vec(),
        b"tRu.".to_vec(),
    ]
}

/// A field, and what stands in its place.
type Change<'a> = (usize, &'a [u8]);

/// The state_dict of [`fields`] with some replaced.
fn with(changes: &[Change<'_>]) -> Vec<u8> {
    let mut fields = fields();
    for (at, bytes) in changes {
        fields[*at] = bytes.to_vec();
    }
    legacy(&fields.concat(), &storage_0())
}

#[test]
fn the_plain_state_dict_of_these_tests_is_read() {
    let content = torch::read(&&*with(&[])).unwrap();
    let tensor = &content.tensors["w"];
    assert_eq!((tensor.dtype, &*tensor.shape, tensor.range.len()), (Dtype::F32, &[3, 4][..], 48));
    assert!(tensor.is_dense());
    // Transposed, and a part of the storage.
    let content = torch::read(&&*with(&[(9, b"K\x03"), (10, b"K\x02K\x03\x86"), (11, b"K\x01K\x02\x86")])).unwrap();
    let tensor = &content.tensors["w"];
    assert!(!tensor.is_dense());
    assert_eq!((tensor.range.len(), &*tensor.strides), (4 * 6, &[1, 2][..]));
}

/// Ways of pickles to run something; each leaves one value where Python would have the result.
const EVIL: [(&[u8], &str); 12] = [
    (b"cos\nsystem\n(X\x04\0\0\0echotR", "refused global `os.system`"),
    (b"cposix\nsystem\nX\x04\0\0\0echo\x85R", "refused global `posix.system`"),
    (b"cbuiltins\neval\nX\x01\0\0\x001\x85R", "refused global `builtins.eval`"),
    (b"\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R", "refused global `os.system`"),
    (b"ctorch.storage\n_load_from_bytes\nC\x01.\x85R", "refused global `torch.storage._load_from_bytes`"),
    (b"c__torch__.os\nSystem\n)\x81", "refused global `__torch__.os.System`"),
    (b"(X\x04\0\0\0echoios\nsystem\n", "refused opcode 0x69"),
    (b"(cos\nsystem\nX\x04\0\0\0echoo", "refused global `os.system`"),
    (b"\x82\x01", "refused opcode 0x82"),
    (b"ctorch\ndevice\n)}\x92", "refused opcode 0x92"),
    (b"X\x01\0\0\0a)R", "refused call of something that is not a known function"),
    (b"ctorch\nFloatStorage\n)R", "refused call of Storage"),
];

#[test]
fn what_would_run_something_is_refused_in_every_field() {
    for (payload, part) in EVIL {
        for field in 1..fields().len() - 1 {
            // In place of the field, and as a dead value before it.
            assert_refused(&with(&[(field, payload)]), &[part, "at byte"]);
            let both = [payload, b"0", &fields()[field]].concat();
            assert_refused(&with(&[(field, &both)]), &[part, "at byte"]);
        }
        let nested = [&b"\x80\x02}X\x01\0\0\0a](((("[..], payload, b"tttaes."].concat();
        assert_refused(&legacy(&nested, &storage_0()), &[part]);
        // At the start of a real archive's pickle, which is as long as it was.
        let mut archive = fixture("open_clip.pt");
        let at = archive.windows(2).position(|bytes| bytes == b"\x80\x02").unwrap() + 2;
        archive[at..at + payload.len()].copy_from_slice(payload);
        assert_refused(&archive, &[part]);
        // The pickles before and after the model's.
        assert_refused(
            &[b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".as_slice(), payload].concat(),
            &[part],
        );
        assert_refused(&legacy(&fields().concat(), payload), &[part]);
    }
    assert_refused(&legacy(b"\x80\x02}cos\nsystem\n.", b""), &["at byte 3 of its pickle"]);
    assert_refused(b"\x80\x02cos\nsystem\n.", &["not one that torch.save writes"]);
}

#[test]
fn descriptions_that_the_bytes_do_not_bear_out_are_refused() {
    let minus_one = b"K\x04J\xff\xff\xff\xff\x86";
    let huge = b"\x8a\x08\0\0\0\0\0\0\0\x40K\x04\x86";
    let cases: [(&[Change<'_>], &str); 12] = [
        (&[(11, minus_one)], "tensor `w`: -1 among its sizes and strides"),
        (&[(10, minus_one)], "tensor `w`: -1 among its sizes and strides"),
        (&[(9, b"J\xff\xff\xff\xff")], "-1 among"),
        (&[(9, b"K\x01")], "does not fit its storage of 12 elements"),
        (&[(10, b"K\x04K\x04\x86")], "does not fit its storage"),
        (&[(10, huge)], "does not fit its storage"),
        (&[(11, huge)], "does not fit its storage"),
        (&[(10, b"K\x7fK\x04\x86"), (11, b"K\x00K\x01\x86")], "does not fit its storage"),
        (&[(10, b"K\x03\x85")], "1 sizes and 2 strides"),
        (&[(5, b"X\x01\0\0\x001")], "no tensor uses storage `0`"),
        (&[(4, b"ctorch\nDoubleStorage\n")], "reaches beyond its end"),
        (&[(3, b"X\x06\0\0\0module")], "no tensor uses storage `0`"),
    ];
    for (changes, part) in cases {
        assert_refused(&with(changes), &[part]);
    }
    let all = fields();
    let second: Vec<u8> = all[1..14].concat();
    let twice = [&all[..14].concat()[..], b"tR", &second, b"tRu."].concat();
    assert_eq!(torch::read(&&*legacy(&twice, &storage_0())).unwrap().tensors.len(), 1);
    let mut other = all;
    other[4] = b"ctorch\nIntStorage\n".to_vec();
    let clash = [&fields()[..14].concat()[..], b"tR", &other[1..].concat()].concat();
    assert_refused(&legacy(&clash, &storage_0()), &["storage `0` is used as two types"]);
}

fn plenty() -> Budget {
    Budget::new(1 << 30)
}

#[test]
fn pickles_that_grow_without_bound_are_cut_off() {
    let long = [b"\x80\x02".to_vec(), b"N0".repeat(600_000)].concat();
    assert_refused(&legacy(&long, &vec![0; 64 << 20]), &["more than 500000 opcodes"]);
    let long = [b"\x80\x02".to_vec(), vec![b']'; 400_000]].concat();
    assert_refused(&legacy(&long, b""), &["takes more memory than a checkpoint of its size needs at byte"]);
    // Objects that hold each other twice, thirty deep: 2^30 paths.
    let mut pickle = b"\x80\x02c__torch__\nM\nq\x00)\x81q\x01".to_vec();
    for i in 1..31 {
        pickle.extend([b'h', 0, b')', 0x81, b'}', b'(']);
        for key in [b"a", b"b"] {
            pickle.extend([b"X\x01\0\0\0", &key[..], &[b'h', i]].concat());
        }
        pickle.extend([b'u', b'b', b'q', i + 1]);
    }
    pickle.push(b'.');
    let pickle = Pickle::read(&pickle, Subject::Script, &mut plenty()).unwrap();
    assert!(pickle.tensors(&pickle.root).unwrap_err().to_string().contains("too many names or too long ones"));
    // An object that is its own attribute.
    let pickle =
        Pickle::read(b"\x80\x02c__torch__\nM\n)\x81q\x01}X\x01\0\0\0ah\x01sb.", Subject::Script, &mut plenty())
            .unwrap();
    assert!(pickle.tensors(&pickle.root).unwrap_err().to_string().contains("nested too deeply"));
}

/// The byte range of the pickle, where the structure is; directory records are at the end.
fn structure(file: &[u8]) -> [Range<usize>; 2] {
    let pickle = file.windows(2).position(|bytes| bytes == b"\x80\x02").unwrap();
    [pickle..file.len().min(pickle + 12_000), file.len().saturating_sub(8_000)..file.len()]
}

#[test]
fn archives_that_disagree_with_themselves_are_refused() {
    let good = fixture("open_clip.pt");
    let directory = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let change = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert_refused(&good[..good.len() - 1], &["no directory at its end"]);
    assert_refused(&good[..good.len() / 2], &["no directory at its end"]);
    assert_refused(&change(directory + 10, &[8]), &["data.pkl` is compressed"]);
    assert_refused(&change(directory + 8, &[1]), &["data.pkl` is encrypted"]);
    assert_refused(&change(directory + 24, &[1, 2, 3]), &["its two sizes are"]);
    assert_refused(&change(directory + 20, &[0xff, 0xff, 0xff, 0x7f]), &["reaches beyond"]);
    assert_refused(&change(directory + 42, &[1]), &["has no header at byte 1"]);
    assert_refused(&change(30, b"x"), &["another name in its own header"]);
    // The pickle's length as far as the directory, and then over its neighbours.
    let length = (good.len() / 2) as u32;
    let mut overlapping = change(directory + 20, &length.to_le_bytes());
    overlapping[directory + 24..directory + 28].copy_from_slice(&length.to_le_bytes());
    assert_refused(&overlapping, &["overlap"]);
}

proptest! {
    // Each case reads about a dozen files, of ever more damage; `PROPTEST_CASES` raises the number of cases.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a file's bytes, reading it ends in tensors that lie in the file, or in an error.
    #[test]
    fn damaged_files_never_panic(
        which in 0_usize..4,
        changes in prop::collection::vec((0_usize..3, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..24),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let name = ["open_clip.pt", "open_clip_legacy.pt", "script.pt", "heads.pth"][which];
        let good = fixture(name);
        let [head, tail] = structure(&good);
        let mut file = good.clone();
        for (place, at, byte, flip) in changes {
            let range = [head.clone(), tail.clone(), 0..good.len()][place].clone();
            let at = range.start + at.index(range.len());
            file[at] = if flip { file[at] ^ (1 << (byte % 8)) } else { byte };
            examine(&file);
        }
        if let Some(cut) = cut {
            examine(&file[..cut.index(file.len())]);
        }
    }
}

fn examine(file: &[u8]) {
    let Ok(content) = torch::read(&file) else { return };
    for tensor in content.tensors.values() {
        assert!(tensor.range.start <= tensor.range.end && tensor.range.end <= file.len());
        let elements: usize = tensor.shape.iter().product();
        assert!(elements * tensor.dtype.bitsize() / 8 <= file.len());
    }
    let _ = names::translate(&content.tensors);
}
