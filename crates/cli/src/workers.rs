//! Decoding and scoring on threads: while one image is scored the next is decoded, and results keep the input order.
//!
//! ```text
//! queries -> decoders (one for each scorer) -> scorers -> rows put in order -> the caller
//! ```
//!
//! Each decoder holds one finished image until a scorer takes it, so memory does not grow with the input. A query that
//! arrives alone (a line of standard input) is answered before the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use inctrl::{Image, Score, WhiteLevel};

use super::judge::{Judge, Product};
use super::maps::MapWriter;
use super::queries::{Names, Query};
use super::rows::{Numbers, Row};

/// Stacks and bookkeeping of a scorer's two threads.
pub const THREADS_BYTES: usize = 2 * (4 << 20);

/// A query on its way from a decoder to a scorer.
struct Job {
    index: usize,
    path: PathBuf,
    /// Path of its map, without extension.
    name: Option<PathBuf>,
    image: Result<Image, String>,
}

/// The remaining queries, shared by the decoders.
struct Source<I> {
    queries: std::iter::Enumerate<I>,
    names: Option<Names>,
}

/// Scores `queries` on one thread per scorer and calls `each` with the rows in input order.
///
/// A query that fails becomes a row with its error. An error of `each`, or a map that cannot be written, ends the run:
/// it is returned after the earlier rows, and threads may still be waiting for input.
pub fn run(
    queries: impl Iterator<Item = Query> + Send + 'static,
    white: Option<WhiteLevel>,
    scorers: Vec<Judge>,
    maps: Option<(Arc<MapWriter>, Names)>,
    mut each: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    let (writer, names) = maps.unzip();
    let source = Arc::new(Mutex::new(Source { queries: queries.enumerate(), names }));
    let (to_scorers, jobs) = sync_channel(0);
    let jobs = Arc::new(Mutex::new(jobs));
    let (to_caller, rows) = channel();
    let mut threads = Vec::new();
    for scorer in scorers {
        let (jobs, to_caller, writer) = (Arc::clone(&jobs), to_caller.clone(), writer.clone());
        threads.push(start(move || {
            let mut scorer = scorer;
            while let Some(job) = next_job(&jobs) {
                let index = job.index;
                if to_caller.send((index, row(&mut scorer, job, writer.as_deref()))).is_err() {
                    return;
                }
            }
        })?);
        let (source, to_scorers) = (Arc::clone(&source), to_scorers.clone());
        threads.push(start(move || decode(&source, white, &to_scorers))?);
    }
    // Now only the threads hold ends of the channels, which close when the threads are done.
    drop((jobs, to_scorers, to_caller));

    let in_order = || {
        let (mut waiting, mut next) = (BTreeMap::new(), 0);
        for (index, row) in rows {
            waiting.insert(index, row);
            while let Some(row) = waiting.remove(&next) {
                each(row?)?;
                next += 1;
            }
        }
        Ok(())
    };
    let result = in_order();
    if result.is_err() {
        writer.inspect(|writer| writer.close());
        return result;
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread panicked; this is a bug, please report it"))?;
    }
    Ok(())
}

/// Starts a thread; [`thread::spawn`] would panic where the system has no more.
fn start(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().spawn(work).context("cannot start a thread: use fewer --jobs")
}

fn next_job(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().ok()?.recv().ok()
}

/// Decodes queries until there are no more, or no scorer takes them.
fn decode(
    source: &Mutex<Source<impl Iterator<Item = Query>>>,
    white: Option<WhiteLevel>,
    to_scorers: &SyncSender<Job>,
) {
    let take = || {
        let mut source = source.lock().ok()?;
        let (index, query) = source.queries.next()?;
        let name = source.names.as_mut().map(|names| names.name(&query));
        Some((index, query, name))
    };
    while let Some((index, query, name)) = take() {
        let image = match query.problem {
            Some(problem) => Err(problem),
            None => Image::open_with(&query.path, white).map_err(|error| without_path(error.chain(), &query.path)),
        };
        if to_scorers.send(Job { index, path: query.path, name, image }).is_err() {
            return;
        }
    }
}

/// The row of a job. Only a map that cannot be written is an error.
fn row(scorer: &mut Judge, job: Job, writer: Option<&MapWriter>) -> Result<Row> {
    let Job { path, name, image, .. } = job;
    let scored = image.and_then(|image| {
        let (score, product) = scorer.score(image.frame()).map_err(|error| without_path(error.chain(), &path))?;
        Ok((image, score, product))
    });
    let numbers = match scored {
        Err(error) => Err(error),
        Ok((image, score, product)) => {
            if let Some((writer, name)) = writer.zip(name) {
                writer.write(&name, &image, score)?;
            }
            Ok(numbers(score, product))
        }
    };
    Ok(Row { path, numbers })
}

fn numbers(score: &Score, product: Option<Product>) -> Numbers {
    Numbers {
        outputs: score.outputs().map(|(_, value)| value).collect(),
        width: score.width,
        height: score.height,
        decision: score.decision,
        regions: score.regions.clone(),
        seen: score.map.placement.share_of(score.width, score.height),
        depth_doubt: score.depth_doubt,
        p_value: score.p_value,
        scaled: score.scaled,
        bank: score.bank.to_string(),
        product,
    }
}

/// The error's text without the path, which the row already has.
pub fn without_path(text: String, path: &Path) -> String {
    text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
}
