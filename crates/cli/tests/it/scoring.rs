//! The command line with good input: its output equals the results of the library.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use inctrl::{Device, Engine, EngineOptions, Fit, Image, Score};
use tiff::decoder::{Decoder, DecodingResult};

use crate::program::{Bench, Run};
use crate::tiny::five;

const GOOD: [&str; 2] = ["--normals", "good"];
const FIELDS: [&str; 13] = [
    "path",
    "score",
    "holistic",
    "patch_max",
    "image_residual",
    "text_prior",
    "width",
    "height",
    "verdict",
    "reason",
    "regions",
    "bank",
    "error",
];

/// What the library says of an image of the bench, and the identity of the bank, for normals in the folder `good`.
fn expected(bench: &Bench, class: &str, fit: Fit, query: &str) -> (Score, String) {
    let mut options = EngineOptions::new(bench.path("w.safetensors"));
    options.device = Device::Cpu;
    options.threads = NonZeroUsize::new(2);
    let engine = Engine::with(&options).unwrap();
    let open = |name: &str| Image::open(bench.path(name)).unwrap();
    let normals = ["good/c.png", "good/a.png", "good/b.png"].map(open);
    let bank = engine.build_bank(class, fit, &normals.each_ref().map(Image::frame)).unwrap();
    let id = bank.id().to_owned();
    let score = engine.scorer(Arc::new(bank)).unwrap().score(open(query).frame()).unwrap().clone();
    (score, id)
}

fn parts(score: &Score) -> [f32; 5] {
    five(score)
}

#[test]
fn json_lines_are_the_librarys_numbers_to_the_last_bit() {
    let bench = Bench::new();
    for (fit, args) in [(Fit::Crop, &[][..]), (Fit::Letterbox, &["--fit", "letterbox"])] {
        let class = ["--class", "metal_nut", "wide.png", "--format", "jsonl"];
        let run = bench.score(&[&GOOD[..], &class, args].concat());
        let (score, bank) = expected(&bench, "metal_nut", fit, "wide.png");
        let line = run.stdout.strip_suffix('\n').unwrap();
        let places: Vec<_> = FIELDS.iter().map(|field| line.find(&format!("\"{field}\":")).unwrap()).collect();
        assert!(places.is_sorted() && line.starts_with("{\"path\":\"wide.png\","), "{line}");
        let row = &run.rows()[0];
        assert_eq!(row.as_object().unwrap().len(), FIELDS.len());
        for (field, value) in FIELDS[1..6].iter().zip(parts(&score)) {
            // The shortest digits that give the number back.
            assert!(line.contains(&format!("\"{field}\":{value},")), "{field} {value}: {line}");
            assert_eq!(row[field].as_f64().unwrap() as f32, value);
        }
        assert_eq!((row["width"].as_u64(), row["height"].as_u64()), (Some(60), Some(40)));
        assert_eq!(row["bank"], bank);
        assert!(["error", "verdict", "reason", "regions"].iter().all(|field| row[field].is_null()));
        assert_eq!(run.code, 0);
        let note = "note: fit crop leaves out a part of 1 of 1 images";
        assert_eq!(run.stderr.contains(note), fit == Fit::Crop, "{}", run.stderr);
    }
}

#[test]
fn csv_has_the_same_columns_and_numbers_and_quotes_what_needs_it() {
    let bench = Bench::new();
    std::fs::copy(bench.path("query.png"), bench.path("a \"b\", c.png")).unwrap();
    let queries = ["a \"b\", c.png", "absent.png"];
    let csv = bench.score(&[&GOOD[..], &queries, &["--format", "csv"]].concat());
    let json = bench.score(&[&GOOD[..], &queries, &["--format", "jsonl"]].concat()).rows();
    let lines: Vec<_> = csv.stdout.lines().collect();
    assert_eq!(lines[0], FIELDS.join(","));
    let numbers = FIELDS[1..6].iter().map(|field| format!("{}", json[0][field].as_f64().unwrap() as f32));
    let numbers = numbers.collect::<Vec<_>>().join(",");
    let bank = json[0]["bank"].as_str().unwrap();
    assert_eq!(lines[1], format!("\"a \"\"b\"\", c.png\",{numbers},40,40,,,,{bank},"));
    assert!(lines[2].starts_with(&format!("absent.png,,,,,,,,review,error,,{bank},cannot read: ")), "{}", lines[2]);
    assert_eq!((lines.len(), csv.code), (3, 2));
}

