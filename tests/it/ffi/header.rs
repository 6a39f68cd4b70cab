//! The header follows from the source and compiles as C99 and C++17, and the library exports exactly the functions that
//! it declares.

use std::fs;
use std::process::Command;

use super::{has, libraries, root, run};

/// The header that the source gives.
fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in [
        "abi",
        "status",
        "log",
        "frame",
        "engine",
        "bank",
        "calibration",
        "slot",
        "result",
        "scorer",
        "roi_scorer",
        "appender",
        "health",
    ] {
        builder = builder.with_src(root().join(format!("src/ffi/{file}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_that_of_the_source() {
    let path = root().join("include/inctrl.h");
    let header = generated();
    if std::env::var_os("INCTRL_WRITE_HEADER").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == header,
        "include/inctrl.h is not what src/ffi gives: INCTRL_WRITE_HEADER=1 cargo test --release --test it ffi::header"
    );
}

/// The functions that the header declares.
fn declared() -> Vec<String> {
    let header = generated();
    let mut names: Vec<String> = header
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('))
        .filter_map(|word| word.split_once('(').map(|(name, _)| name.to_owned()))
        .filter(|name| name.starts_with("inctrl_"))
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_list_of_functions_is_known() {
    let list = fs::read_to_string(root().join("tests/ffi_symbols.txt")).unwrap();
    assert_eq!(
        declared(),
        list.lines().collect::<Vec<_>>(),
        "a function was added or removed: is the list meant to change?"
    );
}

/// Whether `pattern` names a function; a `*` at its end stands for anything.
fn names(pattern: &str, function: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => function.starts_with(beginning),
        None => function == pattern,
    }
}

#[test]
fn the_tables_of_the_page_have_every_function_and_every_status() {
    let page = fs::read_to_string(root().join("docs/embedding.md")).unwrap();
    let section = |title: &str| page.split("\n## ").find_map(|text| text.strip_prefix(title)).unwrap();
    let rows = |title: &str| section(title).lines().filter_map(|line| line.strip_prefix("| ")).collect::<Vec<_>>();
    let threads = rows("Threads\n");
    let in_ticks = |row: &&str| -> Vec<String> {
        let first = row.split('|').next().unwrap();
        first.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let patterns: Vec<String> = threads.iter().flat_map(in_ticks).collect();
    for function in declared() {
        let count = patterns.iter().filter(|pattern| names(pattern, &function)).count();
        assert_eq!(count, 1, "the table of threads has {function} {count} times");
    }
    for pattern in &patterns {
        assert!(declared().iter().any(|function| names(pattern, function)), "{pattern} is no function");
    }
    let statuses = rows("Errors\n");
    let header = generated();
    let mut count = 0;
    for line in header.lines().filter_map(|line| line.strip_prefix("#define INCTRL_")) {
        let Some((name, number)) = line.split_once(' ') else { continue };
        let Some(name) = name.strip_prefix("ERROR_").or((name == "OK").then_some(name)) else { continue };
        let row = format!("{number} `{name}` | ");
        assert!(statuses.iter().any(|found| found.starts_with(&row)), "no row {row:?} in the table of statuses");
        count += 1;
    }
    assert!(count > 10);
}

#[cfg(target_os = "linux")]
#[test]
fn the_library_exports_what_the_header_declares_under_a_versioned_name() {
    if !has("nm") || !has("readelf") {
        return;
    }
    let library = libraries().join("libinctrl.so");
    let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
    let mut exported: Vec<_> = symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    exported.sort_unstable();
    assert_eq!(exported, declared());
    let name = format!("[libinctrl.so.{}]", inctrl::ffi::INCTRL_ABI_VERSION);
    let dynamic = run(Command::new("readelf").arg("-d").arg(&library));
    assert!(dynamic.contains(&name), "{dynamic}");
}

#[test]
fn the_headers_compile_twice_included() {
    let folder = tempfile::tempdir().unwrap();
    let include = root().join("include");
    let strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"];
    for (compiler, standard, file, header) in [
        ("gcc", "-std=c99", "twice.c", "inctrl.h"),
        ("gcc", "-std=c11", "twice.c", "inctrl.h"),
        ("g++", "-std=c++17", "twice.cpp", "inctrl.h"),
        ("g++", "-std=c++17", "twice.cpp", "inctrl.hpp"),
    ] {
        if !has(compiler) {
            continue;
        }
        let source = folder.path().join(file);
        let text = format!(
            "#include <{header}>\n#include <{header}>\nint main(void) {{ return inctrl_abi_version() == 0; }}\n"
        );
        fs::write(&source, text).unwrap();
        run(Command::new(compiler).args(strict).arg(standard).arg("-I").arg(&include).arg(&source));
    }
}
