//! Command-line options for methods: `--method`, and one for each entry of the option tables of methods and of tiles.

use clap::{Arg, ArgMatches, Command, FromArgMatches};
use inctrl::methods::{Opt, OptKind, all_options, by_name};
use inctrl::view::TILING;
use inctrl::{BankSpec, Error, ErrorKind, Fit};

/// A method and its options, as far as they were given.
pub struct MethodArgs {
    method: Option<String>,
    /// `name=value`.
    options: Vec<String>,
}

impl MethodArgs {
    /// A bank for this method.
    pub fn spec(&self, class: Option<&str>, fit: Option<Fit>) -> BankSpec {
        let mut spec = BankSpec::default();
        spec.method = self.method.clone();
        spec.class = class.map(str::to_owned);
        spec.fit = fit;
        spec.options = self.options.clone();
        spec
    }

    /// Returns an error if options are given beside a bank, which has its own.
    pub fn check_none_beside(&self, bank: &std::path::Path) -> inctrl::Result<()> {
        if self.options.is_empty() {
            return Ok(());
        }
        let given: Vec<String> =
            self.options.iter().map(|option| format!("--{}", option.replacen('=', " ", 1))).collect();
        let message = format!(
            "{} given with --bank: images are looked at as when the bank was built (inctrl bank info shows how); leave it out, or build \
             another bank",
            given.join(" and ")
        );
        Err(Error::new(ErrorKind::Argument, message).at(bank))
    }

    /// Whether the named method makes banks without normal images.
    pub fn takes_none(&self) -> bool {
        self.method.as_deref().and_then(|name| by_name(name).ok()).is_some_and(|method| !method.takes_prompts())
    }
}

/// Every option once, as each method has it.
fn table() -> Vec<(&'static str, Vec<(&'static str, &'static Opt)>)> {
    let mut table: Vec<(&'static str, Vec<(&'static str, &'static Opt)>)> = Vec::new();
    for (method, options) in all_options() {
        for option in options {
            match table.iter_mut().find(|(name, _)| *name == option.name) {
                Some((_, of)) => of.push((method, option)),
                None => table.push((option.name, vec![(method, option)])),
            }
        }
    }
    table
}

/// The help of an option: its methods, what it does, and its default. Methods with the same help and default are
/// grouped.
fn help(of: &[(&'static str, &'static Opt)]) -> String {
    let mut groups: Vec<(Vec<&str>, &Opt)> = Vec::new();
    for (method, option) in of {
        match groups.iter_mut().find(|(_, known)| known.help == option.help && known.kind == option.kind) {
            Some((methods, _)) => methods.push(method),
            None => groups.push((vec![method], option)),
        }
    }
    let text = |(methods, option): &(Vec<&str>, &Opt)| {
        format!("For {}: {} [default: {}]", methods.join(" and "), option.help, option.default_text())
    };
    groups.iter().map(text).collect::<Vec<_>>().join(". ")
}

fn value_name(option: &Opt) -> &'static str {
    match option.kind {
        OptKind::Switch { .. } => "on|off",
        OptKind::Share { .. } => "SHARE",
        OptKind::ModelCounts { .. } => "N,N",
        _ => "N",
    }
}

impl clap::Args for MethodArgs {
    fn augment_args(command: Command) -> Command {
        let names: Vec<&str> = all_options().map(|(method, _)| method).collect();
        let help_of_method =
            format!("The method: {} [default: {}, if the model can serve it]", names.join(" or "), names[0]);
        let method = Arg::new("method").long("method").value_name("NAME").help(help_of_method);
        let options = table()
            .into_iter()
            .map(|(name, of)| Arg::new(name).long(name).value_name(value_name(of[0].1)).help(help(&of)));
        let tiling = TILING
            .iter()
            .map(|option| Arg::new(option.name).long(option.name).value_name(option.value).help(option.help));
        command.arg(method).args(options).args(tiling)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for MethodArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |name: &str| matches.get_one::<String>(name).cloned();
        let names = table().into_iter().map(|(name, _)| name).chain(TILING.iter().map(|option| option.name));
        let given = names.filter_map(|name| Some(format!("{name}={}", value(name)?)));
        Ok(MethodArgs { method: value("method"), options: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
