//! Looking at every file of a data set.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Serialize;

use super::masks::{Mask, join};
use super::{Dataset, Item, Label, Part, Problem, Published, Split};
use inctrl::Image;
use inctrl::pictures::PictureId;

/// Masks that cover more than this share of most pictures are remarkable.
const MOST_COVERED: f64 = 0.5;

/// How many images of each kind a class has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub class: String,
    /// Normal images that prompts are drawn from.
    pub train: usize,
    /// Normal images to be judged.
    pub normal: usize,
    /// Anomalous images to be judged.
    pub anomalous: usize,
    /// Those of them with a mask.
    pub masks: usize,
    /// What is published of a known data set: as `train`, `normal` and `anomalous`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<[usize; 3]>,
}

impl ClassCounts {
    /// Whether there are as many images as published, where that is known.
    pub fn is_as_published(&self) -> bool {
        self.published.is_none_or(|published| published == self.found())
    }

    /// Normal images to train, normal and anomalous ones to judge.
    fn found(&self) -> [usize; 3] {
        [self.train, self.normal, self.anomalous]
    }
}

/// What a data set holds, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The known data set that it is, by its layout or by the names of its classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<&'static str>,
    /// By class.
    pub classes: Vec<ClassCounts>,
    /// By path; faults and remarks.
    pub problems: Vec<Problem>,
    /// What each of [`Dataset::items`] shows, in their order; absent where it could not be read or was not looked at.
    #[serde(skip)]
    pub pictures: Vec<Option<PictureId>>,
}

impl Report {
    /// How many of the problems are faults.
    pub fn faults(&self) -> usize {
        self.problems.iter().filter(|problem| problem.fault).count()
    }
}

impl Dataset {
    /// How many images of each kind there are, class by class.
    pub fn counts(&self) -> Vec<ClassCounts> {
        let known = Published::of(&self.classes(), self.layout);
        let count = |class: &str| {
            let normal = |split| self.of(class, split).filter(|item| item.label == Label::Normal).count();
            let anomalous = || self.of(class, Split::Test).filter(|item| item.label == Label::Anomalous);
            ClassCounts {
                class: class.to_owned(),
                train: normal(Split::Train),
                normal: normal(Split::Test),
                anomalous: anomalous().count(),
                masks: anomalous().filter(|item| !item.masks.is_empty()).count(),
                published: known.as_ref().and_then(|known| known.counts(class)),
            }
        };
        self.classes().into_iter().map(count).collect()
    }
}

