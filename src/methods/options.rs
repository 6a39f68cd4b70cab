//! Options of a method: one table in the method's folder. The command line, the C interface and files take names,
//! ranges and defaults from it. The values are part of a bank.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// An option of a method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opt {
    /// Its name in files, on the command line and in calls: lower case, words joined by hyphens.
    pub name: &'static str,
    /// A one-line description for people.
    pub help: &'static str,
    /// Its type, range and default.
    pub kind: OptKind,
    /// Whether it concerns only prompts. Banks that differ in such an option can serve the same scorers.
    pub of_prompts: bool,
}

/// Type, range and default of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptKind {
    /// A whole number.
    Count {
        /// The smallest value.
        low: usize,
        /// The largest value.
        high: usize,
        /// The default.
        default: usize,
    },
    /// `on` or `off`.
    Switch {
        /// The default.
        default: bool,
    },
    /// A part of a whole, above 0 and at most 1.
    Share {
        /// Where nobody says.
        default: f64,
    },
    /// A whole number that depends on the model where nobody says.
    ModelCount {
        /// The smallest.
        low: usize,
        /// The largest.
        high: usize,
        /// Where nobody says, in words.
        default: &'static str,
    },
    /// Whole numbers in ascending order, each once, that depend on the model where nobody says.
    ModelCounts {
        /// The smallest of each.
        low: usize,
        /// The largest of each.
        high: usize,
        /// Where nobody says, in words.
        default: &'static str,
    },
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Setting {
    Switch(bool),
    Count(usize),
    Share(f64),
    Counts(Vec<usize>),
    /// What the model makes it.
    Model(()),
}

impl Opt {
    fn default(&self) -> Setting {
        match self.kind {
            OptKind::Count { default, .. } => Setting::Count(default),
            OptKind::Switch { default } => Setting::Switch(default),
            OptKind::Share { default } => Setting::Share(default),
            OptKind::ModelCount { .. } | OptKind::ModelCounts { .. } => Setting::Model(()),
        }
    }

    /// What it is where nobody says, in words.
    pub fn default_text(&self) -> String {
        match self.kind {
            OptKind::ModelCount { default, .. } | OptKind::ModelCounts { default, .. } => default.to_owned(),
            _ => self.default().to_string(),
        }
    }

    /// The range, in words.
    fn range(&self) -> String {
        match self.kind {
            OptKind::Count { low, high, .. } | OptKind::ModelCount { low, high, .. } => {
                format!("a whole number from {low} to {high}")
            }
            OptKind::Switch { .. } => "on or off".to_owned(),
            OptKind::Share { .. } => "a number above 0 and at most 1".to_owned(),
            OptKind::ModelCounts { low, high, .. } => {
                format!("whole numbers from {low} to {high}, ascending, with commas between them")
            }
        }
    }

    fn parse(&self, text: &str) -> Result<Setting> {
        let setting = match (self.kind, text) {
            (OptKind::Switch { .. }, "on") => Some(Setting::Switch(true)),
            (OptKind::Switch { .. }, "off") => Some(Setting::Switch(false)),
            (OptKind::Count { .. } | OptKind::ModelCount { .. }, _) => text.parse().ok().map(Setting::Count),
            (OptKind::Share { .. }, _) => text.parse().ok().map(Setting::Share),
            (OptKind::ModelCounts { .. }, _) => {
                text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>().map(Setting::Counts)
            }
            _ => None,
        };
        // What people are told where nobody says is also what they may say.
        let usual = (text == self.default_text()).then(|| self.default());
        setting.or(usual).filter(|setting| self.allows(setting)).ok_or_else(|| {
            let message = format!("the option `{}` is {text:?}: it must be {}", self.name, self.range());
            Error::new(ErrorKind::Argument, message)
        })
    }

