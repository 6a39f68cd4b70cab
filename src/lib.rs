//! Few-shot anomaly detection: a handful of normal images in, an anomaly score and a heat map out.
//!
//! InCTRL (Zhu & Pang, CVPR 2024, arXiv 2403.06495) scores an image against K normal images of its class, the
//! *prompts*, and a class name, without training on that class. AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529)
//! needs only the normal images. This crate runs both methods in Rust, without Python, pickles or network. Scores have
//! the same bits for every batch size, position in the batch, number of threads and order of the prompts.
//!
//! ```
//! use std::sync::Arc;
//! use inctrl::{Engine, Fit, Frame, PixelFormat};
//! # use inctrl::{tensor::DType, weights::{Arch, random}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let weights = folder.path().join("model.safetensors");
//! # let arch = r#"{"embed_dim": 32, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
//! #     "text_cfg": {"width": 32, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"#;
//! # random::write(&weights, &Arch::from_json(arch)?, 1, DType::F32)?;
//! # let (normal, query) = (vec![90; 40 * 30], vec![160; 40 * 30]);
//! let engine = Engine::open(&weights)?;
//! let prompts = [Frame::packed(&normal, 40, 30, PixelFormat::Grey8)?]; // or Image::open(path)?.frame()
//! let bank = engine.build_bank("metal nut", Fit::Crop, &prompts)?; // once; save and open it as a file
//! let mut scorer = engine.scorer(Arc::new(bank))?; // one for each thread
//! let score = scorer.score(Frame::packed(&query, 40, 30, PixelFormat::Grey8)?)?;
//! println!("{:.3}, worst patch {:.3}", score.score, score.output("patch_max").unwrap_or(f32::NAN));
//! # assert!(score.score > 0.0 && score.map.cells.len() == 4);
//! # Ok(())
//! # }
//! ```
//!
//! # The pipeline of InCTRL, with the sizes of ViT-B/16+ at 240 pixels
//!
//! ```text
//! file or frame  [height, width, 1 or 3] u8          image, view  Pillow's bicubic, to the bit
//!   -> patches   [225, 768] f32                      view         normalised, unfolded
//!   -> tokens    [226, 896], 12 blocks               encoder      CLIP's vision transformer
//!   -> taps      [3, 225, 896] unit patch tokens     encoder      after blocks 7, 9 and 11
//!      class     [640]                               encoder      embedding of the class token
//!   -> map       [15, 15] residuals                  methods      nearest prompt patch at each tap, equations 1 and 2
//!   -> score     one number, and its four parts      methods      heads and text prior, equations 3 to 7
//! ```
//!
//! A bank holds what the prompts and the class name contribute: `[3, K, 225, 896]` unit taps, the mean adapted class
//! embedding `[640]` and two text prototypes `[2, 640]`. Scoring needs neither the prompt images nor the text.
//!
//! # Modules
//!
//! | module | job |
//! |---|---|
//! | this page: [`Engine`], [`PromptBank`], [`Scorer`], [`Score`] | all that an application needs |
//! | [`methods`] | features to scores: InCTRL, AnomalyDINO |
//! | [`encoder`] | the transformers of CLIP and DINOv2, and ResNets, written once over a backend |
//! | [`backend`] | the operations, and the devices that run them |
//! | [`image`] and [`view`] | picture files and frames to patches |
//! | [`text`] | class names to token ids |
//! | [`weights`] | safetensors files to checked tensors; seeded random models |
//! | [`checkpoint`] | files of PyTorch, open_clip, Hugging Face and OpenAI to safetensors, and few-shot prompt lists; code in them never runs |
//! | [`pictures`] | picture files in folders; copies and near-copies |
//! | [`calibration`] | thresholds from good parts alone |
//! | [`ffi`] | the C interface, `include/inctrl.h` |
//! | [`tensor`] | tensors in host memory |
//!
//! # Not supported
//!
//! Scoring directly from a checkpoint that is not safetensors (convert it first); encoders other than the vision
//! transformers of CLIP and DINOv2 and torchvision's ResNets; devices other than the CPU and NVIDIA GPUs; training of
//! encoders; floating-point images; video. Pixels outside the crop are not scored: use [`Fit::Letterbox`] or
//! [`Fit::Stretch`] where the ends of an image matter.

mod atomic_file;
pub mod backend;
mod bank;
pub mod calibration;
pub mod checkpoint;
mod disk;
pub mod encoder;
mod engine;
mod error;
pub mod ffi;
pub mod image;
#[doc(hidden)]
pub mod internals;
mod memory;
pub mod methods;
pub mod pictures;
mod process;
mod split_mix;
pub mod tensor;
pub mod text;
pub mod view;
pub mod weights;

pub use backend::Precision;
pub use bank::{BankId, BankInfo, PromptBank};
pub use calibration::Thresholds;
pub use engine::{
    AfterImage, AnomalyMap, AppendOptions, Appended, Appender, BankBuilder, BankReport, BankSize, BankSpec, BestBank,
    Deadline, Decision, Device, Engine, EngineOptions, Inspection, Late, Latencies, Looks, MultiBankBuilder,
    MultiBankScorer, MultiMethodScorer, PromptCheck, Reason, Region, ReportedPrompt, RoiScorer, Score, Scorer,
    SharedBank, StageTimes, Verdict,
};
pub use error::{Error, ErrorKind, Result};
pub use image::{AnyFrame, DepthDoubt, DeviceFrame, Frame, IgnoreMask, Image, PixelFormat, Roi, WhiteLevel};
pub use methods::Output;
pub use view::{Fit, Normalised, Placement};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
