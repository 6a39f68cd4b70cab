//! `inctrl eval --datasets`: one table of methods and data sets.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use inctrl::Engine;
use inctrl::methods::{ALL, Method, able, by_name};
use inctrl_lab::comparison::{Candidate, candidates, check_options};
use inctrl_lab::datasets::{self, Layout};
use inctrl_lab::evaluation;
use inctrl_lab::study::Event;
use inctrl_lab::table::{self, Given, Row, Table, Terms};

use super::Outcome;
use super::console::{Progress, result, say};
use super::eval::{Args, Format};
use super::maps::create_folder;

/// A model file, and what it is called in the table.
struct Model {
    label: String,
    path: PathBuf,
}

/// A method that was asked for, on one model or on all.
struct Wanted {
    method: &'static dyn Method,
    model: Option<String>,
}

pub fn run(args: Args) -> Result<Outcome> {
    let progress = Progress::new();
    let models = models(&args.model.weights)?;
    if models.len() > 1 && args.model.names_parts() {
        bail!(
            "--heads and --config belong to one model, and {} are given: put the heads into the file of their model \
             (inctrl train --merged, inctrl convert), and the configuration beside it",
            models.len()
        );
    }
    let wanted = wanted(&args.methods, &models)?;
    let sets = sets(&args.datasets)?;
    if let Some(unknown) = args.without_pictures.iter().find(|name| sets.iter().all(|set| set.name != **name)) {
        let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        bail!("--without-pictures names `{unknown}`, and the data sets are {}", names.join(", "));
    }
    args.layout.texts()?;
    create_folder(&args.output)?;

    progress.step("opening the models");
    let mut left_out = Vec::new();
    let mut engines: Vec<(&Model, Engine)> = Vec::new();
    for model in &models {
        match Engine::with(&args.model.options_of(&model.path)) {
            Ok(engine) => engines.push((model, engine)),
            Err(error) => left_out.push(format!("the model `{}` cannot be opened: {}", model.label, error.chain())),
        }
    }
    if let Some((_, engine)) = engines.first() {
        progress.aside(|| args.model.say_device(engine));
    }
    let (candidates, unused) = entrants(&args, &engines, &wanted, &mut left_out)?;
    unused.iter().for_each(|note| progress.aside(|| say(&format!("note: {note}"))));
    if candidates.is_empty() {
        bail!("there is no method to evaluate{}", left_out.iter().map(|line| format!("\n{line}")).collect::<String>());
    }

    let mut shots: Vec<usize> = args.shots.iter().map(|shots| shots.get()).collect();
    shots.sort_unstable();
    shots.dedup();
    let terms = Terms { shots, runs: args.runs.get(), seed: args.layout.seed, mask_side: args.mask_side };
    let rows = candidates.iter().map(Row::of).collect();
    let mut table = Table { terms, rows, sets: Vec::new(), left_out, note: args.note.clone() };
    let mut classes = HashSet::new();
    for set in &sets {
        progress.step(format!("{}: looking for images", set.name));
        let dataset = match args.layout.open_among_others(&set.path, set.layout) {
            Ok(dataset) => dataset,
            Err(error) => {
                table.left_out.push(format!("the data set `{}` cannot be used: {error:#}", set.name));
                continue;
            }
        };
        classes.extend(dataset.classes().into_iter().map(str::to_owned));
        progress.count(dataset.items.len(), format!("images checked, {}", set.name));
        let checked = datasets::check(&dataset, &[], || progress.advance());
        let pictures = !args.without_pictures.contains(&set.name);
        let given = Given { name: &set.name, dataset: &dataset, checked: &checked, pictures };
        let observe = |rows: &[usize], event| {
            let whole = match rows {
                [one] => format!("{}, {}", set.name, table.rows[*one].folder()),
                several => format!("{}, {} methods on {}", set.name, several.len(), table.rows[several[0]].model),
            };
            match event {
                Event::Prompts => progress.step(format!("drawing prompts, {whole}")),
                Event::Images(evaluation::Event::Banks { bytes, passes }) => {
                    banks(&whole, bytes, passes).iter().for_each(|note| progress.aside(|| say(note)));
                }
                Event::Images(evaluation::Event::Images(total)) => {
                    progress.count(total, format!("images encoded, {whole}"));
                }
                Event::Images(evaluation::Event::Done) => progress.advance(),
                Event::Metrics => progress.step(format!("computing metrics, {whole}")),
                Event::Report => progress.step(format!("writing the report, {whole}")),
            }
        };
        let memory = args.bank_memory.map(|megabytes| megabytes.saturating_mul(1_000_000));
        let judged = table::judge(&candidates, given, &table.terms, &args.output, memory, observe);
        table.sets.push(judged);
        // A table of what is finished, in case the rest is interrupted. Without any result an earlier table is kept.
        if table.has_results() {
            table::write(&table, &args.output)?;
        }
    }
    drop(progress);
    finish(&args, &table, &classes)
}

