//! `inctrl bench`.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{ArgMatches, FromArgMatches, Subcommand};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use inctrl::backend::cpu::{InstructionPeak, roofline};
use inctrl::{Device, Engine, Error, Fit, Frame, Image, PixelFormat, PromptBank};
use inctrl_lab::measure::{
    Distribution, OperationTime, Peak, latency, operation_times, stage_distributions, throughput,
};
use serde_json::{Value, json};

use super::console::{Progress, result};
use super::depth::{DepthArgs, Doubts};
use super::model::ModelArgs;
use super::{Outcome, bench_op};

#[derive(clap::Subcommand)]
enum Part {
    Op(bench_op::Args),
}

/// A model's times, or those of one operation.
pub enum Command {
    Op(bench_op::Args),
    Model(Args),
}

impl FromArgMatches for Command {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        if matches.subcommand_name().is_some() {
            let Part::Op(args) = Part::from_arg_matches(matches)?;
            return Ok(Command::Op(args));
        }
        Args::from_arg_matches(matches).map(Command::Model)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Command {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = Part::augment_subcommands(<Args as clap::Args>::augment_args(command)).subcommand_required(false);
        command.arg_required_else_help(false).args_conflicts_with_subcommands(true).subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Times every operation, the steps of a score, latency and throughput on this machine
#[derive(clap::Args)]
#[command(after_help = "\
Latency is from a frame in host memory to its score in host memory, one frame after the other. After a gap the
machine is at rest, as between the parts on a conveyor. The steps are timed in separate passes,
which wait after each step and also decode the file. Percentages are relative to the machine's best in the
same run: a plain copy, a large product. On a CPU the multiplying instructions are timed first, as a bound that no product exceeds.

Examples:
  inctrl bench --weights W.safetensors --deadline-ms 20
  inctrl bench --weights W.safetensors --device cuda:0 --batches 1,8,64 --json bench.json
  inctrl bench --weights dinov2.safetensors --bank nut.bank
  inctrl bench op patch_nn --q 1024 --rows 32768 --width 384 --rivals product,faiss")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Batch sizes for throughput; operations are timed at the first and the last
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,8")]
    batches: Vec<NonZeroUsize>,
    /// Prompts of the bank; the nearest-neighbour search is timed for each number, scores only for the first
    #[arg(long, value_name = "K,..", value_delimiter = ',', default_value = "8")]
    prompts: Vec<NonZeroUsize>,
    /// Score with this bank, of any method, instead of one of drawn prompts; single operations are then not timed
    #[arg(long, value_name = "B", conflicts_with = "prompts")]
    bank: Option<PathBuf>,
    /// Pauses between frames, in milliseconds
    #[arg(long, value_name = "MS,..", value_delimiter = ',', default_value = "0,10,1000")]
    gaps: Vec<u64>,
    /// Largest number of frames for each pause
    #[arg(long, value_name = "N", default_value = "1000")]
    frames: NonZeroUsize,
    /// Time for each measurement of latency or throughput, in seconds
    #[arg(long, value_name = "S", default_value = "10")]
    seconds: u64,
    /// Width and height of the drawn frames; for decoding they are a PNG in memory
    #[arg(long, value_name = "WxH", default_value = "1024x1024", value_parser = parse_size)]
    size: (usize, usize),
    /// A picture file to use as the frame, instead of a drawn one
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    image: Option<PathBuf>,
    #[command(flatten)]
    depth: DepthArgs,
    /// Report whether scores take less than this
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<f64>,
    /// Do not time single operations
    #[arg(long)]
    no_operations: bool,
    /// Also write all numbers to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let sizes = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sizes.filter(|(w, h)| (1..=16_384).contains(w) && (1..=16_384).contains(h)).ok_or_else(|| {
        format!("{text:?} is not a size: give width x height in pixels, such as 1280x1024, each at most 16384")
    })
}

pub fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Op(args) => bench_op::run(args),
        Command::Model(args) => model(args),
    }
}

