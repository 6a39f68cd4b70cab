//! The command line of [`inctrl`], as a library for its program and for others that offer the same commands. Arguments
//! become calls of the library, and results become text. Nothing is computed here.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done; 2 some inputs failed, and the
//! results of the others were written; 1 any other error, including wrong usage. An output file appears complete or not
//! at all.
//!
//! | file | job |
//! |---|---|
//! | `score.rs` | `inctrl score`: arguments, and the messages at the end |
//! | `queries.rs` | files, folders, globs and standard input to a sequence of paths |
//! | `workers.rs` | decoding and scoring on threads, results in input order |
//! | `rows.rs` | a result as a line of a table, JSON or CSV |
//! | `maps.rs` | heat maps as files |
//! | `bank.rs` | `inctrl bank`: build, append, info |
//! | `calibrate.rs` | `inctrl bank`: calibrate, report |
//! | `data.rs` | `inctrl data`: check |
//! | `eval.rs`, `table.rs` | `inctrl eval`: of one method, and of several on several data sets |
//! | `compare.rs` | `inctrl compare` |
//! | `verify.rs` | `inctrl verify` |
//! | `train.rs` | `inctrl train` |
//! | `weights.rs` | `inctrl weights`: inspect, random |
//! | `convert.rs` | `inctrl convert` |
//! | `synth.rs` | `inctrl synth` |
//! | `demo.rs` | `inctrl demo` |
//! | `bench.rs`, `bench_op.rs`, `tune.rs` | `inctrl bench`, `inctrl bench op`, `inctrl tune` |
//! | `model.rs`, `normals.rs`, `depth.rs` | arguments that several commands share |
//! | `console.rs` | the two output streams and the progress bar |

mod bank;
mod bench;
mod bench_op;
mod calibrate;
mod compare;
mod console;
mod convert;
mod data;
mod demo;
mod depth;
mod eval;
mod judge;
mod maps;
mod method;
mod model;
mod normals;
mod queries;
mod rows;
mod score;
mod synth;
mod table;
mod train;
#[cfg(feature = "cuda")]
mod tune;
mod verify;
mod weights;
mod workers;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use console::{ReaderGone, say};

/// Few-shot anomaly detection: a handful of normal images in, an anomaly score and a heat map out.
#[derive(Parser)]
#[command(name = "inctrl", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done; 2 some inputs failed, and the others have results; 1 any other error.

Example:
  inctrl bank build --weights W.safetensors --class 'metal nut' --normals good/ -o nut.bank
  inctrl score --weights W.safetensors --bank nut.bank incoming/ --maps maps/";

#[derive(Subcommand)]
enum Command {
    Score(score::Args),
    #[command(subcommand)]
    Bank(bank::Command),
    Eval(eval::Args),
    Compare(compare::Args),
    Verify(verify::Args),
    Train(train::Args),
    #[command(subcommand)]
    Data(data::Command),
    #[command(subcommand)]
    Weights(weights::Command),
    Convert(convert::Args),
    Synth(synth::Args),
    Demo(demo::Args),
    Bench(bench::Command),
    #[cfg(feature = "cuda")]
    Tune(tune::Args),
}

/// The outcome of a command that ran to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    SomeInputsFailed,
}

/// The weights of the small model in the program (weights/README.md), as a safetensors file.
pub fn demo_weights() -> &'static [u8] {
    demo::OWN_WEIGHTS
}

/// Like [`run`], for the `main` of a program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(run(arguments))
}

/// Runs the command in `arguments`, the first of which is the program's own name. Results go to standard output,
/// everything else to standard error. Returns the exit code of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(message) => {
            // A closed standard output is fine: its reader has read as much as it wanted.
            let lost = message.print().is_err_and(|error| error.kind() != ErrorKind::BrokenPipe);
            return u8::from(lost || message.use_stderr());
        }
    };
    let result = match command {
        Command::Score(args) => score::run(args),
        Command::Bank(command) => bank::run(command),
        Command::Eval(args) => eval::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Train(args) => train::run(args),
        Command::Data(command) => data::run(command),
        Command::Weights(command) => weights::run(command),
        Command::Convert(args) => convert::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Bench(args) => bench::run(args),
        #[cfg(feature = "cuda")]
        Command::Tune(args) => tune::run(args),
    };
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::SomeInputsFailed) => 2,
        Err(error) if error.is::<ReaderGone>() => 0,
        Err(error) => {
            say(&format!("error: {error:#}"));
            1
        }
    }
}
