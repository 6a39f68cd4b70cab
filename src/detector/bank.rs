//! A class's normal images, reduced to what scoring needs.

use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{Outputs, Thresholds};
use crate::atomic_file::write_atomically;
use crate::backend::{Backend, BankVectors};
use crate::calibration::Calibration;
use crate::error::{Error, ErrorKind, Result};
use crate::method::class_mean;
use crate::preprocess::{Fit, IgnoreMask};
use crate::tensor::shape_text;
use crate::weights::Arch;

/// Version of the file format. A file of another version is refused.
const VERSION: u32 = 1;
/// The tensor of an ignore mask's runs, `[runs, 3]` u32: row, first column, end column.
const RUNS: &str = "ignored_runs";
/// The one metadata key of a bank file: [`Header`] as JSON.
const KEY: &str = "inctrl.bank";

/// The prompts of one class under one model: immutable; put it in an [`Arc`] and share it between scorers.
///
/// Holds the unit patch tokens of each prompt at every tap, the adapted class embeddings with their mean, and the class's
/// text prototypes, so that scoring touches neither prompt images nor text again. Prompts lie in the order of their content
/// hashes: the order in which they were given changes no bit.
pub struct PromptBank {
    header: Header,
    id: String,
    /// `[L, K, N, W]`
    shape: [usize; 4],
    taps: Arc<[f32]>,
    /// `[K, E]`
    adapted: Vec<f32>,
    /// `[E]`
    class_mean: Vec<f32>,
    /// `[2, E]`
    text_prototypes: Vec<f32>,
    mask: Option<Arc<IgnoreMask>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    class: String,
    fit: Fit,
    model: String,
    /// Content hash of each prompt image, in hexadecimal, ascending.
    prompts: Vec<String>,
    /// Absent from the file where there are none, so that files from before thresholds keep their identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thresholds: Option<Thresholds>,
    /// What the thresholds were made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    /// Width and height of the frames that the ignore mask is for; its runs are a tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<[usize; 2]>,
}

/// Identity of a bank: the beginning of a hash of all its content. Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BankId(pub u64);

impl std::fmt::Display for BankId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a bank keeps of one prompt image.
pub(super) struct PromptFeatures {
    /// Content hash of the frame.
    pub hash: [u8; 32],
    /// Unit patch tokens `[L, N, W]`.
    pub taps: Vec<f32>,
    /// Adapted class embedding `[E]`.
    pub adapted: Vec<f32>,
}

/// Facts about a bank, for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BankInfo {
    /// Number of prompts, K.
    pub prompts: usize,
    /// How many of them are copies of another.
    pub duplicates: usize,
    /// Taps L, patches N, patch width W, embedding width E.
    pub taps: usize,
    /// Patches of an image.
    pub patches: usize,
    /// Width of a patch token.
    pub width: usize,
    /// Width of the joint embedding.
    pub embedding: usize,
    /// Bytes of the features in memory.
    pub bytes: usize,
}

impl PromptBank {
    /// Puts features in canonical order. There is at least one prompt.
    pub(super) fn assemble(
        class: String,
        fit: Fit,
        model: String,
        arch: &Arch,
        mask: Option<Arc<IgnoreMask>>,
        text_prototypes: Vec<f32>,
        mut prompts: Vec<PromptFeatures>,
    ) -> Result<Self> {
        prompts.sort_by_key(|prompt| prompt.hash);
        let (layers, patches, width) = (arch.taps.len(), arch.vision.patches(), arch.vision.width);
        let layer_len = patches * width;
        let taps = (0..layers)
            .flat_map(|layer| prompts.iter().flat_map(move |p| &p.taps[layer * layer_len..(layer + 1) * layer_len]))
            .copied()
            .collect();
        let adapted: Vec<f32> = prompts.iter().flat_map(|p| &p.adapted).copied().collect();
        let hashes = prompts.iter().map(|p| hex(&p.hash)).collect();
        let size = mask.as_ref().map(|mask| [mask.width(), mask.height()]);
        let header = Header {
            version: VERSION,
            class,
            fit,
            model,
            prompts: hashes,
            thresholds: None,
            calibration: None,
            mask: size,
        };
        let mean = class_mean(&adapted, arch.embed_dim);
        Self::new(header, [layers, prompts.len(), patches, width], taps, adapted, mean, text_prototypes, mask)
    }

