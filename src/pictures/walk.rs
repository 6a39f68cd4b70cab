//! Finds picture files in folders, and reports everything else.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::image::sniff::{Content, sniff_file};

/// File name extensions of the formats that are decoded, in lower case; they count in either case.
pub const EXTENSIONS: [&str; 15] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "dib", "tif", "tiff", "webp", "pnm", "pbm", "pgm", "ppm", "pam"];
/// Extensions of picture formats that are not decoded.
const OTHER_EXTENSIONS: [&str; 12] =
    ["heic", "heif", "avif", "jxl", "jp2", "j2k", "jpx", "jxr", "gif", "dng", "psd", "exr"];
/// Recognised contents that are not pictures to be scored: documents, films, icons.
const BESIDE: [&str; 5] = ["PDF", "MP4", "ICO", "CUR", "ICNS"];

/// Whether a file from a folder or a glob is a picture: by its name's extension, otherwise by its first bytes.
///
/// Pictures of formats that are not decoded count too, so that opening them gives an error. Hidden files, and anything
/// that is not a file or a link to one, do not count.
///
/// # Errors
/// Where the file must be opened and cannot be.
pub fn is_picture(path: &Path) -> io::Result<bool> {
    if is_hidden(path) || !fs::metadata(path)?.is_file() {
        return Ok(false);
    }
    if has_extension(path, &EXTENSIONS) {
        return Ok(true);
    }
    Ok(match sniff_file(path)? {
        Content::Picture(_) => true,
        Content::Unsupported(name) => !BESIDE.contains(&name),
        Content::Other => has_extension(path, &OTHER_EXTENSIONS),
    })
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|e| extensions.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// Whether a name begins with a dot.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Why a file or folder was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// Neither its name nor its content is that of a picture.
    NotAPicture,
    /// A picture or folder whose name begins with a dot.
    Hidden,
    /// A link to a folder that was already searched.
    SearchedAlready,
    /// A subfolder, where subfolders are not searched.
    Subfolder,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotAPicture => "not a picture",
            Why::Hidden => "hidden",
            Why::SearchedAlready => "leads to a folder that was already searched",
            Why::Subfolder => "a subfolder, which is not searched",
        })
    }
}

/// What was found in folders.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The pictures, in the order of their paths.
    pub pictures: Vec<PathBuf>,
    /// What was ignored, and why.
    pub passed_over: Vec<(PathBuf, Why)>,
    /// What could not be read, and why.
    pub failed: Vec<(PathBuf, String)>,
}

/// How far a folder is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only the folder itself, without its subfolders.
    One,
    /// Subfolders too.
    All,
}

impl Found {
    /// Searches a folder except for the folder `without`. Links to files and folders are followed. Each folder is
    /// searched once, by its own path rather than a link's. Hidden folders are not searched.
    pub fn below(folder: &Path, depth: Depth, without: Option<&Path>) -> Self {
        let mut found = Found::default();
        let without = without.and_then(|path| path.canonicalize().ok());
        let (mut folders, mut links) = (vec![folder.to_path_buf()], Vec::new());
        let mut entered: HashSet<PathBuf> = HashSet::new();
        while let Some(folder) = folders.pop().or_else(|| links.pop()) {
            match folder.canonicalize() {
                Ok(real) if without.as_ref() == Some(&real) => continue,
                Ok(real) if entered.insert(real.clone()) => {}
                Ok(_) => {
                    found.passed_over.push((folder, Why::SearchedAlready));
                    continue;
                }
                Err(error) => {
                    found.failed.push((folder, format!("cannot read the folder: {error}")));
                    continue;
                }
            }
            for path in found.entries(&folder) {
                let is_folder = fs::metadata(&path).is_ok_and(|found| found.is_dir());
                match (is_folder, depth) {
                    (true, _) if is_hidden(&path) => found.passed_over.push((path, Why::Hidden)),
                    (true, Depth::One) => found.passed_over.push((path, Why::Subfolder)),
                    (true, Depth::All) if path.is_symlink() => links.push(path),
                    (true, Depth::All) => folders.push(path),
                    (false, _) => found.file(path),
                }
            }
        }
        found.pictures.sort();
        found.passed_over.sort();
        found.failed.sort();
        found
    }

