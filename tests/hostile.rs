//! Malicious and damaged files end in errors, and take no more memory than their size allows.
//!
//! This is a separate test binary because it counts with a global allocator. The number of damaged files is small by
//! default;
//!
//! ```text
//! TMPDIR=/dev/shm INCTRL_MUTATIONS=1000000 cargo test --release --test hostile -- --nocapture
//! ```
//!
//! tries a million, from the seed `INCTRL_SEED` (1 without it).

mod counting;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use inctrl::checkpoint::{ConvertOptions, PromptList, convert};
use inctrl::{Error, ErrorKind};

use counting::peak;

/// Memory that reading a file may take beside the size of the file and that of its pickle.
const CONSTANT: usize = 8 << 20;
/// The longest pickle; in the format before archives, what is read at once to find its pickles.
const PICKLE: usize = 16 << 20;

/// One test at a time, so that nothing else is counted.
static ALONE: Mutex<()> = Mutex::new(());

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

/// Converts the file, and reads it as a prompt list.
fn read(source: &Path, output: &Path) -> [Result<(), Error>; 2] {
    let options = ConvertOptions { source: source.to_owned(), heads: None, config: None, dtype: None };
    let list = PromptList::open(source).and_then(|list| (0..list.len()).try_for_each(|i| list.get(i).map(drop)));
    [convert(&options, output, |_, _| ()).map(drop), list]
}

/// Reads the file in both ways and checks what holds for every file; says whether either succeeded.
fn examine(what: &str, source: &Path, output: &Path) -> bool {
    let length = fs::metadata(source).unwrap().len() as usize;
    let mut results = [Ok(()), Ok(())];
    let most = peak(|| results = read(source, output));
    assert!(most <= length + length.min(PICKLE) + CONSTANT, "{what}: {most} bytes of memory for a file of {length}");
    assert_eq!(output.exists(), results[0].is_ok(), "{what}");
    if results[0].is_ok() {
        fs::remove_file(output).unwrap();
    }
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::Weights | ErrorKind::Config | ErrorKind::Image | ErrorKind::Io),
            "{what}: {error:?}"
        );
        assert!(error.path().is_some(), "{what}: {error}");
    }
    results.iter().any(Result::is_ok)
}

const HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02";

/// A tensor of one float in storage `0`, its key in the dictionary before it; memo 1 is the tensor afterwards.
const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000\
X\x03\0\0\0cpuK\x01NtQK\0K\x01\x85K\x01\x85\x89}tRq\x01";

/// A file in the format before archives, whose only storage holds one float.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    [HEAD, pickle, b".\x80\x02]X\x01\0\0\x000a.\x01\0\0\0\0\0\0\0\0\0\0\0"].concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A dictionary of one tensor under all these names.
fn shared(names: impl Iterator<Item = String>) -> Vec<u8> {
    let entries: Vec<u8> = names.flat_map(|name| [text(&name), b"h\x01".to_vec()].concat()).collect();
    legacy(&[b"}(", &text("first")[..], TENSOR, &entries, b"u"].concat())
}

