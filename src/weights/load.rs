//! From files and an architecture to checked weights.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::arch::Arch;
use super::beside::{MAX_CONFIG, check_tokeniser, folder_of, preprocessing, read_text};
use super::config;
use super::file::{Stored, TensorFile, storage};
use super::foreign::advice;
use super::scan::{Entry, Scan, model_hash, scan};
use super::table::{TensorSpec, Tower, ignored, table, takes_heads};
use safetensors::Dtype;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{DType, TensorView, shape_text};

/// The metadata key for a model configuration in a safetensors file.
pub(crate) const CONFIG_KEY: &str = "inctrl.config";

/// Which files make up a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// A complete model, or a CLIP model whose InCTRL heads are in `heads`.
    pub weights: PathBuf,
    /// InCTRL's adapter and scoring heads, if `weights` does not hold them.
    pub heads: Option<PathBuf>,
    /// The model configuration. Default: searched for as described at [`Weights::open`].
    pub config: Option<PathBuf>,
}

/// Where an architecture came from.
#[derive(Clone, Debug, PartialEq)]
pub enum ArchSource {
    /// A JSON file.
    Config(PathBuf),
    /// The metadata of this safetensors file.
    Metadata(PathBuf),
    /// The shapes of the tensors. Other properties are assumed: see [`Arch::infer`].
    Shapes,
}

impl fmt::Display for ArchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchSource::Config(path) => write!(f, "from {}", path.display()),
            ArchSource::Metadata(path) => write!(f, "from the metadata of {}", path.display()),
            ArchSource::Shapes => write!(f, "inferred from tensor shapes"),
        }
    }
}

/// The checked tensors of a model, in open files.
///
/// `Send` and `Sync`; share it in an `Arc`.
pub struct Weights {
    arch: Arch,
    files: Vec<TensorFile>,
    /// In the order of [`table`].
    entries: Vec<Entry>,
    /// What each entry contained when the model was opened.
    scans: Vec<Scan>,
    index: HashMap<String, usize>,
    hash: String,
    clip_hash: String,
}

impl Weights {
    /// Opens a model: finds its architecture, opens its files, and checks every tensor.
    ///
    /// The architecture comes from the first of these that exists: `options.config`; `<stem>.json`, then `config.json`
    /// beside the weights; the metadata key `inctrl.config` (of the heads file before the weights file, since taps and
    /// alpha belong to trained heads); `open_clip_config.json` beside the weights; the tensors' shapes
    /// ([`Arch::infer`]). If it does not say how pixels are prepared, the metadata decide, then open_clip's or Hugging
    /// Face's files beside the weights, then the family's default.
    ///
    /// Tensors stay in the files and are read when needed. Each is then compared with its content when the model was
    /// opened. A file that was overwritten or cut short is an error, so all results belong to the model that
    /// [`Weights::hash`] names. Renaming another file over one of them does not affect the open model.
    ///
    /// # Errors
    /// - [`ErrorKind::Io`]: a file cannot be read.
    /// - [`ErrorKind::Config`]: the configuration is malformed, or describes a model that this engine does not support.
    /// - [`ErrorKind::Weights`]: a file is damaged or not safetensors; or tensors are missing, unexpected, in both
    ///   files, or of a wrong shape or storage type (all in one error); or hold NaN or infinity (all such tensors).
    pub fn open(options: &LoadOptions) -> Result<Weights> {
        let files = open_files(options)?;
        let (arch, source) = find_arch(options, &files)?;
        let (entries, problems) = match_table(&arch, &files);
        if !problems.is_empty() {
            let message = format!(
                "the tensors do not fit the architecture ({source}); check the configuration and the file\n{problems}"
            );
            return Err(problems.told(Error::new(ErrorKind::Weights, message).at(&options.weights)));
        }
        if entries.iter().any(|entry| entry.spec.tower == Tower::Heads) {
            arch.trained_taps().map_err(|error| error.at(&options.weights))?;
        }
        let scans = scan(&entries, &files)?;
        let non_finite = non_finite(&entries, &scans, &files)?;
        if let Some(first) = non_finite.first {
            let text = listing(&[("not finite", &non_finite.lines)]);
            let message =
                format!("the model is damaged: numbers are NaN or infinite; copy or convert the file again\n{text}");
            return Err(Error::new(ErrorKind::Weights, message).at(&options.weights).of_tensor(first));
        }
        let negative = negative_variances(&entries, &scans, &files)?;
        if let Some(first) = negative.first {
            let text = listing(&[("negative variance", &negative.lines)]);
            let message = format!("the heads are damaged; copy or convert the file again\n{text}");
            return Err(Error::new(ErrorKind::Weights, message).at(&options.weights).of_tensor(first));
        }
        let hash = model_hash(&arch, entries.iter().zip(&scans));
        // Alpha belongs to the heads.
        let clip = Arch { alpha: 1.0, ..arch.clone() };
        let towers = entries.iter().zip(&scans).filter(|(entry, _)| entry.spec.tower != Tower::Heads);
        let clip_hash = model_hash(&clip, towers);
        let index = entries.iter().enumerate().map(|(at, entry)| (entry.spec.name.clone(), at)).collect();
        Ok(Weights { arch, files, entries, scans, index, hash, clip_hash })
    }

