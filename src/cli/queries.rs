//! Which images are to be scored: files, folders, globs and standard input to one sequence of paths.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Stdin};
use std::path::{Component, Path, PathBuf};

use glob::MatchOptions;
use inctrl::Error;

use super::normals::{is_picture, no_pictures};

/// One image to be scored.
pub struct Query {
    pub path: PathBuf,
    /// Why there is nothing to score, where that is known already.
    pub problem: Option<String>,
    /// The query came as a line of standard input.
    from_stdin: bool,
}

/// The queries that the arguments name, in order. Standard input is read only as queries are taken.
pub struct Queries {
    parts: Vec<Part>,
    /// The deepest folder that holds all queries but those of standard input.
    base: PathBuf,
}

enum Part {
    Known(Vec<Query>),
    Stdin,
}

impl Part {
    fn known(&self) -> Option<&[Query]> {
        match self {
            Part::Known(queries) => Some(queries),
            Part::Stdin => None,
        }
    }
}

impl Queries {
    /// Never fails: what cannot be read becomes a query with a problem, so that the others are scored. Folders are searched
    /// but for `maps`, whose pictures are results of an earlier run.
    pub fn expand(arguments: &[PathBuf], maps: Option<&Path>) -> Self {
        let maps = maps.and_then(|folder| folder.canonicalize().ok());
        let (mut parts, mut roots) = (Vec::new(), Vec::new());
        for argument in arguments {
            if argument.as_os_str() == "-" {
                parts.push(Part::Stdin);
                continue;
            }
            let (root, queries) = expand(argument, maps.as_deref());
            roots.push(root);
            parts.push(Part::Known(queries));
        }
        let base = roots.into_iter().reduce(|a, b| common_folder(&a, &b)).unwrap_or_default();
        Queries { parts, base }
    }

    /// How many there are, unless standard input is among them.
    pub fn len(&self) -> Option<usize> {
        self.parts.iter().map(|part| part.known().map(<[_]>::len)).sum()
    }

    /// The paths that are known before standard input is read.
    pub fn known_paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(Part::known).flatten().map(|query| query.path.as_path())
    }

    /// Names for the output files of these queries.
    pub fn names(&self) -> Names {
        Names { base: self.base.clone(), given: HashMap::new() }
    }

    /// The queries.
    pub fn into_iter(self) -> impl Iterator<Item = Query> + Send {
        self.parts.into_iter().flat_map(|part| -> Box<dyn Iterator<Item = Query> + Send> {
            match part {
                Part::Known(queries) => Box::new(queries.into_iter()),
                Part::Stdin => Box::new(Lines(Some(BufReader::new(io::stdin())))),
            }
        })
    }
}

/// The folder that an argument's queries lie below, and the queries.
fn expand(argument: &Path, skipped: Option<&Path>) -> (PathBuf, Vec<Query>) {
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("")).to_path_buf();
    match fs::metadata(argument) {
        Ok(found) if found.is_dir() => (argument.to_path_buf(), folder(argument, skipped)),
        Ok(_) => (parent(argument), vec![Query::at(argument)]),
        Err(_) => match argument.to_str().filter(|text| text.contains(['*', '?', '['])) {
            Some(pattern) => (literal_prefix(argument), matches(pattern, skipped)),
            // Opening it says why it cannot be read.
            None => (parent(argument), vec![Query::at(argument)]),
        },
    }
}

/// The picture files below a folder, in the order of their paths, but for those in the folder `skipped`, which is canonical.
fn folder(root: &Path, skipped: Option<&Path>) -> Vec<Query> {
    let mut queries = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let found = fs::read_dir(&folder).and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                let (kind, path) = (entry.file_type()?, entry.path());
                // A link to a folder is not followed: it may lead back up.
                if kind.is_dir() {
                    if skipped.is_none() || path.canonicalize().ok().as_deref() != skipped {
                        folders.push(path);
                    }
                } else if is_picture(&path) && path.is_file() {
                    queries.push(Query::at(path));
                }
            }
            Ok(())
        });
        if let Err(error) = found {
            queries.push(Query::failed(folder, format!("cannot read the folder: {error}")));
        }
    }
    if queries.is_empty() {
        queries.push(Query::failed(root, no_pictures()));
    }
    queries.sort_by(|a, b| a.path.cmp(&b.path));
    queries
}

