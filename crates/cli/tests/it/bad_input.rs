//! Bad input on the command line: a clear error, the right exit code, and no data lost.

use crate::program::{Bench, Run, Stored};

const GOOD: [&str; 2] = ["--normals", "good"];

/// A bench whose `w.safetensors` is replaced by a changed model.
fn with_model(change: impl FnOnce(&mut Vec<Stored>)) -> Bench {
    let bench = Bench::new();
    bench.changed_model("w.safetensors", change);
    bench
}

fn find<'a>(tensors: &'a mut [Stored], name: &str) -> &'a mut Stored {
    tensors.iter_mut().find(|(found, ..)| found == name).unwrap()
}

fn first_name(tensors: &[Stored], part: &str) -> String {
    tensors.iter().map(|(name, ..)| name).filter(|name| name.contains(part)).min().unwrap().clone()
}

/// `score` and `bank build` refuse the model with these words; `weights inspect` reports them.
#[track_caller]
fn model_is_refused(bench: &Bench, parts: &[&str]) {
    bench.score(&[&GOOD[..], &["query.png"]].concat()).refused(&[&["w.safetensors"], parts].concat());
    let build = ["bank", "build", "--weights", "w.safetensors", "--normals", "good", "-o", "b.bank"];
    bench.run(&build).refused(parts);
    assert!(!bench.path("b.bank").exists());
    let report = bench.run(&["weights", "inspect", "w.safetensors"]);
    assert_eq!(report.code, 1);
    let all = format!("{}{}", report.stdout, report.stderr);
    assert!(parts.iter().all(|part| all.contains(part)), "{all}");
}

#[test]
fn every_missing_and_misshaped_tensor_is_named() {
    let mut names = (String::new(), String::new());
    let bench = with_model(|tensors| {
        names = (first_name(tensors, "ln_post.weight"), first_name(tensors, "class_embedding"));
        tensors.retain(|(name, ..)| *name != names.0);
        let shape = &mut find(tensors, &names.1).2;
        shape.insert(0, 1);
    });
    model_is_refused(&bench, &[&names.0, &names.1, "missing", "[1, 64]", "[64]"]);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut name = String::new();
        let bench = with_model(|tensors| {
            name = first_name(tensors, "conv1.weight");
            find(tensors, &name).3[20..24].copy_from_slice(&value.to_le_bytes());
        });
        model_is_refused(&bench, &[&name, "not finite"]);
    }
}

#[test]
fn damaged_and_foreign_weights_are_refused() {
    let bench = Bench::new();
    let whole = bench.read("w.safetensors");
    bench.write("w.safetensors", &whole[..whole.len() - 5]);
    model_is_refused(&bench, &["truncated"]);
    bench.write("w.safetensors", &whole[..100]);
    model_is_refused(&bench, &["truncated"]);
    bench.write("w.safetensors", "");
    model_is_refused(&bench, &["empty"]);
    bench.write("w.safetensors", bench.read("query.png"));
    model_is_refused(&bench, &["not a safetensors file"]);
    std::fs::remove_file(bench.path("w.safetensors")).unwrap();
    model_is_refused(&bench, &["cannot open"]);
    std::fs::create_dir(bench.path("w.safetensors")).unwrap();
    model_is_refused(&bench, &["folder"]);
}

/// A PNG file as far as its first header, which tells this size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    file.extend(width.to_be_bytes());
    file.extend(height.to_be_bytes());
    file.extend(b"\x08\x02\0\0\0\0\0\0\0");
    file
}

/// Files that are no good images, and what is said about each.
fn bad_images(bench: &Bench) -> Vec<(&'static str, &'static str)> {
    bench.write("empty.png", "");
    bench.write("text.png", "This is not a picture.");
    bench.write("huge.png", png_header(30_000, 30_000));
    let whole = bench.read("query.png");
    bench.write("half.png", &whole[..whole.len() / 2]);
    vec![
        ("empty.png", "empty (0 bytes)"),
        ("text.png", "not one of PNG"),
        ("huge.png", "30000 x 30000"),
        ("half.png", "truncated"),
        ("absent.png", "cannot read"),
        ("good/none", "cannot read"),
    ]
}