    /// The architecture, validated.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// Whether the model has InCTRL's adapter and heads.
    pub fn has_heads(&self) -> bool {
        self.entries.iter().any(|entry| entry.spec.tower == Tower::Heads)
    }

    /// The tensor `name`, read from its file.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if [`table`] has no such tensor for this architecture; [`ErrorKind::Weights`] if the
    /// file has changed since it was opened; [`ErrorKind::Io`]; [`ErrorKind::Device`] if there is not enough memory.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let at = self.at(name)?;
        self.entries[at].read(&self.scans[at], &self.files)
    }

    /// The rows `rows` of the matrix `name` in f32, `[rows.len(), width]`. The matrix is not held in memory.
    ///
    /// # Errors
    /// As [`Weights::tensor`]; [`ErrorKind::Argument`] for a row that the matrix does not have.
    pub fn rows(&self, name: &str, rows: &[u32]) -> Result<Vec<f32>> {
        let at = self.at(name)?;
        let entry = &self.entries[at];
        let count = entry.spec.shape.first().copied().unwrap_or(0);
        if let Some(row) = rows.iter().find(|&&row| row as usize >= count) {
            let message = format!("row {row} of `{name}`, which has {count}");
            return Err(Error::new(ErrorKind::Argument, message).of_tensor(name));
        }
        entry.gather(rows, &self.scans[at], &self.files)
    }

    /// Storage type of the tensor `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as [`Weights::tensor`].
    pub fn dtype(&self, name: &str) -> Result<DType> {
        Ok(self.entries[self.at(name)?].dtype)
    }

    fn at(&self, name: &str) -> Result<usize> {
        self.index.get(name).copied().ok_or_else(|| {
            let message = format!("this model's architecture has no tensor `{name}`");
            Error::new(ErrorKind::Argument, message).of_tensor(name)
        })
    }

    /// Identity of the model, 64 hex digits: blake3 of the architecture and of every used tensor's name, storage type,
    /// shape and bytes. It does not depend on whether the heads are in a separate file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Identity of the two towers and the taps: [`Weights::hash`] without the heads.
    pub fn clip_hash(&self) -> &str {
        &self.clip_hash
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("arch", &self.arch).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The weights file and, if there is one, the heads file.
pub(super) fn open_files(options: &LoadOptions) -> Result<Vec<TensorFile>> {
    [Some(&options.weights), options.heads.as_ref()].into_iter().flatten().map(|path| TensorFile::open(path)).collect()
}

/// Finds the architecture as described at [`Weights::open`].
pub(super) fn find_arch(options: &LoadOptions, files: &[TensorFile]) -> Result<(Arch, ArchSource)> {
    let mut own = own_configurations(files);
    let beside = |name: &str| Some(options.weights.with_file_name(name)).filter(|path| path.is_file());
    let stem = Some(options.weights.with_extension("json")).filter(|path| path.is_file());
    // timm's file has no sizes.
    let plain = beside("config.json").filter(|path| !is_json(path, config::is_timm));
    // The file's own metadata take precedence over other libraries' files in the folder.
    let ours = plain.clone().filter(|path| !is_json(path, config::is_hugging_face));
    let (mut arch, says_pixels, source) = if let Some(path) = options.config.clone().or(stem).or(ours) {
        read_config(path)?
    } else if let Some((path, last)) = own.pop() {
        return Ok((of_one_model(own.first(), path, last?.0)?, ArchSource::Metadata(path.to_path_buf())));
    } else if let Some(path) = beside("open_clip_config.json").or(plain) {
        read_config(path)?
    } else {
        let tensors = files.iter().flat_map(|file| &file.tensors);
        if let Some(advice) = advice(tensors.clone().map(|(name, _)| name.as_str())) {
            let message = format!("the tensors have other names than this engine's. {advice}");
            return Err(Error::new(ErrorKind::Weights, message).at(&options.weights));
        }
        let arch = Arch::infer(tensors.map(|(name, stored)| (name.as_str(), stored.shape.as_slice())));
        (arch.map_err(|error| error.at(&options.weights))?, false, ArchSource::Shapes)
    };
    let folder = folder_of(&options.weights);
    match own.iter().find_map(|(_, own)| own.as_ref().ok()) {
        // The preprocessing found by `inctrl convert` is kept, even if another file describes the rest.
        Some((own, _)) if !says_pixels => arch.vision.preprocessing = own.vision.preprocessing,
        Some(_) => {}
        None => {
            if arch.text.is_some() {
                check_tokeniser(&folder)?;
            }
            if let Some(found) = preprocessing(&folder, &arch)?.filter(|_| !says_pixels) {
                arch.vision.preprocessing = found;
            }
        }
    }
    Ok((arch, source))
}

/// A file and its metadata about the model: the architecture, and whether they say how pixels are prepared.
type Own<'a> = (&'a Path, Result<(Arch, bool)>);

