//! `inctrl train` as a user runs it.

use std::process::Stdio;

use crate::program::{Bench, Run};

fn bench() -> Bench {
    let bench = Bench::new();
    bench.training_set();
    bench
}

/// Fails unless the run ended well; what it says on the way is on standard error.
#[track_caller]
fn well(run: Run) -> Run {
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("error: "), "{}", run.stderr);
    run
}

const SHORT: [&str; 6] = ["--epochs", "2", "--steps", "3", "--batch", "4"];

fn arguments<'a>(out: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let first = ["train", "--device", "cpu", "--weights", "w.safetensors", "--dataset", "set", "-o", out];
    [&first[..], &SHORT, args].concat()
}

/// A short training with the cache in `cache`, whose arguments `args` can replace none of the others.
fn train(bench: &Bench, out: &str, args: &[&str]) -> Run {
    let cache = if args.contains(&"--cache") { &[][..] } else { &["--cache", "cache"] };
    bench.run(&arguments(out, &[cache, args].concat()))
}

#[test]
fn twice_on_any_number_of_threads_gives_the_same_bytes() {
    let bench = bench();
    let run = train(&bench, "a.safetensors", &["--threads", "1", "--merged", "m.safetensors", "--curve", "c.png"]);
    let run = well(run);
    assert!(run.stdout.contains("trained on 14 normal and 6 anomalous images"), "{}", run.stdout);
    assert!(run.stderr.contains("epoch 2 of 2: loss "), "{}", run.stderr);
    // Another cache, so that features are computed on two threads too.
    well(train(&bench, "b.safetensors", &["--threads", "2", "--cache", "other"]));
    assert!(bench.read("a.safetensors") == bench.read("b.safetensors"));
    assert_eq!(bench.names("cache"), bench.names("other"));
    let [cache] = &bench.names("cache")[..] else { panic!("one file of features") };
    assert!(bench.read(&format!("cache/{cache}")) == bench.read(&format!("other/{cache}")));
    assert!(!bench.path("a.safetensors.state").exists());
    assert!(image::open(bench.path("c.png")).unwrap().width() > 100);
    bench.write("texts.json", r#"{"nut": "metal nut"}"#);
    for (name, args) in [
        ("seed", &["--seed", "1"][..]),
        ("loss", &["--loss", "cross-entropy"]),
        ("input", &["--loss-input", "sigmoid"]),
        ("shots", &["--shots", "1"]),
        ("texts", &["--class-texts", "texts.json"]),
    ] {
        well(train(&bench, name, args));
        assert!(bench.read("a.safetensors") != bench.read(name), "{name} changes nothing");
    }
    // The merged model scores as the one of two files.
    let score = |weights: &[&str]| {
        let rest = ["--class", "nut", "--normals", "good", "query.png", "wide.png", "--format", "csv"];
        well(bench.run(&[&["score", "--device", "cpu"], weights, &rest[..]].concat())).stdout
    };
    assert_eq!(
        score(&["--weights", "m.safetensors"]),
        score(&["--weights", &clip(&bench), "--heads", "a.safetensors"])
    );
}

/// The model without heads.
fn clip(bench: &Bench) -> String {
    bench.changed_model("clip.safetensors", |tensors| {
        tensors.retain(|(name, ..)| !name.starts_with("adapter.") && !name.starts_with("diff_head"));
    });
    "clip.safetensors".to_owned()
}

#[test]
fn a_clip_model_gets_the_heads_that_the_same_model_with_heads_gets() {
    let bench = bench();
    let clip = clip(&bench);
    well(train(&bench, "a.safetensors", &[]));
    let mut arguments = arguments("b.safetensors", &["--cache", "cache"]);
    arguments[4] = &clip;
    well(bench.run(&arguments));
    assert!(bench.read("a.safetensors") == bench.read("b.safetensors"));
    // The heads are not part of the features: one file serves both.
    assert_eq!(bench.names("cache").len(), 1);
}

#[test]
fn killed_and_resumed_gives_the_same_bytes() {
    let bench = bench();
    let long = |out: &'static str| {
        let mut arguments = arguments(out, &["--cache", "cache", "--curve", "curve.png"]);
        let epochs = arguments.iter().position(|argument| *argument == "2").unwrap();
        arguments[epochs] = "40";
        arguments
    };
    well(bench.run(&long("whole.safetensors")));
    let curve = bench.read("curve.png");
    let mut child =
        bench.command(&long("killed.safetensors")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !bench.path("killed.safetensors.state").exists() {
        assert!(std::time::Instant::now() < patience, "no state is written");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if !bench.path("killed.safetensors").exists() {
        let state = bench.read("killed.safetensors.state");
        // Another run does not take it for its own, and leaves it alone.
        let mut other = long("killed.safetensors");
        other.extend(["--seed", "9"]);
        bench.run(&other).refused(&["killed.safetensors.state", "state of another training"]);
        assert!(bench.read("killed.safetensors.state") == state);
        let resumed = well(bench.run(&long("killed.safetensors")));
        assert!(resumed.stderr.contains("continued after epoch "), "{}", resumed.stderr);
    }
    assert!(bench.read("killed.safetensors") == bench.read("whole.safetensors"));
    assert!(bench.read("curve.png") == curve);
    assert!(!bench.path("killed.safetensors.state").exists());
}

#[test]
fn an_interrupted_cache_goes_on_and_a_damaged_one_is_named() {
    let bench = bench();
    well(train(&bench, "a.safetensors", &[]));
    let [name] = &bench.names("cache")[..] else { panic!("one file of features") };
    let name = format!("cache/{name}");
    let whole = bench.read(&name);
    // In the first line, after it, in a record, one byte short.
    for kept in [7, 100, whole.len() / 2, whole.len() - 1] {
        bench.write(&name, &whole[..kept]);
        well(train(&bench, "b.safetensors", &[]));
        assert!(bench.read(&name) == whole, "cut at {kept}");
        assert!(bench.read("a.safetensors") == bench.read("b.safetensors"), "cut at {kept}");
    }
    for (place, part) in [(3, "first line"), (whole.len() / 2, "record 9 of 20"), (whole.len() - 1, "record 19 of 20")]
    {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        bench.write(&name, &damaged);
        train(&bench, "b.safetensors", &[]).refused(&[&name, "the cache is damaged", part, "delete the file"]);
        assert!(bench.read(&name) == damaged, "a damaged cache is left as it is");
    }
}

#[test]
fn a_damaged_state_is_named() {
    let bench = bench();
    for content in [&b""[..], b"no safetensors", &bench.read("w.safetensors")] {
        bench.write("a.safetensors.state", content);
        train(&bench, "a.safetensors", &[]).refused(&["a.safetensors.state", "delete it to start again"]);
    }
}

/// The system's limit on the size of a file stands for the full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_what_was_written_is_kept() {
    let bench = bench();
    well(train(&bench, "whole.safetensors", &[]));
    let [name] = &bench.names("cache")[..] else { panic!("one file of features") };
    let whole = bench.read(&format!("cache/{name}"));
    // A limit on the size of files, in blocks of 512 bytes; the signal that comes with it is ignored.
    let blocks = whole.len() / 2 / 512;
    let program = env!("CARGO_BIN_EXE_inctrl");
    let arguments = arguments("full.safetensors", &["--cache", "full"]).join(" ");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {arguments}");
    let output = std::process::Command::new("sh").args(["-c", &script]).current_dir(bench.path(".")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in [&format!("full/{name}"), "cannot write the features", "9 before it are kept", "free disk space"] {
        assert!(stderr.contains(part), "{stderr} does not say {part:?}");
    }
    assert!(whole.starts_with(&bench.read(&format!("full/{name}"))));
    assert!(!bench.path("full.safetensors").exists());
    well(train(&bench, "full.safetensors", &["--cache", "full"]));
    assert!(bench.read("full.safetensors") == bench.read("whole.safetensors"));
    assert!(bench.read(&format!("full/{name}")) == whole);
}

#[test]
fn classes_that_cannot_be_trained_on_are_named() {
    let bench = bench();
    std::fs::remove_dir_all(bench.path("set/nut/test/bent")).unwrap();
    train(&bench, "a", &[]).refused(&["class `nut` has no usable anomalous image", "--classes"]);
    well(train(&bench, "a", &["--classes", "bolt"]));
    train(&bench, "b", &["--classes", "bolt", "--shots", "7"]).refused(&[
        "class `bolt` has 7 usable normal images: 6 beside a sample and its copies, 7 shots ask for 7",
        "lower --shots",
    ]);
    well(train(&bench, "b", &["--classes", "bolt", "--shots", "6"]));
    train(&bench, "b", &["--classes", "screw"]).refused(&["no class `screw`; it has bolt, nut"]);

    // One normal image; then copies of it, which are no prompts for it.
    bench.picture("one/pin/train/good/0.png", 40, 40, 1);
    bench.picture("one/pin/test/bent/0.png", 40, 40, 2);
    let one = |out| {
        let mut arguments = arguments(out, &["--cache", "cache", "--shots", "1"]);
        arguments[6] = "one";
        bench.run(&arguments)
    };
    one("c").refused(&["class `pin` has 1 usable normal images: 0 beside a sample"]);
    bench.write("one/pin/train/good/1.png", bench.read("one/pin/train/good/0.png"));
    one("c").refused(&["class `pin` has 2 usable normal images: 0 beside a sample"]);
    bench.picture("one/pin/train/good/2.png", 40, 40, 3);
    well(one("c"));
}

#[test]
fn an_unusable_image_is_left_out_and_named() {
    let bench = bench();
    bench.write("set/nut/train/good/3.png", "no picture");
    let run = train(&bench, "a.safetensors", &[]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stdout.contains("trained on 13 normal and 6 anomalous images"), "{}", run.stdout);
    assert!(run.stderr.contains("error: nut/train/good/3.png: "), "{}", run.stderr);
    std::fs::remove_file(bench.path("set/nut/train/good/3.png")).unwrap();
    well(train(&bench, "b.safetensors", &[]));
    assert!(bench.read("a.safetensors") == bench.read("b.safetensors"));
}

/// A picture that is good and bad teaches nothing; one in another file and other colours is no prompt for its copy.
#[test]
fn copies_are_told_by_their_pixels_and_contradictions_are_left_out() {
    let bench = bench();
    let grey = image::open(bench.path("set/nut/train/good/3.png")).unwrap().to_luma8();
    let save = |name: &str, image: image::DynamicImage| image.save(bench.path(name)).unwrap();
    save("set/nut/train/good/3.png", grey.clone().into());
    save("set/nut/test/good/grey.bmp", image::DynamicImage::from(grey).to_rgb8().into());
    let bent = image::open(bench.path("set/bolt/test/bent/1.png")).unwrap();
    save("set/bolt/test/good/bent.tif", bent);
    let run = train(&bench, "a.safetensors", &["--shots", "6"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stdout.contains("trained on 15 normal and 5 anomalous images"), "{}", run.stdout);
    for name in ["bolt/test/bent/1.png", "bolt/test/good/bent.tif"] {
        assert!(run.stderr.contains(&format!("error: {name}: the same pixels as bolt/test/")), "{}", run.stderr);
    }
    // Eight good nuts, two of them the same: six are left for either, and seven shots are too many.
    train(&bench, "b.safetensors", &["--classes", "nut", "--shots", "7"])
        .refused(&["class `nut` has 8 usable normal images: 6 beside a sample and its copies"]);
}

/// What the folder holds and training does not use is said.
#[test]
fn faults_of_the_folder_are_said_and_a_byte_order_mark_is_not_in_the_way() {
    let bench = bench();
    bench.picture("set/nut/test/stray.png", 40, 40, 99);
    bench.write("texts.json", "\u{feff}{\"nut\": \"metal nut\"}");
    let run = train(&bench, "a.safetensors", &["--class-texts", "texts.json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stdout.contains("trained on 14 normal and 6 anomalous images"), "{}", run.stdout);
    assert!(run.stderr.contains("fault: set/nut/test/stray.png: in test, but in no folder"), "{}", run.stderr);
}

#[test]
fn numbers_that_make_no_sense_are_named() {
    let bench = bench();
    let wrong = |args: &[&str], parts: &[&str]| {
        let first = ["train", "--weights", "w.safetensors", "--dataset", "set", "-o", "a"];
        bench.run(&[&first[..], args].concat()).refused(parts);
    };
    wrong(&["--batch", "5"], &["a batch of 5", "even"]);
    wrong(&["--batch", "2"], &["a batch of 2", "at least 4"]);
    wrong(&["--lr", "0"], &["a learning rate of 0"]);
    wrong(&["--lr", "nan"], &["a learning rate of NaN"]);
    wrong(&["--loss", "hinge"], &["\"hinge\" is not a loss: use focal or cross-entropy"]);
    wrong(&["--loss-input", "score"], &["use logit or sigmoid"]);
    wrong(&["--epochs", "0"], &["--epochs"]);
    wrong(&["--heads", "w.safetensors"], &["training makes new ones"]);
    assert!(!bench.path("a").exists() && !bench.path("a.cache").exists());
    let mut arguments = arguments("a", &["--cache", "cache"]);
    arguments.extend(["--lr", "1e300"]);
    bench.run(&arguments).refused(&["the loss is", "in epoch 1, step", "lower the learning rate"]);
    assert!(!bench.path("a").exists());
}