/// Worth telling from this many bytes of banks on.
const MANY_BYTES: usize = 1_000_000_000;

/// What people should know of the memory of banks before they wait.
fn banks(whole: &str, bytes: usize, passes: usize) -> Option<String> {
    let megabytes = bytes.div_ceil(1_000_000);
    match passes {
        2.. => Some(format!(
            "note: {whole}: the banks of all methods do not fit into memory together, so the images are encoded {passes} times, \
             for some of the methods each time (up to {megabytes} MB of banks; --bank-memory sets the limit)"
        )),
        _ if bytes >= MANY_BYTES => Some(format!("note: {whole}: the banks take up to {megabytes} MB of memory")),
        _ => None,
    }
}

/// Prints the table and what is wrong with it.
fn finish(args: &Args, table: &Table, classes: &HashSet<String>) -> Result<Outcome> {
    let failed: Vec<String> = table.left_out.iter().cloned().chain(table.errors()).collect();
    if !table.has_results() {
        let lines = failed.into_iter().chain(table.sets.iter().flat_map(faults));
        bail!("nothing could be evaluated{}", lines.map(|line| format!("\n{line}")).collect::<String>());
    }
    table::write(table, &args.output)?;
    let text = match args.format.unwrap_or(Format::Md) {
        Format::Md => table::markdown(table),
        Format::Csv => table::csv(table)?,
        Format::Json => table::json(table)?,
        Format::Latex => table::latex(table),
    };
    result(text.trim_end())?;
    say(&format!("page: {}", args.output.join("table.html").display()));
    for class in args.layout.texts()?.keys().filter(|class| !classes.contains(*class)) {
        say(&format!("note: --class-texts has words for the class `{class}`, which no data set has"));
    }
    failed.iter().for_each(|line| say(&format!("error: {line}")));
    let mut faulty = !failed.is_empty();
    for set in &table.sets {
        for (row, judged) in set.cells.iter().enumerate().filter_map(|(row, cell)| Some((row, cell.as_ref().ok()?))) {
            judged.refused.iter().for_each(|note| say(&format!("note: {}, {}: {note}", set.name, table.title(row))));
        }
        let unused = set.cells.iter().flatten().map(|judged| judged.notes.len()).max().unwrap_or(0);
        faulty |= set.faults.len() + unused > 0;
        faults(set).iter().for_each(|line| say(line));
        if unused > 0 {
            say(&format!("error: {}: images or classes that are not used: {unused}; the page lists them", set.name));
        }
    }
    Ok(if faulty { Outcome::SomeInputsFailed } else { Outcome::Done })
}

/// Faults of a data set that are printed.
const FAULTS: usize = 3;