    fn new(
        header: Header,
        shape: [usize; 4],
        taps: Arc<[f32]>,
        adapted: Vec<f32>,
        class_mean: Vec<f32>,
        text_prototypes: Vec<f32>,
        mask: Option<Arc<IgnoreMask>>,
    ) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(header_json(&header)?.as_bytes());
        for extent in shape.into_iter().chain([class_mean.len()]) {
            hasher.update(&(extent as u64).to_le_bytes());
        }
        for values in [&taps[..], &adapted, &class_mean, &text_prototypes] {
            values.chunks(4096).for_each(|chunk| {
                hasher.update(&bytes(chunk));
            });
        }
        for number in mask.iter().flat_map(|mask| mask.runs().as_flattened()) {
            hasher.update(&number.to_le_bytes());
        }
        let id = hasher.finalize().to_hex()[..16].to_owned();
        Ok(PromptBank { header, id, shape, taps, adapted, class_mean, text_prototypes, mask })
    }

    /// Reads a bank that [`PromptBank::save`] wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read; [`ErrorKind::Bank`] if it is not a bank, is of another format version,
    /// is truncated, its content does not match its checksum, or its limits lie outside the range of its outputs: with such
    /// a limit nothing would ever be rejected. [`PromptBank::open_without_thresholds`] reads such a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(path.as_ref(), Self::from_bytes)
    }

    /// Reads a bank without the limits that its file has, whatever they are; the identity is that of a bank without limits.
    /// For files that [`PromptBank::open`] refuses because of their limits, and that are to get others.
    ///
    /// # Errors
    /// As [`PromptBank::open`], but for the limits.
    pub fn open_without_thresholds(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(path.as_ref(), |file| Self::parse(file)?.with_thresholds(None))
    }

    fn open_as(path: &Path, parse: impl Fn(&[u8]) -> Result<Self>) -> Result<Self> {
        let file = std::fs::read(path).map_err(|error| Error::io("read the bank", path, error))?;
        parse(&file).map_err(|error| error.at(path))
    }

    /// Reads a bank from the bytes of its file.
    ///
    /// # Errors
    /// [`ErrorKind::Bank`], as [`PromptBank::open`].
    pub fn from_bytes(file: &[u8]) -> Result<Self> {
        let bank = Self::parse(file)?;
        if let Some(thresholds) = bank.thresholds() {
            thresholds.check(bank.outputs()).map_err(|error| {
                let message = "the bank's thresholds make no sense; set others with `inctrl bank calibrate`, or build the \
                               bank again";
                Error::new(ErrorKind::Bank, message).because(error)
            })?;
        }
        Ok(bank)
    }

    /// [`PromptBank::from_bytes`], whatever the limits.
    fn parse(file: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(file)
            .map_err(|error| damaged("this is not a prompt bank, or it is truncated").because(error))?;
        let text = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(KEY))
            .ok_or_else(|| damaged("this safetensors file is not a prompt bank"))?;
        let (checksum, json) = text.split_once(' ').ok_or_else(|| damaged("the bank's header is damaged"))?;
        let version: Version =
            serde_json::from_str(json).map_err(|error| damaged("the bank's header is damaged").because(error))?;
        if version.version != VERSION {
            let found = version.version;
            return Err(damaged(format!("bank format {found}, this program reads format {VERSION}")));
        }
        let header: Header =
            serde_json::from_str(json).map_err(|error| damaged("the bank's header is damaged").because(error))?;
        if let Some(calibration) = &header.calibration {
            calibration.check().map_err(|error| damaged("the bank's calibration makes no sense").because(error))?;
        }

        let tensors = SafeTensors::deserialize(file).map_err(|error| damaged("the bank is damaged").because(error))?;
        let prompts = header.prompts.len();
        let (taps, taps_shape) = read(&tensors, "taps")?;
        let (adapted, adapted_shape) = read(&tensors, "adapted_class")?;
        let (class_mean, mean_shape) = read(&tensors, "class_mean")?;
        let (text_prototypes, text_shape) = read(&tensors, "text_prototypes")?;
        let [layers, k, patches, width] = taps_shape[..] else { return Err(misshapen("taps", &taps_shape)) };
        let embedding = *mean_shape.first().unwrap_or(&0);
        for (name, shape, expected) in [
            ("taps", &taps_shape, &[layers, prompts, patches, width][..]),
            ("adapted_class", &adapted_shape, &[prompts, embedding]),
            ("class_mean", &mean_shape, &[embedding]),
            ("text_prototypes", &text_shape, &[2, embedding]),
        ] {
            if shape != expected || shape.contains(&0) {
                return Err(misshapen(name, shape));
            }
        }
        let mask = header.mask.map(|size| read_mask(&tensors, size)).transpose()?.map(Arc::new);
        let shape = [layers, k, patches, width];
        let bank = Self::new(header, shape, taps.into(), adapted, class_mean, text_prototypes, mask)?;
        if bank.id != checksum {
            return Err(damaged(format!(
                "checksum {checksum} in the header, {} of the content: the file was changed or damaged",
                bank.id
            )));
        }
        Ok(bank)
    }

    /// Writes the bank as one safetensors file. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let embedding = self.class_mean.len();
        let shape = |dims: &[usize]| dims.to_vec();
        let mut parts = vec![
            ("taps", shape(&self.shape), bytes(&self.taps)),
            ("adapted_class", shape(&[self.shape[1], embedding]), bytes(&self.adapted)),
            ("class_mean", shape(&[embedding]), bytes(&self.class_mean)),
            ("text_prototypes", shape(&[2, embedding]), bytes(&self.text_prototypes)),
        ];
        if let Some(mask) = &self.mask {
            let runs = mask.runs();
            let bytes = runs.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect();
            parts.push((RUNS, shape(&[runs.len(), 3]), bytes));
        }
        let internal = |error| Error::new(ErrorKind::Internal, "cannot lay out the bank").because(error);
        let views = parts
            .iter()
            .map(|(name, shape, bytes)| {
                let dtype = if *name == RUNS { Dtype::U32 } else { Dtype::F32 };
                Ok((*name, TensorView::new(dtype, shape.clone(), bytes).map_err(internal)?))
            })
            .collect::<Result<Vec<_>>>()?;
        let metadata = [(KEY.to_owned(), format!("{} {}", self.id, header_json(&self.header)?))].into();
        let file = safetensors::serialize(views, Some(metadata)).map_err(internal)?;
        let path = path.as_ref();
        write_atomically(path, |out| out.write_all(&file).map_err(|error| Error::io("write the bank", path, error)))
    }

    /// Identity of the bank: the beginning of a hash of all its content, in hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The same identity as a number.
    pub fn bank_id(&self) -> BankId {
        BankId(u64::from_str_radix(&self.id, 16).expect("`new` takes 16 digits of a hash in hexadecimal"))
    }

    /// The pixels that are not judged, in its prompts and in queries, where there are any.
    pub fn mask(&self) -> Option<&IgnoreMask> {
        self.mask.as_deref()
    }

    pub(super) fn shared_mask(&self) -> Option<Arc<IgnoreMask>> {
        self.mask.clone()
    }

    /// The class name that its text prototypes were made from.
    pub fn class(&self) -> &str {
        &self.header.class
    }

    /// How its images were fitted to the model's square input, and how queries will be.
    pub fn fit(&self) -> Fit {
        self.header.fit
    }

    /// What its scores consist of, and the ranges that limits must lie in.
    pub fn outputs(&self) -> &Outputs {
        &Outputs::INCTRL
    }

    /// The limits that its scores are judged by, where it has any.
    pub fn thresholds(&self) -> Option<&Thresholds> {
        self.header.thresholds.as_ref()
    }

    /// The same bank with other limits, or without; its identity changes with them. The features are shared.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] as [`Thresholds::check`].
    pub fn with_thresholds(&self, thresholds: Option<Thresholds>) -> Result<Self> {
        if let Some(thresholds) = &thresholds {
            thresholds.check(self.outputs())?;
        }
        let header = Header { thresholds, calibration: None, ..self.header.clone() };
        let (adapted, mean, texts) = (self.adapted.clone(), self.class_mean.clone(), self.text_prototypes.clone());
        Self::new(header, self.shape, Arc::clone(&self.taps), adapted, mean, texts, self.mask.clone())
    }

    /// The scores of good parts that its thresholds come from, where they come from such.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.header.calibration.as_ref()
    }

    /// The same bank with a calibration and the thresholds that it gives.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where no limit keeps the calibration's promise: good parts have the largest score that there
    /// is.
    pub fn with_calibration(&self, calibration: Calibration) -> Result<Self> {
        let thresholds = calibration.thresholds();
        thresholds.check(self.outputs()).map_err(|error| {
            let message = "no limit lies above the scores of these good images: look at those that score highest, or give \
                           the bank prompts that are like them";
            Error::new(ErrorKind::Argument, message).because(error)
        })?;
        let header = Header { thresholds: Some(thresholds), calibration: Some(calibration), ..self.header.clone() };
        let (taps, adapted) = (Arc::clone(&self.taps), self.adapted.clone());
        Self::new(
            header,
            self.shape,
            taps,
            adapted,
            self.class_mean.clone(),
            self.text_prototypes.clone(),
            self.mask.clone(),
        )
    }

    /// Hash of the model that it was built with.
    pub fn model_hash(&self) -> &str {
        &self.header.model
    }

    /// Content hash of each prompt image (size, channels and pixels), in hexadecimal, ascending.
    pub fn prompt_hashes(&self) -> &[String] {
        &self.header.prompts
    }

    /// Sizes, for people.
    pub fn info(&self) -> BankInfo {
        let [taps, prompts, patches, width] = self.shape;
        let duplicates = self.header.prompts.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let floats = self.taps.len() + self.adapted.len() + self.class_mean.len() + self.text_prototypes.len();
        let embedding = self.class_mean.len();
        BankInfo { prompts, duplicates, taps, patches, width, embedding, bytes: floats * size_of::<f32>() }
    }

    /// Unit text prototypes F_n and F_a, `[2, E]`.
    pub fn text_prototypes(&self) -> &[f32] {
        &self.text_prototypes
    }

    /// I_p of equation 3: the mean adapted class embedding, `[E]`.
    pub fn class_mean(&self) -> &[f32] {
        &self.class_mean
    }

    /// An error where the bank belongs to another model.
    pub(super) fn check_model(&self, model: &str, arch: &Arch) -> Result<()> {
        if self.header.model == model {
            return self.check_sizes(arch);
        }
        Err(Error::new(
            ErrorKind::Bank,
            format!(
                "the bank of class `{}` was built with model {}, the weights are model {model}; build it again with these weights",
                self.header.class, self.header.model
            ),
        ))
    }

    /// An error where the tensors are not of the sizes that the bank's own model gives.
    fn check_sizes(&self, arch: &Arch) -> Result<()> {
        let expected = [arch.taps.len(), self.header.prompts.len(), arch.vision.patches(), arch.vision.width];
        if self.shape != expected {
            let (found, expected) = (shape_text(&self.shape), shape_text(&expected));
            return Err(damaged(format!("tensor `taps` has shape {found}, its model gives {expected}")));
        }
        if self.class_mean.len() != arch.embed_dim {
            let (found, expected) = (self.class_mean.len(), arch.embed_dim);
            return Err(damaged(format!("the bank's embedding has {found} elements, its model's {expected}")));
        }
        Ok(())
    }

    pub(super) fn upload<B: Backend>(&self, backend: &mut B) -> Result<B::Bank> {
        let vectors = BankVectors { class_mean: &self.class_mean, text_prototypes: &self.text_prototypes };
        backend.bank(&self.taps, self.shape, vectors)
    }

    /// The bank of some of the prompts, given by their places in [`PromptBank::prompt_hashes`]; without thresholds, which are
    /// those of all prompts together. Its bits are those of a bank built from these images.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for no places, or one that is not there.
    pub fn subset(&self, places: &[usize]) -> Result<PromptBank> {
        let mut places = places.to_vec();
        places.sort_unstable();
        let [layers, prompts, patches, width] = self.shape;
        if places.is_empty() || places.last() >= Some(&prompts) {
            let message = format!("prompts {places:?} of a bank of {prompts}: at least one, counted from 0");
            return Err(Error::new(ErrorKind::Argument, message));
        }
        let (len, embedding) = (patches * width, self.class_mean.len());
        let layer = |l: usize| places.iter().flat_map(move |k| &self.taps[(l * prompts + k) * len..][..len]);
        let taps = (0..layers).flat_map(layer).copied().collect();
        let adapted: Vec<f32> =
            places.iter().flat_map(|k| &self.adapted[k * embedding..][..embedding]).copied().collect();
        let hashes = places.iter().map(|&k| self.header.prompts[k].clone()).collect();
        let header = Header { prompts: hashes, thresholds: None, calibration: None, ..self.header.clone() };
        let mean = class_mean(&adapted, embedding);
        let texts = self.text_prototypes.clone();
        Self::new(header, [layers, places.len(), patches, width], taps, adapted, mean, texts, self.mask.clone())
    }

    /// The prompts one by one, as they were before they were put together.
    pub(super) fn prompt_features(&self) -> impl Iterator<Item = PromptFeatures> + '_ {
        let [layers, prompts, patches, width] = self.shape;
        let (len, embedding) = (patches * width, self.class_mean.len());
        self.header.prompts.iter().enumerate().map(move |(k, hash)| PromptFeatures {
            hash: blake3::Hash::from_hex(hash).map_or([0; 32], |hash| *hash.as_bytes()),
            taps: (0..layers).flat_map(|l| &self.taps[(l * prompts + k) * len..][..len]).copied().collect(),
            adapted: self.adapted[k * embedding..][..embedding].to_vec(),
        })
    }
}