fn own_configurations(files: &[TensorFile]) -> Vec<Own<'_>> {
    let own = |file: &TensorFile| {
        Some(config::read(file.metadata.get(CONFIG_KEY)?).map_err(|source| {
            let message = format!("its metadata key `{CONFIG_KEY}` is not a usable model configuration");
            Error::new(ErrorKind::Config, message).at(&file.path).because(source)
        }))
    };
    files.iter().filter_map(|file| Some((file.path.as_path(), own(file)?))).collect()
}

/// Returns `arch`, from the metadata of the file at `path`, unless the model's other file was made for differently
/// prepared pixels, for which heads would score wrongly.
fn of_one_model(other: Option<&Own<'_>>, path: &Path, arch: Arch) -> Result<Arch> {
    let Some((first, Ok((theirs, _)))) = other else { return Ok(arch) };
    let (here, there) = (arch.vision.preprocessing, theirs.vision.preprocessing);
    if here == there {
        return Ok(arch);
    }
    let message = format!(
        "was made for a model with pixels prepared as: {here}; but {} says: {there}. Make both files from one model, \
        or give the configuration (--config)",
        first.display()
    );
    Err(Error::new(ErrorKind::Config, message).at(path))
}

fn read_config(path: PathBuf) -> Result<(Arch, bool, ArchSource)> {
    let text = read_text(&path, "a model's configuration", MAX_CONFIG)?;
    let (arch, says_pixels) = config::read(&text).map_err(|error| error.at(&path))?;
    Ok((arch, says_pixels, ArchSource::Config(path)))
}

