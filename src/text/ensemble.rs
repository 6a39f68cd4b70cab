//! The text ensembles: sentences that describe normal and anomalous objects of a class.
//!
//! The sentences and their order are those of the published InCTRL code (WinCLIP's compositional ensemble: states times
//! templates).

use crate::error::{Error, ErrorKind, Result};

/// `{}` is the object.
const NORMAL_STATES: [&str; 7] =
    ["{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect", "{} without damage"];

/// `{}` is the object.
const ANOMALY_STATES: [&str; 4] = ["damaged {}", "{} with flaw", "{} with defect", "{} with damage"];

/// `{}` is the object in one of its states.
const TEMPLATES: [&str; 22] = [
    "a cropped photo of the {}.",
    "a cropped photo of a {}.",
    "a close-up photo of a {}.",
    "a close-up photo of the {}.",
    "a bright photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of a {}.",
    "a dark photo of the {}.",
    "a jpeg corrupted photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a blurry photo of the {}.",
    "a blurry photo of a {}.",
    "a photo of the {}.",
    "a photo of a {}.",
    "a photo of a small {}.",
    "a photo of the small {}.",
    "a photo of a large {}.",
    "a photo of the large {}.",
    "a photo of a {} for visual inspection.",
    "a photo of the {} for visual inspection.",
    "a photo of a {} for anomaly detection.",
    "a photo of the {} for anomaly detection.",
];

/// Classes whose anomaly is a different object rather than a flaw: those of CIFAR-10, and a superclass of six of them.
const SEMANTIC_CLASSES: [&str; 11] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck", "animal"];

/// The sentences of a class. Their mean text features are the two prototypes of the text prior (equation 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// Sentences that describe a normal image: 7 states x 22 templates, or one for a semantic class.
    pub normal: Vec<String>,
    /// Sentences that describe an anomalous image: 4 states x 22 templates, or one for a semantic class.
    pub anomaly: Vec<String>,
}

/// The sentences for a class name. `_` counts as a space (`metal_nut` is a metal nut).
///
/// Eleven names are semantic classes with one sentence on each side: `airplane automobile bird cat deer dog frog horse
/// ship truck animal`, in exactly this spelling.
///
/// # Errors
/// [`ErrorKind::Argument`] if the name holds only whitespace and underscores.
pub fn sentences(class_name: &str) -> Result<Ensemble> {
    let name = spoken(class_name)?;
    if SEMANTIC_CLASSES.contains(&name.as_str()) {
        return Ok(Ensemble {
            normal: vec![format!("a photo of {name} for anomaly detection.")],
            anomaly: vec![format!("a photo without {name} for anomaly detection.")],
        });
    }
    Ok(compositional(&name))
}

/// The sentences for a class name as in WinCLIP, which has no semantic classes: always states times templates.
///
/// # Errors
/// As [`sentences`].
pub fn composed(class_name: &str) -> Result<Ensemble> {
    Ok(compositional(&spoken(class_name)?))
}

/// The class name with spaces for `_`.
fn spoken(class_name: &str) -> Result<String> {
    let name = class_name.replace('_', " ");
    if name.trim().is_empty() {
        return Err(Error::new(
            ErrorKind::Argument,
            format!("the class name {class_name:?} is empty: name the object in the images, such as \"metal_nut\""),
        ));
    }
    Ok(name)
}

fn compositional(name: &str) -> Ensemble {
    Ensemble { normal: compose(&NORMAL_STATES, name), anomaly: compose(&ANOMALY_STATES, name) }
}

/// Every state of the object in every template, states outermost.
fn compose(states: &[&str], name: &str) -> Vec<String> {
    let objects = states.iter().map(|state| state.replace("{}", name));
    objects.flat_map(|object| TEMPLATES.map(|template| template.replace("{}", &object))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn sentences_equal_the_fixture() {
        let text = include_str!("../../tests/fixtures/text/prompts.json");
        let expected: BTreeMap<String, BTreeMap<String, Vec<String>>> = serde_json::from_str(text).unwrap();
        assert!(expected.len() >= 3);
        for (name, sides) in expected {
            let ours = sentences(&name).unwrap();
            assert_eq!(ours.normal, sides["normal"], "normal sentences of {name:?}");
            assert_eq!(ours.anomaly, sides["anomaly"], "anomaly sentences of {name:?}");
        }
    }

    #[test]
    fn semantic_classes_have_one_sentence_a_side() {
        for name in SEMANTIC_CLASSES {
            let Ensemble { normal, anomaly } = sentences(name).unwrap();
            assert_eq!((normal.len(), anomaly.len()), (1, 1), "{name}");
        }
        assert_eq!(sentences("Cat").unwrap().normal.len(), 154, "the spelling is exact");
        let Ensemble { normal, anomaly } = composed("cat").unwrap();
        assert_eq!((normal.len(), anomaly.len()), (154, 88), "WinCLIP has no semantic classes");
        assert_eq!(composed("metal_nut").unwrap(), sentences("metal_nut").unwrap());
    }

    #[test]
    fn a_name_without_a_word_is_an_argument_error() {
        for name in ["", " ", "\t\n", "_", " _ __"] {
            assert_eq!(sentences(name).unwrap_err().kind(), ErrorKind::Argument, "{name:?}");
            assert_eq!(composed(name).unwrap_err().kind(), ErrorKind::Argument, "{name:?}");
        }
    }
}
