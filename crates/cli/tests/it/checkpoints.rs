//! Prompt lists and checkpoints of other programs on the command line, good and bad.

use std::fs;

use inctrl::PromptBank;

use crate::common::converted::{TOLERANCE, converted, facts, fixture, picture};
use crate::compare::close;
use crate::program::Bench;

#[test]
fn the_program_takes_lists_wherever_it_takes_normals() {
    let (facts, bench) = (facts(), Bench::empty());
    converted("open_clip.pt", &bench.path("w.safetensors"));
    fs::copy(fixture("prompts.pt"), bench.path("nut.pt")).unwrap();
    fs::copy(picture("normal_0.png"), bench.path("normal_0.png")).unwrap();
    fs::copy(picture(&facts.queries[0]), bench.path("query.png")).unwrap();
    let build = ["bank", "build", "--weights", "w.safetensors", "--class", &facts.class, "-o", "nut.bank", "--normals"];
    bench.run(&[&build[..], &["nut.pt"]].concat()).succeeded();
    let bank = PromptBank::open(bench.path("nut.bank")).unwrap();
    assert_eq!(bank.info().prompts, facts.normals.len());
    let row = |args: &[&str]| bench.score(args).succeeded().rows()[0]["score"].as_f64().unwrap() as f32;
    let from_bank = row(&["--bank", "nut.bank", "query.png", "--format", "jsonl"]);
    let at_once = row(&["--class", &facts.class, "--normals", "nut.pt", "--format", "jsonl", "query.png"]);
    close("score", &[from_bank, at_once], &[facts.scores["open_clip.pt"][0][0]; 2], TOLERANCE, 1.0);

    bench
        .run(&["bank", "append", "--weights", "w.safetensors", "--bank", "nut.bank", "--normals", "normal_0.png"])
        .succeeded();
    assert_eq!(PromptBank::open(bench.path("nut.bank")).unwrap().info().prompts, facts.normals.len() + 1);
}

/// A list of one tensor in the format before archives: its storage type, shape, strides and numbers.
fn list_of_one(storage: &str, shape: &[u8], strides: &[u8], numbers: &[u8]) -> Vec<u8> {
    let size = match storage {
        "Float" => 4,
        "Half" => 2,
        _ => 8,
    };
    let tuple = |values: &[u8]| [&b"("[..], &values.iter().flat_map(|v| [b'K', *v]).collect::<Vec<_>>(), b"t"].concat();
    [
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02]".as_slice(),
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n",
        storage.as_bytes(),
        b"Storage\nX\x01\0\0\x000X\x03\0\0\0cpuK\0NtQK\0",
        &tuple(shape),
        &tuple(strides),
        b"\x89}tRa.\x80\x02]X\x01\0\0\x000a.",
        &((numbers.len() / size) as u64).to_le_bytes(),
        numbers,
    ]
    .concat()
}

#[test]
fn lists_that_are_no_prompts_are_refused_by_name() {
    let bench = Bench::new();
    let floats = |count: usize, value: f32| value.to_le_bytes().repeat(count);
    let whole = |value| floats(3 * 16, value);
    let square = (&[3, 4, 4][..], &[16, 4, 1][..]);
    let mut one_nan = whole(0.5);
    one_nan[4 * 21..4 * 22].copy_from_slice(&f32::NAN.to_le_bytes());
    let head =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".as_slice();
    let bare = |value: &[u8]| [head, value, b"\x80\x02]."].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", bare(b"]."), "is an empty list: K = 0"),
        ("text", bare(b"]X\x01\0\0\0aa."), "item 0: is not a tensor"),
        ("number", bare(b"K\x01."), "holds something else, expected a list of tensors"),
        (
            "rank",
            list_of_one("Float", &[3, 16], &[16, 1], &whole(0.5)),
            "item 0 of the list has shape [3, 16], expected [3, S, S]",
        ),
        ("grey", list_of_one("Float", &[1, 4, 4], &[16, 4, 1], &whole(0.5)), "has shape [1, 4, 4]"),
        ("oblong", list_of_one("Float", &[3, 2, 8], &[16, 8, 1], &whole(0.5)), "has shape [3, 2, 8]"),
        ("none", list_of_one("Float", &[3, 0, 0], &[0, 1, 1], &whole(0.5)), "has shape [3, 0, 0]"),
        (
            "double",
            list_of_one("Double", square.0, square.1, &[0; 8 * 48]),
            "is stored as F64, expected F32, F16 or BF16",
        ),
        (
            "beyond",
            list_of_one("Float", &[3, 8, 8], &[64, 8, 1], &whole(0.5)),
            "does not fit its storage of 48 elements",
        ),
        ("nan", list_of_one("Float", square.0, square.1, &one_nan), "holds NaN at channel 1, row 1, column 1"),
        ("plain", list_of_one("Float", square.0, square.1, &whole(255.0)), "holds 255 at channel 0, row 0, column 0"),
        ("size", list_of_one("Float", square.0, square.1, &whole(0.5)), "is 4 x 4 pixels, but the model takes 48 x 48"),
        ("evil", bare(b"]cos\nsystem\n(X\x0b\0\0\0touch ownedtRa."), "refused global `os.system`"),
        ("evil_item", bare(b"](cposix\nsystem\nX\x0b\0\0\0touch owned\x85Rt."), "refused global `posix.system`"),
        ("cut", list_of_one("Float", square.0, square.1, &whole(0.5))[..200].to_vec(), "is truncated: storage `0`"),
        ("other", b"no pickle".to_vec(), "was not written by torch.save"),
        ("nothing", vec![], "is empty (0 bytes)"),
        ("model", fs::read(fixture("heads.pth")).unwrap(), "holds a dictionary (a model is for `inctrl convert`)"),
    ];
    let before = bench.names(".").len();
    for (name, file, part) in cases {
        let name = format!("{name}.pt");
        bench.write(&name, file);
        let args =
            ["bank", "build", "--weights", "w.safetensors", "--class", "cat", "-o", "b.bank", "--normals", &name];
        bench.run(&args).refused(&["1 of 1 normal images cannot be used", &name, part]);
        fs::remove_file(bench.path(&name)).unwrap();
        assert_eq!(bench.names(".").len(), before, "{name} leaves nothing behind");
    }
}

#[test]
fn a_malicious_checkpoint_leaves_nothing_behind() {
    let bench = Bench::empty();
    let head =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".as_slice();
    // As the value of the state_dict, and deep in a field of its tensor.
    for value in [
        b"cos\nsystem\n(X\x0b\0\0\0touch ownedtR.".as_slice(),
        b"}(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagecos\nsystem\n(X\x0b\0\0\0touch ownedtRtQtRu.",
    ] {
        bench.write("m.pt", [head, value].concat());
        let run = bench.run(&["convert", "m.pt", "-o", "w.safetensors"]);
        run.refused(&["m.pt: refused global `os.system`", "at byte", "of its pickle"]);
        assert_eq!(bench.names("."), ["m.pt"]);
    }
}