    fn allows(&self, setting: &Setting) -> bool {
        match (self.kind, setting) {
            (OptKind::Count { low, high, .. } | OptKind::ModelCount { low, high, .. }, Setting::Count(count)) => {
                (low..=high).contains(count)
            }
            (OptKind::Switch { .. }, Setting::Switch(_)) => true,
            (OptKind::Share { .. }, Setting::Share(share)) => *share > 0.0 && *share <= 1.0,
            (OptKind::ModelCounts { low, high, .. }, Setting::Counts(counts)) => {
                !counts.is_empty()
                    && counts.is_sorted_by(|a, b| a < b)
                    && counts.iter().all(|count| (low..=high).contains(count))
            }
            (OptKind::ModelCount { .. } | OptKind::ModelCounts { .. }, Setting::Model(())) => true,
            _ => false,
        }
    }

    /// The setting as its kind has it: JSON does not tell a whole share from a count.
    fn settle(&self, setting: &Setting) -> Setting {
        match (self.kind, setting) {
            (OptKind::Share { .. }, Setting::Count(count)) => Setting::Share(*count as f64),
            _ => setting.clone(),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Switch(on) => f.write_str(if *on { "on" } else { "off" }),
            Setting::Count(count) => count.fmt(f),
            Setting::Share(share) => share.fmt(f),
            Setting::Counts(counts) => {
                let texts: Vec<String> = counts.iter().map(usize::to_string).collect();
                f.write_str(&texts.join(","))
            }
            Setting::Model(()) => f.write_str("usual"),
        }
    }
}

/// The values of all options of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    table: &'static [Opt],
    /// One per entry of the table.
    settings: Vec<Setting>,
}

impl Options {
    /// The defaults of `table`.
    pub fn of(table: &'static [Opt]) -> Self {
        Options { table, settings: table.iter().map(Opt::default).collect() }
    }

    /// Options of `table` from `name=value` texts. Options not named have their defaults.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a malformed text, an unknown or repeated name, or a value out of range.
    pub fn parse<'a>(table: &'static [Opt], texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut options = Self::of(table);
        let mut named = Vec::new();
        for text in texts {
            let Some((name, value)) = text.split_once('=') else {
                let message = format!("{text:?} is not an option of a method: write name=value, such as size=448");
                return Err(Error::new(ErrorKind::Argument, message));
            };
            let place = options.place(name)?;
            if named.contains(&place) {
                let message = format!("the option `{name}` is given twice: leave one out");
                return Err(Error::new(ErrorKind::Argument, message));
            }
            named.push(place);
            options.settings[place] = table[place].parse(value)?;
        }
        Ok(options)
    }

    /// Options from a bank's header. Options that it does not name have their defaults: the default of a newer option
    /// keeps the older behaviour.
    pub(crate) fn from_header(table: &'static [Opt], header: &BTreeMap<String, Setting>) -> Result<Self> {
        let mut options = Self::of(table);
        for (name, setting) in header {
            let place = options.place(name)?;
            let setting = table[place].settle(setting);
            if !table[place].allows(&setting) {
                let message = format!("the option `{name}` is {setting}: it must be {}", table[place].range());
                return Err(Error::new(ErrorKind::Argument, message));
            }
            options.settings[place] = setting;
        }
        Ok(options)
    }

    /// The values for a bank's header.
    pub(crate) fn to_header(&self) -> BTreeMap<String, Setting> {
        self.all().map(|(option, setting)| (option.name.to_owned(), setting.clone())).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&'static Opt, &Setting)> + '_ {
        self.table.iter().zip(&self.settings)
    }

    /// Names and values, as text for people, of the options that have a meaning for the model.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let settled = self.all().filter(|(_, setting)| **setting != Setting::Model(()));
        settled.map(|(option, setting)| (option.name, setting.to_string()))
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.table.iter().position(|option| option.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.table.iter().map(|option| option.name).collect();
            let known =
                if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            Error::new(ErrorKind::Argument, format!("the method has no option `{name}`: {known}"))
        })
    }

    fn setting(&self, name: &str) -> Option<&Setting> {
        self.all().find(|(option, _)| option.name == name).map(|(_, setting)| setting)
    }

    /// The value of the whole-number option `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the table has no such option; also below.
    pub(crate) fn count(&self, name: &str) -> Result<usize> {
        match self.setting(name) {
            Some(Setting::Count(count)) => Ok(*count),
            _ => Err(missing("a number", name)),
        }
    }

    /// The value of the switch `name`. Errors as [`Options::count`].
    pub(crate) fn switch(&self, name: &str) -> Result<bool> {
        match self.setting(name) {
            Some(Setting::Switch(on)) => Ok(*on),
            _ => Err(missing("a switch", name)),
        }
    }

    /// The value of the share `name`.
    pub(crate) fn share(&self, name: &str) -> Result<f64> {
        match self.setting(name) {
            Some(Setting::Share(share)) => Ok(*share),
            _ => Err(missing("a share", name)),
        }
    }

    /// The value of the list `name`.
    pub(crate) fn counts(&self, name: &str) -> Result<&[usize]> {
        match self.setting(name) {
            Some(Setting::Counts(counts)) => Ok(counts),
            _ => Err(missing("numbers", name)),
        }
    }

    /// Sets the option `name` if its default depends on the model and no value was given.
    pub(crate) fn settle(&mut self, name: &str, setting: Setting) {
        let own = self.table.iter().position(|option| option.name == name);
        if let Some(own) = own.map(|place| &mut self.settings[place]).filter(|own| **own == Setting::Model(())) {
            *own = setting;
        }
    }

    /// The first option that affects scorers and differs between `self` and `other`, which are of the same method.
    pub(crate) fn differing(&self, other: &Self) -> Option<&'static str> {
        let mut both = self.all().zip(other.all());
        both.find(|((option, a), (_, b))| !option.of_prompts && a != b).map(|((option, _), _)| option.name)
    }
}

