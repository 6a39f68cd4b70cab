//! Compares an operation with other implementations: the same sizes, turns in shuffled order, ratios within each turn.

use inctrl::backend::Backend;
use inctrl::internals::mix;
use inctrl::methods::inctrl::HeadOps;
use inctrl::{Error, ErrorKind, Result};

use super::op::{Agreement, Case, Checked, Sizes, Work, named, prepare};
use super::operations::Peak;
use super::rival::{Process, Rival, own_turn};

/// The length of the measurement of an operation and its rivals.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// Turns of each.
    pub count: usize,
    /// Minimum seconds of a turn; a turn has at least one call.
    pub seconds: f64,
    /// Threads of a rival on the CPU.
    pub threads: usize,
}

/// The times of one implementation.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Times {
    /// Median seconds of one call.
    pub seconds: f64,
    /// The shortest turn.
    pub shortest: f64,
    /// The time of each turn, in order.
    pub turns: Vec<f64>,
}

impl Times {
    fn new(turns: Vec<f64>) -> Self {
        Times { seconds: median(turns.clone()), shortest: turns.iter().copied().fold(f64::INFINITY, f64::min), turns }
    }
}

/// A rival's times.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RivalTimes {
    /// The rival.
    pub name: Rival,
    /// Its version; empty for a part of this library.
    pub version: String,
    /// Its times.
    #[serde(flatten)]
    pub times: Times,
    /// The operation's time divided by the rival's, the median over turns. Below 1, the operation is faster.
    pub ratio: f64,
}

/// One operation at one size on one device.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OpReport {
    /// Its name.
    pub operation: &'static str,
    /// What it computes.
    pub formula: &'static str,
    /// Its sizes by name.
    pub sizes: std::collections::BTreeMap<&'static str, usize>,
    /// The sizes in words.
    pub shape: String,
    /// The device, in words.
    pub device: String,
    /// The type of the operands.
    pub dtype: &'static str,
    /// The agreement of the result with the formula in f64, checked before timing.
    pub agreement: Agreement,
    /// The operation's times.
    #[serde(flatten)]
    pub times: Times,
    /// The work of the formula.
    pub work: Work,
    /// The machine's peaks, measured in the same run.
    pub peak: Peak,
    /// Share of the machine's best matrix product; absent if the operation has no product.
    pub share_of_peak_flop: Option<f64>,
    /// Share of the bytes per second of a plain copy.
    pub share_of_peak_bytes: f64,
    /// The other implementations.
    pub rivals: Vec<RivalTimes>,
}

/// An implementation to time.
enum Contestant<B: Backend> {
    Case(Box<dyn Case<B>>, usize),
    Process(Process),
}

impl<B: Backend> Contestant<B> {
    fn turn(&mut self, backend: &mut B, seconds: f64) -> Result<f64> {
        match self {
            Contestant::Case(case, calls) => own_turn(backend, seconds, calls, |backend| case.run(backend)),
            Contestant::Process(process) => process.turn(seconds),
        }
    }
}