/// Whether the file is a configuration of this `kind`. An unreadable file is not; reading it later reports the error.
fn is_json(path: &Path, kind: impl Fn(&serde_json::Value) -> bool) -> bool {
    let json = read_text(path, "a model's configuration", MAX_CONFIG).ok();
    json.and_then(|text| serde_json::from_str(&text).ok()).is_some_and(|json| kind(&json))
}

/// Everything that is wrong with the tensors of a model, by kind.
#[derive(Default)]
pub(super) struct Problems {
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshaped: Vec<String>,
    wrong_type: Vec<String>,
    duplicate: Vec<String>,
    /// The first tensor with a problem.
    first: Option<String>,
    /// The first tensor of a wrong shape, with the expected and the found shape.
    first_misshaped: Option<(String, [Vec<usize>; 2])>,
    /// Advice for a file that was meant for another program.
    advice: Option<String>,
}

impl Problems {
    fn groups(&self) -> [(&'static str, &[String]); 5] {
        [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("misshaped", &self.misshaped),
            ("of a storage type other than f32, f16 and bf16", &self.wrong_type),
            ("in both files", &self.duplicate),
        ]
    }

    /// Adds the first tensor of a wrong shape, or else the first with another problem, to `error`.
    fn told(&self, error: Error) -> Error {
        match (&self.first_misshaped, &self.first) {
            (Some((name, [expected, found])), _) => error.of_tensor(name).with_shapes(expected, found),
            (None, Some(name)) => error.of_tensor(name),
            (None, None) => error,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups().iter().all(|(_, lines)| lines.is_empty())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listing(&self.groups()))?;
        if let Some(advice) = &self.advice {
            write!(f, "\n{advice}")?;
        }
        if !self.duplicate.is_empty() {
            f.write_str("\nUse a CLIP model without heads, or no separate heads file")?;
        }
        Ok(())
    }
}

/// The largest number of lines per group. Hundreds of problems have one reason.
const MAX_LINES: usize = 12;

/// Non-empty groups under their headings, with long groups cut.
pub(crate) fn listing(groups: &[(&str, &[String])]) -> String {
    let mut text = Vec::new();
    for (heading, lines) in groups.iter().filter(|(_, lines)| !lines.is_empty()) {
        text.push(format!("{} {heading}:", lines.len()));
        text.extend(lines.iter().take(MAX_LINES).map(|line| format!("  {line}")));
        if lines.len() > MAX_LINES {
            text.push(format!("  ... and {} more", lines.len() - MAX_LINES));
        }
    }
    text.join("\n")
}

/// The entry of every tensor that fits the table, in table order, and the problems of the others.
pub(super) fn match_table(arch: &Arch, files: &[TensorFile]) -> (Vec<Entry>, Problems) {
    let mut problems = Problems::default();
    let mut entries = Vec::new();
    let mut specs = table(arch);
    let is_head = |spec: &TensorSpec| spec.tower == Tower::Heads;
    // A model without InCTRL's heads is complete, unless a file for them was given.
    if files.len() == 1 && specs.iter().filter(|spec| is_head(spec)).all(|spec| holders(files, &spec.name).is_empty()) {
        specs.retain(|spec| !is_head(spec));
    }
    let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let tensors = files.iter().flat_map(|file| &file.tensors);
    let unexpected = tensors.filter(|(name, _)| !ignored(arch, name) && !names.contains(name.as_str()));
    for (name, stored) in unexpected {
        problems.first.get_or_insert_with(|| name.clone());
        problems.unexpected.push(format!("{name} {}", shape_text(&stored.shape)));
    }
    for spec in specs {
        let (name, expected) = (&spec.name, shape_text(&spec.shape));
        let (file, stored) = match holders(files, name)[..] {
            [found] => found,
            [] => {
                problems.first.get_or_insert_with(|| name.clone());
                problems.missing.push(format!("{name} {expected}"));
                continue;
            }
            _ => {
                problems.first.get_or_insert_with(|| name.clone());
                problems.duplicate.push(name.clone());
                continue;
            }
        };
        if stored.shape != spec.shape {
            let shapes = || (name.clone(), [spec.shape.clone(), stored.shape.clone()]);
            problems.first_misshaped.get_or_insert_with(shapes);
            problems.misshaped.push(format!("{name}: expected {expected}, found {}", shape_text(&stored.shape)));
        }
        match storage(stored.dtype) {
            None => {
                problems.first.get_or_insert_with(|| name.clone());
                problems.wrong_type.push(format!("{name}: found {}", stored.dtype));
            }
            Some(dtype) if stored.shape == spec.shape => {
                entries.push(Entry { file, dtype, range: stored.range.clone(), spec });
            }
            Some(_) => {}
        }
    }
    if files.len() > 1 && !takes_heads(arch) {
        problems.advice =
            Some("InCTRL's heads need texts, but this encoder has no text tower: open it without heads".into());
    } else if !problems.missing.is_empty() {
        problems.advice = files.first().and_then(|file| advice(file.tensors.keys().map(String::as_str)));
    } else if files.iter().flat_map(|file| file.tensors.values()).any(|stored| stored.dtype == Dtype::F64) {
        problems.advice = Some("`inctrl convert` rounds f64 to f32".into());
    }
    (entries, problems)
}

/// Indices of the files that have a tensor of this name.
fn holders<'a>(files: &'a [TensorFile], name: &str) -> Vec<(usize, &'a Stored)> {
    files.iter().enumerate().filter_map(|(at, file)| Some((at, file.tensors.get(name)?))).collect()
}