#[test]
fn a_bad_query_costs_its_line_and_no_other() {
    let bench = Bench::new();
    let bad = bad_images(&bench);
    let mut queries = vec!["query.png"];
    for (name, _) in &bad {
        queries.extend([name, "query.png"]);
    }
    for jobs in ["1", "3"] {
        let run = bench.score(&[&GOOD[..], &queries, &["--format", "jsonl", "--jobs", jobs, "--maps", "m"]].concat());
        assert_eq!(run.code, 2);
        assert_eq!(run.column("path"), queries);
        let rows = run.rows();
        for (row, (name, part)) in rows.iter().skip(1).step_by(2).zip(&bad) {
            let error = row["error"].as_str().unwrap();
            assert!(error.contains(part) && !error.starts_with(name), "{error}");
            for field in ["score", "holistic", "patch_max", "image_residual", "text_prior", "width", "height"] {
                assert!(row[field].is_null(), "{row}");
            }
        }
        assert!(rows.iter().step_by(2).all(|row| *row == rows[0] && row["error"].is_null()));
        run.says(&["6 of 13 queries failed"]);
        assert_eq!(bench.names("m").len(), 2 * 7);
    }
}

#[test]
fn all_bad_normals_are_named_and_nothing_is_written() {
    let bench = Bench::new();
    let bad = bad_images(&bench);
    let names = bad.iter().map(|(name, _)| *name);
    let parts: Vec<&str> = names.clone().chain(bad.iter().map(|(_, part)| *part)).collect();
    let parts = [&["6 of 8 normal images"], &parts[..]].concat();
    let repeated: Vec<&str> = names.clone().flat_map(|name| ["--normals", name]).collect();
    let score = [&["--normals", "good/a.png"][..], &repeated, &["--normals", "good/b.png", "query.png"]].concat();
    bench.score(&score).refused(&parts);

    let listed: Vec<&str> = ["--normals", "good/a.png"].into_iter().chain(names).chain(["good/b.png"]).collect();
    let build = ["bank", "build", "--weights", "w.safetensors", "-o", "b.bank"];
    bench.run(&[&build[..], &listed].concat()).refused(&parts);
    assert!(!bench.path("b.bank").exists());

    bench.run(&[&build[..], &GOOD].concat()).succeeded();
    let bank = bench.read("b.bank");
    let append = ["bank", "append", "--weights", "w.safetensors", "--bank", "b.bank"];
    bench.run(&[&append[..], &listed].concat()).refused(&parts);
    assert_eq!(bench.read("b.bank"), bank);
}

#[test]
fn no_normal_image_is_an_error() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("none")).unwrap();
    bench.write("none/notes.txt", "no picture");
    bench.score(&["--normals", "none", "query.png"]).refused(&["none", "K = 0", "at least one"]);
    let build = ["bank", "build", "--weights", "w.safetensors", "-o", "b.bank", "--normals", "none"];
    bench.run(&build).refused(&["none", "K = 0"]);
    bench.score(&["query.png"]).refused(&["--bank", "--normals"]);
}

#[test]
fn folders_that_cannot_be_read_are_named() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("void")).unwrap();
    let run = bench.score(&[&GOOD[..], &["void", "query.png", "nothing/*.png", "good["]].concat());
    assert_eq!(run.code, 2);
    for part in ["void  ", "no picture file", "nothing/*.png  ", "matches none", "good[  ", "query.png  "] {
        assert!(run.stdout.contains(part), "{part:?}: {}", run.stdout);
    }
    run.says(&["3 of 4 queries failed"]);
}