/// Checks an operation against its formula, then times it and its rivals in turn; `peak` is the device's peak.
///
/// # Errors
/// Those of [`prepare`]; [`ErrorKind::Argument`] for a rival that is not installed or does not have the operation.
pub fn contest<B: HeadOps>(
    backend: &mut B,
    peak: Peak,
    sizes: &Sizes,
    rivals: &[Rival],
    turns: Turns,
) -> Result<OpReport> {
    let Checked { case, agreement } = prepare(backend, sizes)?;
    let (work, shape) = (case.work(), case.shape());
    let mut contestants = vec![Contestant::Case(case, 1)];
    let mut versions = Vec::new();
    for &rival in rivals {
        let (contestant, version) = match rival {
            Rival::Product => (Contestant::Case(prepare(backend, &product(sizes)?)?.case, 1), String::new()),
            _ => {
                let process = Process::start(rival, sizes, backend, turns.threads)?;
                let version = process.version.clone();
                (Contestant::Process(process), version)
            }
        };
        contestants.push(contestant);
        versions.push(version);
    }
    // The first turn finds the number of calls for a turn, and is not counted.
    for contestant in &mut contestants {
        contestant.turn(backend, turns.seconds)?;
    }
    let mut found = vec![Vec::new(); contestants.len()];
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for turn in 0..turns.count.max(1) {
        order.sort_by_key(|&who| mix(((turn as u64) << 8) + who as u64));
        for &who in &order {
            found[who].push(contestants[who].turn(backend, turns.seconds)?);
        }
    }
    drop(contestants);
    let times = Times::new(found.remove(0));
    let rivals = rivals.iter().zip(versions).zip(found);
    let rivals = rivals.map(|((&name, version), theirs)| RivalTimes {
        name,
        version,
        ratio: median(times.turns.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect()),
        times: Times::new(theirs),
    });
    let operation = sizes.operation();
    Ok(OpReport {
        operation: operation.name,
        formula: operation.formula,
        sizes: sizes.named().collect(),
        shape,
        device: backend.describe(),
        dtype: backend.precision().name(),
        agreement,
        work,
        peak,
        share_of_peak_flop: (work.flop > 0).then(|| work.flop as f64 / times.seconds / peak.flop_per_second),
        share_of_peak_bytes: work.bytes as f64 / times.seconds / peak.bytes_per_second,
        rivals: rivals.collect(),
        times,
    })
}

/// The product within an operation.
fn product(sizes: &Sizes) -> Result<Sizes> {
    let value = |name: &str| sizes.named().find(|(size, _)| *size == name).map(|(_, value)| value);
    let [rows, inputs, outputs] = match sizes.operation().name {
        "patch_nn" => ["q", "width", "rows"],
        "linear_add" | "linear_gelu" => ["rows", "inputs", "outputs"],
        name => {
            let message = format!("product: {name} contains no single product: leave this rival out");
            return Err(Error::new(ErrorKind::Argument, message));
        }
    };
    if value("taps").is_some_and(|taps| taps != 1) {
        return Err(Error::new(ErrorKind::Argument, "product: it has one layer: give --taps 1"));
    }
    let given = [("rows", value(rows)), ("inputs", value(inputs)), ("outputs", value(outputs))];
    let given: Vec<(String, usize)> =
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Sizes::new(named("linear")?, &given)
}

/// The middle value; of an even number, the upper middle.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use inctrl::backend::cpu::Cpu;

    use super::*;

    fn sizes(name: &str, given: &[(&str, usize)]) -> Sizes {
        let given: Vec<(String, usize)> = given.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Sizes::new(named(name).unwrap(), &given).unwrap()
    }

    const PEAK: Peak = Peak { bytes_per_second: 1e9, flop_per_second: 1e9 };
    const SHORT: Turns = Turns { count: 3, seconds: 1e-4, threads: 1 };

    #[test]
    fn a_search_is_timed_beside_its_product() {
        let mut cpu = Cpu::new(1).unwrap();
        let sizes = sizes("patch_nn", &[("q", 20), ("rows", 70), ("width", 48)]);
        let report = contest(&mut cpu, PEAK, &sizes, &[Rival::Product], SHORT).unwrap();
        assert_eq!((report.operation, report.work.flop), ("patch_nn", 2 * 20 * 70 * 48));
        assert_eq!(report.times.turns.len(), 3);
        assert!(report.times.shortest > 0.0 && report.times.shortest <= report.times.seconds);
        let [rival] = &report.rivals[..] else { panic!("{:?}", report.rivals) };
        let ratio = rival.times.turns.iter().zip(&report.times.turns).map(|(theirs, ours)| ours / theirs);
        assert!(ratio.clone().any(|ratio| ratio == rival.ratio), "{rival:?}");
    }

    #[test]
    fn a_rival_that_does_not_fit_says_so() {
        let mut cpu = Cpu::new(1).unwrap();
        let error = contest(&mut cpu, PEAK, &sizes("gelu", &[("rows", 3)]), &[Rival::Product], SHORT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("gelu"), "{error}");
        assert!("onnx".parse::<Rival>().unwrap_err().to_string().contains("product, torch or faiss"));
    }
}
