//! The folders of the library depend on one another in one direction: `docs/architecture.md` draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a file holds tests alone: `tests.rs`, `memory_tests.rs`.
fn is_test(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with("tests.rs"))
}

/// The code of a file, without comments and the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Which folders each folder of `src` names as `crate::<folder>`.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut uses = BTreeMap::new();
    for folder in fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let mut files = Vec::new();
        sources(&folder, &mut files);
        let named = files.iter().filter(|path| !is_test(path)).flat_map(|path| {
            let code = code(path);
            let names = code.split("crate::").skip(1);
            let name = |rest: &str| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().map(str::to_owned);
            names.filter_map(name).collect::<Vec<_>>()
        });
        let named = named.filter(|other| *other != name && root.join(other).is_dir()).collect();
        uses.insert(name, named);
    }
    uses
}

#[test]
fn no_folder_uses_one_that_uses_it() {
    let mut uses = uses();
    // Nothing to see is no answer: these arrows are there.
    assert!(uses["engine"].contains("backend") && uses["ffi"].contains("engine"), "{uses:?}");
    // Takes away what uses nothing that is left, until there is nothing or a circle.
    while !uses.is_empty() {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        let before = uses.len();
        uses.retain(|_, others| !others.is_disjoint(&left));
        assert!(uses.len() < before, "folders use one another in a circle, among these: {uses:?}");
    }
}

/// Files below a folder of the package that end in `ending`.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().is_some_and(|path| path.ends_with(ending)));
    found.sort();
    assert!(!found.is_empty(), "{folder} has no {ending}");
    found
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// Devices have no method's name in code or comments. `inctrl` is the program, too, and `subspace_distance` is named
/// after what it computes.
#[test]
fn devices_know_no_method() {
    let methods = files("src/methods", "");
    let folders = methods.iter().filter(|path| path.is_dir()).map(|path| stem(path).replace('_', ""));
    let names: Vec<String> = folders.filter(|name| !["inctrl", "subspace", "toy"].contains(&name.as_str())).collect();
    assert!(names.contains(&"anomalydino".to_owned()), "{names:?}");
    let mut backend = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend"), &mut backend);
    for path in backend {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("InCTRL"), "{}", path.display());
        let plain = text.to_lowercase().replace(['_', '-'], "");
        let found = names.iter().find(|name| plain.contains(*name));
        assert!(found.is_none(), "{} names {found:?}", path.display());
    }
}

/// An operation has one name: that of its kernel, of its launcher or method, and of its test.
#[test]
fn an_operation_has_one_name() {
    let tests: BTreeSet<String> = files("tests/ops", ".rs").iter().map(|path| stem(path).to_owned()).collect();
    let launchers: BTreeSet<String> =
        files("src/backend/cuda", ".rs").iter().map(|path| stem(path).to_owned()).collect();
    let mut methods = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/methods"), &mut methods);
    let of_methods: String = methods.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for path in files("kernels", ".cu") {
        let kernel = stem(&path);
        // Attention by one query is a row of attention by all.
        assert!(kernel == "class_attention" || tests.contains(kernel), "{kernel}: tests/ops has no such file");
        let launched = launchers.contains(kernel) || of_methods.contains(&format!("\"{kernel}"));
        assert!(launched, "{kernel}: no launcher is called so");
    }
}
