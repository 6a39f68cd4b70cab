//! From files and an architecture to checked weights.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::arch::Arch;
use super::file::{MappedFile, Stored, storage};
use super::scan::{Entry, Scan, model_hash, scan};
use super::table::{Tower, ignored, table};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{TensorView, shape_text};

/// The metadata key of a safetensors file under which a model configuration may stand.
pub(crate) const CONFIG_KEY: &str = "inctrl.config";

/// Which files make up a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// A whole InCTRL checkpoint, or a CLIP model whose heads are in `heads`.
    pub weights: PathBuf,
    /// The adapter and the scoring heads, where `weights` does not hold them.
    pub heads: Option<PathBuf>,
    /// The model configuration; without it, it is searched for as [`Weights::open`] says.
    pub config: Option<PathBuf>,
}

/// Where an architecture came from.
#[derive(Clone, Debug, PartialEq)]
pub enum ArchSource {
    /// A JSON file.
    Config(PathBuf),
    /// The metadata of this safetensors file.
    Metadata(PathBuf),
    /// The shapes of the tensors: heads of 64, exact GELU and the published taps are assumed.
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

/// The checked tensors of a model, in memory-mapped files.
///
/// `Send` and `Sync`; share it in an `Arc`.
pub struct Weights {
    arch: Arch,
    files: Vec<MappedFile>,
    /// In the order of [`table`].
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    hash: String,
    clip_hash: String,
}

impl Weights {
    /// Opens a model: finds its architecture, maps its files, and checks every tensor.
    ///
    /// The architecture is that of `options.config`, else of `<stem>.json` or else `config.json` beside the weights, else
    /// of the metadata key `inctrl.config` (of the heads file before the weights file, since taps and alpha belong to
    /// trained heads), else inferred from shapes ([`Arch::infer`]).
    ///
    /// **The files must not be modified while the `Weights` exist.** They are mapped, not copied: if another process
    /// overwrites one, results are garbage, and if it truncates one, the operating system ends this process. Replacing a
    /// file by renaming another over it is safe.
    ///
    /// # Errors
    /// - [`ErrorKind::Io`]: a file cannot be read.
    /// - [`ErrorKind::Config`]: the configuration is malformed, or describes what this engine does not run.
    /// - [`ErrorKind::Weights`]: a file is damaged or no safetensors; or tensors are missing, unexpected, in both files,
    ///   of another shape or storage type (all of them in one error); or hold NaN or infinity (all such tensors).
    pub fn open(options: &LoadOptions) -> Result<Weights> {
        let files = open_files(options)?;
        let (arch, source) = find_arch(options, &files)?;
        let (entries, problems) = match_table(&arch, &files);
        if !problems.is_empty() {
            let message = format!(
                "the tensors are not those of the architecture ({source}); check the configuration and the file\n{problems}"
            );
            return Err(Error::new(ErrorKind::Weights, message).at(&options.weights));
        }
        let scans = scan(&entries, &files);
        let non_finite = non_finite(&entries, &scans, &files);
        if !non_finite.is_empty() {
            let text = listing(&[("not finite", &non_finite)]);
            let message =
                format!("the model is damaged: numbers are NaN or infinite; copy or convert the file again\n{text}");
            return Err(Error::new(ErrorKind::Weights, message).at(&options.weights));
        }
        let negative = negative_variances(&entries, &files);
        if !negative.is_empty() {
            let text = listing(&[("negative, which no variance is", &negative)]);
            let message = format!("the heads are damaged; copy or convert the file again\n{text}");
            return Err(Error::new(ErrorKind::Weights, message).at(&options.weights));
        }
        let hash = model_hash(&arch, entries.iter().zip(&scans));
        // Alpha belongs to the heads.
        let clip = Arch { alpha: 1.0, ..arch.clone() };
        let towers = entries.iter().zip(&scans).filter(|(entry, _)| entry.spec.tower != Tower::Heads);
        let clip_hash = model_hash(&clip, towers);
        let index = entries.iter().enumerate().map(|(at, entry)| (entry.spec.name.clone(), at)).collect();
        Ok(Weights { arch, files, entries, index, hash, clip_hash })
    }

