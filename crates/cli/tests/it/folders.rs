//! One rule for what is a picture in folders, globs, `--normals` and lists of paths.

use std::io::Write;

use crate::program::Bench;

const GOOD: [&str; 2] = ["--normals", "good"];
const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";

/// A folder with pictures under odd names, pictures that are not decoded, and other files.
fn mixed(bench: &Bench) {
    for (name, from) in [("q/b.jfif", 2), ("q/c", 3), ("q/sub/d.png", 4)] {
        bench.picture("x.png", 40, 40, from);
        std::fs::create_dir_all(bench.path("q/sub")).unwrap();
        let picture = image::open(bench.path("x.png")).unwrap();
        picture.save_with_format(bench.path(name), image::ImageFormat::Jpeg).unwrap();
    }
    bench.picture("q/a.png", 40, 40, 1);
    bench.write("q/e.heic", HEIC);
    bench.write("q/f.gif", b"GIF89a\x01\0\x01\0");
    bench.write("q/labels.csv", "a,b");
    bench.write("q/Thumbs.db", "x");
}

#[test]
fn a_folder_and_a_glob_have_the_same_rows_and_name_the_rest() {
    let bench = Bench::new();
    mixed(&bench);
    let mut all = Vec::new();
    for query in ["q", "q/*", "?"] {
        let run = bench.score(&[&GOOD[..], &[query, "--format", "jsonl"]].concat());
        assert_eq!(run.code, 2, "{query}: {}", run.stderr);
        for part in ["note: 2 files ignored: 1 .csv, 1 .db", "2 of 6 queries failed"] {
            assert!(run.stderr.contains(part), "{query}: {}", run.stderr);
        }
        all.push(run.rows());
    }
    let paths: Vec<_> = all[0].iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["q/a.png", "q/b.jfif", "q/c", "q/e.heic", "q/f.gif", "q/sub/d.png"]);
    assert_eq!((&all[0], &all[0]), (&all[1], &all[2]));
    let error = |row: usize| all[0][row]["error"].as_str().unwrap();
    assert!(error(3).contains("HEIC") && error(4).contains("GIF"), "{} {}", error(3), error(4));
    assert!(all[0][3]["score"].is_null() && all[0][2]["score"].is_number());
    // A glob of no picture is a row that says so, and a file that is named is always a query.
    let run = bench.score(&[&GOOD[..], &["q/*.csv", "q/labels.csv", "--format", "jsonl"]].concat());
    let rows = run.rows();
    assert_eq!((run.code, rows.len()), (2, 2));
    assert!(rows[0]["error"].as_str().unwrap().contains("matches no picture: 1 file ignored: 1 .csv"));
}

#[test]
fn normal_images_are_chosen_by_the_same_rule_and_a_bad_one_is_refused() {
    let bench = Bench::new();
    mixed(&bench);
    let build = ["bank", "build", "--weights", "w.safetensors", "--normals", "q", "-o", "b"];
    let run = bench.run(&build);
    assert_eq!(run.code, 1, "{}", run.stdout);
    for part in ["2 of 5 normal images cannot be used", "q/e.heic", "q/f.gif", "1 subfolder not entered"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    std::fs::remove_file(bench.path("q/e.heic")).unwrap();
    std::fs::remove_file(bench.path("q/f.gif")).unwrap();
    let run = bench.run(&build);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("prompts  3"), "{}", run.stdout);
    // A folder whose pictures are all in its subfolders says where they are not looked for.
    std::fs::create_dir(bench.path("above")).unwrap();
    std::fs::rename(bench.path("q"), bench.path("above/q")).unwrap();
    bench.score(&["--normals", "above", "query.png"]).refused(&["K = 0", "1 subfolder not entered"]);
}

#[cfg(unix)]
#[test]
fn linked_folders_are_entered_by_folders_and_globs_alike() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new();
    bench.picture("elsewhere/1.png", 40, 40, 1);
    bench.picture("q/2.png", 40, 40, 2);
    symlink(bench.path("elsewhere"), bench.path("q/linked")).unwrap();
    symlink(bench.path("q"), bench.path("q/loop")).unwrap();
    for query in ["q", "q/**/*.png"] {
        let run = bench.score(&[&GOOD[..], &[query, "--format", "jsonl"]].concat());
        assert_eq!(run.code, 0, "{query}: {}", run.stderr);
        let paths: Vec<_> = run.rows().iter().map(|row| row["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(paths, ["q/2.png", "q/linked/1.png"], "{query}");
    }
}

#[test]
fn a_list_with_a_byte_order_mark_loses_nothing_and_a_wide_one_is_refused() {
    let bench = Bench::new();
    let list = |bytes: &[u8]| {
        let mut child = bench.start(&["--normals", "good", "-", "--format", "jsonl"]);
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, rows) = list(b"\xef\xbb\xbfquery.png\r\ngood/a.png\r\n");
    assert_eq!((code, rows.lines().count(), rows.contains("error\":null")), (Some(0), 2, true), "{rows}");
    let wide: Vec<u8> = "\u{feff}query.png\r\ngood/a.png\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (code, rows) = list(&wide);
    assert_eq!((code, rows.lines().count(), rows.contains("UTF-16")), (Some(2), 1, true), "{rows}");
}