/// The first faults of a data set, and how many more there are.
fn faults(set: &table::Set) -> Vec<String> {
    let mut lines: Vec<String> = set.faults.iter().take(FAULTS).map(|fault| format!("fault: {fault}")).collect();
    let more = set.faults.len().saturating_sub(FAULTS);
    if more > 0 {
        lines.push(format!("faults of {} that are not shown here: {more}; inctrl data check lists them", set.name));
    }
    lines
}

/// The models in `--weights`: a file, or several separated by commas, with names or without.
fn models(weights: &Path) -> Result<Vec<Model>> {
    let stem = |path: &Path| {
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        stem.chars().map(|c| if is_plain(c) { c } else { '-' }).collect::<String>()
    };
    let alone = |path: &Path| Model { label: stem(path), path: path.to_path_buf() };
    let text = match weights.to_str() {
        Some(text) if !weights.is_file() => text,
        _ => return Ok(vec![alone(weights)]),
    };
    let mut models: Vec<Model> = Vec::new();
    for part in text.split(',') {
        let model = match part.split_once('=') {
            Some((label, path)) if !label.is_empty() && label.chars().all(is_plain) && !Path::new(part).is_file() => {
                Model { label: label.to_owned(), path: path.into() }
            }
            _ => alone(Path::new(part)),
        };
        if model.path.as_os_str().is_empty() {
            bail!("--weights {text:?} has an empty path");
        }
        if models.iter().any(|known| known.label == model.label) {
            bail!("two models are called `{}`: give them names, as in --weights first=A,second=B", model.label);
        }
        models.push(model);
    }
    Ok(models)
}

/// Whether a character may be in the name of a model, which becomes that of a folder.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+-".contains(c)
}

/// The methods in `--methods`.
fn wanted(names: &[String], models: &[Model]) -> Result<Vec<Wanted>> {
    let one = |name: &String| {
        let (method, model) = match name.split_once('@') {
            Some((method, model)) => (method, Some(model.to_owned())),
            None => (name.as_str(), None),
        };
        if let Some(unknown) = model.as_ref().filter(|name| models.iter().all(|model| model.label != **name)) {
            let known: Vec<&str> = models.iter().map(|model| model.label.as_str()).collect();
            bail!("--methods names the model `{unknown}`, and those in --weights are {}", known.join(", "));
        }
        Ok(Wanted { method: by_name(method)?, model })
    };
    names.iter().map(one).collect()
}

/// The rows of the table: every wanted method on every model that can serve it, in the order of the methods. Also a
/// note for each model that serves none of them.
fn entrants<'a>(
    args: &Args,
    engines: &'a [(&Model, Engine)],
    wanted: &[Wanted],
    left_out: &mut Vec<String>,
) -> Result<(Vec<Candidate<'a>>, Vec<String>)> {
    let spec = args.method.spec(None, args.fit);
    // `--method` asks for a table of one method.
    let only = spec.method.as_deref().map(by_name).transpose()?;
    let all = ALL.iter().copied().filter(|method| only.is_none_or(|only| only.name() == method.name()));
    let everything: Vec<Wanted> = all.map(|method| Wanted { method, model: None }).collect();
    let named = !wanted.is_empty() || only.is_some();
    let wanted = if wanted.is_empty() { &everything } else { wanted };
    let mut rows: Vec<Candidate<'a>> = Vec::new();
    let (mut used, mut served) = (HashSet::new(), Vec::new());
    for Wanted { method, model } in wanted {
        let (mut found, mut reasons) = (false, Vec::new());
        for (of, engine) in engines.iter().filter(|(of, _)| model.as_ref().is_none_or(|model| *model == of.label)) {
            match method.check_model(engine.weights()) {
                Ok(()) => {
                    found = true;
                    used.insert(of.label.as_str());
                    if served.contains(&(method.name(), of.label.as_str())) {
                        continue;
                    }
                    served.push((method.name(), of.label.as_str()));
                    for (name, row) in candidates(engine, &of.label, &spec, &[method.name().to_owned()]) {
                        match row {
                            Ok(row) => rows.push(row),
                            Err(error) => left_out.push(format!("{name} on {}: {}", of.label, error.chain())),
                        }
                    }
                }
                Err(error) => reasons.push(format!("{}: {}", of.label, error.chain())),
            }
        }
        if !found && named {
            let why = if reasons.is_empty() { "its model is not there".to_owned() } else { reasons.join("; ") };
            left_out.push(format!("no model can serve the method `{}`: {why}", method.name()));
        }
    }
    if !served.is_empty() {
        let mut methods: Vec<&str> = served.iter().map(|(method, _)| *method).collect();
        methods.dedup();
        check_options(&spec, &methods)?;
    }
    let unused = engines.iter().filter(|(model, _)| !used.contains(model.label.as_str()));
    let note = |(model, engine): &(&Model, Engine)| {
        let can: Vec<&str> = able(engine.weights()).map(|method| method.name()).collect();
        let can = if can.is_empty() { "none".to_owned() } else { can.join(", ") };
        format!("the model `{}` serves none of these methods and is not used; it can serve: {can}", model.label)
    };
    Ok((rows, unused.map(note).collect()))
}