/// What a glob matches: files as they are, folders as if they had been given.
fn matches(pattern: &str, skipped: Option<&Path>) -> Vec<Query> {
    // As in a shell, hidden files are matched only by name.
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let paths = match glob::glob_with(pattern, options) {
        Ok(paths) => paths,
        Err(error) => return vec![Query::failed(pattern, format!("neither a file nor a glob: {error}"))],
    };
    let mut queries = Vec::new();
    for found in paths {
        match found {
            Ok(path) if path.is_dir() => queries.append(&mut folder(&path, skipped)),
            Ok(path) => queries.push(Query::at(path)),
            Err(error) => {
                let problem = format!("cannot read the folder: {}", error.error());
                queries.push(Query::failed(error.path(), problem));
            }
        }
    }
    if queries.is_empty() {
        queries.push(Query::failed(pattern, "no such file, and as a glob it matches none".into()));
    }
    queries
}

/// The folders of a glob before its first special character.
fn literal_prefix(pattern: &Path) -> PathBuf {
    let special = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    pattern.components().take_while(|part| !special(part)).collect()
}

fn common_folder(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
}

impl Query {
    fn at(path: impl Into<PathBuf>) -> Self {
        Query { path: path.into(), problem: None, from_stdin: false }
    }

    fn failed(path: impl Into<PathBuf>, problem: String) -> Self {
        Query { path: path.into(), problem: Some(problem), from_stdin: false }
    }
}

/// The lines of standard input, each the path of one file. Blank lines are passed over; a failure ends it.
struct Lines(Option<BufReader<Stdin>>);

impl Iterator for Lines {
    type Item = Query;

    fn next(&mut self) -> Option<Query> {
        loop {
            let mut line = Vec::new();
            match self.0.as_mut()?.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.0 = None;
                    return Some(Query::failed("-", Error::io("read", "standard input", error).chain()));
                }
            }
            let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
            line.truncate(end);
            if !line.is_empty() {
                return Some(Query { path: path_of(line), problem: None, from_stdin: true });
            }
        }
    }
}

#[cfg(unix)]
fn path_of(line: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(line).into()
}

#[cfg(not(unix))]
fn path_of(line: Vec<u8>) -> PathBuf {
    OsString::from(String::from_utf8_lossy(&line).into_owned()).into()
}

/// Gives every query a name of its own for output files: its path below the deepest folder that holds all queries,
/// without extension, and with `-2`, `-3`.. where that was given before.
pub struct Names {
    base: PathBuf,
    /// How often a name was given, by the name in lower case: some file systems do not tell case apart.
    given: HashMap<String, usize>,
}

impl Names {
    /// The name of the next query.
    pub fn name(&mut self, query: &Query) -> PathBuf {
        // What standard input will bring is not known beforehand, so its paths keep all their folders.
        let base = if query.from_stdin { Path::new("") } else { self.base.as_path() };
        let below = query.path.strip_prefix(base).unwrap_or(&query.path).with_extension("");
        let name: PathBuf = below.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let key = |path: &Path| path.to_string_lossy().to_lowercase();
        let mut unique = name.clone();
        // A numbered name may itself be that of another query.
        while self.given.contains_key(&key(&unique)) {
            let times = self.given.entry(key(&name)).or_default();
            *times += 1;
            let mut numbered = name.clone().into_os_string();
            numbered.push(format!("-{times}"));
            unique = numbered.into();
        }
        self.given.insert(key(&unique), 1);
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &str, paths: &[&str]) -> Vec<String> {
        let mut names = Names { base: base.into(), given: HashMap::new() };
        paths.iter().map(|path| names.name(&Query::at(*path)).display().to_string()).collect()
    }

    #[test]
    fn names_are_below_the_common_folder_and_never_the_same() {
        assert_eq!(names("a/b", &["a/b/c/x.png", "a/b/x.png"]), ["c/x", "x"]);
        assert_eq!(names("a", &["a/x.png", "a/x.jpg", "a/X.png", "a/x-2.png"]), ["x", "x-2", "X-3", "x-2-2"]);
        assert_eq!(names("", &["/x/../y.tar.png", "y.tar"]), ["x/y.tar", "y"]);
        let twice = names("", &["x.png"; 5]);
        assert_eq!(twice, ["x", "x-2", "x-3", "x-4", "x-5"]);
    }

    #[test]
    fn a_base_is_the_deepest_folder_of_all() {
        let base = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(PathBuf::from).collect();
            Queries::expand(&arguments, None).base.display().to_string()
        };
        assert_eq!(base(&["absent/a/x.png"]), "absent/a");
        assert_eq!(base(&["absent/a/x.png", "absent/b/x.png", "-"]), "absent");
        assert_eq!(base(&["absent/*/good/?.png"]), "absent");
        assert_eq!(base(&["absent/x.png", "/absent/x.png"]), "");
        assert_eq!(base(&["-"]), "");
    }
}
