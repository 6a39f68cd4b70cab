//! The images to score: files, folders, globs and standard input become one sequence of paths.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use inctrl::Error;
use inctrl::pictures::{Depth, Found, Why, folders_below, summary};
use inctrl_lab::normals::no_pictures;

/// One image to be scored.
pub struct Query {
    pub path: PathBuf,
    /// Why there is nothing to score, if that is already known.
    pub problem: Option<String>,
    /// The query came as a line of standard input.
    from_stdin: bool,
}

/// The queries of the arguments, in order. Standard input is read only as queries are taken.
pub struct Queries {
    parts: Vec<Part>,
    /// The deepest folder that contains all queries except those from standard input.
    base: PathBuf,
    passed_over: Vec<(PathBuf, Why)>,
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
    /// Never fails: an unreadable path becomes a query with a problem, so that the others are scored. The folder `maps`
    /// is not searched, as its pictures are results of an earlier run.
    pub fn expand(arguments: &[PathBuf], maps: Option<&Path>) -> Self {
        let (mut parts, mut roots, mut passed_over) = (Vec::new(), Vec::new(), Vec::new());
        for argument in arguments {
            if argument.as_os_str() == "-" {
                parts.push(Part::Stdin);
                continue;
            }
            let (root, queries) = expand(argument, maps, &mut passed_over);
            roots.push(root);
            parts.push(Part::Known(queries));
        }
        let base = roots.into_iter().reduce(|a, b| common_folder(&a, &b)).unwrap_or_default();
        Queries { parts, base, passed_over }
    }

    /// What folders and globs contain besides pictures, in a few words, if anything.
    pub fn passed_over(&self) -> Option<String> {
        summary(self.passed_over.iter().map(|(path, why)| (path.as_path(), *why)))
    }

    /// The number of queries, unless standard input is among them.
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
                Part::Stdin => Box::new(Lines::new(BufReader::new(io::stdin()))),
            }
        })
    }
}

/// The folder above an argument's queries, and the queries. Ignored files go to `passed_over`.
fn expand(argument: &Path, skipped: Option<&Path>, passed_over: &mut Vec<(PathBuf, Why)>) -> (PathBuf, Vec<Query>) {
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("")).to_path_buf();
    match fs::metadata(argument) {
        Ok(found) if found.is_dir() => (argument.to_path_buf(), folder(argument, skipped, passed_over)),
        Ok(_) => (parent(argument), vec![Query::at(argument)]),
        Err(_) => match argument.to_str().filter(|text| is_special(text)) {
            Some(pattern) => (literal_prefix(argument), matches(pattern, skipped, passed_over)),
            // Opening it will report why it cannot be read.
            None => (parent(argument), vec![Query::at(argument)]),
        },
    }
}

/// The pictures below a folder, sorted by path, except those in the folder `skipped`.
fn folder(root: &Path, skipped: Option<&Path>, passed_over: &mut Vec<(PathBuf, Why)>) -> Vec<Query> {
    let found = Found::below(root, Depth::All, skipped);
    if found.pictures.is_empty() && found.failed.is_empty() {
        return vec![Query::failed(root, no_pictures(&found))];
    }
    queries(found, passed_over)
}

/// The found files as queries, sorted by path.
fn queries(found: Found, passed_over: &mut Vec<(PathBuf, Why)>) -> Vec<Query> {
    let failed = found.failed.into_iter().map(|(path, why)| Query::failed(path, why));
    let mut queries: Vec<Query> = found.pictures.into_iter().map(Query::at).chain(failed).collect();
    queries.sort_by(|a, b| a.path.cmp(&b.path));
    passed_over.extend(found.passed_over);
    queries
}

/// The matches of a glob: pictures, and folders, which are searched. File names need not be UTF-8.
fn matches(pattern: &str, skipped: Option<&Path>, passed_over: &mut Vec<(PathBuf, Why)>) -> Vec<Query> {
    let prefix = literal_prefix(Path::new(pattern));
    let rest = Path::new(pattern).components().skip(prefix.components().count());
    let (mut found, mut taken, mut files) = (vec![prefix], Vec::new(), Found::default());
    let mut rest = rest.map(|part| part.as_os_str().to_string_lossy()).peekable();
    while let Some(part) = rest.next() {
        if part == "**" {
            // At the end of a pattern it matches folders, which are searched completely anyway.
            if rest.peek().is_some() {
                let below = found.iter().flat_map(|folder| folders_below(folder)).collect::<Vec<_>>();
                found.extend(below);
            }
            continue;
        }
        if !is_special(&part) {
            found = found.iter().map(|folder| folder.join(&*part)).filter(|path| path.exists()).collect();
            continue;
        }
        let part = match Pattern::new(&part) {
            Ok(part) => part,
            Err(error) => return vec![Query::failed(pattern, format!("neither a file nor a glob: {error}"))],
        };
        let mut next = Vec::new();
        for folder in found.iter().filter(|path| path.as_os_str().is_empty() || path.is_dir()) {
            match names(folder) {
                Ok(names) => next.extend(names.iter().filter(|name| fits(&part, name)).map(|name| folder.join(name))),
                Err(error) => files.failed.push((folder.clone(), format!("cannot read the folder: {error}"))),
            }
        }
        found = next;
    }
    found.sort();
    for path in found {
        match path.is_dir() {
            true => taken.append(&mut folder(&path, skipped, passed_over)),
            false => files.file(path),
        }
    }
    let others = files.summary();
    taken.append(&mut queries(files, passed_over));
    taken.sort_by(|a, b| a.path.cmp(&b.path));
    if taken.is_empty() {
        let rest = others.map_or("it matches none".to_owned(), |others| format!("it matches no picture: {others}"));
        taken.push(Query::failed(pattern, format!("no such file, and as a glob {rest}")));
    }
    taken
}