impl std::fmt::Debug for PromptBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptBank").field("id", &self.id).field("header", &self.header).finish_non_exhaustive()
    }
}

/// The part of the header that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn header_json(header: &Header) -> Result<String> {
    serde_json::to_string(header)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot write the bank's header").because(error))
}

fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<f32>, Vec<usize>)> {
    let tensor = tensors.tensor(name).map_err(|error| damaged(format!("tensor `{name}` is missing")).because(error))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(damaged(format!("tensor `{name}` is stored as {:?}, expected F32", tensor.dtype())));
    }
    let values: Vec<f32> = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if !values.iter().all(|x| x.is_finite()) {
        return Err(damaged(format!("tensor `{name}` holds NaN or infinity")));
    }
    Ok((values, tensor.shape().to_vec()))
}

/// The ignore mask for frames of `size`.
fn read_mask(tensors: &SafeTensors<'_>, size: [usize; 2]) -> Result<IgnoreMask> {
    let missing = |error| damaged(format!("tensor `{RUNS}` is missing")).because(error);
    let tensor = tensors.tensor(RUNS).map_err(missing)?;
    let [_, 3] = tensor.shape() else { return Err(misshapen(RUNS, tensor.shape())) };
    if tensor.dtype() != Dtype::U32 {
        return Err(damaged(format!("tensor `{RUNS}` is stored as {:?}, expected U32", tensor.dtype())));
    }
    let numbers: Vec<u32> = tensor.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let runs = numbers.as_chunks::<3>().0.to_vec();
    IgnoreMask::from_runs(size[0], size[1], runs)
        .map_err(|error| damaged("the bank's ignore mask makes no sense").because(error))
}

/// An error about the content of a bank's file; building the bank again is the only remedy.
fn damaged(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Bank, format!("{}; build the bank again", message.into()))
}

fn misshapen(name: &str, shape: &[usize]) -> Error {
    damaged(format!("tensor `{name}` has shape {}, which does not fit the bank's other tensors", shape_text(shape)))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
