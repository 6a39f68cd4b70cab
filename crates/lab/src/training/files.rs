//! Heads as files: the output, the model that holds them, and a run on its way.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
use super::network::Network;
use super::run::Epoch;
use inctrl::internals::write_atomically;
use inctrl::internals::{TensorFile, header_for, stored_as};
use inctrl::tensor::DType;
use inctrl::weights::{Arch, Tower, Weights, table};
use inctrl::{Error, ErrorKind, Result};

/// Writes the heads as a safetensors file in f32, BatchNorm as it is, with the configuration in the metadata.
pub(super) fn write_heads(path: &Path, network: &Network, arch: &Arch) -> Result<()> {
    let tensors = network.tensors();
    let header = header_for(tensors.iter().map(|t| (t.name.clone(), Dtype::F32, t.shape.clone())), arch)?;
    write_atomically(path, |out| {
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|error| Error::io("write", path, error));
        put(&header)?;
        tensors.iter().try_for_each(|tensor| put(&rounded(network, tensor.name.as_str())))
    })
}

/// Writes the model with these heads instead of its own: CLIP as stored, the heads in f32.
pub(super) fn write_merged(path: &Path, network: &Network, weights: &Weights) -> Result<()> {
    let mut specs = Vec::new();
    for spec in table(weights.arch()) {
        let head = spec.tower == Tower::Heads;
        let dtype = if head { DType::F32 } else { weights.dtype(&spec.name)? };
        specs.push((spec, dtype));
    }
    // Wide elements first, so that every tensor is aligned to its own.
    specs.sort_by_key(|(_, dtype)| Reverse(dtype.size()));
    let rows = specs.iter().map(|(spec, dtype)| (spec.name.clone(), stored_as(*dtype), spec.shape.clone()));
    let header = header_for(rows, weights.arch())?;
    write_atomically(path, |out| {
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|error| Error::io("write", path, error));
        put(&header)?;
        for (spec, _) in &specs {
            match spec.tower {
                Tower::Heads => put(&rounded(network, &spec.name))?,
                _ => put(&weights.tensor(&spec.name)?.bytes)?,
            }
        }
        Ok(())
    })
}

/// The numbers of the tensor called `name` in f32, as bytes.
fn rounded(network: &Network, name: &str) -> Vec<u8> {
    let tensor = network.tensors().iter().find(|tensor| tensor.name == name);
    let values = tensor.map_or(&[][..], |tensor| network.values(tensor));
    values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect()
}

/// A run after some epochs.
pub(super) struct State {
    pub network: Network,
    pub optimiser: AdamW,
    pub history: Vec<Epoch>,
}

/// The metadata key of [`Progress`] as JSON.
const KEY: &str = "inctrl.training";

/// What a state is beside its numbers.
#[derive(Serialize, Deserialize)]
struct Progress {
    /// What was trained on and how: a state of another run is refused.
    identity: String,
    /// Steps of the optimiser.
    steps: u64,
    /// Bits of the numbers of each epoch: loss, then the two AUROCs.
    history: Vec<[u64; 3]>,
}

/// Where the state of a run that writes `output` is kept.
pub(super) fn state_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".state");
    output.with_file_name(name)
}

impl State {
    /// Writes the state. The file is always either the old or the new one.
    pub fn save(&self, path: &Path, identity: &str) -> Result<()> {
        let internal = |message: &str| Error::new(ErrorKind::Internal, message);
        let bits = |e: &Epoch| [e.loss, e.auroc, e.patch_auroc].map(f64::to_bits);
        let progress = Progress {
            identity: identity.to_owned(),
            steps: self.optimiser.steps,
            history: self.history.iter().map(bits).collect(),
        };
        let json = serde_json::to_string(&progress).map_err(|e| internal("a state does not serialise").because(e))?;
        let bytes = self.vectors().map(|(name, vector)| {
            (name, vector.len(), vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        });
        let mut tensors = Vec::new();
        for (name, len, bytes) in &bytes {
            let view = TensorView::new(Dtype::F64, vec![*len], bytes);
            tensors.push((*name, view.map_err(|e| internal("a state's tensor is inconsistent").because(e))?));
        }
        let file = safetensors::serialize(tensors, Some(HashMap::from([(KEY.to_owned(), json)])))
            .map_err(|error| internal("a state does not serialise").because(error))?;
        write_atomically(path, |out| out.write_all(&file).map_err(|error| Error::io("write", path, error)))
    }

    fn vectors(&self) -> [(&'static str, &Vec<f64>); 4] {
        let (n, o) = (&self.network, &self.optimiser);
        [("parameters", &n.parameters), ("running", &n.running), ("mean", &o.mean), ("square", &o.square)]
    }

    /// Replaces this state, which has the sizes of the run, by the one in the file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a file of another run, or a damaged one.
    pub fn resume(&mut self, path: &Path, identity: &str) -> Result<()> {
        let broken = || {
            let message = "is not the state of a training, or is damaged: delete it to start again";
            Error::new(ErrorKind::Argument, message).at(path)
        };
        let file = TensorFile::open(path).map_err(|error| broken().because(error))?;
        let json = file.metadata.get(KEY).ok_or_else(broken)?;
        let progress: Progress = serde_json::from_str(json).map_err(|error| broken().because(error))?;
        if progress.identity != identity {
            let message = format!(
                "is the state of another training: choose another output, or delete it to start again\n  there: {}\n  here:  \
                 {identity}",
                progress.identity
            );
            return Err(Error::new(ErrorKind::Argument, message).at(path));
        }
        let read = |name: &str, vector: &mut Vec<f64>| {
            let tensor = file.tensors.get(name).filter(|t| t.dtype == Dtype::F64 && t.shape == [vector.len()]);
            let bytes = file.read(tensor.ok_or_else(broken)?.range.clone())?;
            *vector = bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
            if vector.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(broken()) }
        };
        read("parameters", &mut self.network.parameters)?;
        read("running", &mut self.network.running)?;
        read("mean", &mut self.optimiser.mean)?;
        read("square", &mut self.optimiser.square)?;
        self.optimiser.steps = progress.steps;
        let epoch = |bits: [u64; 3]| {
            let [loss, auroc, patch_auroc] = bits.map(f64::from_bits);
            Epoch { loss, auroc, patch_auroc }
        };
        self.history = progress.history.into_iter().map(epoch).collect();
        Ok(())
    }
}
