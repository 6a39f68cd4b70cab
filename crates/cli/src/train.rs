//! `inctrl train`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use inctrl::{Error, Fit};
use inctrl_lab::render::{Panel, curves, write_png};
use inctrl_lab::training::{self, Base, Epoch, Event, Loss, LossInput, Options, Paths};

use super::Outcome;
use super::console::{Progress, result, say};
use super::data::{LayoutArgs, say_problems};
use super::model::ModelArgs;
use super::normals::{FIT_HELP, parse_fit};

/// Train the adapter and the scoring heads on a data set with known anomalies, for use on others
#[derive(clap::Args)]
#[command(after_help = "\
Use an auxiliary data set, never one that is evaluated later. All of it is used: the normal
images of its training and test parts, and the anomalous images of its test part. CLIP is not
trained, so each image is encoded once, into the cache, and epochs are quick. The result does
not depend on the number of threads. A run that was killed continues after its last epoch if
it is started again with the same arguments.

An image that cannot be used, or that is both normal and anomalous in one class, is listed at the
end and left out. The exit code is then 2, and also if the folder contains unknown files.

Examples:
  inctrl train --weights clip.safetensors --dataset mvtec/ --shots 4 -o heads.safetensors
  inctrl score --weights clip.safetensors --heads heads.safetensors --class screw ...")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The data set's folder; see inctrl data check
    #[arg(long, value_name = "DIR")]
    dataset: PathBuf,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Only these classes
    #[arg(long, value_name = "CLASS,..", value_delimiter = ',')]
    classes: Vec<String>,
    #[arg(long, value_name = "FIT", help = FIT_HELP, value_parser = parse_fit)]
    fit: Option<Fit>,
    /// Prompts of each sample, drawn anew from the normal images of its class
    #[arg(long, value_name = "K", default_value = "4")]
    shots: NonZeroUsize,
    /// Epochs
    #[arg(long, value_name = "N", default_value = "10")]
    epochs: NonZeroUsize,
    /// Steps per epoch
    #[arg(long, value_name = "N", default_value = "100")]
    steps: NonZeroUsize,
    /// Samples per step, half of them anomalous
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Learning rate of AdamW
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    lr: f64,
    /// Decrease the learning rate linearly to 0 over all epochs; the published training keeps it constant
    #[arg(long)]
    lr_decay: bool,
    /// Loss of a sample: focal (gamma 2) or cross-entropy
    #[arg(long, value_name = "LOSS", value_parser = parse_loss, default_value = "focal")]
    loss: Loss,
    /// Input of the loss, which expects a logit: logit, or sigmoid as in the published code
    #[arg(long, value_name = "INPUT", value_parser = parse_loss_input, default_value = "logit")]
    loss_input: LossInput,
    /// Weight of the patch maximum in the loss of the final score [default: the model's alpha, as published]
    ///
    /// With 0 the holistic head learns to decide on its own.
    #[arg(long, value_name = "A")]
    loss_alpha: Option<f64>,
    /// Mirror and rotate each sample's residual map at random, so that the heads do not learn where defects lie in this
    /// data set; the published training does not
    #[arg(long)]
    mirror: bool,
    /// The folder for the features of the images, which later trainings can reuse [default: HEADS.cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Also write the whole model including the trained heads, a file that needs no --heads
    #[arg(long, value_name = "W2")]
    merged: Option<PathBuf>,
    /// Also draw loss and AUROC by epoch
    #[arg(long, value_name = "PNG")]
    curve: Option<PathBuf>,
    /// The file for the trained heads
    #[arg(short, long, value_name = "HEADS")]
    output: PathBuf,
}

fn parse_loss(text: &str) -> Result<Loss, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

fn parse_loss_input(text: &str) -> Result<LossInput, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

pub fn run(args: Args) -> Result<Outcome> {
    let mut options = Options {
        shots: args.shots.get(),
        epochs: args.epochs.get(),
        steps: args.steps.get(),
        batch: args.batch,
        rate: args.lr,
        rate_decay: args.lr_decay,
        seed: args.layout.seed,
        loss: args.loss,
        loss_input: args.loss_input,
        loss_alpha: args.loss_alpha,
        mirror: args.mirror,
        fit: args.fit.unwrap_or_default(),
        classes: args.classes,
    };
    options.check()?;
    let beside = || {
        let mut name = args.output.clone().into_os_string();
        name.push(".cache");
        PathBuf::from(name)
    };
    let cache = args.cache.clone().unwrap_or_else(beside);
    let paths = Paths { output: args.output.clone(), merged: args.merged, cache };
    let progress = Progress::new();
    progress.step("looking for images");
    let dataset = args.layout.open(&args.dataset)?;
    options.classes(&dataset)?;
    progress.step("opening the model");
    let base = Base::open(&args.model.options())?;
    args.model.say_device(base.engine());
    options.fit = args.fit.unwrap_or(base.engine().trained_fit());
    let mut done = 0;
    let trained = training::train(&base, &dataset, &options, &paths, |step| match step {
        Event::Checking(total) => progress.count(total, "images checked"),
        Event::Images(total) => progress.count(total, "images encoded"),
        Event::Pairs(total) => progress.count(total, "pairs of images compared"),
        Event::Training { epoch, steps } => {
            done = epoch + 1;
            progress.count(steps, "steps");
        }
        Event::Epoch(epoch) => progress.aside(|| {
            say(&format!(
                "epoch {done} of {}: loss {:.5}, AUROC of the score {:.4}, of the patch maximum {:.4}",
                options.epochs, epoch.loss, epoch.auroc, epoch.patch_auroc
            ));
        }),
        _ => progress.advance(),
    })?;
    if let Some(curve) = &args.curve {
        write_png(curve, &curves(&panels(&trained.epochs), "epoch"))?;
    }
    training::finish(&paths.output)?;
    drop(progress);
    if trained.resumed > 0 {
        say(&format!("continued after epoch {}", trained.resumed));
    }
    let [normal, anomalous] = trained.images;
    let last = trained.epochs.last().map_or(String::new(), |epoch| {
        format!(
            "; last epoch: loss {:.5}, AUROC on its own samples {:.4} (patch maximum {:.4})",
            epoch.loss, epoch.auroc, epoch.patch_auroc
        )
    });
    let heads = paths.output.display();
    result(&format!("{heads}: trained on {normal} normal and {anomalous} anomalous images{last}"))?;
    if let Some(merged) = &paths.merged {
        result(&format!("{}: the model with these heads", merged.display()))?;
    }
    say(&format!("features: {} (can be deleted)", trained.cache.display()));
    let faults = say_problems(&dataset, &dataset.problems, "inctrl data check");
    for failure in &trained.failures {
        say(&format!("error: {}: {}", failure.name, failure.error));
    }
    Ok(if faults == 0 && trained.failures.is_empty() { Outcome::Done } else { Outcome::SomeInputsFailed })
}

/// Loss at the top, AUROC below.
fn panels(epochs: &[Epoch]) -> [Panel; 2] {
    let of = |figure: fn(&Epoch) -> f64| epochs.iter().map(figure).collect::<Vec<f64>>();
    let loss = vec![("L_IRL + L_h".to_owned(), of(|epoch| epoch.loss))];
    let auroc =
        vec![("score".to_owned(), of(|epoch| epoch.auroc)), ("patch_max".to_owned(), of(|epoch| epoch.patch_auroc))];
    [Panel { title: "loss".to_owned(), lines: loss }, Panel { title: "AUROC".to_owned(), lines: auroc }]
}
