//! Scores on disk, one line per image, so that a run that was killed can continue.
//!
//! The file grows by whole lines. Only the last line can be incomplete after a kill, and it is dropped when the file is
//! opened. Numbers are stored as hexadecimal bits, so they are read exactly as written.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use inctrl::view::{Grid, Placement};
use inctrl::{AnomalyMap, Error, ErrorKind, Result, Score};

/// What is kept of an image's score against one bank.
#[derive(Clone, Debug, PartialEq)]
pub struct BankResult {
    /// [`Score::score`].
    pub score: f32,
    /// The largest residual of the map.
    pub patch_max: f32,
    /// The cells of the map.
    pub cells: Vec<f32>,
}

/// An image with its scores, or the error.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The image's name in the data set.
    pub name: String,
    /// The class that it was scored as.
    pub class: String,
    /// The scores against each bank (shots within runs), or the error.
    pub scores: Result<Vec<BankResult>, String>,
    /// Hash of the pixels, in hexadecimal; empty where the image could not be read.
    pub hash: String,
    /// Sides of the image in pixels.
    pub size: [usize; 2],
    /// Where the map lies: x, y, width, height in pixels.
    pub place: [f64; 4],
    /// Rows and columns of the map.
    pub grid: Grid,
}

/// The file of the scores in the folder of an evaluation.
pub(super) const JOURNAL: &str = "journal.jsonl";

const DAMAGED: &str = "the journal is damaged: delete it to start again";

/// The image of a line.
#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    class: Cow<'a, str>,
}

/// The line of an entry.
#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    class: String,
    hash: String,
    size: [usize; 2],
    place: [u64; 4],
    /// Rows and columns of the map; absent where it is square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grid: Option<Grid>,
    /// Bits of score, patch_max and cells, eight hexadecimal digits each.
    scores: Vec<String>,
    error: Option<String>,
}

impl Entry {
    /// What is kept of an image's scores.
    pub fn of(name: &str, class: &str, hash: String, scores: &[Score]) -> Self {
        let kept = |s: &Score| BankResult { score: s.score, patch_max: s.map.largest(), cells: s.map.cells.clone() };
        let first = scores.first();
        let place = first.map_or([0.0; 4], |s| {
            let p = s.map.placement;
            [p.x, p.y, p.width, p.height]
        });
        Entry {
            name: name.to_owned(),
            class: class.to_owned(),
            scores: Ok(scores.iter().map(kept).collect()),
            hash,
            size: first.map_or([0; 2], |s| [s.width, s.height]),
            place,
            grid: first.map_or_else(Grid::default, |s| s.map.grid),
        }
    }

    /// An entry for an image that cannot be scored.
    pub fn failed(name: &str, class: &str, why: String) -> Self {
        let (name, class) = (name.to_owned(), class.to_owned());
        Entry {
            name,
            class,
            scores: Err(why),
            hash: String::new(),
            size: [0; 2],
            place: [0.0; 4],
            grid: Grid::default(),
        }
    }

    /// The map against bank `bank`, scaled to a version of the image with `width` x `height` pixels.
    pub fn map(&self, bank: usize, width: usize, height: usize) -> Option<AnomalyMap> {
        let cells = self.scores.as_ref().ok()?.get(bank)?.cells.clone();
        let (u, v) = (width as f64 / self.size[0] as f64, height as f64 / self.size[1] as f64);
        let [x, y, w, h] = self.place;
        let placement = Placement { x: x * u, y: y * v, width: w * u, height: h * v };
        Some(AnomalyMap { grid: self.grid, cells, placement })
    }

    fn line(&self) -> Line {
        let digits = |s: &BankResult| {
            let numbers = [s.score, s.patch_max].into_iter().chain(s.cells.iter().copied());
            numbers.map(|x| format!("{:08x}", x.to_bits())).collect()
        };
        let scores = self.scores.iter().flatten().map(digits).collect();
        Line {
            name: self.name.clone(),
            class: self.class.clone(),
            hash: self.hash.clone(),
            size: self.size,
            place: self.place.map(f64::to_bits),
            grid: self.grid.side().is_none().then_some(self.grid),
            scores,
            error: self.scores.as_ref().err().cloned(),
        }
    }

    fn from_line(line: Line) -> Option<Self> {
        let number = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some(f32::from_bits(u32::from_str_radix(digits, 16).ok()?))
        };
        let scored = |text: &String| {
            let mut numbers = text.as_bytes().chunks(8).map(number);
            let [score, patch_max] = [numbers.next()??, numbers.next()??];
            Some(BankResult { score, patch_max, cells: numbers.collect::<Option<_>>()? })
        };
        let scores = match line.error {
            Some(error) => Err(error),
            None => Ok(line.scores.iter().map(scored).collect::<Option<_>>()?),
        };
        let place = line.place.map(f64::from_bits);
        let cells =
            scores.as_ref().map_or(0, |scores: &Vec<BankResult>| scores.first().map_or(0, |first| first.cells.len()));
        let grid = line.grid.unwrap_or(Grid::square(cells.isqrt()));
        Some(Entry { name: line.name, class: line.class, scores, hash: line.hash, size: line.size, place, grid })
    }
}

/// The journal of a run.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Classes and names of the entries. The entries themselves, with their maps, stay on disk.
    names: HashSet<(String, String)>,
}