/// Decodes every image and mask of the given classes, all where there are none, and says what is the matter. `each` is called
/// after each image.
pub fn check(dataset: &Dataset, classes: &[&str], mut each: impl FnMut()) -> Report {
    let wanted = |class: &str| classes.is_empty() || classes.contains(&class);
    let mut problems = dataset.problems.clone();
    let mut first: HashMap<PictureId, Vec<&Item>> = HashMap::new();
    let mut pictures = Vec::with_capacity(dataset.items.len());
    let mut shares: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut blank: BTreeMap<&str, usize> = BTreeMap::new();
    let items: Vec<&Item> = dataset.items.iter().collect();
    decode(
        &items,
        |item| wanted(&item.class),
        |item, looked| {
            let Some(looked) = looked else {
                pictures.push(None);
                return;
            };
            match looked.picture {
                Err(error) => {
                    problems.push(Problem::fault(item.place(), error));
                    pictures.push(None);
                }
                // They are equal by nature, wherever they are.
                Ok((id, true)) if item.part != Part::Whole => {
                    pictures.push(Some(id));
                    *blank.entry(&item.class).or_default() += 1;
                }
                Ok((id, _)) => {
                    pictures.push(Some(id));
                    let others = first.entry(id).or_default();
                    let same_class = others.iter().find(|other| other.class == item.class);
                    problems.extend(same_class.or(others.first()).and_then(|other| twice(item, other)));
                    if same_class.is_none() {
                        others.push(item);
                    }
                }
            }
            problems.extend(looked.problems);
            if item.label == Label::Anomalous {
                shares.entry(&item.class).or_default().extend(looked.share);
            }
            each();
        },
    );
    for (class, mut shares) in shares {
        shares.sort_by(f64::total_cmp);
        if let Some(&middle) = shares.get(shares.len() / 2).filter(|middle| **middle > MOST_COVERED) {
            let message = format!(
                "the masks of class `{class}` cover {:.0} % of the picture on the median: if they are inverted, turn them over, \
                 since what is not 0 is the defect",
                100.0 * middle
            );
            problems.push(Problem::remark(&dataset.root, message));
        }
    }
    for (class, count) in blank {
        let message =
            format!("{count} images of class `{class}` are of one single colour, such as padding: nothing is on them");
        problems.push(Problem::remark(&dataset.root, message));
    }
    let counts: Vec<ClassCounts> = dataset.counts().into_iter().filter(|counts| wanted(&counts.class)).collect();
    for counts in &counts {
        let class = &counts.class;
        for (missing, what) in [
            (counts.train == 0, "no normal image to draw prompts from"),
            (counts.normal == 0, "no normal image to judge: its metrics are undefined"),
            (counts.anomalous == 0, "no anomalous image to judge: its metrics are undefined"),
        ] {
            if missing {
                problems.push(Problem::fault(&dataset.root, format!("class `{class}` has {what}")));
            }
        }
    }
    let known = Published::of(&dataset.classes(), dataset.layout);
    if let Some(known) = &known {
        compare(dataset, known, &counts, classes.is_empty(), &mut problems);
    }
    // Those of files first: what is wrong with the whole follows from them.
    problems.sort_by(|a, b| (a.path == dataset.root, &a.path).cmp(&(b.path == dataset.root, &b.path)));
    Report { known: known.map(|known| known.dataset), classes: counts, problems, pictures }
}

/// Tells where the counts are not those of the known data set; `all` if every class was wanted.
fn compare(dataset: &Dataset, known: &Published, counts: &[ClassCounts], all: bool, problems: &mut Vec<Problem>) {
    let shown = |[train, normal, anomalous]: [usize; 3]| format!("{train} + {normal} + {anomalous}");
    for counts in counts {
        let Some(published) = counts.published.filter(|published| *published != counts.found()) else { continue };
        let [found, published_sum] = [counts.found(), published].map(|counts| counts.iter().sum::<usize>());
        let message = format!(
            "class `{}` has {} images (to train, normal and anomalous to test), {} publishes {}: {}figures do not compare",
            counts.class,
            shown(counts.found()),
            known.dataset,
            shown(published),
            if found < published_sum { "some are missing, and " } else { "" },
        );
        // A few folders with common names may be somebody else's.
        let fault = known.certain && found < published_sum;
        let problem = if fault { Problem::fault } else { Problem::remark };
        problems.push(problem(dataset.root.clone(), message));
    }
    let found = dataset.classes();
    let missing: Vec<&str> = known.classes.iter().map(|(class, _)| *class).filter(|c| !found.contains(c)).collect();
    if all && !missing.is_empty() {
        let of = known.classes.len();
        let message =
            format!("{} of the {of} classes of {} are not there: {}", missing.len(), known.dataset, missing.join(", "));
        problems.push(Problem::remark(&dataset.root, message));
    }
}

/// What is to be said of two images with the same pixels.
fn twice(item: &Item, other: &Item) -> Option<Problem> {
    let (name, place) = (&other.name, item.place());
    if item.class != other.class {
        // What is good in one class may be the defect of another: one class against the rest. The very same image is no copy.
        let copy = item.path != other.path || item.part != other.part;
        let message = || format!("the same pixels as {name} of class `{}`", other.class);
        return copy.then(|| Problem::remark(place, message()));
    }
    if item.label != other.label {
        let message = format!("the same pixels as {name}, of which one is normal and one anomalous: both cannot be");
        return Some(Problem::fault(place, message));
    }
    if item.split != other.split {
        let message =
            format!("the same pixels as {name}, of which one is to train and one to test: figures look too good");
        return Some(Problem::fault(place, message));
    }
    Some(Problem::remark(place, format!("the same pixels as {name}")))
}

