//! A conversion that is killed half-way leaves neither output nor temporary file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use inctrl::tensor::DType;
use inctrl::weights::{Arch, random};

use crate::program::Bench;

/// The token table alone has 100 MB, so that there is a half-way.
const CONFIG: &str = r#"{"embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 64, "layers": 2},
    "text_cfg": {"width": 512, "heads": 8, "layers": 1},
    "inctrl": {"taps": [1]}}"#;

/// Waits until the program has written a part of a file that has no name.
fn wait_for_half(child: &mut Child) {
    let open_files = format!("/proc/{}/fd", child.id());
    let is_draft = |path: std::path::PathBuf| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.nlink() == 0 && file.len() > 1 << 20)
    };
    let patience = Instant::now() + Duration::from_secs(60);
    while Instant::now() < patience {
        assert!(child.try_wait().unwrap().is_none(), "the conversion ended before it could be interrupted");
        if fs::read_dir(&open_files).is_ok_and(|files| files.flatten().any(|file| is_draft(file.path()))) {
            return;
        }
        sleep(Duration::from_micros(200));
    }
    panic!("no unnamed file was written: does the file system of the temporary folder have such (O_TMPFILE)?");
}

/// Whether this process ignores a signal, as one that a shell started in the background ignores SIGINT: its children do
/// too.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("the kernel says what is ignored");
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
}

#[test]
fn a_killed_conversion_leaves_nothing() {
    let bench = Bench::empty();
    random::write(bench.path("source.safetensors"), &Arch::from_json(CONFIG).unwrap(), 1, DType::F32).unwrap();
    bench.write("kept.safetensors", "what was there before");
    for (signal, name) in [(9, "KILL"), (2, "INT"), (15, "TERM")] {
        if is_ignored(signal) {
            eprintln!("SKIP: SIG{name} is ignored here");
            continue;
        }
        for output in ["new.safetensors", "kept.safetensors"] {
            let mut command = bench.command(&["convert", "source.safetensors", "-o", output]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            wait_for_half(&mut child);
            let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
            assert_eq!(child.wait().unwrap().signal(), Some(signal), "SIG{name}");
            assert_eq!(bench.names("."), ["kept.safetensors", "source.safetensors"], "SIG{name}");
            assert_eq!(bench.read("kept.safetensors"), b"what was there before");
        }
    }
    bench.run(&["convert", "source.safetensors", "-o", "kept.safetensors"]);
    assert_eq!(bench.names("."), ["kept.safetensors", "source.safetensors"]);
    assert!(bench.read("kept.safetensors").len() > 100_000_000);
}