/// A model's operations, steps, latency and throughput.
fn model(args: Args) -> Result<Outcome> {
    let (Some(&first), Some(&last)) = (args.batches.first(), args.batches.last()) else {
        bail!("--batches: none given")
    };
    let Some(&prompts) = args.prompts.first() else { bail!("--prompts: none given") };
    let white = args.depth.white_level;
    let (file, image) = match &args.image {
        Some(path) => {
            let file = fs::read(path).map_err(|error| Error::io("read", path, error))?;
            let image = Image::decode_with(&file, white).map_err(|error| error.at(path))?;
            let mut doubts = Doubts::default();
            doubts.count(|| path.display().to_string(), image.frame().depth_doubt());
            doubts.tell(1);
            (file, image)
        }
        None => {
            let file = drawn(args.size)?;
            let image = Image::decode(&file)?;
            (file, image)
        }
    };
    let limit = Duration::from_secs(args.seconds);
    let progress = Progress::new();
    progress.step("opening the model");
    let engine = args.model.open()?;
    progress.step("building a bank");
    let frame = image.frame();
    let bank = Arc::new(match &args.bank {
        Some(path) => PromptBank::open(path)?,
        None => bank(&engine, prompts.get())?,
    });

    let mut report = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "device": engine.device(),
        "model": engine.arch().to_string(),
        "frame": [frame.width(), frame.height()],
        "prompts": args.bank.is_none().then_some(prompts),
    });
    result(&format!("device   {}\nmodel    {}", engine.device(), engine.arch()))?;

    if !args.no_operations && args.bank.is_none() {
        if engine.device_used() == Device::Cpu {
            progress.step("timing instructions");
            let peaks = roofline(engine.options().cpu_threads())?;
            progress.aside(|| tell_instructions(&peaks))?;
            report["instructions"] = json!(peaks);
        }
        let prompts: Vec<usize> = args.prompts.iter().map(|k| k.get()).collect();
        let mut batches = vec![first, last];
        batches.dedup();
        for images in batches {
            progress.step(format!("timing operations, {images} images"));
            let mut times = Vec::new();
            let peak = operation_times(&engine, images.get(), &prompts, |time| times.push(time))?;
            progress.aside(|| tell_operations(images, peak, &times))?;
            report[format!("operations_{images}")] = json!({"peak": peak, "times": times});
        }
    }

    let mut scorer = engine.scorer(Arc::clone(&bank))?;
    let heading = ["frames", "p50", "p99", "p99.9", "max"].map(|name| format!("{name:>9}")).join(" ");
    result(&format!("\n{:<30} {heading}", "latency of one frame, ms"))?;
    let (mut latencies, mut found) = (Vec::new(), Vec::new());
    for &gap in &args.gaps {
        progress.step(format!("timing scores, {gap} ms apart"));
        let pause = Duration::from_millis(gap);
        let Some(whole) = latency(&mut scorer, frame, pause, args.frames.get(), limit)? else { continue };
        progress.step(format!("timing steps, {gap} ms apart"));
        let Some(steps) = stage_distributions(&mut scorer, (&file, white), pause, args.frames.get(), limit)? else {
            continue;
        };
        let name = if gap == 0 { "back to back".to_owned() } else { format!("{gap} ms apart") };
        progress.aside(|| {
            result(&row(&name, Some(whole)))?;
            steps.steps.iter().try_for_each(|(step, times)| result(&row(&format!("  {step}"), *times)))
        })?;
        found.push(json!({
            "gap_ms": gap,
            "seconds": whole,
            "steps": steps.steps.iter().map(|(step, times)| ((*step).to_owned(), json!(times))).collect::<Value>(),
            "bank_over_encode": steps.bank_over_encode,
        }));
        let added = 100.0 * steps.bank_over_encode;
        let which = if args.bank.is_some() { "the bank".to_owned() } else { format!("a bank of {prompts}") };
        progress.aside(|| result(&format!("  {which} adds {added:.1} % to the encoder")))?;
        latencies.push((gap, whole));
    }
    report["latency"] = found.into();

    result("\nthroughput, images a second")?;
    let mut rates = Vec::new();
    for &batch in &args.batches {
        progress.step(format!("timing batches of {batch}"));
        let rate = throughput(&engine, &bank, frame, batch, limit)?;
        progress.aside(|| result(&format!("  batches of {batch:<16} {rate:>10.2}")))?;
        rates.push(json!({"batch": batch, "images_per_second": rate}));
    }
    report["throughput"] = rates.into();
    drop(progress);

    if let Some(deadline) = args.deadline_ms {
        result(&verdict(deadline, &latencies))?;
    }
    if let Some(path) = args.json {
        inctrl_lab::measure::write_report(&path, &report)?;
    }
    Ok(Outcome::Done)
}

