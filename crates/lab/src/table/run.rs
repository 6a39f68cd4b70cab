//! From candidates and data sets to cells.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::disagreement::{self, Disagreement, Seen};
use crate::comparison::Candidate;
use crate::datasets::{self, ClassCounts, Dataset, Label, Layout, Split};
use crate::evaluation::{Cell, Chance, Cost, Costs, Job, MetricName, Options, PaperRow, Results, run_together};
use crate::study::{self, Event};
use inctrl::methods::{Setup, by_name};
use inctrl::view::Fit;
use inctrl::{Error, Looks, Result};

/// What all cells have in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Terms {
    /// Numbers of prompts, ascending. Methods without prompts have 0.
    pub shots: Vec<usize>,
    /// Independent draws of the prompts.
    pub runs: usize,
    /// The seed of splits and draws.
    pub seed: u64,
    /// Longest side of maps and masks in the metrics of pixels; 0 for the images' own.
    pub mask_side: usize,
}

/// A method on a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The method.
    pub method: String,
    /// The name of the model.
    pub model: String,
    /// The options of the method, each `name=value`.
    pub options: String,
    /// How images are fitted to the encoder.
    pub fit: Fit,
    /// The hash of the model.
    pub hash: String,
    /// The device.
    pub device: String,
}

impl Row {
    /// The row of a candidate.
    pub fn of(candidate: &Candidate<'_>) -> Self {
        let spec = &candidate.spec;
        Row {
            method: spec.method.clone().unwrap_or_default(),
            model: candidate.model.clone(),
            options: spec.options.join(" "),
            fit: spec.fit.unwrap_or_default(),
            hash: candidate.engine.model_hash().to_owned(),
            device: candidate.engine.device(),
        }
    }

    /// Its name among the folders of a data set.
    pub fn folder(&self) -> String {
        format!("{}@{}", self.method, self.model)
    }
}

/// What is known of a finished cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Means over classes, then over runs, by number of shots.
    pub shots: Vec<Cell>,
    /// The chance level of each metric.
    pub chance: Chance,
    /// The published figures of the method on this data set.
    pub published: Vec<PaperRow>,
    /// Time and memory.
    pub costs: Option<Costs>,
    /// Numbers of shots of which the method makes no bank, with its reason. This is no fault.
    pub refused: Vec<String>,
    /// Classes that are left out, images that could not be used, prompts among the test images.
    pub notes: Vec<String>,
}

impl Judged {
    fn of(results: &Results, costs: Option<Costs>, refused: Vec<String>) -> Self {
        let failures = results.failures.iter().map(|failure| format!("{}: {}", failure.name, failure.error));
        let leaks = results.leaks.iter().map(|leak| format!("figures look better than they are: {leak}"));
        Judged {
            shots: results.overall.shots.clone(),
            chance: results.overall.chance.clone(),
            published: results.overall.paper.clone(),
            costs,
            refused,
            notes: failures.chain(leaks).collect(),
        }
    }

    /// All that is said beside the figures.
    pub fn told(&self) -> impl Iterator<Item = &String> {
        self.refused.iter().chain(&self.notes)
    }

    /// The metrics at a number of shots.
    pub fn at(&self, shots: usize) -> Option<&Cell> {
        self.shots.iter().find(|cell| cell.shots == shots)
    }

    /// The cost at a number of shots.
    pub fn cost(&self, shots: usize) -> Option<&Cost> {
        self.costs.as_ref()?.at(shots)
    }
}

/// A data set with its cells.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name in the table.
    pub name: String,
    /// Its layout on disk.
    pub layout: Layout,
    /// The name of the known data set that it is, if any.
    pub known: Option<&'static str>,
    /// Whether it has the published numbers of images, as far as they are known. Published figures are shown only then.
    pub complete: bool,
    /// Number of classes.
    pub classes: usize,
    /// Normal and anomalous images to be judged.
    pub images: [usize; 2],
    /// Its faults.
    pub faults: Vec<String>,
    /// By row; an error where nothing was judged.
    pub cells: Vec<Result<Judged, String>>,
    /// The images on which the rows differ most.
    pub disagreements: Vec<Disagreement>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Table {
    /// What all cells have in common.
    pub terms: Terms,
    /// Methods on models.
    pub rows: Vec<Row>,
    /// Data sets.
    pub sets: Vec<Set>,
    /// Data sets and models that are left out, each with the reason.
    pub left_out: Vec<String>,
    /// A sentence for the top of the page.
    pub note: Option<String>,
}

