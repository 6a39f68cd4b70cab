//! A report on model files that collects problems instead of failing at the first one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::arch::Arch;
use super::load::{ArchSource, LoadOptions, find_arch, match_table, negative_variances, non_finite, open_files};
use super::scan::{Entry, model_hash, scan};
use super::table::Tower;
use crate::error::Result;

/// What [`inspect`] found. Its [`fmt::Display`] is the whole report, a few lines of text.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The files, weights first.
    pub files: Vec<FileSummary>,
    /// The architecture and its source, if it was found.
    pub arch: Option<(Arch, ArchSource)>,
    /// Parameters of each tower, counting the tensors that fit the architecture.
    pub parameters: BTreeMap<Tower, u64>,
    /// The model's identity, as [`super::Weights::hash`], if there are no problems.
    pub hash: Option<String>,
    /// Why [`super::Weights::open`] would refuse the model; empty if it would not. An item may have several lines.
    pub problems: Vec<String>,
}

/// One safetensors file.
#[derive(Clone, Debug)]
pub struct FileSummary {
    /// Path of the file.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of tensors of each storage type, by safetensors' name for it.
    pub dtypes: BTreeMap<String, usize>,
    /// Keys of the free-form metadata.
    pub metadata_keys: Vec<String>,
}

/// Reports on the model in these files.
///
/// # Errors
/// Only if a file cannot be read or is not an intact safetensors file. All other problems are in
/// [`Inspection::problems`].
pub fn inspect(options: &LoadOptions) -> Result<Inspection> {
    let files = open_files(options)?;
    let mut report =
        Inspection { files: Vec::new(), arch: None, parameters: BTreeMap::new(), hash: None, problems: Vec::new() };
    for file in &files {
        let mut dtypes = BTreeMap::new();
        for stored in file.tensors.values() {
            *dtypes.entry(stored.dtype.to_string()).or_default() += 1;
        }
        let metadata_keys = file.metadata.keys().cloned().collect();
        report.files.push(FileSummary { path: file.path.clone(), bytes: file.len(), dtypes, metadata_keys });
    }
    let (arch, source) = match find_arch(options, &files) {
        Ok(found) => found,
        Err(error) => {
            report.problems.push(error.chain());
            return Ok(report);
        }
    };
    let (entries, problems) = match_table(&arch, &files);
    if !problems.is_empty() {
        report.problems.push(problems.to_string());
    }
    for Entry { spec, .. } in &entries {
        *report.parameters.entry(spec.tower).or_default() += spec.shape.iter().product::<usize>() as u64;
    }
    let scans = scan(&entries, &files)?;
    let damaged = non_finite(&entries, &scans, &files)?;
    report.problems.extend(damaged.lines.into_iter().map(|line| format!("not finite: {line}")));
    let negative = negative_variances(&entries, &scans, &files)?;
    report.problems.extend(negative.lines.into_iter().map(|line| format!("negative variance: {line}")));
    if report.problems.is_empty() {
        report.hash = Some(model_hash(&arch, entries.iter().zip(&scans)));
    }
    report.arch = Some((arch, source));
    Ok(report)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            let dtypes: Vec<_> = file.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
            let keys = if file.metadata_keys.is_empty() { "none".into() } else { file.metadata_keys.join(", ") };
            writeln!(f, "{}", file.path.display())?;
            writeln!(f, "  {:.1} MB, tensors: {}; metadata: {keys}", file.bytes as f64 / 1e6, dtypes.join(", "))?;
        }
        match &self.arch {
            None => writeln!(f, "architecture unknown")?,
            Some((arch, source)) => {
                writeln!(f, "architecture {source}")?;
                for line in arch.to_string().lines() {
                    writeln!(f, "  {line}")?;
                }
                let count = |tower| self.parameters.get(&tower).copied().unwrap_or(0);
                let (vision, text, heads) = (count(Tower::Vision), count(Tower::Text), count(Tower::Heads));
                let total = vision + text + heads;
                write!(f, "parameters {total}")?;
                if arch.text.is_some() {
                    write!(f, " (vision {vision}, text {text}, heads {heads})")?;
                }
                writeln!(f)?;
            }
        }
        if let Some(hash) = &self.hash {
            writeln!(f, "hash {hash}")?;
        }
        if self.problems.is_empty() {
            return write!(f, "problems: none");
        }
        write!(f, "problems:")?;
        for line in self.problems.iter().flat_map(|problem| problem.lines()) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
