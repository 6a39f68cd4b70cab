//! `inctrl bench op`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, value_parser};
use inctrl::{Device, EngineOptions, Precision};
use inctrl_lab::measure::op::{self, OPERATIONS};
use inctrl_lab::measure::{OpReport, Rival, Turns, op_report, write_report};

use super::Outcome;
use super::console::result;

/// Times one operation at any size, without weights; first checks it against its formula
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// The operation
    #[arg(value_parser = PossibleValuesParser::new(OPERATIONS.iter().map(|operation| operation.name)))]
    operation: String,
    #[command(flatten)]
    sizes: Given,
    /// Where to run
    #[arg(long, value_name = "cpu|cuda:N", default_value = "cpu")]
    device: Device,
    /// The precision: f16 or f32 on a GPU; f32 on the CPU, or bf16 with AVX512-BF16, or int8 with VNNI [default: f16 on
    /// a GPU, f32 on the CPU]
    #[arg(long, value_name = "f32|f16|bf16|int8")]
    precision: Option<Precision>,
    /// Threads on the CPU; by default one per core
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Other implementations to time: product (the matrix product alone; on a GPU that of cuBLASLt), torch or faiss (of
    /// python3, or of the Python in the variable PYTHON)
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    rivals: Vec<Rival>,
    /// Turns of each implementation, in shuffled order
    #[arg(long, value_name = "N", default_value = "11")]
    turns: NonZeroUsize,
    /// Minimum length of a turn, in milliseconds
    #[arg(long, value_name = "MS", default_value = "50")]
    turn_ms: NonZeroUsize,
    /// Print all numbers as JSON, instead of the table
    #[arg(long)]
    json: bool,
    /// Also write all numbers to this file, as JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The given sizes, of any operation.
struct Given(Vec<(String, usize)>);

/// Every name of a size once.
fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = OPERATIONS.iter().flat_map(|operation| operation.sizes).map(|size| size.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl clap::FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| Some((name.to_owned(), *matches.get_one::<usize>(name)?));
        Ok(Given(names().into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        let size = |name: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("N")
                .value_parser(value_parser!(usize))
                .help_heading("Sizes")
                .hide(true)
        };
        names().into_iter().fold(command, |command, name| command.arg(size(name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The operations with their formulas and sizes.
fn after_help() -> String {
    let mut text = String::from("Operations, their formulas and sizes [default]:\n");
    for operation in OPERATIONS {
        text.push_str(&format!("  {:<24} {}\n", operation.name, operation.formula));
        let sizes = operation.sizes.iter().map(|size| format!("--{} [{}]", size.name, size.usual));
        text.push_str(&format!("  {:<24} {}\n", "", sizes.collect::<Vec<_>>().join(" ")));
    }
    text.push_str(
        "
Shares are of what the device does at best in the same run: a plain copy, a large product.

Example:
  inctrl bench op patch_nn --q 1024 --rows 32768 --width 384 --rivals product,faiss --json",
    );
    text
}

pub fn run(args: Args) -> Result<Outcome> {
    let sizes = op::Sizes::new(op::named(&args.operation)?, &args.sizes.0)?;
    // There is no weights file: only the device matters.
    let mut options = EngineOptions::new("");
    (options.device, options.threads, options.precision) = (args.device, args.threads, args.precision);
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let turns = Turns {
        count: args.turns.get(),
        seconds: args.turn_ms.get() as f64 / 1e3,
        threads: args.threads.map_or_else(cores, NonZeroUsize::get),
    };
    let report = op_report(&options, &sizes, &args.rivals, turns)?;
    let mut numbers = serde_json::to_value(&report)?;
    numbers["program"] = env!("CARGO_PKG_VERSION").into();
    if args.json {
        result(&format!("{numbers:#}"))?;
    } else {
        result(&table(&report))?;
    }
    if let Some(path) = args.output {
        write_report(&path, &numbers)?;
    }
    Ok(Outcome::Done)
}

fn table(report: &OpReport) -> String {
    let OpReport { operation, formula, shape, device, dtype, agreement, times, work, .. } = report;
    let mut text = format!("{operation}   {formula}\nsizes    {shape}, {dtype}\ndevice   {device}\n");
    text.push_str(&format!(
        "checked  {} elements, the worst at {:.0} % of its tolerance\n",
        agreement.compared,
        100.0 * agreement.worst_share_of_tolerance
    ));
    let bytes = work.bytes as f64 / times.seconds / 1e9;
    text.push_str(&format!("time     {:.1} us (shortest {:.1})\n", 1e6 * times.seconds, 1e6 * times.shortest));
    text.push_str(&format!("         {bytes:.1} GB/s, {:.0} % of a plain copy", 100.0 * report.share_of_peak_bytes));
    if let Some(share) = report.share_of_peak_flop {
        let flop = work.flop as f64 / times.seconds / 1e9;
        text.push_str(&format!("\n         {flop:.1} GFLOP/s, {:.0} % of a large product", 100.0 * share));
    }
    for rival in &report.rivals {
        let name = format!("{} {}", rival.name, rival.version);
        text.push_str(&format!(
            "\nrival    {:<16} {:.1} us; {operation} takes {:.3} of its time",
            name.trim(),
            1e6 * rival.times.seconds,
            rival.ratio
        ));
    }
    text
}