    /// The architecture that [`Weights::open`] would find, whether or not the tensors are there.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Config`], and [`ErrorKind::Weights`] for a damaged file.
    #[cfg(feature = "cli")]
    pub(crate) fn architecture(options: &LoadOptions) -> Result<Arch> {
        Ok(find_arch(options, &open_files(options)?)?.0)
    }

    /// The architecture, validated.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// The tensor called `name`; its bytes lie in the map.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] if [`table`] has no such tensor for this architecture.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let at = self.index.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Argument, format!("no tensor is called `{name}` in this model's architecture"))
        })?;
        Ok(self.entries[*at].view(&self.files))
    }

    /// Identity of the model, 64 hex digits: blake3 of the architecture and of every used tensor's name, storage type,
    /// shape and bytes. The same whether the heads are in the same file or in one of their own.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Identity of the two towers and the taps: [`Weights::hash`] without the heads.
    pub fn clip_hash(&self) -> &str {
        &self.clip_hash
    }

    /// Lets the pages of all tensors whose names start with `name_prefix` leave memory, for a caller who has copied them.
    ///
    /// They stay readable; the next access brings them back from the file. No effect where the system has no such call.
    pub fn release(&self, name_prefix: &str) {
        for entry in self.entries.iter().filter(|entry| entry.spec.name.starts_with(name_prefix)) {
            self.files[entry.file].release(entry.range.clone());
        }
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weights").field("arch", &self.arch).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The weights file and, if there is one, the heads file.
pub(super) fn open_files(options: &LoadOptions) -> Result<Vec<MappedFile>> {
    [Some(&options.weights), options.heads.as_ref()].into_iter().flatten().map(|path| MappedFile::open(path)).collect()
}

/// The architecture, searched for as [`Weights::open`] says.
pub(super) fn find_arch(options: &LoadOptions, files: &[MappedFile]) -> Result<(Arch, ArchSource)> {
    let beside = [options.weights.with_extension("json"), options.weights.with_file_name("config.json")];
    let config = options.config.clone().or_else(|| beside.into_iter().find(|path| path.is_file()));
    if let Some(path) = config {
        return Ok((read_config(&path)?, ArchSource::Config(path)));
    }
    for file in files.iter().rev() {
        if let Some(json) = file.metadata.get(CONFIG_KEY) {
            let arch = Arch::from_json(json).map_err(|source| {
                let message = format!("its metadata key `{CONFIG_KEY}` is no usable model configuration");
                Error::new(ErrorKind::Config, message).at(&file.path).because(source)
            })?;
            return Ok((arch, ArchSource::Metadata(file.path.clone())));
        }
    }
    let tensors = files.iter().flat_map(|file| &file.tensors);
    let arch = Arch::infer(tensors.map(|(name, stored)| (name.as_str(), stored.shape.as_slice())));
    Ok((arch.map_err(|error| error.at(&options.weights))?, ArchSource::Shapes))
}

fn read_config(path: &Path) -> Result<Arch> {
    let json = fs::read_to_string(path).map_err(|source| Error::io("read the model configuration", path, source))?;
    Arch::from_json(&json).map_err(|error| error.at(path))
}

/// Everything that is wrong with the tensors of a model, by kind.
#[derive(Default)]
pub(super) struct Problems {
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshaped: Vec<String>,
    wrong_type: Vec<String>,
    duplicate: Vec<String>,
    /// Not one tensor of the heads is there, and no file for them was given.
    no_heads: bool,
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

    pub fn is_empty(&self) -> bool {
        self.groups().iter().all(|(_, lines)| lines.is_empty())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listing(&self.groups()))?;
        if self.no_heads {
            f.write_str(
                "\nThere is no adapter.* and no diff_head* tensor: this is a plain CLIP model. Give the file with \
                 InCTRL's heads as well (--heads FILE)",
            )?;
        }
        if !self.duplicate.is_empty() {
            f.write_str("\nUse a CLIP model without heads, or no separate heads file")?;
        }
        Ok(())
    }
}