#[test]
fn the_table_is_the_default_and_aligned() {
    let bench = Bench::new();
    let run = bench.score(&[&GOOD[..], &["query.png", "good/a.png", "absent.png"]].concat());
    let lines: Vec<_> = run.stdout.lines().collect();
    let (score, _) = expected(&bench, "object", Fit::Crop, "query.png");
    let heads: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(heads, ["path", "score", "holistic", "patch_max", "image_residual", "text_prior", "size"]);
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(cells[0], "query.png");
    assert_eq!(cells[1..6], parts(&score).map(|x| format!("{x:.4}")));
    assert_eq!(cells[6], "40x40");
    for (head, cell) in heads[1..6].iter().zip(&cells[1..6]) {
        let end = |line: &str, text: &str| line.find(text).unwrap() + text.len();
        assert_eq!(end(lines[0], head), end(lines[1], cell), "{head}");
    }
    assert!(lines[3].starts_with("absent.png  error: cannot read: "), "{}", lines[3]);
    assert_eq!((lines.len(), run.code), (4, 2));
}

#[test]
fn a_bank_gives_the_scores_of_its_normals() {
    let bench = Bench::new();
    let model = ["--weights", "w.safetensors"];
    let prompts = ["--class", "nut", "--fit", "stretch", "--normals", "good"];
    let output = ["-o", "b.safetensors"];
    let built = bench.run(&[&["bank", "build"], &model[..], &prompts, &output].concat()).succeeded();
    let rest = ["query.png", "wide.png", "--format", "jsonl"];
    let direct = bench.score(&[&prompts[..], &rest].concat()).succeeded();
    let banked = bench.score(&[&["--bank", "b.safetensors"][..], &rest].concat()).succeeded();
    assert_eq!(direct.stdout, banked.stdout);

    let info = bench.run(&["bank", "info", "b.safetensors"]).succeeded();
    assert_eq!(info.stdout, built.stdout);
    let json = bench.run(&["bank", "info", "b.safetensors", "--format", "json"]).succeeded();
    let json = &json.rows()[0];
    assert_eq!(json["class"], "nut");
    assert_eq!(json["fit"], "stretch");
    assert_eq!(json["prompts"].as_array().unwrap().len(), 3);
    assert_eq!(json["id"], direct.rows()[0]["bank"]);
    for part in
        ["nut", "stretch", "taps 2 x 108 x 64", "inctrl", json["id"].as_str().unwrap(), json["model"].as_str().unwrap()]
    {
        assert!(info.stdout.contains(part), "{part}: {}", info.stdout);
    }
}

#[test]
fn appending_is_as_good_as_building_with_all() {
    let bench = Bench::new();
    let run = |args: &[&str]| bench.run(&[args, &["--weights", "w.safetensors"]].concat()).succeeded();
    run(&["bank", "build", "-o", "all.bank", "--normals", "good/a.png", "good/b.png", "good/c.png"]);
    run(&["bank", "build", "-o", "part.bank", "--normals", "good/c.png"]);
    let part = bench.read("part.bank");
    run(&[
        "bank",
        "append",
        "--bank",
        "part.bank",
        "-o",
        "longer.bank",
        "--normals",
        "good/a.png",
        "--normals",
        "good/b.png",
    ]);
    assert_eq!(bench.read("part.bank"), part);
    assert_eq!(bench.read("longer.bank"), bench.read("all.bank"));
    run(&["bank", "append", "--bank", "part.bank", "--normals", "good/b.png", "good/a.png"]);
    assert_eq!(bench.read("part.bank"), bench.read("all.bank"));

    let again =
        bench.run(&["bank", "append", "--weights", "w.safetensors", "--bank", "part.bank", "--normals", "good/a.png"]);
    assert_eq!(again.stderr, "note: 1 of the 4 normal images are copies of others\n");
    assert_eq!(again.code, 0);
}

#[test]
fn order_and_numbers_do_not_depend_on_jobs_and_threads() {
    let bench = Bench::new();
    let names: Vec<String> = (0..12).map(|i| format!("q{}.png", (7 * i) % 12)).collect();
    for (i, name) in names.iter().enumerate() {
        // Of unequal cost, so that later ones overtake.
        bench.picture(name, 40 + 300 * (i as u32 % 3), 40, i as u32);
    }
    bench.write("q5.png", "no picture");
    let queries: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = |more: &[&str]| {
        let head = ["score", "--weights", "w.safetensors", "--normals", "good", "--format", "jsonl"];
        bench.run(&[&head[..], &queries, more].concat())
    };
    let one = run(&[]);
    assert_eq!(one.column("path"), queries);
    assert_eq!((one.code, one.rows().iter().filter(|row| row["error"].is_string()).count()), (2, 1));
    let (few, many) = (["--jobs", "3", "--threads", "6"], ["--jobs", "1000000000000"]);
    for more in [&["--jobs", "4"][..], &few, &many, &["--threads", "1", "--device", "cpu"]] {
        let other = run(more);
        assert_eq!((other.stdout, other.code), (one.stdout.clone(), 2), "{more:?}");
    }
    // Of a list nobody knows how many it has.
    bench.score(&[&GOOD[..], &["-"], &many].concat()).refused(&["fewer --jobs", " needs ", " MB"]);
}