    /// Sorts in a file from a folder or a glob.
    pub fn file(&mut self, path: PathBuf) {
        match is_picture(&path) {
            Ok(true) => self.pictures.push(path),
            Ok(false) if is_hidden(&path) => {
                // Other hidden files belong to the system.
                if has_extension(&path, &EXTENSIONS) || has_extension(&path, &OTHER_EXTENSIONS) {
                    self.passed_over.push((path, Why::Hidden));
                }
            }
            Ok(false) => self.passed_over.push((path, Why::NotAPicture)),
            Err(error) => {
                let what = if path.is_symlink() && !path.exists() { "a broken link" } else { "cannot be read" };
                self.failed.push((path, format!("{what}: {error}")));
            }
        }
    }

    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        let read = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut paths: Vec<PathBuf> = read.unwrap_or_else(|error: io::Error| {
            self.failed.push((folder.to_path_buf(), format!("cannot read the folder: {error}")));
            Vec::new()
        });
        // The last is searched first.
        paths.sort_by(|a, b| b.cmp(a));
        paths
    }

    /// What was ignored, such as `9 files ignored: 6 .txt, 3 without an extension; 1 subfolder not entered`, if
    /// anything was.
    pub fn summary(&self) -> Option<String> {
        summary(self.passed_over.iter().map(|(path, why)| (path.as_path(), *why)))
    }
}

