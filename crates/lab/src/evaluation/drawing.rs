//! Draws prompts from a data set.

use std::collections::{HashMap, HashSet};

use super::draws::order;
use super::{Draw, Draws, Failure, Options, Prompt};
use crate::datasets::{Dataset, Item, Label, Split};
use inctrl::internals::check_memory;
use inctrl::{Error, ErrorKind, Result};

/// What evaluations that draw from the same images know of them, each read once.
#[derive(Default)]
pub(super) struct SeenPrompts {
    /// By class and name; an error for an image that cannot be used.
    seen: HashMap<(String, String), Result<SeenPrompt, String>>,
}

/// A normal image that can be a prompt.
pub(super) struct SeenPrompt {
    /// Hash of its pixels, in hexadecimal.
    pub hash: String,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

impl SeenPrompts {
    pub fn of(&mut self, item: &Item) -> &Result<SeenPrompt, String> {
        self.seen.entry((item.class.clone(), item.name.clone())).or_insert_with(|| {
            let read = || {
                let image = item.certain_image()?;
                let frame = image.frame();
                let hash = blake3::Hash::from_bytes(frame.content_hash()?).to_hex().to_string();
                Ok(SeenPrompt { hash, size: [frame.width(), frame.height()] })
            };
            read().map_err(|error: Error| error.chain())
        })
    }

    /// The size of a prompt that was drawn.
    pub fn size(&self, class: &str, name: &str) -> Option<[usize; 2]> {
        let seen = self.seen.get(&(class.to_owned(), name.to_owned()))?;
        seen.as_ref().ok().map(|prompt| prompt.size)
    }
}

/// The prompts of every run, all readable; the unreadable images, and the classes with too few images to draw from.
///
/// # Errors
/// As [`run_together`](super::run_together).
pub(super) fn draws(
    dataset: &Dataset,
    classes: &[&str],
    options: &Options,
    seen: &mut SeenPrompts,
) -> Result<(Draws, Vec<Failure>)> {
    let most = options.shots.iter().copied().max().unwrap_or(0);
    let count = options.runs.saturating_mul(classes.len());
    // A name and a hash in hexadecimal per prompt.
    let bytes = count.saturating_mul(size_of::<Draw>().saturating_add(most.saturating_mul(size_of::<Prompt>() + 128)));
    check_memory(&format!("{count} draws of {most} prompts"), bytes, "use fewer --runs")?;
    let (mut draws, mut failures, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let too_few = |class: &str, found: usize| {
        let error = format!(
            "class `{class}` has {found} usable normal training images, but {most} shots need {most}: lower --shots, or leave the class out with --classes"
        );
        Failure { name: class.to_owned(), error }
    };
    'classes: for &class in classes {
        let normals: Vec<&Item> = dataset.of(class, Split::Train).filter(|item| item.label == Label::Normal).collect();
        let mut told = HashSet::new();
        if normals.len() < most {
            left_out.push(too_few(class, normals.len()));
            continue;
        }
        for run in 0..options.runs {
            let names = normals.iter().map(|item| item.name.as_str());
            let candidates: Vec<&Item> = match options.draws.as_ref() {
                Some(given) => chosen(given, class, run, &normals)?,
                None => order(class, options.seed, run, names).into_iter().map(|index| normals[index]).collect(),
            };
            let mut prompts = Vec::new();
            for item in candidates {
                if prompts.len() == most {
                    break;
                }
                match seen.of(item) {
                    Ok(found) => prompts.push(Prompt { name: item.name.clone(), hash: found.hash.clone() }),
                    Err(error) if told.insert(item.name.as_str()) => {
                        failures.push(Failure { name: item.name.clone(), error: error.clone() });
                    }
                    Err(_) => {}
                }
            }
            if prompts.len() < most {
                left_out.push(too_few(class, prompts.len()));
                draws.retain(|draw: &Draw| draw.class != class);
                continue 'classes;
            }
            let draw = Draw { class: class.to_owned(), run, prompts };
            match options.draws.as_ref().and_then(|given| given.of(class, run)) {
                Some(given) if given.prompts[..most] != draw.prompts[..] => {
                    let message =
                        format!("the prompts of class `{class}`, run {run}, have changed: their hashes differ");
                    return Err(Error::new(ErrorKind::Argument, message));
                }
                _ => draws.push(draw),
            }
        }
    }
    if let (true, Some(first)) = (draws.is_empty(), left_out.first()) {
        return Err(Error::new(ErrorKind::Argument, first.error.clone()));
    }
    left_out.append(&mut failures);
    Ok((Draws { draws }, left_out))
}

/// The normals that given draws name.
fn chosen<'a>(given: &Draws, class: &str, run: usize, normals: &[&'a Item]) -> Result<Vec<&'a Item>> {
    let fail = |message: String| Error::new(ErrorKind::Argument, message);
    let draw = given.of(class, run).ok_or_else(|| fail(format!("the prompts have no run {run} of class `{class}`")))?;
    let find = |prompt: &Prompt| {
        let message = || format!("prompt {} is not a normal training image of class `{class}`", prompt.name);
        normals.iter().find(|item| item.name == prompt.name).copied().ok_or_else(|| fail(message()))
    };
    draw.prompts.iter().map(find).collect()
}

/// The prompts of a class, each once.
pub(super) fn unique<'a>(draws: impl IntoIterator<Item = &'a Draws>, class: &str) -> Vec<&'a Prompt> {
    let mut prompts: Vec<&Prompt> = Vec::new();
    for prompt in draws
        .into_iter()
        .flat_map(|draws| &draws.draws)
        .filter(|draw| draw.class == class)
        .flat_map(|draw| &draw.prompts)
    {
        if prompts.iter().all(|known| known.hash != prompt.hash) {
            prompts.push(prompt);
        }
    }
    prompts
}