/// What a file and its masks show.
struct Looked {
    /// The picture, and whether it is of one single colour.
    picture: Result<(PictureId, bool), String>,
    /// Which share of the picture the masks cover.
    share: Option<f64>,
    problems: Vec<Problem>,
}

/// Decodes the wanted items on all threads and hands them over in their order; `None` for those that are not wanted.
fn decode<'a>(
    items: &[&'a Item],
    wanted: impl Fn(&Item) -> bool + Sync,
    mut each: impl FnMut(&'a Item, Option<Looked>),
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for chunk in items.chunks(8 * threads) {
        let size = chunk.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let wanted = &wanted;
            let work = |part: &'a Item| wanted(part).then(|| look(part));
            let running: Vec<_> = chunk
                .chunks(size)
                .map(|part| scope.spawn(move || part.iter().map(|item| (*item, work(item))).collect::<Vec<_>>()))
                .collect();
            for thread in running {
                // A panic goes on where it would have gone without threads.
                let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                done.into_iter().for_each(|(item, looked)| each(item, looked));
            }
        });
    }
}

fn look(item: &Item) -> Looked {
    let mut problems = Vec::new();
    let image = item.certain_image();
    let mut joined = None;
    for path in &item.masks {
        match item.open_mask(path) {
            Err(error) => problems.push(Problem::fault(path, without_path(&error))),
            Ok(mask) => {
                if let Ok(image) = &image {
                    check_mask(path, &mask, [image.width(), image.height()], item.label, &mut problems);
                }
                let (width, height) = (mask.width, mask.height);
                let (all, width, height) = joined.get_or_insert_with(|| (vec![false; width * height], width, height));
                join(&mask, all, *width, *height);
            }
        }
    }
    let share = joined.map(|(all, ..)| all.iter().filter(|inside| **inside).count() as f64 / all.len().max(1) as f64);
    let seen = |image: Image| Ok((PictureId::of(image.frame())?, is_blank(&image)));
    let picture = image.and_then(seen).map_err(|error| without_path(&error));
    Looked { picture, share, problems }
}

/// Whether all pixels have the colour of the first.
fn is_blank(image: &Image) -> bool {
    let frame = image.frame();
    let channels = frame.format().channels();
    let first = &frame.row(0)[..channels];
    (0..frame.height()).all(|y| frame.row(y).chunks_exact(channels).all(|pixel| pixel == first))
}

fn check_mask(path: &Path, mask: &Mask, [width, height]: [usize; 2], label: Label, problems: &mut Vec<Problem>) {
    let (size, wanted) = ((mask.width, mask.height), (width, height));
    if size != wanted {
        let told = format!("the mask is {} x {} pixels, its image {width} x {height}", mask.width, mask.height);
        let same_shape = (mask.width * height).abs_diff(mask.height * width) <= mask.width.max(width);
        problems.push(if size == (height, width) {
            Problem::fault(path, format!("{told}: one of them is turned"))
        } else if same_shape {
            Problem::remark(path, format!("{told}: it is stretched"))
        } else {
            Problem::remark(path, format!("{told}, another shape: it is stretched, and may be of another picture"))
        });
    }
    match (label, mask.values) {
        (Label::Normal, None) => {}
        (Label::Normal, Some(_)) => {
            problems.push(Problem::fault(path, "marks a defect in an image that is called good: one is wrong"));
        }
        (Label::Anomalous, None) => problems.push(Problem::fault(path, "the mask of an anomalous image is all 0")),
        (Label::Anomalous, Some([least, most])) if least == most && most == mask.white => {}
        (Label::Anomalous, Some([least, most])) if least == most => {
            let message = format!("the mask has the value {least} in place of {}", mask.white);
            problems.push(Problem::remark(path, message));
        }
        (Label::Anomalous, Some([least, most])) => {
            let message = format!("the mask has several values from {least} to {most}: all but 0 are the defect");
            problems.push(Problem::remark(path, message));
        }
    }
}

/// The error's whole text without the path, which a problem has anyway.
fn without_path(error: &inctrl::Error) -> String {
    let text = error.chain();
    let path = error.path().map(|path| format!("{}: ", path.display())).unwrap_or_default();
    text.strip_prefix(&path).unwrap_or(&text).to_owned()
}