/// As [`Found::summary`], for any list of ignored files.
pub fn summary<'a>(passed_over: impl Iterator<Item = (&'a Path, Why)>) -> Option<String> {
    let (mut files, mut folders): (BTreeMap<String, usize>, BTreeMap<&str, usize>) = Default::default();
    for (path, why) in passed_over {
        let label = match why {
            Why::Subfolder => {
                *folders.entry("not entered").or_default() += 1;
                continue;
            }
            Why::SearchedAlready => {
                *folders.entry("linked to twice").or_default() += 1;
                continue;
            }
            Why::Hidden if !has_extension(path, &EXTENSIONS) && !has_extension(path, &OTHER_EXTENSIONS) => {
                *folders.entry("hidden").or_default() += 1;
                continue;
            }
            Why::Hidden => "hidden".to_owned(),
            Why::NotAPicture => match path.extension() {
                Some(extension) => format!(".{}", extension.to_string_lossy().to_lowercase()),
                None => "without an extension".to_owned(),
            },
        };
        *files.entry(label).or_default() += 1;
    }
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut parts = Vec::new();
    if !files.is_empty() {
        let mut kinds: Vec<_> = files.iter().collect();
        kinds.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let kinds: Vec<_> = kinds.into_iter().map(|(label, count)| format!("{count} {label}")).collect();
        parts.push(format!("{} ignored: {}", plural(files.values().sum(), "file"), kinds.join(", ")));
    }
    for (what, count) in folders {
        parts.push(match what {
            "hidden" => format!("{} not entered", plural(count, "hidden folder")),
            "not entered" => format!("{} not entered", plural(count, "subfolder")),
            _ => format!("{} searched only once, although links lead there too", plural(count, "folder")),
        });
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// All folders below one, except hidden and unreadable ones. Links are followed; each folder is listed once.
pub fn folders_below(root: &Path) -> Vec<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_path_buf() };
    let (mut below, mut open, mut links) = (Vec::new(), vec![root.to_path_buf()], Vec::new());
    let mut entered: HashSet<PathBuf> = HashSet::new();
    while let Some(folder) = open.pop().or_else(|| links.pop()) {
        if !here(&folder).canonicalize().is_ok_and(|real| entered.insert(real)) {
            continue;
        }
        let names = fs::read_dir(here(&folder)).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for path in names.map(|name| folder.join(name)).filter(|path| !is_hidden(path) && path.is_dir()) {
            if path.is_symlink() { &mut links } else { &mut open }.push(path);
        }
        below.push(folder);
    }
    below.retain(|folder| folder != root);
    below.sort();
    below
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (name, content) in files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Tree(root)
        }

        fn find(&self, depth: Depth) -> (Vec<String>, Found) {
            let found = Found::below(self.0.path(), depth, None);
            let name = |path: &PathBuf| path.strip_prefix(self.0.path()).unwrap().display().to_string();
            (found.pictures.iter().map(name).collect(), found)
        }
    }

    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0";
    const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";

    #[test]
    fn name_or_content_make_a_picture_and_the_rest_is_counted() {
        let tree = Tree::new(&[
            ("a.PNG", b""),
            ("b.jfif", JPEG),
            ("c", JPEG),
            ("d.txt", JPEG),
            ("e.heic", HEIC),
            ("f.dat", HEIC),
            ("g.jxl", b"no more than a name"),
            ("h.gif", b"GIF89a\x01\0\x01\0"),
            ("notes.txt", b"P1 is a part"),
            ("more.TXT", b""),
            ("list.csv", b"a,b"),
            ("manual.pdf", b"%PDF-1.7"),
            ("README", b"# read me"),
            (".DS_Store", b"\0\0\0\x01Bud1"),
            (".thumb.png", b""),
            (".cache/x.png", b""),
            ("sub/y.png", b""),
        ]);
        let (pictures, found) = tree.find(Depth::All);
        let expected = ["a.PNG", "b.jfif", "c", "d.txt", "e.heic", "f.dat", "g.jxl", "h.gif", "sub/y.png"];
        assert_eq!(pictures, expected);
        let summary =
            "6 files ignored: 2 .txt, 1 .csv, 1 .pdf, 1 hidden, 1 without an extension; 1 hidden folder not entered";
        assert_eq!(found.summary().unwrap(), summary);
        let (pictures, found) = tree.find(Depth::One);
        assert_eq!(pictures, expected[..8]);
        assert!(found.summary().unwrap().ends_with("; 1 hidden folder not entered; 1 subfolder not entered"));
        assert_eq!(Found::default().summary(), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_each_folder_is_searched_once_by_its_own_path() {
        use std::os::unix::fs::symlink;
        let elsewhere = Tree::new(&[("1.png", b""), ("deep/2.png", b"")]);
        let tree = Tree::new(&[("real/3.png", b""), ("real/sub/4.png", b"")]);
        let at = |name: &str| tree.0.path().join(name);
        symlink(elsewhere.0.path(), at("linked")).unwrap();
        // A loop, a link to a folder that comes later, one to a file, and a dead one.
        symlink(tree.0.path(), at("real/sub/up")).unwrap();
        symlink(at("real/sub"), at("a")).unwrap();
        symlink(at("real/3.png"), at("file.png")).unwrap();
        symlink(at("nowhere.png"), at("dead.png")).unwrap();
        let (pictures, found) = tree.find(Depth::All);
        assert_eq!(pictures, ["file.png", "linked/1.png", "linked/deep/2.png", "real/3.png", "real/sub/4.png"]);
        assert_eq!(found.passed_over, [(at("a"), Why::SearchedAlready), (at("real/sub/up"), Why::SearchedAlready)]);
        assert!(found.failed.len() == 1 && found.failed[0].1.contains("a broken link"), "{:?}", found.failed);
        let folders = ["linked", "linked/deep", "real", "real/sub"].map(at);
        assert_eq!(folders_below(tree.0.path()), folders);
        assert_eq!(Found::below(tree.0.path(), Depth::All, Some(&at("a"))).pictures.len(), 4);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_opened() {
        // Opening a pipe would wait for its other end.
        let tree = Tree::new(&[]);
        let _socket = std::os::unix::net::UnixListener::bind(tree.0.path().join("camera")).unwrap();
        let (pictures, found) = tree.find(Depth::All);
        assert!(pictures.is_empty() && found.failed.is_empty());
        assert_eq!(found.summary().unwrap(), "1 file ignored: 1 without an extension");
    }
}
