//! Other libraries, timed in turn with this one.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Instant;

use inctrl::backend::Backend;
use inctrl::{Error, ErrorKind, Result};

use super::op::Sizes;

const SCRIPT: &str = include_str!("rivals.py");

/// An implementation to compare an operation with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// The matrix product of the same sizes alone, by this library: on a GPU that of cuBLASLt.
    Product,
    /// PyTorch, if `python3` has it.
    Torch,
    /// faiss's `IndexFlatIP`, if `python3` has it.
    Faiss,
}

impl Rival {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Product => "product",
            Rival::Torch => "torch",
            Rival::Faiss => "faiss",
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rival {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Rival::Product, Rival::Torch, Rival::Faiss].into_iter().find(|rival| rival.name() == text).ok_or_else(|| {
            Error::new(ErrorKind::Argument, format!("{text:?} is not a rival: use product, torch or faiss"))
        })
    }
}

/// A library in its own process, which waits for its turns.
pub(super) struct Process {
    rival: Rival,
    child: Child,
    turns: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The library's version.
    pub version: String,
}

impl Process {
    /// Starts `python3` (or the program in the variable `PYTHON`) with the library and waits until its result was
    /// checked.
    pub fn start<B: Backend>(rival: Rival, sizes: &Sizes, backend: &B, threads: usize) -> Result<Self> {
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let values: serde_json::Map<String, serde_json::Value> =
            sizes.named().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let device = if B::IN_HOST_MEMORY { "cpu" } else { "cuda" };
        let threads = threads.to_string();
        let mut child = Command::new(&python)
            .args(["-c", SCRIPT, rival.name(), sizes.operation().name])
            .args([&serde_json::Value::from(values).to_string(), device, backend.precision().name(), &threads])
            // A library that spins between its turns would slow down the others.
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .env("OMP_NUM_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let message = format!("{rival}: {} cannot be started: name a Python in PYTHON", python.display());
                Error::new(ErrorKind::Argument, message).because(error)
            })?;
        let turns = child.stdin.take();
        let answers = child.stdout.take().ok_or_else(|| broken(rival, "it has no output"))?;
        let mut process = Process { rival, child, turns, answers: BufReader::new(answers), version: String::new() };
        process.version = process.answer()?;
        Ok(process)
    }

    /// Seconds of one call, over calls that take `seconds` together.
    pub fn turn(&mut self, seconds: f64) -> Result<f64> {
        let rival = self.rival;
        let turns = self.turns.as_mut().ok_or_else(|| broken(rival, "it has ended"))?;
        writeln!(turns, "{seconds}").and_then(|()| turns.flush()).map_err(|error| broken(rival, &error.to_string()))?;
        let answer = self.answer()?;
        answer.parse().map_err(|_| broken(rival, &format!("it answered {answer:?} instead of seconds")))
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).map_err(|error| broken(self.rival, &error.to_string()))?;
        if read > 0 {
            return Ok(line.trim().to_owned());
        }
        let mut why = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What it says is all that is known; what cannot be read is left out.
            let _ = stderr.read_to_string(&mut why);
        }
        Err(broken(self.rival, why.trim().lines().last().unwrap_or("it ended without a message")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.turns = None;
        let _ = self.child.wait();
    }
}

fn broken(rival: Rival, why: &str) -> Error {
    Error::new(ErrorKind::Argument, format!("{rival}: {why}"))
}

/// Seconds of one call of `call`, over calls that take `seconds` together and are waited for once; `calls` is how many
/// that took last time.
pub(super) fn own_turn<B: Backend>(
    backend: &mut B,
    seconds: f64,
    calls: &mut usize,
    mut call: impl FnMut(&mut B) -> Result<()>,
) -> Result<f64> {
    loop {
        let start = Instant::now();
        for _ in 0..*calls {
            call(backend)?;
        }
        backend.wait()?;
        let took = start.elapsed().as_secs_f64();
        if took >= seconds || *calls >= 1_000_000 {
            return Ok(took / *calls as f64);
        }
        let wanted = *calls as f64 * (1.2 * seconds / took.max(1e-7)).min(100.0);
        *calls = (wanted as usize).max(*calls + 1);
    }
}