impl Journal {
    /// Opens or begins the journal at `path`. `identity` is a line that describes the evaluation. A journal of another
    /// evaluation is refused.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::Argument`] for the journal of another run.
    pub fn open(path: &Path, identity: &str) -> Result<Self> {
        let io = |action: &'static str| move |error| Error::io(action, path, error);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(io("open"))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io("read"))?;
        // Whole lines only: the rest was cut short.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let text = String::from_utf8_lossy(&text[..whole]).into_owned();
        let mut lines = text.lines();
        let mut names = HashSet::new();
        match lines.next() {
            None => {
                file.set_len(0).map_err(io("begin"))?;
                file.rewind().map_err(io("begin"))?;
                writeln!(file, "{identity}").map_err(io("write"))?;
            }
            Some(found) if found == identity => {
                for line in lines {
                    let entry = serde_json::from_str(line)
                        .ok()
                        .and_then(Entry::from_line)
                        .ok_or_else(|| Error::new(ErrorKind::Argument, DAMAGED).at(path))?;
                    names.insert((entry.class, entry.name));
                }
                file.set_len(whole as u64).map_err(io("continue"))?;
                file.seek(SeekFrom::End(0)).map_err(io("continue"))?;
            }
            Some(found) => {
                let message = format!(
                    "is the journal of another evaluation: choose another folder, or delete it to start again\n  there: \
                     {found}\n  here:  {identity}"
                );
                return Err(Error::new(ErrorKind::Argument, message).at(path));
            }
        }
        Ok(Journal { path: path.to_path_buf(), file, names })
    }

    /// Whether there is an entry of an image.
    pub fn has(&self, class: &str, name: &str) -> bool {
        self.names.contains(&(class.to_owned(), name.to_owned()))
    }

    /// Adds an entry and writes it to the file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        let line = serde_json::to_string(&entry.line())
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot write a line").because(error))?;
        // One write, so that a line is rarely incomplete.
        let write = self.file.write_all(format!("{line}\n").as_bytes());
        write.map_err(|error| Error::io("write", &self.path, error))?;
        self.names.insert((entry.class.clone(), entry.name.clone()));
        Ok(())
    }
}

/// All entries of the journal in `folder`, by class and image. Of two for one image the later counts.
///
/// # Errors
/// [`ErrorKind::Io`]; [`ErrorKind::Argument`] for a damaged journal.
pub(super) fn all(folder: &Path) -> Result<HashMap<(String, String), Entry>> {
    let path = folder.join(JOURNAL);
    let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
    let mut found = HashMap::new();
    for line in BufReader::new(file).lines().skip(1) {
        let line = line.map_err(|error| Error::io("read", &path, error))?;
        let entry = serde_json::from_str(&line).ok().and_then(Entry::from_line);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::Argument, DAMAGED).at(&path))?;
        found.insert((entry.class.clone(), entry.name.clone()), entry);
    }
    Ok(found)
}

/// The entries that `wanted` names by class and image, from the journal of a finished evaluation in `folder`, in the
/// journal's order. One line is in memory at a time, as a journal may be large.
///
/// # Errors
/// [`ErrorKind::Io`]; [`ErrorKind::Argument`] for a damaged journal.
pub fn stored(folder: &Path, wanted: &HashSet<(&str, &str)>) -> Result<Vec<Entry>> {
    let path = folder.join(JOURNAL);
    let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
    let mut found = Vec::new();
    for line in BufReader::new(file).lines().skip(1) {
        let line = line.map_err(|error| Error::io("read", &path, error))?;
        let damaged = || Error::new(ErrorKind::Argument, DAMAGED).at(&path);
        let name: Name<'_> = serde_json::from_str(&line).map_err(|error| damaged().because(error))?;
        if wanted.contains(&(&*name.class, &*name.name)) {
            found.push(serde_json::from_str(&line).ok().and_then(Entry::from_line).ok_or_else(damaged)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        let scored = BankResult { score: 0.1, patch_max: f32::MIN_POSITIVE, cells: vec![0.3, 1e-9, 0.0, 0.7] };
        Entry {
            name: name.to_owned(),
            class: "nut".to_owned(),
            scores: Ok(vec![scored.clone(), scored]),
            hash: "ab".to_owned(),
            size: [30, 40],
            place: [0.1, -2.0, 30.7, 1e300],
            grid: Grid::square(2),
        }
    }

    #[test]
    fn what_was_written_is_read_and_a_line_cut_short_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        let (one, wide) = (entry("1.png"), Entry { grid: Grid::new(1, 4), ..entry("4.png") });
        let bad = Entry::failed("2.png", "nut", "torn".to_owned());
        let mut journal = Journal::open(&path, "id").unwrap();
        journal.add(&one).unwrap();
        journal.add(&bad).unwrap();
        journal.add(&wide).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let mut cut = whole.clone();
        cut.extend_from_slice(b"{\"name\":\"3.p");
        std::fs::write(&path, &cut).unwrap();
        let journal = Journal::open(&path, "id").unwrap();
        assert!(
            ["1.png", "2.png", "4.png"].iter().all(|name| journal.has("nut", name)) && !journal.has("nut", "3.png")
        );
        drop(journal);
        let mut found = all(folder.path()).unwrap();
        let mut entry = |name: &str| found.remove(&("nut".to_owned(), name.to_owned()));
        assert_eq!([entry("1.png"), entry("2.png"), entry("4.png")], [Some(one), Some(bad), Some(wide)]);
        assert!(found.is_empty());
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        let error = Journal::open(&path, "other").err().unwrap();
        assert!(error.to_string().contains("another evaluation"), "{error}");
    }

    #[test]
    fn a_map_lies_over_a_smaller_image_as_over_the_whole() {
        let map = entry("1.png").map(0, 15, 10).unwrap();
        assert_eq!((map.grid, map.placement.x, map.placement.y), (Grid::square(2), 0.05, -0.5));
    }
}