impl Table {
    /// The name of a row: its method, and its model where another row has the same method.
    pub fn title(&self, row: usize) -> String {
        let Row { method, model, .. } = &self.rows[row];
        let same = self.rows.iter().filter(|other| other.method == *method).count();
        if same > 1 { format!("{method} on {model}") } else { method.clone() }
    }

    /// Whether any cell has a result.
    pub fn has_results(&self) -> bool {
        self.sets.iter().flat_map(|set| &set.cells).any(Result::is_ok)
    }

    /// All numbers of shots in the table, ascending.
    pub fn shots(&self) -> Vec<usize> {
        let cells = self.sets.iter().flat_map(|set| &set.cells).flatten().flat_map(|judged| &judged.shots);
        let mut all: Vec<usize> = cells.map(|cell| cell.shots).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The metrics that are defined anywhere in the table.
    pub fn metrics(&self) -> Vec<MetricName> {
        use MetricName::*;
        let cells = || self.sets.iter().flat_map(|set| &set.cells).flatten().flat_map(|judged| &judged.shots);
        let defined = |metric: &MetricName| {
            cells().any(|cell| cell.metrics.get(metric.name()).is_some_and(|spread| spread.mean.is_some()))
        };
        let rest = [ImageAuprc, ImageF1Max, PixelAuroc, PixelAuprc, PixelF1Max, PixelAupro].into_iter().filter(defined);
        std::iter::once(ImageAuroc).chain(rest).collect()
    }

    /// The rows that have results at a number of shots.
    pub fn rows_at(&self, shots: usize) -> Vec<usize> {
        let has = |row: &usize| {
            let mut cells = self.sets.iter().map(|set| &set.cells[*row]);
            cells.any(|cell| cell.as_ref().is_ok_and(|judged| judged.at(shots).is_some()))
        };
        (0..self.rows.len()).filter(has).collect()
    }

    /// The cells without a result, each with its reason.
    pub fn errors(&self) -> Vec<String> {
        let of_set = |set: &Set| {
            let failed = set.cells.iter().enumerate().filter_map(|(row, cell)| Some((row, cell.as_ref().err()?)));
            failed.map(|(row, error)| format!("{}, {}: {error}", set.name, self.title(row))).collect::<Vec<_>>()
        };
        self.sets.iter().flat_map(of_set).collect()
    }
}

/// A data set to be judged.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Its name in the table, which is also that of its folder.
    pub name: &'a str,
    /// The data set.
    pub dataset: &'a Dataset,
    /// What [`check`](datasets::check) says of it.
    pub checked: &'a datasets::Report,
    /// Whether the page shows images on which the rows differ.
    pub pictures: bool,
}