#[test]
fn each_line_of_standard_input_is_answered_at_once() {
    let bench = Bench::new();
    for jobs in ["1", "2"] {
        let mut child = bench.start(&[&GOOD[..], &["-", "--format", "jsonl", "--jobs", jobs]].concat());
        let mut to = child.stdin.take().unwrap();
        let mut from = BufReader::new(child.stdout.take().unwrap());
        // A bad line is answered too, and a blank one is none.
        for line in ["query.png\n", "good/a.png\r\n", "absent.png\n", "\nwide.png\n", "query.png\n"] {
            to.write_all(line.as_bytes()).unwrap();
            let mut answer = String::new();
            from.read_line(&mut answer).unwrap();
            let row: serde_json::Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(row["path"], line.trim());
            assert_eq!(row["error"].is_null(), line.trim() != "absent.png");
        }
        drop(to);
        let mut rest = String::new();
        from.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("", Some(2)));
    }
}

#[test]
fn folders_and_globs_are_searched_in_order() {
    let bench = Bench::new();
    for name in ["f/z.png", "f/b/2.PNG", "f/b/10.png", "f/a.jpeg", "f/.hidden.png", "f/[1].png", "g/x.png"] {
        bench.picture(name, 40, 40, 1);
    }
    bench.write("f/notes.txt", "no picture, and not looked at");
    let paths = |queries: &[&str]| {
        let run = bench.score(&[&GOOD[..], queries, &["--format", "jsonl"]].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        // What a folder holds besides is counted.
        assert_eq!(run.stderr.contains("note: 2 files ignored: 1 .txt, 1 hidden"), queries.contains(&"f"));
        run.column("path").iter().map(|path| path.replace('\\', "/")).collect::<Vec<_>>()
    };
    assert_eq!(paths(&["g", "f"]), ["g/x.png", "f/[1].png", "f/a.jpeg", "f/b/10.png", "f/b/2.PNG", "f/z.png"]);
    assert_eq!(paths(&["f/*.png"]), ["f/[1].png", "f/z.png"]);
    assert_eq!(paths(&["?/**/*.png"]), ["f/[1].png", "f/b/10.png", "f/z.png", "g/x.png"]);
    // A name that exists is no glob; a folder that a glob finds is searched.
    assert_eq!(paths(&["f/[1].png", "f/[b]"]), ["f/[1].png", "f/b/10.png", "f/b/2.PNG"]);
}

#[test]
fn normals_may_be_given_several_times_as_files_and_folders() {
    let bench = Bench::new();
    bench.picture("good/below/d.png", 40, 40, 77);
    bench.write("good/notes.txt", "no picture");
    let rest = ["query.png", "--format", "jsonl"];
    let folder = bench.score(&[&GOOD[..], &rest].concat());
    assert_eq!(folder.code, 0, "{}", folder.stderr);
    assert!(folder.stderr.contains("1 file ignored: 1 .txt; 1 subfolder not entered"), "{}", folder.stderr);
    let each = ["--normals", "good/c.png", "--normals", "good/a.png", "--normals", "good/b.png"];
    let files = bench.score(&[&each[..], &rest].concat()).succeeded();
    assert_eq!(folder.stdout, files.stdout);
}

#[test]
fn maps_are_in_the_pixels_of_the_image_and_never_overwrite_each_other() {
    let bench = Bench::new();
    bench.picture("q/1/x.png", 60, 40, 1);
    bench.picture("q/2/x.png", 50, 70, 2);
    bench.picture("q/2/x.bmp.png", 40, 40, 3);
    std::fs::copy(bench.path("q/2/x.png"), bench.path("q/2/x.jpg")).unwrap();
    let run = bench.score(&[&GOOD[..], &["q", "--maps", "maps/new", "--jobs", "2"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(bench.names("maps/new"), ["1", "2"]);
    assert_eq!(bench.names("maps/new/1"), ["x.map.tiff", "x.overlay.png"]);
    let two = ["x-2.map.tiff", "x-2.overlay.png", "x.bmp.map.tiff", "x.bmp.overlay.png", "x.map.tiff", "x.overlay.png"];
    assert_eq!(bench.names("maps/new/2"), two);

    let mut map = Decoder::new(BufReader::new(File::open(bench.path("maps/new/1/x.map.tiff")).unwrap())).unwrap();
    assert_eq!(map.dimensions().unwrap(), (60, 40));
    let DecodingResult::F32(map) = map.read_image().unwrap() else { panic!("not 32-bit float") };
    let (score, _) = expected(&bench, "object", Fit::Crop, "q/1/x.png");
    let values = inctrl_lab::render::upsample(&score.map, 60, 40).unwrap();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&map), bits(&values));
    // Ten of sixty columns on either side are outside of the crop.
    assert_eq!(values.iter().filter(|x| x.is_nan()).count(), 2 * 10 * 40);
    let overlay = image::open(bench.path("maps/new/1/x.overlay.png")).unwrap();
    assert!(overlay.width() >= 60 && overlay.height() > 40);

    // A second run takes the place of the first; the scale reaches the pictures.
    let before = bench.read("maps/new/1/x.overlay.png");
    bench.score(&[&GOOD[..], &["q", "--maps", "maps/new", "--map-max", "0.9"]].concat());
    assert_eq!(bench.names("maps/new/2"), two);
    assert_ne!(bench.read("maps/new/1/x.overlay.png"), before);
}

#[test]
fn random_weights_are_reproducible_in_every_storage_type() {
    let bench = Bench::empty();
    bench.model("a", 5);
    bench.model("b", 5);
    bench.model("c", 6);
    assert_eq!(bench.read("a"), bench.read("b"));
    assert_ne!(bench.read("a"), bench.read("c"));
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/model/quick_gelu.json");
    for (dtype, name) in [("f32", "F32"), ("f16", "F16"), ("bf16", "BF16")] {
        bench.run(&["weights", "random", "--config", config, "--dtype", dtype, "-o", "w"]).succeeded();
        let report = bench.run(&["weights", "inspect", "w"]).succeeded().stdout;
        for part in [name, "problems: none", "taps [1, 2], alpha 0.5", "image 48 x 48"] {
            assert!(report.contains(part), "{part}: {report}");
        }
    }
}

#[test]
fn the_demo_prints_a_table_and_draws_a_sheet() {
    let bench = Bench::empty();
    let args = ["demo", "-o", "d/e", "--side", "64", "--shots", "1"];
    let run = bench.run(&args).succeeded();
    for part in ["hex nut", "AUROC", "small example", "mean of the products"] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    assert_eq!(bench.names("d/e"), ["contact_sheet.png"]);
    assert!(image::open(bench.path("d/e/contact_sheet.png")).unwrap().width() > 5 * 160);
    assert_eq!(bench.run(&args).succeeded().stdout, run.stdout);

    bench.model("w", 3);
    let own = bench.run(&[&args[..], &["--weights", "w"]].concat()).succeeded();
    assert!(!own.stdout.contains("small example"));
    assert_ne!(own.stdout, run.stdout);
}

#[test]
fn a_synthetic_data_set_passes_the_check_and_is_evaluated() {
    let bench = Bench::empty();
    let counts = ["--products", "1", "--normals", "2", "--test-normals", "2", "--defective", "1", "--side", "48"];
    let synth = ["synth", "-o", "set", "--split", "held-out", "--families", "gear,hex_nut"];
    let run = bench.run(&[&synth[..], &counts].concat()).succeeded();
    assert!(run.stdout.contains("images in set"), "{}", run.stdout);
    let check = bench.run(&["data", "check", "set"]).succeeded().stdout;
    for part in ["layout mvtec", "gear_00", "hex_nut_00", "0 faults"] {
        assert!(check.contains(part), "{part}: {check}");
    }
    bench.model("w", 3);
    let eval = ["eval", "--weights", "w", "--dataset", "set", "--layout", "mvtec", "--shots", "2", "--runs", "1"];
    // It says where the report is, on standard error.
    let run = bench.run(&[&eval[..], &["-o", "results"]].concat());
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (0, "report: results/report.html\nnote: remarks on the data set, listed in the report: 2\n")
    );
    bench.run(&[&synth[..], &counts].concat()).refused(&["set", "not empty"]);
}

#[test]
fn help_and_version_are_no_errors_and_every_help_has_an_example() {
    let bench = Bench::empty();
    let commands =
        ["score", "bank build", "bank append", "bank info", "weights inspect", "weights random", "synth", "demo", ""];
    for command in commands {
        let words: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let help = bench.run(&words).succeeded().stdout;
        assert!(help.contains("Example") && help.contains(&format!("inctrl {command}")), "{help}");
    }
    assert!(bench.run(&["--version"]).succeeded().stdout.starts_with("inctrl "));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let bench = Bench::new();
    let queries = ["query.png"; 200];
    let mut child = bench.start(&[&GOOD[..], &queries, &["--format", "jsonl", "--maps", "maps"]].concat());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"path\""), "{line}");
    let run = Run::from(child.wait_with_output().unwrap()).succeeded();
    assert_eq!(run.code, 0);
    let names = bench.names("maps");
    assert!(names.len() < 2 * queries.len(), "it ended early");
    assert!(names.iter().all(|name| name.ends_with(".overlay.png") || name.ends_with(".map.tiff")), "{names:?}");
}