/// Run as another user, since nothing is unreadable to the superuser.
#[cfg(unix)]
#[test]
fn locked_folders_are_named() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let bench = Bench::new();
    bench.picture("q/locked/x.png", 40, 40, 1);
    bench.picture("q/y.png", 40, 40, 1);
    let mode = |name: &str, mode| set_permissions(bench.path(name), Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    mode("q/locked", 0);
    let run = |args: &[&str]| {
        if std::fs::read_dir(bench.path("q/locked")).is_err() {
            return Some(bench.score(args));
        }
        // The program may lie where other users cannot go.
        let program = bench.path("program");
        if !program.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_inctrl"), &program).unwrap();
        }
        let mut command = std::process::Command::new(program);
        command.args(["score", "--weights", "w.safetensors"]).args(args).current_dir(bench.path("")).uid(65_534);
        loop {
            match command.output() {
                // A program that another test has just started may still hold the copy open for writing.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                output => return output.ok().map(Run::from),
            }
        }
    };
    let queries = ["q", "--format", "jsonl"];
    let Some(scored) = run(&[&GOOD[..], &queries].concat()) else {
        println!("SKIP: this is the superuser, who cannot run a program as another user here");
        return;
    };
    assert_eq!((scored.code, scored.column("path")), (2, vec!["q/locked".to_owned(), "q/y.png".to_owned()]));
    assert!(scored.column("error")[0].starts_with("cannot read the folder: "), "{}", scored.stdout);
    let refused = run(&["--normals", "q/locked", "query.png"]).unwrap();
    refused.refused(&["q/locked", "cannot read the folder"]);
    mode("q/locked", 0o755);
}

#[test]
fn a_bank_of_another_model_is_refused_with_both_hashes() {
    let bench = Bench::new();
    bench.run(&["bank", "build", "--weights", "w.safetensors", "--normals", "good", "-o", "b.bank"]).succeeded();
    let bank = bench.run(&["bank", "info", "b.bank", "--format", "json"]).rows().remove(0);
    bench.model("w.safetensors", 2);
    let report = bench.run(&["weights", "inspect", "w.safetensors"]).stdout;
    let other = report.lines().find_map(|line| line.strip_prefix("hash ")).unwrap();
    let parts = ["b.bank", bank["model"].as_str().unwrap(), other, "build the bank again"];
    bench.score(&["--bank", "b.bank", "query.png"]).refused(&parts);
    let before = bench.read("b.bank");
    let append = ["bank", "append", "--weights", "w.safetensors", "--bank", "b.bank", "--normals", "good"];
    bench.run(&append).refused(&parts);
    assert_eq!(bench.read("b.bank"), before);
}

#[test]
fn damaged_banks_are_refused() {
    let bench = Bench::new();
    bench.run(&["bank", "build", "--weights", "w.safetensors", "--normals", "good", "-o", "b.bank"]).succeeded();
    let whole = bench.read("b.bank");
    let mut flipped = whole.clone();
    flipped[whole.len() - 100] ^= 1;
    for (content, part) in [
        (&whole[..whole.len() - 9], "truncated"),
        (&whole[..20], "truncated"),
        (&flipped, "checksum"),
        (&bench.read("w.safetensors"), "not a prompt bank"),
        (b"", "not a prompt bank"),
    ] {
        bench.write("b.bank", content);
        bench.score(&["--bank", "b.bank", "query.png"]).refused(&["b.bank", part]);
        bench.run(&["bank", "info", "b.bank"]).refused(&["b.bank", part]);
    }
}

