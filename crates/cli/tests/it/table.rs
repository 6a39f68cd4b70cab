//! `inctrl eval --datasets` as a user runs it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::program::{Bench, Run};

/// Models and two data sets: `set` of two classes, and `other` of one.
fn bench() -> Bench {
    let bench = Bench::new();
    let config = r#"{"family": "dinov2", "image_size": 56, "patch_size": 14, "width": 64, "layers": 2, "heads": 1,
        "registers": 0, "mlp": "gelu"}"#;
    bench.write("dino.json", config);
    bench.run(&["weights", "random", "--config", "dino.json", "-o", "d.safetensors"]).succeeded();
    std::fs::remove_file(bench.path("dino.json")).unwrap();
    bench.training_set();
    for i in 0..4 {
        bench.picture(&format!("other/ring/train/good/{i}.png"), 44, 44, 300 + i);
        bench.picture(&format!("other/ring/test/good/{i}.png"), 44, 44, 310 + i);
        bench.picture(&format!("other/ring/test/bent/{i}.png"), 44, 44, 320 + i);
    }
    bench
}

const METHODS: &str = "inctrl,winclip-zero,patchcore,spade@dino";

fn table_args<'a>(out: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let first =
        ["eval", "--weights", "clip=w.safetensors,dino=d.safetensors", "--threads", "1", "--size", "48", "--runs", "2"];
    [&first[..], &["--shots", "2,1", "-o", out], args].concat()
}

fn table(bench: &Bench, out: &str, args: &[&str]) -> Run {
    bench.run(&table_args(out, args))
}

fn whole(bench: &Bench, out: &str) -> Run {
    table(bench, out, &["--methods", METHODS, "--datasets", "set,other"])
}

fn json(bench: &Bench, file: &str) -> Value {
    serde_json::from_slice(&bench.read(file)).unwrap()
}

/// All files below a folder, by their paths.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The mean AUROC of a cell of table.json.
fn auroc<'a>(table: &'a Value, set: &str, method: &str, model: &str, shots: u64) -> &'a Value {
    let sets = table["sets"].as_array().unwrap();
    let cells = sets.iter().find(|found| found["name"] == set).unwrap()["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["method"] == method && cell["model"] == model).unwrap();
    let shots = cell["shots"].as_array().unwrap().iter().find(|cell| cell["shots"] == shots).unwrap();
    &shots["metrics"]["image_auroc"]["mean"]
}