/// The error of a method that does not know its own table.
fn missing(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("a method asked for {what} `{name}` that its table does not have"))
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, value) in self.texts() {
            write!(f, "{separator}{name}={value}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[Opt] = &[
        Opt { name: "size", help: "", kind: OptKind::Count { low: 14, high: 2000, default: 448 }, of_prompts: false },
        Opt { name: "rotations", help: "", kind: OptKind::Count { low: 1, high: 64, default: 8 }, of_prompts: true },
        Opt { name: "mask", help: "", kind: OptKind::Switch { default: false }, of_prompts: false },
    ];

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(Options::of(TABLE).to_string(), "size=448 rotations=8 mask=off");
        let options = Options::parse(TABLE, ["mask=on", "size=672"]).unwrap();
        assert_eq!((options.count("size").unwrap(), options.switch("mask").unwrap()), (672, true));
        assert_eq!(options.count("rotations").unwrap(), 8);
        assert_eq!(options.count("mask").unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_wrong_option_is_named_with_what_is_right() {
        for (texts, expected) in [
            (&["size"][..], "name=value"),
            (&["colour=red"], "size, rotations, mask"),
            (&["size=13"], "from 14 to 2000"),
            (&["size=-1"], "from 14 to 2000"),
            (&["mask=1"], "on or off"),
            (&["mask=on", "mask=off"], "twice"),
        ] {
            let error = Options::parse(TABLE, texts.iter().copied()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Options::parse(&[], ["size=3"]).unwrap_err().to_string().contains("it has none"));
    }

    #[test]
    fn headers_round_trip_and_are_checked() {
        let options = Options::parse(TABLE, ["mask=on", "rotations=1"]).unwrap();
        let json = serde_json::to_string(&options.to_header()).unwrap();
        assert_eq!(json, r#"{"mask":true,"rotations":1,"size":448}"#);
        let read = |json: &str| Options::from_header(TABLE, &serde_json::from_str(json).unwrap());
        assert_eq!(read(&json).unwrap(), options);
        assert_eq!(read("{}").unwrap(), Options::of(TABLE));
        for wrong in [r#"{"size":2}"#, r#"{"size":true}"#, r#"{"mask":3}"#, r#"{"colour":3}"#] {
            assert_eq!(read(wrong).unwrap_err().kind(), ErrorKind::Argument);
        }
    }

    #[test]
    fn scorers_are_of_one_size_and_mask_whatever_the_prompts() {
        let of = |texts: &[&str]| Options::parse(TABLE, texts.iter().copied()).unwrap();
        assert_eq!(of(&[]).differing(&of(&["rotations=1"])), None);
        assert_eq!(of(&["mask=on"]).differing(&of(&["rotations=1"])), Some("mask"));
    }
}
