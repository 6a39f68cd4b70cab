//! Golden vectors outside of the project, in the folder that `INCTRL_GOLDENS` names; without it, skipped with a
//! message. The committed fixtures cover the same ground; the activations and scores of that folder are in
//! `goldens.rs`.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use inctrl::text::{Tokeniser, ensemble};
use inctrl::view::Plan;
use inctrl::{Fit, Image};
use safetensors::SafeTensors;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("INCTRL_GOLDENS").map(PathBuf::from);
    if folder.is_none() {
        println!("SKIP: INCTRL_GOLDENS is not set");
    }
    folder
}

/// Tensors `SIZE/FILE`, u8 `[SIZE, SIZE, 3]`: the file after Pillow's resizing and cropping.
#[test]
fn external_pictures() {
    let Some(folder) = folder() else { return };
    let bytes = fs::read(folder.join("preprocess.safetensors")).unwrap();
    for (name, expected) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let (size, file) = name.split_once('/').unwrap();
        let image = Image::open(folder.join("images").join(file)).unwrap();
        let plan = Plan::new(image.width(), image.height(), size.parse().unwrap(), Fit::Crop).unwrap();
        let found = plan.run(&image.frame());
        let channels = image.frame().format().channels();
        let found = found.chunks(channels).flat_map(|pixel| [0, 1, 2].map(|c| pixel[c.min(channels - 1)]));
        let worst = found.zip(expected.data()).map(|(a, &b)| a.abs_diff(b)).max().unwrap();
        println!("{name}: {worst}");
        assert!(worst == 0, "{name} differs by {worst}");
    }
}

/// `{text: ids padded with zeros}`.
#[test]
fn external_tokens() {
    let Some(folder) = folder() else { return };
    let goldens: HashMap<String, Vec<u32>> =
        serde_json::from_slice(&fs::read(folder.join("tokens.json")).unwrap()).unwrap();
    let tokeniser = Tokeniser::new().unwrap();
    for (text, mut expected) in goldens {
        let context = expected.len();
        expected.truncate(expected.iter().rposition(|&id| id != 0).unwrap() + 1);
        assert_eq!(tokeniser.encode(&text, context).unwrap(), expected, "{text:?}");
    }
}

/// `{class: {"normal": [..], "anomaly": [..]}}`, in any order.
#[test]
fn external_prompts() {
    let Some(folder) = folder() else { return };
    let goldens: HashMap<String, HashMap<String, Vec<String>>> =
        serde_json::from_slice(&fs::read(folder.join("prompts.json")).unwrap()).unwrap();
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts
    };
    for (class, expected) in goldens {
        let found = ensemble::sentences(&class).unwrap();
        assert_eq!(sorted(found.normal), sorted(expected["normal"].clone()), "{class}");
        assert_eq!(sorted(found.anomaly), sorted(expected["anomaly"].clone()), "{class}");
    }
}