/// Evaluates every candidate on a data set, in `folder`, which is that of the table. Candidates of one model that look at
/// images alike are evaluated together ([`run_together`]), with at most `memory` bytes of banks. `observe` is called with the
/// indices of the candidates and what their evaluation reports.
///
/// An error is part of its cell.
pub fn judge(
    candidates: &[Candidate<'_>],
    given: Given<'_>,
    terms: &Terms,
    folder: &Path,
    memory: Option<usize>,
    mut observe: impl FnMut(&[usize], Event),
) -> Set {
    let Given { name, dataset, checked, pictures } = given;
    let place = |candidate: &Candidate<'_>| folder.join(name).join(Row::of(candidate).folder());
    let plans: Vec<Result<Plan>> =
        candidates.iter().map(|candidate| Plan::new(candidate, terms, place(candidate))).collect();
    let mut cells: Vec<Option<Result<Judged, String>>> = vec![None; plans.len()];
    let mut seen: Vec<Option<Seen>> = plans.iter().map(|_| None).collect();
    for group in alike(candidates, &plans) {
        let planned: Vec<(usize, &Plan)> =
            group.iter().filter_map(|&at| Some((at, plans[at].as_ref().ok()?))).collect();
        let Some(engine) = group.first().map(|&at| candidates[at].engine) else { continue };
        let jobs: Vec<Job<'_>> =
            planned.iter().map(|(_, plan)| Job { options: &plan.options, folder: &plan.folder }).collect();
        observe(&group, Event::Prompts);
        let all = run_together(engine, dataset, &jobs, memory, &mut |event| {
            observe(&group, Event::Images(event));
            Ok(())
        });
        let all = all.unwrap_or_else(|error| vec![Err(error)]);
        for ((at, plan), scored) in planned.into_iter().zip(all) {
            let study = scored.and_then(|scored| {
                study::finish(engine, dataset, checked, plan.options.clone(), &plan.folder, scored, |event| {
                    observe(&[at], event);
                    Ok(())
                })
            });
            cells[at] = Some(match study {
                Ok(study) => {
                    seen[at] = Some(Seen::of(&study, dataset, plan.folder.clone()));
                    Ok(Judged::of(&study.results, Costs::read(&plan.folder).ok(), plan.refused.clone()))
                }
                Err(error) => Err(error.chain()),
            });
        }
    }
    let failed = |plan: &Result<Plan>| match plan {
        Err(error) => error.chain(),
        Ok(_) => "was not evaluated".to_owned(),
    };
    let cells = cells.into_iter().zip(&plans).map(|(cell, plan)| cell.unwrap_or_else(|| Err(failed(plan))));
    let count = |label| {
        let test = dataset.items.iter().filter(|item| item.split == Split::Test);
        test.filter(|item| item.label == label).count()
    };
    Set {
        name: name.to_owned(),
        layout: dataset.layout,
        known: checked.known,
        complete: checked.classes.iter().all(ClassCounts::is_as_published),
        classes: checked.classes.len(),
        images: [count(Label::Normal), count(Label::Anomalous)],
        faults: checked.problems.iter().filter(|problem| problem.fault).map(ToString::to_string).collect(),
        disagreements: disagreement::find(dataset, &seen, pictures),
        cells: cells.collect(),
    }
}

/// How a cell is evaluated.
struct Plan {
    options: Options,
    /// Numbers of shots of which the method makes no bank, with its reason.
    refused: Vec<String>,
    /// How its method looks at images.
    looks: Looks,
    folder: PathBuf,
}

impl Plan {
    /// Makes the cell's folder, too.
    fn new(candidate: &Candidate<'_>, terms: &Terms, folder: PathBuf) -> Result<Self> {
        let spec = &candidate.spec;
        let method = by_name(spec.method.as_deref().unwrap_or_default())?;
        let setup = Setup::parse(method, candidate.engine.arch(), spec.options.iter().map(String::as_str))?;
        // A method may need more prompts than the fewest of the table.
        let (mut shots, mut refused) = (terms.shots.clone(), Vec::new());
        let mut first = None;
        shots.retain(|&shots| match method.check_prompts(shots, setup.options()) {
            Err(error) if method.takes_prompts() => {
                refused.push(format!("no result for {shots} shots: {error}"));
                first = Some(error);
                false
            }
            _ => true,
        });
        if let (true, Some(error)) = (shots.is_empty(), first) {
            return Err(error);
        }
        std::fs::create_dir_all(&folder).map_err(|error| Error::io("create the folder", &folder, error))?;
        let options = Options {
            shots,
            runs: terms.runs,
            seed: terms.seed,
            spec: spec.clone(),
            classes: Vec::new(),
            mask_side: terms.mask_side,
            draws: None,
            costs: true,
        };
        let options = study::settle(candidate.engine, options)?;
        let looks = candidate.engine.looks(&options.spec)?;
        Ok(Plan { options, refused, looks, folder })
    }
}

/// Groups of candidates of one model that look at images alike, by their indices; those without a plan are in none.
fn alike(candidates: &[Candidate<'_>], plans: &[Result<Plan>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(&Looks, Vec<usize>)> = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let Ok(Plan { looks, .. }) = plan else { continue };
        let same = |group: &&mut (&Looks, Vec<usize>)| {
            group.0 == looks && std::ptr::eq(candidates[group.1[0]].engine, candidates[at].engine)
        };
        match groups.iter_mut().find(same) {
            Some((_, group)) => group.push(at),
            None => groups.push((looks, vec![at])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
