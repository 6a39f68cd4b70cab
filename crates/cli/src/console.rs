//! The two output streams and the progress bar.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

/// Writes a line of results to standard output and flushes it.
///
/// Fails with [`ReaderGone`] if the reader has gone, as under `| head`.
pub fn result(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write the results to standard output"),
    }
}

/// Writes a message for the user to standard error. Failures are ignored, as they cannot be reported.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The reader of standard output has closed it. This is not a failure, but there is no reason to continue.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed by its reader")
    }
}

impl std::error::Error for ReaderGone {}

/// The current activity, shown while it lasts if standard error is a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    pub fn new() -> Self {
        let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    /// Starts a step that takes seconds.
    pub fn step(&self, doing: impl Into<String>) {
        self.0.set_message(doing.into());
    }

    /// Hides the bar while something else is written.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// From now on results are written, `total` of them if known. If they go to a terminal, they show the progress
    /// themselves and there is no bar.
    pub fn results(&self, total: Option<usize>) {
        if io::stdout().is_terminal() {
            return self.0.finish_and_clear();
        }
        // The time for opening the model must not count towards the rate.
        self.0.reset();
        self.0.set_message("scored");
        let template = match total {
            Some(total) => {
                self.0.set_length(total as u64);
                "{bar:40} {pos} of {len} {msg}, {per_sec}, {eta} left"
            }
            None => "{spinner} {pos} {msg}, {per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }

    /// From now on `total` items are done one by one; see [`Progress::advance`].
    pub fn count(&self, total: usize, doing: impl Into<String>) {
        self.0.reset();
        self.0.set_length(total as u64);
        self.0.set_message(doing.into());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} {msg}, {eta} left") {
            self.0.set_style(style);
        }
    }

    /// From now on `total` bytes are written; see [`Progress::bytes_done`].
    pub fn bytes(&self, total: u64, doing: &'static str) {
        self.0.set_length(total);
        self.0.set_message(doing);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes} {msg}, {eta} left") {
            self.0.set_style(style);
        }
    }

    /// `done` bytes have been written.
    pub fn bytes_done(&self, done: u64) {
        self.0.set_position(done);
    }

    /// One more item is done.
    pub fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