#[test]
fn wrong_usage_is_exit_code_1() {
    let bench = Bench::new();
    let bank = ["--bank", "b.bank", "query.png"];
    bench.run(&["nonsense"]).refused(&["nonsense"]);
    bench.score(&[&bank[..], &GOOD].concat()).refused(&["--bank", "cannot be used with"]);
    bench.score(&[&bank[..], &["--class", "nut"]].concat()).refused(&["--class", "cannot be used with"]);
    bench.score(&[&bank[..], &["--fit", "crop"]].concat()).refused(&["--fit", "cannot be used with"]);
    bench.score(&GOOD).refused(&["QUERY"]);
    for (option, value, part) in [
        ("--fit", "round", "letterbox"),
        ("--jobs", "0", "--jobs"),
        ("--device", "tpu", "cpu"),
        ("--format", "xml", "jsonl"),
        ("--map-max", "many", "--map-max"),
        ("--class", " ", "class"),
        ("--config", "absent.json", "absent.json"),
        ("--heads", "absent.safetensors", "absent.safetensors"),
    ] {
        bench.score(&[&GOOD[..], &["query.png", option, value]].concat()).refused(&[part]);
    }
    for max in ["0", "-1", "nan", "inf"] {
        let max = format!("--map-max={max}");
        bench.score(&[&GOOD[..], &["query.png", "--maps", "m", &max]].concat()).refused(&["colour scale"]);
    }
    assert!(!bench.path("m").exists());
    let random = ["weights", "random", "-o", "x"];
    bench.run(&[&random[..], &["--arch", "vit-z"]].concat()).refused(&["vit-z", "vit-b-16-plus-240", "vit-l-14"]);
    bench.run(&random).refused(&["--arch", "--config"]);
    bench.write("c.json", "{}");
    bench.run(&[&random[..], &["--config", "c.json"]].concat()).refused(&["c.json", "vision_cfg"]);
    assert!(!bench.path("x").exists());
    bench.run(&["demo", "--side", "5", "-o", "d"]).refused(&["--side", "32..=4096"]);
    assert!(!bench.path("d").exists());
    bench.run(&["demo", "--shots", "0"]).refused(&["--shots"]);
    let synth = ["synth", "-o", "d", "--split"];
    bench.run(&synth[..3]).refused(&["--split"]);
    bench.run(&[&synth[..], &["test"]].concat()).refused(&["test", "train or held-out"]);
    bench.run(&[&synth[..], &["train", "--families", "nut"]].concat()).refused(&["nut", "hex_nut"]);
    bench.run(&[&synth[..], &["train", "--families", "hex_nut"]].concat()).refused(&["hex_nut", "split train"]);
    bench.run(&[&synth[..], &["train", "--products", "0"]].concat()).refused(&["--products"]);
    assert!(!bench.path("d").exists());
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    let build = ["bank", "build", "--weights", "w.safetensors", "--normals", "good"];
    bench.run(&[&build[..], &["-o", "absent/b.bank"]].concat()).refused(&["absent/b.bank", "cannot create"]);
    bench.run(&[&build[..], &["-o", "good"]].concat()).refused(&["good", "folder"]);
    bench.run(&["weights", "random", "--arch", "vit-b-32", "-o", "absent/w"]).refused(&["absent/w", "cannot create"]);
    bench.score(&[&GOOD[..], &["query.png", "--maps", "query.png/m"]].concat()).refused(&["query.png/m"]);
    bench.run(&["demo", "-o", "query.png/d"]).refused(&["query.png/d"]);

    // The rows before the map that cannot be written are there.
    std::fs::create_dir_all(bench.path("m/wide.overlay.png")).unwrap();
    let run = bench.score(&[&GOOD[..], &["query.png", "wide.png", "query.png", "--maps", "m"]].concat());
    assert_eq!((run.code, run.stdout.lines().count()), (1, 2));
    run.says(&["wide.overlay.png"]);
}

/// A limit on the size of files stands in for a disk that fills up in the middle of one.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    let bench = Bench::new();
    bench.picture("noise.png", 300, 300, 5);
    std::fs::create_dir(bench.path("out")).unwrap();
    let limited = |args: &[&str]| {
        // In units of 512 or 1024 bytes; the signal would end the program before it sees the error.
        let script = "trap '' XFSZ; ulimit -f 30; exec \"$0\" \"$@\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_inctrl")]).args(args).current_dir(bench.path(""));
        Run::from(command.output().unwrap())
    };
    let model = ["--weights", "w.safetensors", "--normals", "good"];
    let bank = limited(&[&["bank", "build", "-o", "out/b.bank"], &model[..]].concat());
    bank.refused(&["out/b.bank", "cannot write", "File too large"]);
    limited(&["weights", "random", "--arch", "vit-b-32", "-o", "out/w"]).refused(&["out/w", "File too large"]);
    let maps = limited(&[&["score", "noise.png", "--maps", "out"], &model[..]].concat());
    assert_eq!((maps.code, maps.stdout.lines().count()), (1, 1));
    maps.says(&["out/noise.", "File too large"]);
    assert!(bench.names("out").iter().all(|name| name == "noise.overlay.png"), "{:?}", bench.names("out"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let bench = Bench::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [
        &["score", "--weights", "w.safetensors", "--normals", "good", "query.png"][..],
        &["weights", "inspect", "w.safetensors"],
        &["bank", "build", "--weights", "w.safetensors", "--normals", "good", "-o", "b.bank"],
    ] {
        let run = Run::from(bench.command(args).stdout(full()).output().unwrap());
        run.refused(&["standard output", "No space left"]);
    }
    let help = Run::from(bench.command(&["score", "--help"]).stdout(full()).output().unwrap());
    assert_eq!(help.code, 1);
}