/// A picture without structure that could make resizing faster.
fn picture(width: usize, height: usize, seed: usize) -> Vec<u8> {
    (0..width * height).map(|i| (((i % width) * 7) ^ ((i / width) * 13) ^ (i * (seed + 1) / 5)) as u8).collect()
}

fn bank(engine: &Engine, prompts: usize) -> Result<PromptBank> {
    let side = engine.arch().vision.image_size;
    let mut builder = engine
        .bank_builder("object", Fit::Crop)
        .context("without --bank a bank for the method `inctrl` is drawn; build one of another method with inctrl bank build, and name it with --bank")?;
    builder.expect(prompts)?;
    for seed in 0..prompts {
        builder.add(Frame::packed(&picture(side, side, seed + 1), side, side, PixelFormat::Grey8)?)?;
    }
    Ok(builder.finish()?)
}

/// A drawn picture as a PNG file.
fn drawn((width, height): (usize, usize)) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let pixels = picture(width, height, 0);
    PngEncoder::new(&mut file).write_image(&pixels, width as u32, height as u32, ExtendedColorType::L8)?;
    Ok(file)
}

/// A line of the table of latencies, in milliseconds.
fn row(name: &str, times: Option<Distribution>) -> String {
    let Some(Distribution { count, p50, p99, p999, max }) = times else {
        return format!("  {name:<28} {:>9}", "none");
    };
    let milliseconds = [p50, p99, p999, max].map(|seconds| format!("{:>9.3}", 1e3 * seconds)).join(" ");
    format!("  {name:<28} {count:>9} {milliseconds}")
}

/// The peaks of the CPU.
fn tell_instructions(peaks: &[InstructionPeak]) -> Result<()> {
    result("\ninstructions, all threads")?;
    for InstructionPeak { instruction, operands, operations_per_second } in peaks {
        let giga = operations_per_second / 1e9;
        result(&format!(
            "  {instruction:<24} {operands:<5} {giga:>9.1} {}",
            if operands.starts_with('i') { "GOP/s" } else { "GFLOP/s" }
        ))?;
    }
    Ok(())
}

fn tell_operations(images: NonZeroUsize, peak: Peak, times: &[OperationTime]) -> Result<()> {
    let (copy, product) = (peak.bytes_per_second, peak.flop_per_second);
    let (unit, scale) = if product < 1e12 { ("GFLOP/s", 1e9) } else { ("TFLOP/s", 1e12) };
    result(&format!(
        "\noperations, {images} image{}; a plain copy moves {:.1} GB/s, a large product does {:.1} {unit}",
        if images.get() == 1 { "" } else { "s" },
        copy / 1e9,
        product / scale
    ))?;
    result(&format!(
        "  {:<32} {:<34} {:>11} {:>9} {:>8} {:>9} {:>8}",
        "", "", "us", "GB/s", "of copy", unit, "of peak"
    ))?;
    for time in times {
        let (bytes, flop) = (time.bytes / time.seconds, time.flop / time.seconds);
        let flops = if time.flop == 0.0 {
            String::new()
        } else {
            format!(" {:>9.1} {:>7.0}%", flop / scale, 100.0 * flop / product)
        };
        result(&format!(
            "  {:<32} {:<34} {:>11.1} {:>9.1} {:>7.0}%{flops}",
            time.operation,
            time.shape,
            1e6 * time.seconds,
            bytes / 1e9,
            100.0 * bytes / copy
        ))?;
    }
    Ok(())
}

/// One line: whether the deadline is met.
fn verdict(deadline: f64, latencies: &[(u64, Distribution)]) -> String {
    let Some((gap, worst)) = latencies.iter().max_by(|(_, a), (_, b)| a.p999.total_cmp(&b.p999)) else {
        return format!("deadline {deadline} ms: nothing was measured");
    };
    let milliseconds = 1e3 * worst.p999;
    let kept = if milliseconds <= deadline { "kept" } else { "NOT kept" };
    format!("\ndeadline {deadline} ms: {kept}; 99.9 % of frames take at most {milliseconds:.3} ms ({gap} ms apart)")
}