/// An archive of these stored files.
fn archive(files: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let (mut bytes, mut directory, mut count) = (Vec::new(), Vec::new(), 0_u16);
    for (name, content) in files {
        let (offset, size) = ((bytes.len() as u32).to_le_bytes(), (content.len() as u32).to_le_bytes());
        // Version, flags, method, time, date, checksum, the two sizes, the lengths of name and extension.
        let lengths = [(name.len() as u16).to_le_bytes(), [0; 2]].concat();
        let facts = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &size, &size, &lengths].concat();
        bytes.extend([b"PK\x03\x04", &facts[..], name.as_bytes(), &content].concat());
        directory.extend([b"PK\x01\x02\x14\0", &facts[..], &[0; 10], &offset, name.as_bytes()].concat());
        count = count.wrapping_add(1);
    }
    let (start, length, count) =
        ((bytes.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes(), count.to_le_bytes());
    [&bytes[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &length, &start, b"\0\0"].concat()
}

/// A safetensors file of `count` tensors without elements.
fn safetensors(count: usize) -> Vec<u8> {
    let entry = |i| format!("\"{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn small_files_take_little_memory_whatever_is_in_them() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("m.pt"), folder.path().join("w.safetensors"));
    let storage = || ("m/data/0".to_owned(), vec![0; 4]);
    let in_archive = |pickle: &[u8]| {
        let pickle = [b"\x80\x02", pickle, b"."].concat();
        archive([("m/data.pkl".to_owned(), pickle), storage()].into_iter())
    };
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("lists", legacy(&b"]".repeat(490_000))),
        ("marks", legacy(&b"(".repeat(490_000))),
        ("memo", legacy(&[b"N".as_slice(), &b"\x94".repeat(490_000)].concat())),
        ("numbers", legacy(&[b"(".as_slice(), &b"N".repeat(400_000), b"t"].concat())),
        ("tuples of tuples", legacy(&[b")".as_slice(), &b"\x85".repeat(490_000)].concat())),
        ("appended", legacy(&[b"]".as_slice(), &b"Na".repeat(240_000)].concat())),
        ("entries", legacy(&[b"}(".as_slice(), &b"N".repeat(400_000), b"u"].concat())),
        ("persistent", legacy(&b")Q".repeat(240_000))),
        ("one tensor under many names", shared((0..100_000).map(|i| i.to_string()))),
        ("one tensor under long names", shared((0..4_000).map(|i| format!("{i:01000}")))),
        ("one name of a megabyte", shared([String::from("a").repeat(1 << 20)].into_iter())),
        ("a list of one tensor", legacy(&[b"](", TENSOR, &b"h\x01".repeat(200_000), b"e"].concat())),
        ("a list of one tensor, as many as may be", legacy(&[b"](", TENSOR, &b"h\x01".repeat(4_000), b"e"].concat())),
        ("in an archive", in_archive(&b"]".repeat(490_000))),
        ("many files", archive((0..60_000).map(|i| (format!("m/data/{i}"), vec![])))),
        ("as many files as may be", archive((0..16_000).map(|i| (format!("m/data/{i}"), vec![])))),
        ("long names of files", archive((0..400).map(|i| (format!("m/data/{i:060000}"), vec![])))),
        ("a header of many tensors", safetensors(100_000)),
        ("as many tensors as a header holds", safetensors(9_000)),
    ];
    for (what, bytes) in files {
        fs::write(&source, &bytes).unwrap();
        let length = bytes.len();
        let most = peak(|| drop(read(&source, &output)));
        println!("{what}: {length} bytes, {most} of memory");
        assert!(!examine(what, &source, &output), "{what} is no model and no list");
    }
    // Names that are no model's, all of which the error lists.
    fs::copy(fixture("config.json"), folder.path().join("m.json")).unwrap();
    for (count, width) in [(4_000, 8), (4_000, 180), (2_000, 400)] {
        fs::write(&source, shared((0..count).map(|i| format!("{i:0width$}")))).unwrap();
        let most = peak(|| drop(read(&source, &output)));
        println!("{count} names of {width} bytes: {most} of memory");
        let [error, _] = read(&source, &output);
        assert!(error.unwrap_err().to_string().contains(&format!("{} unexpected:", count + 1)));
        assert!(!examine("names", &source, &output));
    }
    // A good model beside a configuration that is none.
    fs::copy(fixture("open_clip.pt"), &source).unwrap();
    for size in [60_000, 5_000_000] {
        let zeros = vec!["0"; size / 2].join(",");
        fs::write(folder.path().join("m.json"), format!("{{\"a\":[{zeros}]}}")).unwrap();
        let most = peak(|| drop(read(&source, &output)));
        println!("configuration of {size} bytes: {most} of memory");
        assert!(!examine("configuration", &source, &output));
    }
}

/// The generator of splitmix64: one step for each number.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Damages a file in one to eight places, mostly where its structure is.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            return;
        }
        // The beginning, the pickle or header, the directory at the end, anywhere.
        let pickle = bytes.windows(2).position(|pair| pair == b"\x80\x02").unwrap_or(0);
        let length = bytes.len();
        let (start, end) = match random.below(5) {
            0 => (0, 200),
            1 | 2 => (pickle, pickle + 12_000),
            3 => (length.saturating_sub(8_000), length),
            _ => (0, length),
        };
        let end = end.min(length);
        let at = start + random.below(end - start);
        match random.below(8) {
            0..=2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes[at] = random.next() as u8,
            4 => {
                // A number that is likely to be at a limit.
                let number = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 31, 0xffff_ffff][random.below(6)].to_le_bytes();
                let size = [1, 2, 4, 8][random.below(4)].min(length - at);
                bytes[at..at + size].copy_from_slice(&number[..size]);
            }
            5 => {
                let (from, size) = (random.below(length), random.below(64));
                let piece = bytes[from..length.min(from + size)].to_vec();
                let size = piece.len().min(length - at);
                bytes[at..at + size].copy_from_slice(&piece[..size]);
            }
            6 => {
                let size = random.below(16).min(length - at);
                bytes.drain(at..at + size);
            }
            _ if random.below(4) == 0 => bytes.truncate(at),
            _ => {
                let inserted = (random.next() & 0xffff_ffff).to_le_bytes();
                let size = random.below(8);
                bytes.splice(at..at, inserted[..size].iter().copied());
            }
        }
    }
}