/// Tensors with numbers that no model has.
#[derive(Default)]
pub(super) struct Damaged<'e> {
    /// The first such tensor.
    pub first: Option<&'e str>,
    /// One line per tensor: its first such element.
    pub lines: Vec<String>,
}

impl<'e> Damaged<'e> {
    fn push(&mut self, entry: &'e Entry, line: String) {
        self.first.get_or_insert(&entry.spec.name);
        self.lines.push(line);
    }
}

/// The tensors with NaN or infinity.
pub(super) fn non_finite<'e>(entries: &'e [Entry], scans: &[Scan], files: &[TensorFile]) -> Result<Damaged<'e>> {
    let mut damaged = Damaged::default();
    for (entry, scan) in entries.iter().zip(scans) {
        let Some(at) = scan.non_finite else { continue };
        let mut value = [0.0];
        entry.read(scan, files)?.read_f32(at, &mut value);
        let shape = shape_text(&entry.spec.shape);
        damaged.push(entry, format!("{} {shape}: element {at} is {}", entry.spec.name, value[0]));
    }
    Ok(damaged)
}

/// The running variances with an element below zero, whose square root would be NaN.
pub(super) fn negative_variances<'e>(
    entries: &'e [Entry],
    scans: &[Scan],
    files: &[TensorFile],
) -> Result<Damaged<'e>> {
    let mut damaged = Damaged::default();
    for (entry, scan) in entries.iter().zip(scans).filter(|(entry, _)| is_variance(&entry.spec.name)) {
        if let Some((at, value)) = negative_variance(&entry.spec.name, &entry.read(scan, files)?) {
            damaged.push(entry, format!("{}: element {at} is {value}", entry.spec.name));
        }
    }
    Ok(damaged)
}

fn is_variance(name: &str) -> bool {
    name.ends_with(".running_var")
}

/// The first element below zero of the tensor `name`, if that is a running variance.
pub(crate) fn negative_variance(name: &str, tensor: &TensorView<'_>) -> Option<(usize, f32)> {
    if !is_variance(name) {
        return None;
    }
    (0..tensor.len()).find_map(|at| {
        let mut value = [0.0];
        tensor.read_f32(at, &mut value);
        (value[0] < 0.0).then_some((at, value[0]))
    })
}