#[test]
fn a_table_has_the_figures_of_its_cells_in_every_format() {
    let bench = bench();
    let run = whole(&bench, "out");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let rows = ["inctrl@clip", "patchcore@clip", "patchcore@dino", "spade@dino", "winclip-zero@clip"];
    assert_eq!(bench.names("out"), ["other", "set", "table.csv", "table.html", "table.json", "table.md", "table.tex"]);
    assert_eq!(
        (bench.names("out/set"), bench.names("out/other")),
        (rows.map(str::to_owned).to_vec(), rows.map(str::to_owned).to_vec())
    );

    // A cell is what the evaluation of one method writes.
    let alone =
        ["eval", "--weights", "d.safetensors", "--threads", "1", "--size", "48", "--runs", "2", "--shots", "1,2"];
    bench.run(&[&alone[..], &["--method", "patchcore", "--dataset", "set", "-o", "alone"]].concat());
    for file in bench.names("alone") {
        assert!(
            bench.read(&format!("alone/{file}")) == bench.read(&format!("out/set/patchcore@dino/{file}")),
            "{file}"
        );
    }
    let found = json(&bench, "out/table.json");
    let overall = json(&bench, "alone/results.json")["overall"]["shots"][1]["metrics"]["image_auroc"]["mean"].clone();
    assert_eq!(*auroc(&found, "set", "patchcore", "dino", 2), overall);
    assert_eq!(found["terms"]["shots"], serde_json::json!([1, 2]));
    // All methods have the same prompts.
    for row in rows.iter().filter(|row| **row != "winclip-zero@clip") {
        assert!(bench.read(&format!("out/set/{row}/prompts.json")) == bench.read("alone/prompts.json"), "{row}");
    }

    // The lines of the CSV, and what is printed.
    let csv = String::from_utf8(bench.read("out/table.csv")).unwrap();
    let line = csv.lines().find(|line| line.starts_with("set,patchcore,dino,2,image_auroc,")).unwrap();
    let fields: Vec<&str> = line.split(',').collect();
    assert_eq!(fields[5].parse::<f64>().unwrap(), overall.as_f64().unwrap());
    assert!(fields[13].parse::<u64>().unwrap() > 0, "the bank's size: {line}");
    let image = csv.lines().filter(|line| line.contains(",image_auroc,")).count();
    assert_eq!(image, 2 * (4 * 2 + 1));
    assert_eq!(run.stdout.trim_end(), String::from_utf8(bench.read("out/table.md")).unwrap().trim_end());
    let percent = format!("{:.1} ± ", 100.0 * overall.as_f64().unwrap());
    let mine = run.stdout.lines().find(|line| line.starts_with("| 2 | patchcore on dino |")).unwrap();
    assert!(mine.contains(&percent), "{mine}");
    assert!(
        run.stdout.contains("| 0 | winclip-zero |") && run.stdout.contains("| | chance | 50.0 | 50.0 |"),
        "{}",
        run.stdout
    );
    // Of each column and number of shots one is the best, or several are alike.
    let block = run.stdout.split("## AUPRC").next().unwrap();
    for shots in ["| 1 |", "| 2 |"] {
        let lines: Vec<&str> = block.lines().filter(|line| line.starts_with(shots)).collect();
        assert_eq!(lines.len(), 4);
        for column in [3, 4] {
            let best = |line: &&&str| line.split('|').nth(column).unwrap().contains("**");
            let value = |line: &str| -> f64 {
                let cell = line.split('|').nth(column).unwrap();
                cell.trim().trim_matches(['*', '_']).split(' ').next().unwrap().parse().unwrap()
            };
            let most = lines.iter().map(|line| value(line)).fold(0.0, f64::max);
            assert!(lines.iter().filter(best).count() >= 1);
            assert!(lines.iter().filter(best).all(|line| value(line) == most), "{lines:?}");
        }
    }
    let tex = String::from_utf8(bench.read("out/table.tex")).unwrap();
    assert!(
        tex.contains("\\begin{tabular}{rlrr}") && tex.contains("\\textbf{") && tex.contains("2 & patchcore on dino & ")
    );
    for (format, file) in [("csv", "table.csv"), ("json", "table.json"), ("latex", "table.tex")] {
        let again = table(&bench, "out", &["--methods", METHODS, "--datasets", "set,other", "--format", format]);
        assert_eq!(again.stdout.trim_end(), String::from_utf8(bench.read(&format!("out/{file}"))).unwrap().trim_end());
    }

    let page = String::from_utf8(bench.read("out/table.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64,") && !page.contains("http") && !page.contains("<script"));
    assert!(page.contains("4 methods on 2 data sets"), "{}", &page[..4000]);
    assert!(page.contains(" ms · ") && page.contains("Where the methods disagree"));
}