#[test]
fn damaged_files_are_errors_and_take_no_more_memory() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed): (u64, u64) = (number("INCTRL_MUTATIONS", 2_000), number("INCTRL_SEED", 1));
    let folder = tempfile::tempdir().unwrap();
    let sources: Vec<(&str, Vec<u8>, Vec<u8>)> = [
        ("open_clip.pt", "config.json"),
        ("open_clip_legacy.pt", "config.json"),
        ("open_clip_training.pt", "config.json"),
        ("open_clip.safetensors", "config.json"),
        ("inctrl.pyth", "config.json"),
        ("script.pt", "config.json"),
        ("hf/model.safetensors", "hf/config.json"),
        ("hf_bin/pytorch_model.bin", "hf_bin/config.json"),
        ("scored/prompts.pt", "config.json"),
        ("scored/prompts_views.pt", "config.json"),
    ]
    .into_iter()
    .map(|(name, config)| (name, fs::read(fixture(name)).unwrap(), fs::read(fixture(config)).unwrap()))
    .collect();
    let (source, config) = (folder.path().join("m.pt"), folder.path().join("m.json"));
    let output = folder.path().join("w.safetensors");
    let (mut survived, mut file, mut json) = (0_u64, Vec::new(), Vec::new());
    for i in 0..count {
        let mut random = Random(seed ^ i.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let (name, good, settings) = &sources[random.below(sources.len())];
        file.clone_from(good);
        json.clone_from(settings);
        damage(if random.below(20) == 0 { &mut json } else { &mut file }, &mut random);
        fs::write(&source, &file).unwrap();
        fs::write(&config, &json).unwrap();
        // A panic fails the test; this says which file it was.
        let told = Told(name, i, seed);
        survived += u64::from(examine(name, &source, &output));
        std::mem::forget(told);
    }
    println!("{count} damaged files from seed {seed}: {survived} still readable, the rest errors");
    assert!(survived < count, "nothing was damaged");
    assert!(count < 100 || survived > 0, "all is refused, so that nothing beyond the first check was tried");
}

/// Names the damaged file when a panic unwinds through it.
struct Told<'a>(&'a str, u64, u64);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("damaged {} number {} from seed {}", self.0, self.1, self.2);
    }
}