/// Non-empty groups under their headings.
pub(crate) fn listing(groups: &[(&str, &[String])]) -> String {
    let mut text = Vec::new();
    for (heading, lines) in groups.iter().filter(|(_, lines)| !lines.is_empty()) {
        text.push(format!("{} {heading}:", lines.len()));
        text.extend(lines.iter().map(|line| format!("  {line}")));
    }
    text.join("\n")
}

/// The entry of every tensor that is as the table says, in table order, and what is wrong with the rest.
pub(super) fn match_table(arch: &Arch, files: &[MappedFile]) -> (Vec<Entry>, Problems) {
    let mut problems = Problems::default();
    let mut entries = Vec::new();
    let specs = table(arch);
    problems.no_heads = files.len() == 1
        && specs.iter().filter(|spec| spec.tower == Tower::Heads).all(|spec| holders(files, &spec.name).is_empty());
    let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let tensors = files.iter().flat_map(|file| &file.tensors);
    let unexpected = tensors.filter(|(name, _)| !ignored(name) && !names.contains(name.as_str()));
    problems.unexpected = unexpected.map(|(name, stored)| format!("{name} {}", shape_text(&stored.shape))).collect();
    for spec in specs {
        let (name, expected) = (&spec.name, shape_text(&spec.shape));
        let (file, stored) = match holders(files, name)[..] {
            [found] => found,
            [] => {
                problems.missing.push(format!("{name} {expected}"));
                continue;
            }
            _ => {
                problems.duplicate.push(name.clone());
                continue;
            }
        };
        if stored.shape != spec.shape {
            problems.misshaped.push(format!("{name}: expected {expected}, found {}", shape_text(&stored.shape)));
        }
        match storage(stored.dtype) {
            None => problems.wrong_type.push(format!("{name}: found {}", stored.dtype)),
            Some(dtype) if stored.shape == spec.shape => {
                entries.push(Entry { file, dtype, range: stored.range.clone(), spec });
            }
            Some(_) => {}
        }
    }
    (entries, problems)
}

/// The files, by index, that have a tensor of this name.
fn holders<'a>(files: &'a [MappedFile], name: &str) -> Vec<(usize, &'a Stored)> {
    files.iter().enumerate().filter_map(|(at, file)| Some((at, file.tensors.get(name)?))).collect()
}

/// One line for each tensor with a NaN or an infinity: its first such element.
pub(super) fn non_finite(entries: &[Entry], scans: &[Scan], files: &[MappedFile]) -> Vec<String> {
    let describe = |(entry, scan): (&Entry, &Scan)| {
        let at = scan.non_finite?;
        let mut value = [0.0];
        entry.view(files).read_f32(at, &mut value);
        Some(format!("{} {}: element {at} is {}", entry.spec.name, shape_text(&entry.spec.shape), value[0]))
    };
    entries.iter().zip(scans).filter_map(describe).collect()
}

/// One line for each running variance with an element below zero, whose square root would be NaN.
pub(super) fn negative_variances(entries: &[Entry], files: &[MappedFile]) -> Vec<String> {
    let negative = |entry: &Entry| {
        let (at, value) = negative_variance(&entry.spec.name, &entry.view(files))?;
        Some(format!("{}: element {at} is {value}", entry.spec.name))
    };
    entries.iter().filter_map(negative).collect()
}

/// The first element below zero of the tensor called `name`, where that is a running variance.
pub(crate) fn negative_variance(name: &str, tensor: &TensorView<'_>) -> Option<(usize, f32)> {
    if !name.ends_with(".running_var") {
        return None;
    }
    tensor.to_f32().into_iter().enumerate().find(|(_, x)| *x < 0.0)
}