/// Numbers do not depend on where a run was interrupted, and times are in a file of their own.
#[test]
fn a_table_that_was_killed_goes_on_to_the_same_bytes() {
    let bench = bench();
    assert_eq!(whole(&bench, "a").code, 0);
    assert_eq!(whole(&bench, "b").code, 0);
    let (first, second) = (files(&bench.path("a")), files(&bench.path("b")));
    let numbers = |name: &&String| !name.ends_with("costs.json") && *name != "table.html";
    assert!(first.keys().filter(numbers).count() > 5 + 2 * 5 * 5);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for name in first.keys().filter(numbers) {
        assert!(first[name] == second[name], "{name}");
    }
    // As a kill leaves it: one cell is finished, one is in the middle of a line, and the rest is not there.
    for name in ["journal.jsonl", "prompts.json", "costs.json"] {
        for (cell, share) in [("set/inctrl@clip", 1.0), ("set/patchcore@clip", 0.4)] {
            let path = bench.path(format!("killed/{cell}"));
            std::fs::create_dir_all(&path).unwrap();
            let content = &first[&format!("{cell}/{name}")];
            let share = if name == "journal.jsonl" { share } else { 1.0 };
            std::fs::write(path.join(name), &content[..(share * content.len() as f64) as usize]).unwrap();
        }
    }
    // What was measured is kept, and shown.
    let mut costs: Value = json(&bench, "killed/set/inctrl@clip/costs.json");
    costs["shots"][0]["milliseconds"] = 98_765.0.into();
    bench.write("killed/set/inctrl@clip/costs.json", costs.to_string());
    assert_eq!(whole(&bench, "killed").code, 0);
    let killed = files(&bench.path("killed"));
    assert_eq!(first.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    for name in first.keys().filter(numbers) {
        assert!(first[name] == killed[name], "{name}");
    }
    assert!(String::from_utf8_lossy(&killed["table.html"]).contains("98765 ms"));
    // A run with nothing left to do changes nothing at all.
    assert_eq!(whole(&bench, "killed").code, 0);
    assert!(killed == files(&bench.path("killed")));

    // Another method and data set later: what is finished stays.
    let more = ["--methods", "inctrl,patchcore@clip", "--datasets", "set"];
    assert_eq!(table(&bench, "grown", &more).code, 0);
    assert_eq!(whole(&bench, "grown").code, 0);
    let grown = files(&bench.path("grown"));
    for name in first.keys().filter(numbers) {
        assert!(first[name] == grown[name], "{name}");
    }
    // Other terms do not fit the folder, and leave its table as it is.
    let run = table(&bench, "a", &["--methods", "inctrl,spade@dino", "--datasets", "set", "--seed", "3"]);
    run.refused(&["nothing could be evaluated", "journal of another evaluation"]);
    assert!(first == files(&bench.path("a")));
}

/// Bytes of all journals of a table.
#[cfg(target_os = "linux")]
fn journalled(bench: &Bench, out: &str) -> u64 {
    let rows = ["inctrl@clip", "patchcore@clip", "patchcore@dino", "spade@dino", "winclip-zero@clip"];
    let cells = ["set", "other"].iter().flat_map(|set| rows.map(|row| format!("{out}/{set}/{row}/journal.jsonl")));
    cells.filter_map(|path| std::fs::metadata(bench.path(path)).ok()).map(|file| file.len()).sum()
}

/// SIGKILL in the middle of a line or not, wherever it meets the program.
#[cfg(target_os = "linux")]
#[test]
fn a_table_that_is_killed_again_and_again_has_the_same_bytes() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;

    let bench = bench();
    assert_eq!(whole(&bench, "a").code, 0);
    let mut kills = 0;
    for attempt in 0..20 {
        let before = journalled(&bench, "b");
        let mut command = bench.command(&table_args("b", &["--methods", METHODS, "--datasets", "set,other"]));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // More entries than the last time, so that there is an end.
        while child.try_wait().unwrap().is_none() && journalled(&bench, "b") <= before + 1000 * attempt {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        // An error where it has ended.
        let _ = child.kill();
        if child.wait().unwrap().signal() != Some(9) {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 2, "the program was killed {kills} times");
    assert_eq!(whole(&bench, "b").code, 0);
    let (first, second) = (files(&bench.path("a")), files(&bench.path("b")));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for name in first.keys().filter(|name| !name.ends_with("costs.json") && *name != "table.html") {
        assert!(first[name] == second[name], "{name} after {kills} kills");
    }
}

#[test]
fn what_cannot_take_part_in_a_table_is_named_and_the_rest_goes_on() {
    let bench = bench();
    // Half of a data set is missing: a class has no good images, a picture is none, and another set is not there at
    // all.
    (0..5).for_each(|i| std::fs::remove_file(bench.path(format!("set/nut/train/good/{i}.png"))).unwrap());
    bench.write("other/ring/test/good/9.png", "no picture");
    bench.write("torn.safetensors", "torn");
    let models = "clip=w.safetensors,dino=d.safetensors,torn=torn.safetensors,gone=absent.safetensors";
    let first = ["eval", "--weights", models, "--threads", "1", "--size", "48", "--runs", "1", "--shots", "2"];
    let args = ["--methods", "inctrl@dino,patchcore,inctrl@torn", "--datasets", "absent,set,other", "-o", "out"];
    let run = bench.run(&[&first[..], &args].concat());
    assert_eq!(run.code, 2, "{}", run.stderr);
    for part in [
        "error: the model `torn` cannot be opened: torn.safetensors",
        "error: the model `gone` cannot be opened: absent.safetensors",
        "error: no model can serve the method `inctrl`: dino: ",
        "error: the data set `absent` cannot be used: ",
    ] {
        assert!(run.stderr.contains(part), "no {part:?} in {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    let found = json(&bench, "out/table.json");
    assert!(auroc(&found, "other", "patchcore", "dino", 2).is_f64());
    // One class of two: the mean over both is not that of the other.
    assert!(auroc(&found, "set", "patchcore", "dino", 2).is_null());
    let page = String::from_utf8(bench.read("out/table.html")).unwrap();
    for part in ["nut", "9.png", "torn.safetensors", "`absent`"] {
        assert!(page.contains(part), "{part}");
    }

    let refused = |args: &[&str], parts: &[&str]| {
        table(&bench, "no", args).refused(parts);
    };
    refused(&["--methods", "magic", "--datasets", "other"], &["no method `magic`"]);
    refused(&["--methods", "spade@clop", "--datasets", "other"], &["`clop`", "clip, dino"]);
    refused(&["--datasets", "mnost=other"], &["\"mnost\" is not a layout"]);
    refused(&["--datasets", "absent"], &["nothing could be evaluated", "`absent`"]);
    refused(&["--datasets", "other", "--without-pictures", "set"], &["`set`", "the data sets are other"]);
    refused(&["--datasets", "other", "--heads", "h.safetensors"], &["--heads and --config belong to one model"]);
    let twice = ["eval", "--weights", "w.safetensors,a/w.safetensors", "--datasets", "other", "-o", "no"];
    bench.run(&twice).refused(&["two models are called `w`"]);
}

/// A tile of 48 pixels is six patches of one model, and no whole number of the other's.
#[test]
fn options_of_tiles_go_to_every_row_and_none_is_passed_over() {
    let bench = bench();
    let tiles = ["--datasets", "other", "--tile", "48", "--scale", "2"];
    let run = table(&bench, "out", &[&["--methods", "patchcore"][..], &tiles].concat());
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("error: patchcore on dino: a tile of 48 pixels"), "{}", run.stderr);
    let rows = &json(&bench, "out/table.json")["rows"];
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    let options = rows[0]["options"].as_str().unwrap();
    assert!(options.contains("tile=48 overlap=8 scale=2 bank-per=frame"), "{options}");

    let lone = table(&bench, "no", &["--methods", "spade", "--datasets", "other", "--coreset", "0.5"]);
    lone.refused(&["the option `coreset`", "none of the methods spade has it", "(patchcore)"]);
}

#[test]
fn shots_that_a_method_refuses_are_told_and_no_fault() {
    let bench = bench();
    let run = table(&bench, "out", &["--methods", "padim@dino,patchcore@dino", "--datasets", "other"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("note: other, padim: no result for 1 shots: "), "{}", run.stderr);
    assert!(!run.stderr.contains("classes not used"), "{}", run.stderr);
    assert!(run.stdout.contains("no result for 1 shots: the method `padim`"), "{}", run.stdout);
    let cells = &json(&bench, "out/table.json")["sets"][0]["cells"];
    assert_eq!(cells[0]["notes"].as_array().unwrap().len(), 1, "{cells}");
}

/// The pictures of a data set whose licence forbids it are in no table, and its images are named all the same.
#[test]
fn pictures_stay_out_of_the_page_if_asked() {
    let bench = bench();
    let args = [
        "--methods",
        "inctrl,patchcore",
        "--datasets",
        "other",
        "--without-pictures",
        "other",
        "--note",
        "Random <weights>.",
    ];
    assert_eq!(table(&bench, "out", &args).code, 0);
    let page = String::from_utf8(bench.read("out/table.html")).unwrap();
    assert!(
        !page.contains("<img") && page.contains("ring/test/") && page.contains("Random &lt;weights&gt;."),
        "{page}"
    );
    assert!(String::from_utf8(bench.read("out/table.md")).unwrap().contains("Random <weights>."));
}