/// A data set that was asked for.
struct Set {
    name: String,
    path: PathBuf,
    layout: Option<Layout>,
}

/// The data sets in `--datasets`, called by the names of their folders.
fn sets(given: &[String]) -> Result<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::new();
    for text in given {
        let (layout, path) = match text.split_once('=') {
            Some((layout, path)) if !Path::new(text).is_dir() => (Some(layout.parse::<Layout>()?), path),
            _ => (None, text.as_str()),
        };
        let path = PathBuf::from(path);
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let folder = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = if folder.is_empty() { "data".to_owned() } else { folder };
        let taken = |name: &str| sets.iter().any(|set| set.name == name);
        let with_layout = layout.map(|layout| format!("{folder}-{layout}"));
        let numbered = (2..).map(|number| format!("{folder}-{number}"));
        let mut names = std::iter::once(folder.clone()).chain(with_layout).chain(numbered);
        let name = names.find(|name| !taken(name)).unwrap_or(folder.clone());
        sets.push(Set { name, path, layout });
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(String, String)> {
        let of = |model: Model| (model.label, model.path.to_string_lossy().into_owned());
        models(Path::new(text)).unwrap().into_iter().map(of).collect()
    }

    #[test]
    fn models_have_names_or_those_of_their_files() {
        let pair = |label: &str, path: &str| (label.to_owned(), path.to_owned());
        assert_eq!(labels("a/clip.safetensors"), [pair("clip", "a/clip.safetensors")]);
        let given = "clip=a/W.safetensors,b/my dino.safetensors,x=b/c=d.safetensors";
        let expected =
            [pair("clip", "a/W.safetensors"), pair("my-dino", "b/my dino.safetensors"), pair("x", "b/c=d.safetensors")];
        assert_eq!(labels(given), expected);
        assert_eq!(labels("a/b=c.safetensors"), [pair("b-c", "a/b=c.safetensors")]);
        for bad in ["a=x,a=y", "x.safetensors,", "a=,b=x", "a/m.pt,b/m.pt"] {
            assert!(models(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_sets_are_called_by_their_folders() {
        let given = ["a/mnist", "mnist-multi=a/mnist", "mnist-multi=b/mnist", "b/mnist/", "elpv"].map(str::to_owned);
        let found: Vec<(String, Option<Layout>)> =
            sets(&given).unwrap().into_iter().map(|set| (set.name, set.layout)).collect();
        let multi = Some(Layout::MnistMulti);
        let expected =
            [("mnist", None), ("mnist-mnist-multi", multi), ("mnist-2", multi), ("mnist-3", None), ("elpv", None)];
        assert_eq!(found, expected.map(|(name, layout)| (name.to_owned(), layout)));
        assert!(sets(&["nonsense=a".to_owned()]).is_err());
    }
}
