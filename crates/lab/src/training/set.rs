//! The images that are trained on: chosen, encoded once, and checked to be enough.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::sync_channel;
use std::thread;

use super::cache::{Cache, Store};
use super::{Event, Failure, Options};
use crate::datasets::{self, Dataset, Item, Label};
use inctrl::internals::Encoder;
use inctrl::internals::without_signals;
use inctrl::pictures::PictureId;
use inctrl::{Error, ErrorKind, Image, Result};

/// An image that can be used.
pub(super) struct Member {
    /// The image's name in the data set.
    pub name: String,
    /// Index of its class.
    pub class: usize,
    pub anomalous: bool,
    /// Hash of the image as it is stored.
    pub hash: [u8; 32],
    /// What it shows, whatever the file.
    pub picture: PictureId,
    /// Place of its features.
    pub record: usize,
}

/// All images that can be used, by class and name, and their features.
pub(super) struct Set {
    pub classes: Vec<String>,
    /// What text prompts call each class.
    pub texts: Vec<String>,
    pub members: Vec<Member>,
    pub store: Store,
}

impl Set {
    /// Encodes the images of the wanted classes that `cache` does not hold yet: normal and anomalous ones of both
    /// splits.
    ///
    /// An image that cannot be used is left out, and is in the list; so is one that is normal and anomalous in one
    /// class.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for classes with too few usable images, [`ErrorKind::Io`] where the cache cannot be written,
    /// [`ErrorKind::Device`].
    pub fn encode(
        encoder: &mut Encoder<'_>,
        dataset: &Dataset,
        options: &Options,
        mut cache: Cache,
        observe: &mut impl FnMut(Event),
    ) -> Result<(Set, Vec<Failure>)> {
        let classes = options.classes(dataset)?;
        let wanted = |item: &Item| classes.contains(&item.class.as_str());
        observe(Event::Checking(dataset.items.iter().filter(|item| wanted(item)).count()));
        let pictures = datasets::check(dataset, &classes, || observe(Event::Checked)).pictures;
        let seen: Vec<(&Item, Option<PictureId>)> =
            dataset.items.iter().zip(pictures).filter(|(item, _)| wanted(item)).collect();
        let (mut usable, mut failures) = (Vec::new(), Vec::new());
        let against = contradictions(&seen);
        let items: Vec<(&Item, Option<PictureId>)> =
            seen.iter().zip(&against).filter(|(_, other)| other.is_none()).map(|(seen, _)| *seen).collect();
        for ((item, _), other) in seen.iter().zip(&against) {
            if let Some(other) = other {
                let error = format!("the same pixels as {}, of which one is normal and one anomalous", other.name);
                failures.push(Failure { name: item.name.clone(), error });
            }
        }
        observe(Event::Images(items.len()));
        let known = cache.hashes();
        thread::scope(|scope| {
            let (sender, read) = sync_channel(2);
            let items = &items;
            let read_all = move || {
                for &(item, picture) in items {
                    // Nobody takes images any more after an error.
                    if sender.send((item, picture, open(item, &known))).is_err() {
                        return;
                    }
                }
            };
            without_signals(|| scope.spawn(read_all));
            for (item, picture, read) in read {
                let added = read.and_then(|(hash, image)| {
                    if let Some(image) = image.filter(|_| !cache.contains(&hash)) {
                        return Ok((hash, Some(encoder.encode(image.frame())?)));
                    }
                    Ok((hash, None))
                });
                match (added, picture) {
                    (Ok((hash, features)), Some(picture)) => {
                        if let Some(features) = features {
                            cache.add(hash, &features)?;
                        }
                        usable.push((item, picture, hash));
                    }
                    (Ok(_), None) => {
                        let error = "it could not be read at first, and then it could: it changes".to_owned();
                        failures.push(Failure { name: item.name.clone(), error });
                    }
                    (Err(error), _) if error.kind() == ErrorKind::Device => return Err(error),
                    (Err(error), _) => failures.push(Failure { name: item.name.clone(), error: error.chain() }),
                }
                observe(Event::Encoded);
            }
            Ok(())
        })?;
        let store = cache.finish();
        let mut members = Vec::new();
        for (item, picture, hash) in usable {
            let record = store.find(&hash).ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("the features of {} are not in the cache", item.name))
            })?;
            let class = classes.iter().position(|class| *class == item.class).unwrap_or(0);
            let anomalous = item.label == Label::Anomalous;
            members.push(Member { name: item.name.clone(), class, anomalous, hash, picture, record });
        }
        let texts = classes.iter().map(|class| dataset.text(class).to_owned()).collect();
        let classes = classes.into_iter().map(str::to_owned).collect();
        let set = Set { classes, texts, members, store };
        set.check(options.shots, &failures)?;
        Ok((set, failures))
    }

    /// Whether every class has both kinds, and enough normal images to draw prompts from.
    fn check(&self, shots: usize, failures: &[Failure]) -> Result<()> {
        let mut wrong = Vec::new();
        for (class, name) in self.classes.iter().enumerate() {
            let of_class = || self.members.iter().filter(|member| member.class == class);
            let normals = of_class().filter(|member| !member.anomalous).count();
            // What is left for the sample with the most copies.
            let least = of_class().map(|member| self.candidates(member).count()).min().unwrap_or(0);
            if !of_class().any(|member| member.anomalous) {
                wrong.push(format!("class `{name}` has no usable anomalous image"));
            }
            if least < shots {
                wrong.push(format!(
                    "class `{name}` has {normals} usable normal images: {least} beside a sample and its copies, {shots} shots \
                     ask for {shots}"
                ));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let first = failures.first().map(|f| format!("\n{} could not be used: {}", f.name, f.error));
        let message = format!(
            "{}; add images, lower --shots, or leave such classes out with --classes{}",
            wrong.join("; "),
            first.unwrap_or_default()
        );
        Err(Error::new(ErrorKind::Argument, message))
    }

    /// The normal images of a sample's class that may be its prompts: not the sample itself, nor a copy of it.
    pub fn candidates<'a>(&'a self, of: &'a Member) -> impl Iterator<Item = usize> + 'a {
        let fits = move |m: &Member| m.class == of.class && !m.anomalous && m.picture != of.picture;
        self.members.iter().enumerate().filter(move |(_, member)| fits(member)).map(|(index, _)| index)
    }

    /// Which images these are, in which order: a hash of names, classes and their words, labels and contents, in
    /// hexadecimal.
    pub fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for member in &self.members {
            for text in [&member.name, &self.classes[member.class], &self.texts[member.class]] {
                hasher.update(text.as_bytes()).update(&[0]);
            }
            hasher.update(&[u8::from(member.anomalous)]).update(&member.hash);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// For each image another of its class that shows the same and has the other label, if there is one.
fn contradictions<'a>(seen: &[(&'a Item, Option<PictureId>)]) -> Vec<Option<&'a Item>> {
    let mut first: HashMap<(&str, PictureId, Label), &Item> = HashMap::new();
    for &(item, picture) in seen {
        if let Some(picture) = picture {
            first.entry((&item.class, picture, item.label)).or_insert(item);
        }
    }
    let other = |(item, picture): &(&'a Item, Option<PictureId>)| {
        let label = if item.label == Label::Normal { Label::Anomalous } else { Label::Normal };
        first.get(&(&item.class[..], (*picture)?, label)).copied()
    };
    seen.iter().map(other).collect()
}

/// The hash of an image as it is stored, and the image unless its features are known.
fn open(item: &Item, known: &HashSet<[u8; 32]>) -> Result<([u8; 32], Option<Image>)> {
    let stored = item.stored()?;
    let hash = stored.hash();
    if known.contains(&hash) {
        return Ok((hash, None));
    }
    Ok((hash, Some(stored.certain_image()?)))
}
