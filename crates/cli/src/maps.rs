//! Heat maps as files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use anyhow::Result;
use inctrl::{Error, Image, Score};
use inctrl_lab::render::{ColourScale, overlay, upsample, write_png, write_tiff_f32};

/// The default residual at the upper end of the colour scale.
pub const DEFAULT_MAX: f32 = 0.25;

/// Writes the maps of a run below one folder. Shared by the scoring threads.
pub struct MapWriter {
    folder: PathBuf,
    scale: ColourScale,
    /// Held for reading while files are written.
    open: RwLock<()>,
}

impl MapWriter {
    /// A writer into `folder`, which is created if necessary. Colours cover residuals from 0 to `max`.
    pub fn new(folder: PathBuf, max: f32) -> Result<Self> {
        let scale = ColourScale::new(max)?;
        create_folder(&folder)?;
        Ok(MapWriter { folder, scale, open: RwLock::new(()) })
    }

    /// Writes the files of one image; `name` is relative to the folder.
    pub fn write(&self, name: &Path, image: &Image, score: &Score) -> Result<()> {
        let _writing = self.open.read();
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        let (frame, map) = (image.frame(), &score.map);
        write_png(&with_suffix(&path, ".overlay.png"), &overlay(frame, map, &self.scale)?)?;
        let values = upsample(map, score.width, score.height)?;
        write_tiff_f32(&with_suffix(&path, ".map.tiff"), score.width, score.height, &values)?;
        Ok(())
    }

    /// Waits for files that are being written and lets no others begin, as the process is about to end.
    pub fn close(&self) {
        std::mem::forget(self.open.write());
    }
}

/// Creates a folder and its parents. An existing folder is fine.
pub fn create_folder(folder: &Path) -> inctrl::Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, error))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