/// Not on macOS, whose file systems refuse such names.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_scored_like_others() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let bench = Bench::new();
    let name = OsStr::from_bytes(b"q\xff\n.png");
    std::fs::copy(bench.path("query.png"), bench.path(name)).unwrap();
    let run = |format: &str| {
        let mut command = bench.command(&["score", "--weights", "w.safetensors", "--normals", "good", "--maps", "m"]);
        Run::from(command.args(["--format", format]).arg(name).output().unwrap()).succeeded()
    };
    assert_eq!(run("jsonl").rows()[0]["path"], "q\u{fffd}\n.png");
    assert_eq!(run("table").stdout.lines().count(), 2);
    assert!(run("csv").stdout.contains("\"q\u{fffd}\n.png\","));
    assert!(bench.path(OsStr::from_bytes(b"m/q\xff\n.map.tiff")).is_file());

    let mut child = bench.start(&[&GOOD[..], &["-"]].concat());
    child.stdin.take().unwrap().write_all(b"q\xff.png\n").unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    assert!(run.stdout.contains("q\u{fffd}.png") && run.code == 2, "{}", run.stdout);
}

#[test]
fn bench_times_operations_steps_latency_and_throughput() {
    let bench = Bench::new();
    #[rustfmt::skip]
    let run = bench.run(&[
        "bench", "--weights", "w.safetensors", "--device", "cpu", "--threads", "1", "--batches", "1", "--prompts", "1,2",
        "--gaps", "0,1", "--frames", "3", "--seconds", "1", "--size", "64x48", "--deadline-ms", "1e-6", "--json", "bench.json",
    ])
    .succeeded();
    // The processor reads the frame where it is.
    let upload = run.stdout.lines().find(|line| line.trim_start().starts_with("upload")).unwrap();
    assert!(upload.ends_with("none"), "{upload}");
    assert!(run.stdout.contains("deadline 0.000001 ms: NOT kept"), "{}", run.stdout);
    let report: serde_json::Value = serde_json::from_slice(&bench.read("bench.json")).unwrap();
    for found in report["latency"].as_array().unwrap() {
        let steps = found["steps"].as_object().unwrap();
        assert!(steps.contains_key("upload") && steps["upload"].is_null(), "{found}");
        for step in ["decode", "resize", "encode", "nearest neighbour", "heads"] {
            assert!(run.stdout.lines().any(|line| line.trim_start().starts_with(step)), "no {step}: {}", run.stdout);
            assert_eq!(steps[step]["count"], 3, "{step}: {found}");
            let [p50, p99, p999, max] = ["p50", "p99", "p999", "max"].map(|name| steps[step][name].as_f64().unwrap());
            assert!(0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 <= max, "{step}: {found}");
        }
        let seconds = |step: &str| steps[step]["max"].as_f64().unwrap();
        let added = found["bank_over_encode"].as_f64().unwrap();
        assert!(added > 0.0 && added.is_finite() && seconds("encode") > 0.0, "{found}");
    }
    bench.run(&["bench", "--weights", "w.safetensors", "--image", "no.png"]).refused(&["no.png"]);
    let times = report["operations_1"]["times"].as_array().unwrap();
    assert!(times.iter().any(|time| time["operation"] == "patch_nn: 2 prompts"), "{report}");
    assert!(times.iter().all(|time| time["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)), "{report}");
    assert_eq!(report["latency"].as_array().unwrap().len(), 2);
    assert!(report["throughput"][0]["images_per_second"].as_f64().unwrap() > 0.0);
}