/// Whether a name matches one part of a glob. As in a shell, hidden files are matched only by name.
fn fits(part: &Pattern, name: &OsStr) -> bool {
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    part.matches_with(&name.to_string_lossy(), options)
}

/// What a folder holds; the empty path is the working folder.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The folders of a glob before its first special character.
fn literal_prefix(pattern: &Path) -> PathBuf {
    let literal = |part: &Component<'_>| !is_special(&part.as_os_str().to_string_lossy());
    pattern.components().take_while(literal).collect()
}

fn is_special(part: &str) -> bool {
    part.contains(['*', '?', '['])
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

/// The lines of standard input, each the path of one file. Blank lines are ignored. A failure ends the sequence.
struct Lines<R> {
    from: Option<R>,
    first: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(from: R) -> Self {
        Lines { from: Some(from), first: true }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Query;

    fn next(&mut self) -> Option<Query> {
        loop {
            let mut line = Vec::new();
            match self.from.as_mut()?.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.from = None;
                    return Some(Query::failed("-", Error::io("read", "standard input", error).chain()));
                }
            }
            // A byte order mark, which some tools write before the first line.
            if std::mem::take(&mut self.first) && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            // No path has a zero byte, and UTF-16 has one in every character of a path in Latin letters.
            if line.contains(&0) || line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
                self.from = None;
                return Some(Query::failed("-", WIDE_LIST.to_owned()));
            }
            let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
            line.truncate(end);
            if !line.is_empty() {
                return Some(Query { path: path_of(line), problem: None, from_stdin: true });
            }
        }
    }
}

const WIDE_LIST: &str = "the list of paths is UTF-16 or has zero bytes: write it as UTF-8, one path per line \
    (PowerShell: Out-File -Encoding utf8); nothing after this line was read";

#[cfg(unix)]
fn path_of(line: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(line).into()
}

#[cfg(not(unix))]
fn path_of(line: Vec<u8>) -> PathBuf {
    OsString::from(String::from_utf8_lossy(&line).into_owned()).into()
}

/// Gives every query a unique name for output files: its path below the deepest folder that contains all queries,
/// without extension, and with `-2`, `-3`.. for repeated names.
pub struct Names {
    base: PathBuf,
    /// How often a name was given, by its lower-case form, as some file systems ignore case.
    given: HashMap<String, usize>,
}

impl Names {
    /// The name of the next query.
    pub fn name(&mut self, query: &Query) -> PathBuf {
        // Paths from standard input are not known in advance, so they keep all their folders.
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

    #[test]
    fn a_list_may_begin_with_a_mark_and_must_not_be_wide() {
        let read = |bytes: &[u8]| -> Vec<(String, bool)> {
            let queries = Lines::new(bytes);
            queries.map(|query| (query.path.display().to_string(), query.problem.is_some())).collect()
        };
        let good = |name: &str| (name.to_owned(), false);
        assert_eq!(read(b"\xef\xbb\xbfa.png\r\n\r\nb c.png\r\n"), [good("a.png"), good("b c.png")]);
        assert_eq!(read(b"\xef\xbb\xbf"), []);
        // Only at the beginning; elsewhere it is part of a name.
        assert_eq!(read(b"a\n\xef\xbb\xbfb").len(), 2);
        let wide = |mark: &[u8], order: fn(u16) -> [u8; 2]| {
            [mark, &"a.png\r\nb.png\r\n".encode_utf16().flat_map(order).collect::<Vec<u8>>()].concat()
        };
        for list in [
            wide(b"\xff\xfe", u16::to_le_bytes),
            wide(b"\xfe\xff", u16::to_be_bytes),
            wide(b"", u16::to_le_bytes),
            wide(b"", u16::to_be_bytes),
            b"a.png\0b.png\0".to_vec(),
        ] {
            let all: Vec<_> = Lines::new(&list[..]).collect();
            assert_eq!(all.len(), 1);
            assert!(all[0].problem.as_ref().is_some_and(|problem| problem.contains("UTF-16")));
        }
    }

    #[cfg(unix)]
    #[test]
    fn globs_match_as_in_a_shell_and_pass_over_nothing() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for folder in ["a", "a/deep", "b", ".hidden"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        let odd = root.join("a").join(OsStr::from_bytes(b"z\xff.png"));
        for file in ["a/1.png", "a/2.png", "a/deep/3.png", "b/4.png", "b/5.jpg", ".hidden/6.png", "a/.7.png"] {
            fs::write(root.join(file), "").unwrap();
        }
        fs::write(&odd, "").unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let queries = matches(&format!("{}/{pattern}", root.display()), None, &mut Vec::new());
            let below = |query: &Query| query.path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            queries.iter().filter(|query| query.problem.is_none()).map(below).collect()
        };
        assert_eq!(found("a/*.png"), ["a/1.png", "a/2.png", "a/z\u{fffd}.png"]);
        assert_eq!(found("*/[14].png"), ["a/1.png", "b/4.png"]);
        assert_eq!(found("**/[1-5].png"), ["a/1.png", "a/2.png", "a/deep/3.png", "b/4.png"]);
        assert_eq!(found("b*"), ["b/4.png", "b/5.jpg"]);
        assert_eq!(found("*/../b/4.png"), ["a/../b/4.png", "b/../b/4.png"]);
        assert!(found("c*").is_empty() && found("a/[.png").is_empty());
        assert_eq!(matches(&format!("{}/c*", root.display()), None, &mut Vec::new()).len(), 1);
    }
}
