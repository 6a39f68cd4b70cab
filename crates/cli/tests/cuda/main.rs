//! The commands on a GPU, and a training on one: with the emulator of `tests/emulator` instead of NVIDIA's libraries,
//! or with `INCTRL_GPU=1` on the first GPU.

mod commands;
#[path = "../../../../tests/common/mod.rs"]
mod common;
#[path = "../../../../tests/emulator/mod.rs"]
mod emulator;
mod libraries;
#[path = "../../../../tests/common/program.rs"]
mod program;
mod training;
#[path = "../../../../tests/cuda/turn.rs"]
mod turn;

use common::{folder, tiny};
use turn::{Turn, turn};
